//! All HTTP.

mod state;

pub use state::{ApiState, Facts, Later, Posting, Status};
