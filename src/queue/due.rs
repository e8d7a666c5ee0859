//! The due rule and the rule of attempts: pure functions.

use crate::{
    config::{self, Due},
    domain::{DueReason, Epoch, ValueSource},
    store::{Slot, Top},
};

/// Whether a new point of an attempt is due, given the points of that attempt with a probe job.
///
/// The first of an attempt is always due. `at_least`: no point with a queued, running or done probe lies less than
/// `every_n_epochs` before or after it; with `every_n_steps` the same over global steps. `modulo`: Lightning's
/// `(epoch + 1) % n == 0`, over steps `global_step % n == 0`.
pub fn is_due(rules: &config::Queue, epoch: Epoch, global_step: i64, first: bool, slots: &[Slot]) -> Option<DueReason> {
    if first {
        return Some(DueReason::First);
    }
    let by_steps = rules.every_n_steps > 0;
    let n = if by_steps { rules.every_n_steps } else { u64::from(rules.every_n_epochs) };
    match rules.due {
        Due::AtLeast => {
            let apart = |slot: &Slot| match by_steps {
                true => slot.global_step.abs_diff(global_step),
                false => u64::from(slot.epoch.0.abs_diff(epoch.0)),
            };
            let far = |slot: &Slot| !slot.state.holds_slot() || apart(slot) >= n;
            slots.iter().all(far).then_some(DueReason::EveryN)
        }
        Due::Modulo => {
            let count = if by_steps { global_step.unsigned_abs() } else { u64::from(epoch.0) + 1 };
            count.is_multiple_of(n).then_some(DueReason::Modulo)
        }
    }
}

/// Whether a new point of an attempt gets a quick score, given those that have one: none lies less than
/// `quick_every_n_epochs` before or after it. Never, where that is 0.
pub fn is_quick_due(rules: &config::Queue, epoch: Epoch, slots: &[Slot]) -> bool {
    let n = rules.quick_every_n_epochs;
    n > 0 && slots.iter().all(|slot| !slot.state.holds_slot() || slot.epoch.0.abs_diff(epoch.0) >= n)
}

/// A new point, as the rule of attempts sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub epoch: Epoch,
    /// `None`: none was told.
    pub global_step: Option<i64>,
    pub written_ns: i64,
    /// When the scan that found it began.
    pub batch: &'a str,
}

/// The attempt of a new point: the newest one (`top` is its highest step), or the next. It rises where the newest
/// attempt holds other weights at that step (`taken`), or where a lower step was written and found after the highest
/// one; so never for older files that are found late, or in the same scan.
pub fn attempt_of(top: Option<&Top>, new: Candidate, taken: bool) -> u32 {
    let Some(top) = top else { return 0 };
    let lower = match new.global_step {
        Some(step) if top.step_source != ValueSource::Epoch => step < top.global_step,
        _ => new.epoch < top.epoch,
    };
    let later = new.written_ns > top.written_ns && new.batch > top.batch.as_str();
    if taken || (lower && later) { top.attempt + 1 } else { top.attempt }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{PointId, State};

    fn rules(due: Due, every_n_epochs: u32, every_n_steps: u64) -> config::Queue {
        let defaults = config::Config::load(None, &[]).unwrap().queue;
        config::Queue { due, every_n_epochs, every_n_steps, ..defaults }
    }

    fn slot(epoch: u32, global_step: i64, state: State) -> Slot {
        Slot { epoch: Epoch(epoch), global_step, state }
    }

    #[test]
    fn at_least() {
        use State::{Done, Failed, Queued, Running};
        let due = |epoch, others: &[(u32, State)]| {
            let slots: Vec<_> = others.iter().map(|&(e, s)| slot(e, i64::from(e) * 10, s)).collect();
            is_due(&rules(Due::AtLeast, 5, 0), Epoch(epoch), i64::from(epoch) * 10, false, &slots)
        };
        assert_eq!(is_due(&rules(Due::AtLeast, 5, 0), Epoch(3), 3, true, &[]), Some(DueReason::First));
        assert_eq!(due(4, &[(0, Done)]), None);
        assert_eq!(due(5, &[(0, Done)]), Some(DueReason::EveryN));
        assert_eq!(due(5, &[(0, Failed), (9, Queued)]), None);
        assert_eq!(due(5, &[(3, Failed), (4, State::Cancelled)]), Some(DueReason::EveryN));
        assert_eq!(due(5, &[(1, Running)]), None);
    }

    #[test]
    fn quick_scores_have_a_rule_of_their_own() {
        let due = |n, epoch, others: &[u32]| {
            let slots: Vec<_> = others.iter().map(|&e| slot(e, i64::from(e), State::Done)).collect();
            let rules = config::Queue { quick_every_n_epochs: n, ..rules(Due::AtLeast, 5, 0) };
            is_quick_due(&rules, Epoch(epoch), &slots)
        };
        assert_eq!([due(0, 7, &[]), due(1, 7, &[6, 8]), due(2, 7, &[6]), due(2, 7, &[5])], [false, true, false, true]);
    }

    #[test]
    fn over_steps_and_by_the_clock() {
        let slots = [slot(0, 100, State::Done)];
        let by_steps = rules(Due::AtLeast, 5, 500);
        assert_eq!(is_due(&by_steps, Epoch(0), 599, false, &slots), None);
        assert_eq!(is_due(&by_steps, Epoch(0), 600, false, &slots), Some(DueReason::EveryN), "inside one epoch");
        let modulo = rules(Due::Modulo, 5, 0);
        assert_eq!(is_due(&modulo, Epoch(4), 7, false, &slots), Some(DueReason::Modulo));
        assert_eq!(is_due(&modulo, Epoch(5), 10, false, &slots), None);
        assert_eq!(is_due(&rules(Due::Modulo, 1, 0), Epoch(u32::MAX), 0, false, &[]), Some(DueReason::Modulo));
        assert_eq!(is_due(&rules(Due::Modulo, 5, 50), Epoch(4), 100, false, &[]), Some(DueReason::Modulo));
    }

    #[test]
    fn attempts() {
        let top = Top {
            id: PointId(1),
            attempt: 2,
            epoch: Epoch(9),
            global_step: 100,
            step_source: ValueSource::File,
            written_ns: 50,
            batch: "2026-01-01T00:00:05.000Z".into(),
            due_reason: None,
        };
        let (earlier, later) = ("2026-01-01T00:00:01.000Z", "2026-01-01T00:00:09.000Z");
        let of = |step, epoch, taken, written_ns, batch| {
            attempt_of(Some(&top), Candidate { epoch: Epoch(epoch), global_step: step, written_ns, batch }, taken)
        };
        assert_eq!(
            attempt_of(None, Candidate { epoch: Epoch(0), global_step: None, written_ns: 0, batch: later }, false),
            0
        );
        assert_eq!(of(Some(200), 12, false, 60, later), 2);
        assert_eq!(of(Some(100), 9, true, 60, later), 3, "other weights at a step");
        assert_eq!(of(Some(40), 4, false, 60, later), 3, "a lower step, written later");
        assert_eq!(of(Some(40), 4, false, 40, later), 2, "an older file that was found late");
        assert_eq!(of(Some(40), 4, false, 60, earlier), 2);
        assert_eq!(of(Some(40), 4, false, 60, &top.batch), 2, "files of one scan come in any order");
        assert_eq!(of(None, 10, false, 60, later), 2, "without a step the epochs are compared");
        assert_eq!(of(None, 3, false, 60, later), 3);
    }

    proptest! {
        /// Points of two attempts arrive in any order, two steps an epoch, and probes end in any way. Those that hold
        /// their slot lie n apart within an attempt, and no slot is left empty that a failed probe gave back.
        #[test]
        fn probes_that_the_rule_allows_lie_n_apart(
            n in 1u32..9,
            arrivals in prop::collection::vec((0u32..2, 0u32..40, 0i64..2, 0usize..4), 1..60),
        ) {
            let rules = rules(Due::AtLeast, n, 0);
            let ends = [State::Done, State::Queued, State::Failed, State::Cancelled];
            let mut attempts: [Vec<Slot>; 2] = [Vec::new(), Vec::new()];
            for (attempt, epoch, half, end) in arrivals {
                let slots = &mut attempts[attempt as usize];
                let step = i64::from(epoch) * 2 + half;
                let first = slots.is_empty();
                let due = is_due(&rules, Epoch(epoch), step, first, slots);
                let near = slots.iter().any(|s| s.state.holds_slot() && s.epoch.0.abs_diff(epoch) < n);
                prop_assert_eq!(due.is_some(), first || !near);
                if due.is_some() {
                    slots.push(slot(epoch, step, ends[end]));
                }
            }
            for slots in &attempts {
                let held: Vec<_> = slots.iter().filter(|s| s.state.holds_slot()).collect();
                for (i, a) in held.iter().enumerate() {
                    prop_assert!(held[..i].iter().all(|b| a.epoch.0.abs_diff(b.epoch.0) >= n));
                }
            }
        }
    }
}
