//! The due rule and the rule of attempts: pure functions.

use crate::{
    config::Due,
    domain::{Epoch, RequestState},
    store::AttemptTop,
};

/// Why a checkpoint is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DueReason {
    /// The first of its attempt.
    First,
    /// Far enough from every other probe of its attempt.
    EveryN,
    /// `(epoch + 1) % n == 0`.
    Modulo,
    /// The last of its run.
    Last,
    /// Somebody asked.
    Forced,
}

impl DueReason {
    /// The word in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::EveryN => "every_n",
            Self::Modulo => "modulo",
            Self::Last => "last",
            Self::Forced => "forced",
        }
    }
}

/// Whether a new point of an attempt is due, given the attempt's requests.
///
/// The first is always due. `at_least`: no request that is queued, probing or done lies less than `every_n` epochs
/// before or after it. `modulo`: Lightning's `(epoch + 1) % n == 0`.
pub fn is_due(rule: Due, every_n: u32, epoch: Epoch, slots: &[(Epoch, RequestState)]) -> Option<DueReason> {
    if slots.is_empty() {
        return Some(DueReason::First);
    }
    match rule {
        Due::AtLeast => {
            let far =
                |(other, state): &(Epoch, RequestState)| !state.holds_slot() || other.0.abs_diff(epoch.0) >= every_n;
            slots.iter().all(far).then_some(DueReason::EveryN)
        }
        Due::Modulo => (u64::from(epoch.0) + 1).is_multiple_of(u64::from(every_n)).then_some(DueReason::Modulo),
    }
}

/// The attempt of a new point, whose step holds other weights in the newest attempt or is not known there.
///
/// It rises when the newest attempt already holds the step (`taken`), or when a lower step appears whose file was
/// made and first seen after those of the highest step.
pub fn attempt_of(top: Option<&AttemptTop>, step: u64, taken: bool, mtime_ns: i64, seen_at: &str) -> i64 {
    let Some(top) = top else { return 0 };
    let lower = i64::try_from(step).unwrap_or(i64::MAX) < top.global_step;
    let later = mtime_ns > top.mtime_ns && seen_at > top.seen_at.as_str();
    if taken || (lower && later) { top.attempt + 1 } else { top.attempt }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due(rule: Due, n: u32, epoch: u32, others: &[(u32, RequestState)]) -> Option<DueReason> {
        let slots: Vec<_> = others.iter().map(|&(e, s)| (Epoch(e), s)).collect();
        is_due(rule, n, Epoch(epoch), &slots)
    }

    #[test]
    fn at_least() {
        use RequestState::{Done, Failed, Held, Queued};
        assert_eq!(due(Due::AtLeast, 5, 3, &[]), Some(DueReason::First));
        assert_eq!(due(Due::AtLeast, 5, 4, &[(0, Done)]), None);
        assert_eq!(due(Due::AtLeast, 5, 5, &[(0, Done)]), Some(DueReason::EveryN));
        assert_eq!(due(Due::AtLeast, 5, 5, &[(0, Failed), (9, Queued)]), None);
        assert_eq!(due(Due::AtLeast, 5, 5, &[(3, Held), (4, Failed)]), Some(DueReason::EveryN));
    }

    #[test]
    fn modulo() {
        use RequestState::Done;
        assert_eq!(due(Due::Modulo, 5, 4, &[(3, Done)]), Some(DueReason::Modulo));
        assert_eq!(due(Due::Modulo, 5, 5, &[(0, Done)]), None);
        assert_eq!(due(Due::Modulo, 1, u32::MAX, &[(0, Done)]), Some(DueReason::Modulo));
    }

    #[test]
    fn attempts() {
        let top = AttemptTop { attempt: 2, global_step: 100, mtime_ns: 50, seen_at: "2026-01-01T00:00:05.000Z".into() };
        let later = "2026-01-01T00:00:09.000Z";
        let earlier = "2026-01-01T00:00:01.000Z";
        assert_eq!(attempt_of(None, 7, false, 0, later), 0);
        assert_eq!(attempt_of(Some(&top), 200, false, 60, later), 2);
        assert_eq!(attempt_of(Some(&top), 100, true, 60, later), 3);
        assert_eq!(attempt_of(Some(&top), 40, false, 60, later), 3);
        assert_eq!(attempt_of(Some(&top), 40, false, 40, later), 2, "an older file that was found late");
        assert_eq!(attempt_of(Some(&top), 40, false, 60, earlier), 2);
    }

    proptest! {
        #[test]
        fn probes_that_the_rule_allows_lie_n_apart(n in 1u32..9, epochs in prop::collection::vec(0u32..60, 1..40)) {
            let mut slots = Vec::new();
            for epoch in epochs {
                if is_due(Due::AtLeast, n, Epoch(epoch), &slots).is_some() {
                    slots.push((Epoch(epoch), RequestState::Done));
                }
            }
            for (i, a) in slots.iter().enumerate() {
                prop_assert!(slots[..i].iter().all(|b| a.0.0.abs_diff(b.0.0) >= n));
            }
        }
    }
}
