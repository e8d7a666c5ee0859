//! The one retry rule and the one backoff, for jobs of every kind.

use std::time::Duration;

use crate::domain::{Fault, JobKind};

/// The longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(300);

/// How long to wait before the next try of a job that failed `tries` times before, or `None`: it failed for good.
///
/// A pin is tried until its checkpoint is `age` old, for a file may be written slowly; everything else `retries` times.
pub fn wait_before_retry(
    kind: JobKind,
    fault: Fault,
    tries: u32,
    retries: u32,
    age: Duration,
    give_up: Duration,
) -> Option<Duration> {
    let again = match (fault, kind) {
        (Fault::Final, _) => false,
        (_, JobKind::Pin) => age < give_up,
        (_, JobKind::Scan | JobKind::Quick | JobKind::Probe | JobKind::Control) => tries < retries,
    };
    again.then(|| backoff(tries))
}

/// 1 s, doubled with each try.
pub fn backoff(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_have_retries_and_pins_have_time() {
        let wait = |kind, fault, tries, age| {
            wait_before_retry(kind, fault, tries, 3, Duration::from_secs(age), Duration::from_secs(600))
                .map(|wait| wait.as_secs())
        };
        assert_eq!(wait(JobKind::Probe, Fault::Passing, 0, 0), Some(1));
        assert_eq!(wait(JobKind::Probe, Fault::Passing, 2, 0), Some(4));
        assert_eq!(wait(JobKind::Probe, Fault::Passing, 3, 0), None);
        assert_eq!(wait(JobKind::Probe, Fault::Final, 0, 0), None);
        assert_eq!(wait(JobKind::Pin, Fault::Passing, 40, 599), Some(300));
        assert_eq!(wait(JobKind::Pin, Fault::Passing, 0, 600), None);
        assert_eq!(wait(JobKind::Pin, Fault::Final, 0, 0), None);
    }
}
