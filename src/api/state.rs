//! What handlers are given: the store to read from, the intake to write through, and what the service is doing now.

use axum::extract::FromRef;
use tokio_util::sync::CancellationToken;

use super::{auth::Guard, metrics::Measured};
use crate::{
    config,
    domain::{HeadName, Interval, Reason},
    intake::Submissions,
    status::{Facts, Status},
    store::Store,
    telemetry::Metrics,
};

/// What answers show where a request does not choose.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The first configured head.
    pub head: HeadName,
    /// What `low` and `high` are.
    pub interval: Interval,
    /// Differences up to this do not matter.
    pub margin: f64,
}

/// What the daemon builds; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub store: Store,
    pub config: config::Api,
    pub view: View,
    /// Writes go through here.
    pub submissions: Submissions,
    pub status: Status,
    pub metrics: Metrics,
    /// Streams end when it is cancelled.
    pub stop: CancellationToken,
}

impl ApiState {
    /// The facts as they are now; that the database cannot be written is one of them.
    pub fn facts(&self) -> Facts {
        match self.store.problem() {
            Some(problem) => {
                let database = self.store.folder().database();
                let message = format!("`{}` cannot be written: {problem}", database.display());
                self.status.add_problem(Reason::CannotWrite, message);
            }
            None => {
                self.status.clear_problem(Reason::CannotWrite);
            }
        }
        self.status.facts()
    }
}

/// What the router carries: handlers see the part they need.
#[derive(Clone)]
pub struct Shared {
    pub api: ApiState,
    pub guard: Guard,
    pub measured: Measured,
}

macro_rules! parts {
    ($($part:ty: $($path:ident).+,)+) => {$(
        impl FromRef<Shared> for $part {
            fn from_ref(shared: &Shared) -> Self {
                shared.$($path).+.clone()
            }
        }
    )+};
}

parts! {
    ApiState: api,
    Guard: guard,
    Measured: measured,
    Store: api.store,
    Status: api.status,
    View: api.view,
}
