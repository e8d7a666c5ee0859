//! The pause of a runner whose surroundings fail: nothing is burnt, and it goes on by itself.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use crate::domain::{Fault, JobId, Reason};

/// The first wait, and the longest.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);
/// So many failures in a row with the same reason, of more than one job, are no accident.
const IN_A_ROW: usize = 5;

/// Why a runner does not take jobs, and until when; then one is tried.
#[derive(Debug, Default)]
pub struct Pause {
    paused: Option<(Reason, Instant)>,
    wait: Duration,
    failures: Vec<(Reason, JobId)>,
    /// All reasons since the last success.
    told: Vec<Reason>,
}

impl Pause {
    /// How long no job is to be taken; `None`: take one.
    pub fn remaining(&self) -> Option<Duration> {
        let (_, until) = self.paused.as_ref()?;
        until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    /// Notes that a job failed. Returns how long to pause where that is not the job's own fault: it keeps its retries.
    pub fn note_failure(&mut self, job: JobId, reason: Reason, fault: Fault) -> Option<Duration> {
        self.failures.retain(|(other, _)| *other == reason);
        self.failures.push((reason, job));
        let jobs: HashSet<JobId> = self.failures.iter().map(|(_, job)| *job).collect();
        let again = self.paused.as_ref().is_some_and(|(before, _)| *before == reason);
        let often = self.failures.len() >= IN_A_ROW && jobs.len() > 1;
        if fault != Fault::Surroundings && !again && !often {
            return None;
        }
        self.wait = if again { (self.wait * 2).min(LONGEST) } else { FIRST };
        self.paused = Some((reason, Instant::now() + self.wait));
        self.told.push(reason);
        Some(self.wait)
    }

    /// Notes that a job did what it was to do. Returns the reasons of the pause that this ends.
    pub fn note_success(&mut self) -> Vec<Reason> {
        self.failures.clear();
        self.paused = None;
        std::mem::take(&mut self.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surroundings_pause_at_once_and_longer_each_time() {
        let mut pause = Pause::default();
        assert_eq!(pause.note_failure(JobId(1), Reason::WorkerStart, Fault::Surroundings), Some(FIRST));
        assert!(pause.remaining().is_some_and(|left| left <= FIRST));
        assert_eq!(pause.note_failure(JobId(1), Reason::WorkerStart, Fault::Surroundings), Some(FIRST * 2));
        assert_eq!(pause.note_success(), [Reason::WorkerStart; 2]);
        assert_eq!(pause.remaining(), None);
        assert_eq!(pause.note_failure(JobId(2), Reason::WorkerStart, Fault::Surroundings), Some(FIRST));
    }

    #[test]
    fn five_in_a_row_pause_unless_they_are_one_jobs_own() {
        let mut pause = Pause::default();
        for _ in 0..9 {
            assert_eq!(pause.note_failure(JobId(1), Reason::WorkerDied, Fault::Passing), None);
        }
        assert_eq!(pause.note_failure(JobId(2), Reason::WorkerDied, Fault::Passing), Some(FIRST));
        let mut pause = Pause::default();
        for job in 0..4 {
            assert_eq!(pause.note_failure(JobId(job), Reason::NotFinite, Fault::Final), None);
        }
        assert_eq!(pause.note_failure(JobId(4), Reason::OutOfMemory, Fault::Passing), None, "another reason");
        assert!(pause.note_success().is_empty());
    }
}
