//! The states of a checkpoint and of a request to probe it, and the changes between them.

use serde::{Deserialize, Serialize};

/// The life of a checkpoint file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointState {
    /// Announced or listed, not looked at yet (perhaps not there yet).
    Seen,
    /// There, and watched until it stops changing and proves whole.
    Settling,
    /// Proven, and its encoder copied into a pin.
    Whole,
    /// Not a checkpoint that can be probed; the reason is kept.
    Rejected,
    /// Was announced or seen, and is not there.
    Vanished,
}

/// The life of a request: one point of a curve, to be probed under one protocol on one data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// The newest checkpoint, not yet due.
    Held,
    /// Due, waiting for a worker.
    Queued,
    /// A worker is at it.
    Probing,
    /// Scored.
    Done,
    /// Ended without a score, after its retries.
    Failed,
    /// Not due, and no longer the newest.
    Skipped,
    /// A newer one was probed in its place.
    Superseded,
    /// Taken back by a person.
    Cancelled,
}

/// What can happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It became due: the run ended, or a person asked.
    Due,
    /// A newer checkpoint holds the place of the newest.
    Passed,
    /// A worker took it.
    Claimed,
    /// Its scores are stored.
    Scored,
    /// The worker failed or died.
    Crashed {
        /// No retry is left.
        last: bool,
    },
    /// The daemon stopped while it was probed.
    Interrupted,
    /// A newer one goes in its place.
    Overtaken,
    /// A person took it back.
    Cancelled,
}

impl RequestState {
    /// All states, in the order of a life.
    pub const ALL: [Self; 8] = [
        Self::Held,
        Self::Queued,
        Self::Probing,
        Self::Done,
        Self::Failed,
        Self::Skipped,
        Self::Superseded,
        Self::Cancelled,
    ];

    /// The state after a change; `None` where that change cannot happen.
    pub fn after(self, change: Change) -> Option<Self> {
        use RequestState::*;
        Some(match (self, change) {
            (Held, Change::Due) => Queued,
            (Held, Change::Passed) => Skipped,
            (Queued, Change::Claimed) => Probing,
            (Queued, Change::Overtaken) => Superseded,
            (Probing, Change::Scored) => Done,
            (Probing, Change::Crashed { last: false }) => Queued,
            (Probing, Change::Crashed { last: true }) => Failed,
            (Probing, Change::Interrupted) => Queued,
            (Held | Queued | Probing, Change::Cancelled) => Self::Cancelled,
            _ => return None,
        })
    }

    /// Whether it is over, with or without a score.
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Held | Self::Queued | Self::Probing)
    }

    /// Whether it holds its slot in the due rule: scored, or on the way to a score.
    pub fn holds_slot(self) -> bool {
        matches!(self, Self::Queued | Self::Probing | Self::Done)
    }

    /// The state of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// The word in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Queued => "queued",
            Self::Probing => "probing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
        }
    }
}

impl CheckpointState {
    /// All states, in the order of a life.
    pub const ALL: [Self; 5] = [Self::Seen, Self::Settling, Self::Whole, Self::Rejected, Self::Vanished];

    /// The state of that word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }

    /// The word in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Settling => "settling",
            Self::Whole => "whole",
            Self::Rejected => "rejected",
            Self::Vanished => "vanished",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGES: [Change; 9] = [
        Change::Due,
        Change::Passed,
        Change::Claimed,
        Change::Scored,
        Change::Crashed { last: false },
        Change::Crashed { last: true },
        Change::Interrupted,
        Change::Overtaken,
        Change::Cancelled,
    ];

    #[test]
    fn the_table() {
        let mut table = String::new();
        for from in RequestState::ALL {
            for change in CHANGES {
                if let Some(to) = from.after(change) {
                    table += &format!("{} --{change:?}--> {}\n", from.as_str(), to.as_str());
                }
            }
        }
        insta::assert_snapshot!(table, @r"
        held --Due--> queued
        held --Passed--> skipped
        held --Cancelled--> cancelled
        queued --Claimed--> probing
        queued --Overtaken--> superseded
        queued --Cancelled--> cancelled
        probing --Scored--> done
        probing --Crashed { last: false }--> queued
        probing --Crashed { last: true }--> failed
        probing --Interrupted--> queued
        probing --Cancelled--> cancelled
        ");
    }

    #[test]
    fn ends_are_final() {
        for state in RequestState::ALL.into_iter().filter(|s| s.is_end()) {
            assert!(CHANGES.iter().all(|&c| state.after(c).is_none()), "{state:?}");
        }
    }
}
