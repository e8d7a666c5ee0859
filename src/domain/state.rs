//! The states of checkpoints and of jobs, and the one table of changes between them.

use super::words;

words! {
    /// The state of a checkpoint (a sighting of one content of a path) or of a job. No word belongs to both.
    pub enum State {
        /// Announced, and not there (yet, or for a moment).
        Seen = "seen",
        /// There, and watched until it stops changing and proves whole.
        Settling = "settling",
        /// Proven, its encoder copied into a pin, and on its curve.
        Whole = "whole",
        /// Not a checkpoint that can be probed; the reason is kept.
        Rejected = "rejected",
        /// Was announced or seen, and its content is gone.
        Vanished = "vanished",
        /// A job that waits for a worker.
        Queued = "queued",
        /// A worker is at it.
        Running = "running",
        /// A job that gave its output.
        Done = "done",
        /// A job that ended without, after its retries.
        Failed = "failed",
        /// A job that was taken back.
        Cancelled = "cancelled",
    }
}

words! {
    /// What can happen to a checkpoint or a job.
    pub enum Change {
        /// A checkpoint was posted, and its file is not there yet.
        Announced = "announced",
        /// A checkpoint's file is there.
        Found = "found",
        /// Its file is not there for the moment.
        Left = "left",
        /// It is proven and has its point.
        Proven = "proven",
        /// It cannot be probed.
        Refused = "refused",
        /// Its content never came, or went away before it was proven.
        Missed = "missed",
        /// A job was asked for.
        Asked = "asked",
        /// A worker took it.
        Claimed = "claimed",
        /// It gave its output.
        Finished = "finished",
        /// It failed and is tried again.
        Retried = "retried",
        /// It failed for good.
        GaveUp = "gave_up",
        /// The daemon stopped, or its surroundings failed, while it ran; no retry is used up.
        Interrupted = "interrupted",
        /// It was taken back.
        Cancelled = "cancelled",
    }
}

impl State {
    /// The state after a change; `from` is `None` for what is new. `None` where that change cannot happen.
    pub fn after(from: Option<Self>, change: Change) -> Option<Self> {
        use Change as C;
        use State::*;
        Some(match (from, change) {
            (None, C::Announced) => Seen,
            (None | Some(Seen | Rejected), C::Found) => Settling,
            (Some(Settling), C::Left) => Seen,
            (Some(Settling), C::Proven) => Whole,
            (Some(Seen | Settling), C::Refused) => Rejected,
            (Some(Seen | Settling), C::Missed) => Vanished,
            (None, C::Asked) => Queued,
            (Some(Queued), C::Claimed) => Running,
            (Some(Running), C::Finished) => Done,
            (Some(Running), C::Retried | C::Interrupted) => Queued,
            (Some(Running), C::GaveUp) => Failed,
            (Some(Queued | Running), C::Cancelled) => Cancelled,
            _ => return None,
        })
    }

    /// Whether it is over: a job's end is final, a rejected checkpoint may be posted again.
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Seen | Self::Settling | Self::Queued | Self::Running)
    }

    /// Whether a probe job in it holds its slot in the due rule: scored, or on the way to a score.
    pub fn holds_slot(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Done)
    }
}

words! {
    /// The one word that the API shows for a checkpoint or a point: its own state or, once whole, that of its latest
    /// probe job, or why it has none.
    pub enum Shown {
        Seen = "seen",
        Settling = "settling",
        Rejected = "rejected",
        Vanished = "vanished",
        /// Whole, the newest of its run, and not due.
        Held = "held",
        /// Whole, and not due.
        Skipped = "skipped",
        Queued = "queued",
        Probing = "probing",
        Done = "done",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table() {
        let mut table = String::new();
        for from in std::iter::once(None).chain(State::ALL.iter().copied().map(Some)) {
            for &change in Change::ALL {
                if let Some(to) = State::after(from, change) {
                    table += &format!("{} --{change}--> {to}\n", from.map_or("(new)", State::as_str));
                }
            }
        }
        insta::assert_snapshot!(table, @r"
        (new) --announced--> seen
        (new) --found--> settling
        (new) --asked--> queued
        seen --found--> settling
        seen --refused--> rejected
        seen --missed--> vanished
        settling --left--> seen
        settling --proven--> whole
        settling --refused--> rejected
        settling --missed--> vanished
        rejected --found--> settling
        queued --claimed--> running
        queued --cancelled--> cancelled
        running --finished--> done
        running --retried--> queued
        running --gave_up--> failed
        running --interrupted--> queued
        running --cancelled--> cancelled
        ");
    }

    proptest! {
        #[test]
        fn a_checkpoint_never_becomes_a_job(changes in prop::collection::vec(0..Change::ALL.len(), 1..30)) {
            let job = |s: State| matches!(s, State::Queued | State::Running | State::Done | State::Failed | State::Cancelled);
            let (mut state, mut first) = (None, None);
            for change in changes {
                if let Some(next) = State::after(state, Change::ALL[change]) {
                    prop_assert!(state.is_none_or(|s: State| !s.is_end() || s == State::Rejected), "an end is final");
                    first = first.or(Some(job(next)));
                    prop_assert_eq!(Some(job(next)), first);
                    state = Some(next);
                }
            }
        }
    }
}
