//! The runners: each claims a job, has a worker do it, and stores what came of it. Whatever fails, they go on.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use super::{
    RunOf, Supervisor,
    jobs::{self, Job},
    pause::Pause,
    room::Room,
};
use crate::{
    config::Config,
    domain::{Failure, Fault, JobId, JobKind, Reason, State},
    error::{Error, Result},
    queue::{Claimed, Output, Queue, Verdict, backoff, locked},
    status::{Status, keep_running},
    store::{Store, text_of},
    telemetry::Metrics,
};

/// Pins that are made side by side: one that hangs holds up no other.
const PINS: usize = 4;

/// What the runners share; cheap to clone.
#[derive(Clone)]
pub struct Runner {
    pub store: Store,
    pub queue: Queue,
    pub supervisor: Supervisor,
    pub config: Arc<Config>,
    pub status: Status,
    pub metrics: Metrics,
    pub room: Room,
}

/// Runners that take the same kinds of job, and pause together.
#[derive(Clone)]
struct Lane {
    /// In the order of their priority.
    kinds: &'static [JobKind],
    pause: Arc<Mutex<Pause>>,
}

impl Runner {
    /// Starts all runners; they run until `stop`.
    pub fn start(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        let lanes = [(jobs::PROBES, self.config.worker.max_parallel), (jobs::QUICK, 1), (jobs::PINS, PINS)];
        for (kinds, count) in lanes {
            let lane = Lane { kinds, pause: Arc::default() };
            for _ in 0..count {
                let (runner, lane, stop) = (self.clone(), lane.clone(), stop.clone());
                tasks.spawn(keep_running(self.status.clone(), "runner", stop.clone(), move || {
                    let (runner, lane, stop) = (runner.clone(), lane.clone(), stop.clone());
                    async move { runner.run(&lane, &stop).await }
                }));
            }
        }
    }

    async fn run(&self, lane: &Lane, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            // Armed before the look into the table, so that nothing queued meanwhile is missed.
            let changed = self.queue.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let paused = locked(&lane.pause).remaining();
            let wait = match (paused, self.claim(lane, paused.is_some()).await) {
                (_, Ok(Some(claimed))) => {
                    self.run_one(&claimed, lane, stop).await;
                    self.room.make().await;
                    continue;
                }
                (paused, Ok(None)) => paused.unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1)),
                (_, Err(error)) => {
                    error!(%error, "the queue could not be read; it is tried again");
                    Duration::from_secs(1)
                }
            };
            tokio::select! { () = changed => {}, () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => {} }
        }
    }

    async fn claim(&self, lane: &Lane, paused: bool) -> Result<Option<Claimed>> {
        for &kind in lane.kinds {
            if paused || (kind == JobKind::Pin && self.room.is_full().await) {
                continue;
            }
            if let Some(claimed) = self.queue.claim(kind).await? {
                return Ok(Some(claimed));
            }
        }
        Ok(None)
    }

    async fn run_one(&self, claimed: &Claimed, lane: &Lane, stop: &CancellationToken) {
        let job = &claimed.job;
        let done = jobs::serve(self, claimed, stop).await;
        self.status.clear_progress(job.id);
        match done {
            Ok(()) => {
                self.metrics.job_ended(job.kind, State::Done, None);
                let over = locked(&lane.pause).note_success();
                for reason in over.into_iter().filter(|&reason| self.status.clear_problem(reason)) {
                    info!(%reason, "goes on");
                }
            }
            Err(_) if stop.is_cancelled() => {
                let failure = Failure::new(Reason::Stopped, Fault::Passing, "the daemon stopped");
                // Told to stop, it tries once: what is not written is recovered at the next start.
                if let Err(error) = self.queue.interrupt(job.id, &failure, None).await {
                    warn!(job = %job.id, %error, "it is found running at the next start, and queued again");
                }
            }
            Err(_) if claimed.cancel.is_cancelled() => {
                self.metrics.job_ended(job.kind, State::Cancelled, Some(Reason::Cancelled));
            }
            // What the chips lack says nothing of the next checkpoint, which may be of another family.
            Err(failure) if matches!(&claimed.target, Some(Err(_))) => self.give_up(claimed, &failure, stop).await,
            Err(failure) => self.end_failed(claimed, &failure, lane, stop).await,
        }
    }

    async fn end_failed(&self, claimed: &Claimed, failure: &Failure, lane: &Lane, stop: &CancellationToken) {
        let job = &claimed.job;
        if failure.reason == Reason::DatasetChanged {
            // Not a pause: the data set is scanned again, before the next probe.
            insist(stop, "a scan could not be queued", || boxed(self.queue.queue_scan())).await;
        }
        // Unreadable files say nothing of the next one; what keeps a pin from being written does.
        let counts = job.kind != JobKind::Pin || failure.fault == Fault::Surroundings;
        let wait = if counts { locked(&lane.pause).note_failure(job.id, failure.reason, failure.fault) } else { None };
        if let Some(wait) = wait {
            let message = format!("{} job: {}", job.kind, failure.text());
            if self.status.add_problem(failure.reason, message.as_str()) {
                warn!(kind = %job.kind, reason = %failure.reason, message, "paused; it goes on by itself");
            }
            let until = text_of(chrono::Utc::now() + wait);
            let interrupt = || boxed(self.queue.interrupt(job.id, failure, Some(until.clone())));
            insist(stop, "a job could not be put back", interrupt).await;
            return;
        }
        self.give_up(claimed, failure, stop).await;
    }

    /// The try is over, and with it perhaps the job.
    async fn give_up(&self, claimed: &Claimed, failure: &Failure, stop: &CancellationToken) {
        let job = &claimed.job;
        let end = || boxed(self.queue.fail(job, failure));
        if insist(stop, "the end of a job could not be stored", end).await == Some(Verdict::Ended) {
            self.metrics.job_ended(job.kind, State::Failed, Some(failure.reason));
        }
    }

    /// Has a worker do a job; how far it is shows in the status.
    pub(super) async fn work<J: Job>(
        &self,
        claimed: &Claimed,
        job: &J,
        timeout: Duration,
    ) -> Result<J::Output, Failure> {
        let id = claimed.job.id;
        let of = RunOf { job: id, try_: claimed.job.tries + 1, timeout };
        self.supervisor.run(job, of, &claimed.cancel, |progress| self.status.set_progress(id, progress)).await
    }

    /// Stores what a job gave, however long the database cannot be written: it is safe on disk meanwhile.
    pub(super) async fn finish(&self, job: JobId, output: Output<'_>, stop: &CancellationToken) -> Result<(), Failure> {
        let finish = || boxed(self.queue.finish(job, output));
        let stored = insist(stop, "what a job gave could not be stored", finish).await;
        stored.ok_or_else(|| Failure::new(Reason::Stopped, Fault::Passing, "its output is no longer wanted"))
    }
}

/// Does it until it succeeds, with pauses; `None` when told to stop, or when it is no longer wanted (its job was taken
/// back, its run removed).
async fn insist<'a, T>(stop: &CancellationToken, trouble: &str, act: impl Fn() -> Act<'a, T>) -> Option<T> {
    for tries in 0.. {
        match act().await {
            Ok(value) => return Some(value),
            Err(Error::Conflict(_) | Error::NotFound(_)) => return None,
            Err(error) => {
                let wait = backoff(tries).min(Duration::from_secs(30));
                error!(%error, wait_seconds = wait.as_secs(), "{trouble}; it is tried again");
                tokio::select! { () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => return None }
            }
        }
    }
    None
}

/// One try.
type Act<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

fn boxed<'a, T>(act: impl Future<Output = Result<T>> + Send + 'a) -> Act<'a, T> {
    Box::pin(act)
}

/// Reads a file that a worker wrote, off the async threads.
pub(super) async fn read<T: Send + 'static>(
    file: PathBuf,
    how: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let name = file.display().to_string();
    let failed = |error: String| Failure::new(Reason::Io, Fault::Passing, format!("`{name}`: {error}"));
    match tokio::task::spawn_blocking(move || how(&file)).await {
        Ok(read) => read.map_err(|error| failed(error.to_string())),
        Err(panic) => Err(failed(panic.to_string())),
    }
}

pub(super) fn unreadable(error: &Error) -> Failure {
    Failure::new(Reason::CannotWrite, Fault::Surroundings, error.to_string())
}

pub(super) fn internal(message: &str) -> Failure {
    Failure::new(Reason::Internal, Fault::Final, message)
}
