//! What the service is doing now, kept in memory: progress of jobs, device, data set, and what keeps it from probing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::domain::{DatasetSummary, JobId, Progress, Reason};

/// Streams that read slower than this lose the oldest progress: only the newest counts.
const PROGRESS_BUFFER: usize = 256;
/// A part that runs for so long after it failed is well again.
const STEADY: Duration = Duration::from_secs(10);

/// Shared by the parts of the service; cheap to clone.
#[derive(Clone, Debug)]
pub struct Status {
    facts: Arc<Mutex<Facts>>,
    progress: Arc<Mutex<HashMap<JobId, Progress>>>,
    news: broadcast::Sender<(JobId, Progress)>,
}

/// What `/readyz` tells.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Facts {
    /// The device that workers use: `cpu`, `cuda:0`, `metal`; null until a worker told.
    pub device: Option<String>,
    /// Why that device, and what would give another.
    pub device_reason: Option<String>,
    /// The data set is being read.
    pub scanning: bool,
    /// The data set; null until it was read once.
    #[schema(value_type = Option<Object>)]
    pub dataset: Option<DatasetSummary>,
    /// What keeps the service from probing, or from taking checkpoints in; it goes on by itself when that is over.
    pub problems: Vec<Problem>,
}

/// What keeps the service from its work.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Problem {
    pub reason: Reason,
    /// What, where, what to do.
    pub message: String,
    #[schema(value_type = String)]
    pub since: DateTime<Utc>,
}

impl Facts {
    /// The data set was read, and nothing keeps the service from its work.
    pub fn ready(&self) -> bool {
        self.dataset.is_some() && !self.scanning && self.problems.is_empty()
    }
}

impl Default for Status {
    fn default() -> Self {
        Self { facts: Arc::default(), progress: Arc::default(), news: broadcast::channel(PROGRESS_BUFFER).0 }
    }
}

impl Status {
    /// The facts as they are now.
    pub fn facts(&self) -> Facts {
        locked(&self.facts).clone()
    }

    /// Changes some of the facts.
    pub fn update(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut locked(&self.facts));
    }

    /// Something keeps the service from its work. Returns whether that is news.
    pub fn add_problem(&self, reason: Reason, message: impl Into<String>) -> bool {
        let (message, mut facts) = (message.into(), locked(&self.facts));
        let known = facts.problems.iter_mut().find(|problem| problem.reason == reason);
        match known {
            Some(problem) => {
                problem.message = message;
                false
            }
            None => {
                facts.problems.push(Problem { reason, message, since: Utc::now() });
                true
            }
        }
    }

    /// It no longer does. Returns whether it did.
    pub fn clear_problem(&self, reason: Reason) -> bool {
        let mut facts = locked(&self.facts);
        let before = facts.problems.len();
        facts.problems.retain(|problem| problem.reason != reason);
        facts.problems.len() < before
    }

    /// How far a job is.
    pub fn set_progress(&self, job: JobId, progress: Progress) {
        locked(&self.progress).insert(job, progress);
        let _ = self.news.send((job, progress)); // nobody listens: fine
    }

    /// The job is over.
    pub fn clear_progress(&self, job: JobId) {
        locked(&self.progress).remove(&job);
    }

    /// How far a job is; `None` where it does not run, or told nothing yet.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        locked(&self.progress).get(&job).copied()
    }

    /// Every progress from now on.
    pub fn progress_news(&self) -> broadcast::Receiver<(JobId, Progress)> {
        self.news.subscribe()
    }
}

/// Starts a part of the service, and starts it anew where it fails, which only a fault of this program can make it do.
pub async fn keep_running<F>(status: Status, part: &'static str, stop: CancellationToken, start: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    while !stop.is_cancelled() {
        let mut running = tokio::spawn(start());
        let steady = tokio::time::timeout(STEADY, &mut running).await;
        let ended = match steady {
            Ok(ended) => ended,
            Err(_) => {
                status.clear_problem(Reason::Internal);
                running.await
            }
        };
        let Err(panic) = ended else { return };
        error!(part, %panic, "a part of the service failed; it is started anew");
        status.add_problem(Reason::Internal, format!("the {part} failed and was started anew; the log tells more"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A panic while the lock was held left whole values behind: each is set in one go.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_part_that_fails_is_started_anew_and_says_so() {
        let (status, stop, starts) = (Status::default(), CancellationToken::new(), Arc::new(AtomicU32::new(0)));
        let (counted, stopped) = (starts.clone(), stop.clone());
        let part = move || {
            let (first, stop) = (counted.fetch_add(1, Ordering::SeqCst) == 0, stopped.clone());
            async move {
                assert!(!first, "a fault");
                stop.cancelled().await;
            }
        };
        let kept = tokio::spawn(keep_running(status.clone(), "runner", stop.clone(), part));
        while starts.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(status.facts().problems[0].reason, Reason::Internal);
        stop.cancel();
        kept.await.unwrap();
    }
}
