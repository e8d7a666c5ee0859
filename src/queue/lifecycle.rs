//! The life of a job: claim, finish, retry, cancel, recover.

use std::sync::Arc;

use chrono::Utc;
use sqlx::SqliteConnection;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Queue, Target, locked, retry::wait_before_retry};
use crate::{
    domain::{
        Change, CheckpointId, ChipRecord, ControlReport, DatasetSummary, Digest, Failure, Fault, JobId, JobKind,
        Pinned, PointId, ProbeReport, Reason, Subject,
    },
    error::{Error, Result},
    store::{JobRow, NewJob, Why, age_of, change, now, text_of},
};

/// Daemons that may go down in a row while the same job runs.
const MAX_RESTARTS: u32 = 5;

/// A job that a worker is to do.
#[derive(Debug)]
pub struct Claimed {
    pub job: JobRow,
    /// What a probe is to compute, or why it cannot be; `None` of other kinds.
    pub target: Option<Result<Target, Failure>>,
    /// Cancelled when the job is taken back.
    pub cancel: CancellationToken,
    queue: Queue,
}

impl Drop for Claimed {
    fn drop(&mut self) {
        locked(&self.queue.running).remove(&self.job.id);
    }
}

/// What a job gave.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    Pin(&'a Pinned),
    /// With the heads that were asked for: those that were stored before count too.
    Probe(&'a ProbeReport, &'a [Digest]),
    Control(&'a ControlReport),
    Scan {
        path: &'a str,
        dataset: &'a DatasetSummary,
        chips: &'a [ChipRecord],
    },
}

/// What became of a job whose try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is tried again later.
    Retried,
    /// It is over.
    Ended,
}

impl Queue {
    /// Takes the next job of a kind. Probes wait until the data set is scanned; one whose heads are all stored is done at
    /// once and not returned.
    pub async fn claim(&self, kind: JobKind) -> Result<Option<Claimed>> {
        loop {
            let scanned = locked(&self.dataset).is_some();
            if (matches!(kind, JobKind::Quick | JobKind::Probe | JobKind::Control) && !scanned)
                || !self.store.has_queued(kind).await?
            {
                return Ok(None);
            }
            let mut tx = self.store.write().await?;
            let claim = async {
                let Some(job) = self.store.next_job(&mut tx, kind, &now()).await? else { return Ok(None) };
                change(&mut tx, Subject::Job(job.id), Change::Claimed, Why::default()).await?;
                let target = match job.point_id {
                    Some(point) => self.aim(&mut tx, &job, point).await?,
                    None => None,
                };
                Ok(Some((job, target)))
            };
            let claimed = claim.await;
            match tx.end(claimed).await? {
                None => return Ok(None),
                Some((job, Some(Ok(target)))) if target.missing.is_empty() && target.control.is_none() => {
                    info!(job = %job.id, kind = %job.kind, "all of it is stored already");
                    self.tell_change();
                }
                Some((job, target)) => {
                    let cancel = CancellationToken::new();
                    locked(&self.running).insert(job.id, cancel.clone());
                    return Ok(Some(Claimed { job, target, cancel, queue: self.clone() }));
                }
            }
        }
    }

    /// What a probe is to compute; where nothing is missing, it is done.
    async fn aim(
        &self,
        db: &mut SqliteConnection,
        job: &JobRow,
        point: PointId,
    ) -> Result<Option<Result<Target, Failure>>> {
        let key = match self.key_of(db, point).await? {
            None => return Ok(None),
            Some(Err(refusal)) => return Ok(Some(Err(refusal))),
            Some(Ok(key)) => key,
        };
        self.store.note_basis(db, job.id, key.basis).await?;
        if job.kind == JobKind::Control {
            if let Some(target) = self.next_draw(db, point, key).await? {
                return Ok(Some(Ok(target)));
            }
            change(db, Subject::Job(job.id), Change::Finished, Why::default()).await?;
            return Ok(Some(Ok(Target { key, missing: Vec::new(), asked: Vec::new(), control: None })));
        }
        let result = self.store.result_of(db, &key).await?;
        let known = match result {
            Some(result) => self.store.heads_of(db, result).await?,
            None => Vec::new(),
        };
        let heads = self.plan.heads_of(job.kind);
        let asked: Vec<_> = heads.iter().map(|head| head.digest()).collect();
        let missing: Vec<_> = heads.iter().filter(|head| !known.contains(&head.digest())).cloned().collect();
        if let Some(result) = result.filter(|_| missing.is_empty()) {
            self.store.link_result(db, job.id, result, &asked).await?;
            change(db, Subject::Job(job.id), Change::Finished, Why::default()).await?;
        }
        Ok(Some(Ok(Target { key, missing, asked, control: None })))
    }

    /// A job gave its output: it is kept, and the job done. Probes are of a data set from the end of its scan on.
    pub async fn finish(&self, job: JobId, output: Output<'_>) -> Result<()> {
        let mut tx = self.store.write().await?;
        let finish = async {
            match output {
                Output::Pin(pinned) => self.store.note_output(&mut tx, job, pinned).await?,
                Output::Probe(report, asked) => {
                    let result = self.store.add_result(&mut tx, report, &now()).await?;
                    self.store.link_result(&mut tx, job, result, asked).await?;
                }
                Output::Control(report) => self.store.add_controls(&mut tx, report, &now()).await?,
                Output::Scan { path, dataset, chips } => {
                    self.store.add_dataset(&mut tx, path, dataset, chips, &now()).await?;
                }
            }
            change(&mut tx, Subject::Job(job), Change::Finished, Why::default()).await?;
            match self.store.job(&mut tx, job).await?.point_id {
                Some(point) => self.queue_control(&mut tx, point).await,
                None => Ok(()),
            }
        };
        let done = finish.await;
        tx.end(done).await?;
        if let Output::Scan { dataset, .. } = output {
            *locked(&self.dataset) = Some(Arc::new(dataset.clone()));
        }
        self.tell_change();
        Ok(())
    }

    /// Ends a try that failed. What may pass is tried again, later each time; a checkpoint whose pin failed for good is
    /// rejected.
    pub async fn fail(&self, job: &JobRow, failure: &Failure) -> Result<Verdict> {
        let mut tx = self.store.write().await?;
        let done = self.fail_in(&mut tx, job, failure).await;
        let verdict = tx.end(done).await?;
        self.tell_change();
        Ok(verdict)
    }

    async fn fail_in(&self, db: &mut SqliteConnection, job: &JobRow, failure: &Failure) -> Result<Verdict> {
        let subject = Subject::Job(job.id);
        let checkpoint = match job.checkpoint_id {
            Some(id) => self.store.file(db, id).await?,
            None => None,
        };
        if let Some(row) = &checkpoint {
            let other = row.identity.map(|identity| identity.to_string()) != job.key;
            if other || failure.reason == Reason::Changed {
                // The file settles again, and is then pinned by a job of its own.
                change(db, subject, Change::Cancelled, Why::from(failure)).await?;
                return Ok(Verdict::Ended);
            }
        }
        let age = age_of(checkpoint.as_ref().map_or(&job.created_at, |row| &row.changed_at));
        let wait = wait_before_retry(job.kind, failure.fault, job.tries, self.rules.retries, age, self.give_up);
        let (reason, message) = (failure.reason, failure.text());
        if let Some(wait) = wait {
            info!(job = %job.id, kind = %job.kind, %reason, message, wait_seconds = wait.as_secs(), "failed, tried again");
            let not_before = Some(text_of(Utc::now() + wait));
            change(db, subject, Change::Retried, Why { not_before, ..Why::from(failure) }).await?;
            return Ok(Verdict::Retried);
        }
        warn!(job = %job.id, kind = %job.kind, %reason, message, "failed for good");
        change(db, subject, Change::GaveUp, Why::from(failure)).await?;
        if let Some(row) = checkpoint {
            self.refuse(db, row.id, Change::Refused, reason, message).await?;
        }
        Ok(Verdict::Ended)
    }

    /// Ends a checkpoint without a point: rejected or vanished. It may have been what the end of its run waited for.
    pub async fn refuse(
        &self,
        db: &mut SqliteConnection,
        id: CheckpointId,
        how: Change,
        reason: Reason,
        message: String,
    ) -> Result<()> {
        self.store.change_file(db, id, how, Some((reason, message))).await?;
        if let Some(row) = self.store.file(db, id).await? {
            info!(path = row.path, state = %row.state, %reason, "checkpoint ended without a point");
            self.queue_last(db, row.run_id).await?;
        }
        Ok(())
    }

    /// Returns a running job to the queue without using up a retry: the daemon stops, or its surroundings failed; then
    /// it waits until `not_before`.
    pub async fn interrupt(&self, job: JobId, failure: &Failure, not_before: Option<String>) -> Result<()> {
        let mut tx = self.store.write().await?;
        let interrupt = async {
            self.store.note_restarts(&mut tx, job, 0).await?;
            let why = Why { not_before, ..Why::from(failure) };
            change(&mut tx, Subject::Job(job), Change::Interrupted, why).await.map(drop)
        };
        let done = interrupt.await;
        tx.end(done).await
    }

    /// Asks for a scan of the data set, unless one waits or runs.
    pub async fn queue_scan(&self) -> Result<()> {
        if self.store.open_jobs(JobKind::Scan).await? == 0 {
            let mut tx = self.store.write().await?;
            let added = self.store.add_job(&mut tx, NewJob::Scan, &now()).await;
            tx.end(added).await?;
            self.tell_change();
        }
        Ok(())
    }

    /// Takes back the probe job of a point, where one waits or runs; a running one is stopped once this is committed.
    pub async fn cancel_probe(&self, point: PointId) -> Result<bool> {
        let mut tx = self.store.write().await?;
        let cancel = async {
            let open = self.store.latest_probe(&mut tx, point).await?.filter(|job| !job.state.is_end());
            if let Some(job) = &open {
                change(&mut tx, Subject::Job(job.id), Change::Cancelled, Reason::Cancelled).await?;
            }
            Ok(open)
        };
        let done = cancel.await;
        let job = tx.end(done).await?;
        self.tell_change();
        self.stop(job.iter().map(|job| job.id));
        Ok(job.is_some())
    }

    /// Takes back the pin job of a checkpoint in a transaction of the caller's, who calls [`Queue::stop`] after it.
    pub async fn cancel_pin(
        &self,
        db: &mut SqliteConnection,
        checkpoint: CheckpointId,
        reason: Reason,
    ) -> Result<Option<JobId>> {
        let open = self.store.latest_pin(db, checkpoint).await?.filter(|job| !job.state.is_end());
        if let Some(job) = &open {
            change(db, Subject::Job(job.id), Change::Cancelled, reason).await?;
        }
        Ok(open.map(|job| job.id))
    }

    /// Stops jobs that run and are no longer wanted.
    pub fn stop(&self, jobs: impl IntoIterator<Item = JobId>) {
        let running = locked(&self.running);
        jobs.into_iter().filter_map(|job| running.get(&job)).for_each(CancellationToken::cancel);
    }

    /// After a crash of the daemon: what ran is queued again, unless that happened too often in a row. Returns it.
    pub async fn recover(&self) -> Result<Vec<JobId>> {
        let mut tx = self.store.write().await?;
        let recover = async {
            let jobs = self.store.running_jobs(&mut tx).await?;
            for job in &jobs {
                let restarts = job.restarts + 1;
                self.store.note_restarts(&mut tx, job.id, restarts).await?;
                if restarts < MAX_RESTARTS {
                    change(&mut tx, Subject::Job(job.id), Change::Interrupted, Reason::Restarts).await?;
                    continue;
                }
                let message = "the daemon went down five times in a row while this ran";
                let failure = Failure::new(Reason::Restarts, Fault::Final, message);
                match self.fail_in(&mut tx, job, &failure).await {
                    Err(Error::Conflict(_)) | Ok(_) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(jobs.into_iter().map(|job| job.id).collect())
        };
        let done = recover.await;
        tx.end(done).await
    }
}
