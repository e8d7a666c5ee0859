//! All HTTP.

mod state;

pub use state::{ApiState, Facts, Later, Posting, Status};

/// (to come)
pub fn router(_state: ApiState) -> crate::error::Result<axum::Router> {
    Ok(axum::Router::new())
}

/// (to come)
pub fn check_listen(_config: &crate::config::Api) -> crate::error::Result<()> {
    Ok(())
}
