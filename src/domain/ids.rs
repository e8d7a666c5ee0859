//! Numbers of rows, one type a table, so that they cannot be mixed up.

use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident,)+) => {
        $(
            $(#[$meta])*
            #[derive(
                Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
            )]
            #[serde(transparent)]
            pub struct $name(pub i64);

            impl std::fmt::Display for $name {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    self.0.fmt(f)
                }
            }
        )+
    };
}

ids! {
    /// A training run.
    RunId,
    /// One sighting of one content of a path.
    CheckpointId,
    /// A point of a curve.
    PointId,
    /// A job.
    JobId,
    /// A computation.
    ResultId,
    /// A head of a computation.
    HeadId,
    /// An entry of the journal.
    EventId,
}

/// What the journal tells changes of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Checkpoint(CheckpointId),
    Job(JobId),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checkpoint(id) => write!(f, "checkpoint {id}"),
            Self::Job(id) => write!(f, "job {id}"),
        }
    }
}
