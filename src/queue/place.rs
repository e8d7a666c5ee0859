//! Puts a proven checkpoint on its curve: run, attempt, point, and a probe job where it is due.

use std::time::Duration;

use sqlx::SqliteConnection;
use tracing::info;

use super::{
    Queue,
    due::{Candidate, attempt_of, is_due, is_quick_due},
    locked,
};
use crate::{
    domain::{DueReason, Epoch, JobKind, Pinned, PointId, RunId, RunName, State, ValueSource},
    error::{Error, Result},
    store::{CheckpointRow, NewJob, NewPoint, now},
};

/// A file written so long after its run's end was told belongs to a run that goes on: asynchronous savers are late, too.
const LATE: Duration = Duration::from_secs(600);

/// Where a checkpoint belongs: the file's word, else the post's, else the name's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub run: RunName,
    /// As posted.
    pub attempt: Option<u32>,
    pub epoch: (Epoch, ValueSource),
    /// `None`: told nowhere.
    pub global_step: Option<(i64, ValueSource)>,
}

impl Queue {
    /// Places a whole checkpoint, in one transaction with the change of its own state. One that is no longer as it was
    /// looked at (a post came) is left as it is.
    ///
    /// # Errors
    /// [`Error::Conflict`] where the attempt that was posted holds other weights at that step.
    pub async fn place(&self, row: &CheckpointRow, pinned: &Pinned, arrival: &Arrival) -> Result<()> {
        let mut tx = self.store.write().await?;
        let place = async {
            let same = self.store.file(&mut tx, row.id).await?.is_some_and(|now| now == *row);
            if same {
                self.place_in(&mut tx, row, pinned, arrival).await?;
            }
            Ok(same)
        };
        let placed = place.await;
        let placed = tx.end(placed).await?;
        self.tell_change();
        if placed {
            let (epoch, step) = (arrival.epoch.0.0, arrival.global_step.map(|step| step.0));
            info!(run = %arrival.run, epoch, global_step = step, path = row.path, "checkpoint is whole");
        }
        Ok(())
    }

    async fn place_in(
        &self,
        db: &mut SqliteConnection,
        row: &CheckpointRow,
        pinned: &Pinned,
        arrival: &Arrival,
    ) -> Result<()> {
        let at = now();
        let run = self.store.add_run(db, &arrival.run, &at).await?;
        self.note_going_on(db, run, row).await?;
        // Equal weights at an epoch are one point, with or without a step.
        let known = self.store.points_with(db, run, arrival.epoch.0, pinned.weights_digest).await?;
        let point = match known.iter().find(|p| arrival.attempt.is_none_or(|attempt| attempt == p.attempt)) {
            Some(point) => {
                self.store.merge_context(db, point.id, &row.context).await?;
                point.id
            }
            None => self.add_point(db, run, row, pinned, arrival, &at).await?,
        };
        self.store.complete_checkpoint(db, row.id, pinned, point, run, &at).await?;
        self.store.drop_empty_runs(db).await?;
        if row.forced {
            self.force(db, point).await?;
        }
        self.queue_last(db, run).await
    }

    async fn add_point(
        &self,
        db: &mut SqliteConnection,
        run: RunId,
        row: &CheckpointRow,
        pinned: &Pinned,
        arrival: &Arrival,
        at: &str,
    ) -> Result<PointId> {
        let written_ns = row.identity.map_or(0, |identity| identity.mtime_ns);
        let (epoch, told) = (arrival.epoch.0, arrival.global_step);
        let top = self.store.top(db, run, None).await?;
        let newest = arrival.attempt.or(top.as_ref().map(|top| top.attempt)).unwrap_or(0);
        // A checkpoint without a step takes its epoch's number, or the next that no other epoch has.
        let mut step = told.unwrap_or((i64::from(epoch.0), ValueSource::Epoch));
        let mut there = self.store.point_at(db, run, newest, step.0).await?;
        while told.is_none() && there.as_ref().is_some_and(|p| p.epoch != epoch) {
            step.0 += 1;
            there = self.store.point_at(db, run, newest, step.0).await?;
        }
        let taken = there.is_some();
        let attempt = match arrival.attempt {
            Some(attempt) if taken => return Err(contradiction(arrival, attempt, step.0)),
            Some(attempt) => attempt,
            None => {
                let global_step = told.map(|told| told.0);
                attempt_of(top.as_ref(), Candidate { epoch, global_step, written_ns, batch: &row.batch }, taken)
            }
        };
        let first = self.store.top(db, run, Some(attempt)).await?.is_none();
        let slots = self.store.slots(db, run, attempt, JobKind::Probe).await?;
        let due = is_due(&self.rules, epoch, step.0, first, &slots);
        let quick_slots = self.store.slots(db, run, attempt, JobKind::Quick).await?;
        let new = NewPoint {
            run,
            attempt,
            epoch: arrival.epoch,
            global_step: step,
            weights: pinned.weights_digest,
            due,
            written_ns,
            batch: &row.batch,
            context: &row.context,
        };
        let point = self.store.add_point(db, &new, at).await?;
        if is_quick_due(&self.rules, epoch, &quick_slots) {
            self.store.add_job(db, NewJob::Quick(point), at).await?;
        }
        if due.is_some() {
            self.store.add_job(db, NewJob::Probe(point), at).await?;
        }
        Ok(point)
    }

    /// Somebody asked for this point. What waits or runs stays, and so does what has a score of every head under the
    /// present settings and data (before these are scanned nobody knows: the job tells). Returns whether a job was queued.
    pub async fn force(&self, db: &mut SqliteConnection, point: PointId) -> Result<bool> {
        let latest = self.store.latest_probe(db, point).await?;
        let enough = match latest.map(|job| job.state) {
            Some(State::Queued | State::Running) => true,
            Some(State::Done) => self.is_scored(db, point).await?,
            _ => false,
        };
        if !enough {
            self.store.note_due(db, point, DueReason::Forced).await?;
            self.store.add_job(db, NewJob::Probe(point), &now()).await?;
        }
        Ok(!enough)
    }

    /// The run is over: its newest point is due, whenever that arrives, once what was saved before is found.
    ///
    /// # Errors
    /// [`Error::NotFound`] where no checkpoint of it was seen.
    pub async fn finish_run(&self, name: &RunName) -> Result<()> {
        let mut tx = self.store.write().await?;
        let finish = async {
            let none = || Error::not_found(format!("there is no run `{name}`")).with_hint("`/runs` lists them");
            let run = self.store.run_id(&mut tx, name).await?.ok_or_else(none)?;
            match self.store.finished_at(&mut tx, run).await? {
                None => self.store.set_finished(&mut tx, run, Some(&now())).await,
                Some(_) => Ok(()),
            }
        };
        let done = finish.await;
        tx.end(done).await
    }

    /// All files that were there at `began` are noted: of runs that ended before, the last is known.
    pub async fn note_listing(&self, began: &str) -> Result<()> {
        let before = std::mem::replace(&mut *locked(&self.listed), began.to_owned());
        let queue = async {
            for run in self.store.finished_since(&before).await? {
                let mut tx = self.store.write().await?;
                let queued = self.queue_last(&mut tx, run).await;
                tx.end(queued).await?;
                self.tell_change();
            }
            Ok(())
        };
        let queued = queue.await;
        if queued.is_err() {
            *locked(&self.listed) = before;
        }
        queued
    }

    /// Probes the newest point of every run that was silent for longer than `idle_after`; the run may go on.
    pub async fn queue_idle(&self) -> Result<()> {
        let Some(idle_after) = self.rules.idle_after.and_then(|d| chrono::Duration::from_std(d).ok()) else {
            return Ok(());
        };
        let before = crate::store::text_of(chrono::Utc::now() - idle_after);
        for (run, name) in self.store.idle_runs(&before).await? {
            info!(run = %name, "no checkpoint for `queue.idle_after`: its newest is probed");
            let mut tx = self.store.write().await?;
            let queued = self.queue_newest(&mut tx, run).await;
            tx.end(queued).await?;
            self.tell_change();
        }
        Ok(())
    }

    /// Of a run whose end was told: its newest point is due, once what was saved before is found and nothing is open.
    pub async fn queue_last(&self, db: &mut SqliteConnection, run: RunId) -> Result<()> {
        let Some(finished) = self.store.finished_at(db, run).await? else { return Ok(()) };
        let listed = *locked(&self.listed) > finished;
        if !listed || self.store.open_in_run(db, run).await? > 0 {
            return Ok(());
        }
        self.queue_newest(db, run).await
    }

    async fn queue_newest(&self, db: &mut SqliteConnection, run: RunId) -> Result<()> {
        if let Some(top) = self.store.top(db, run, None).await?.filter(|top| top.due_reason.is_none()) {
            self.store.note_due(db, top.id, DueReason::Last).await?;
            self.store.add_job(db, NewJob::Probe(top.id), &now()).await?;
        }
        Ok(())
    }

    /// A run whose end was told goes on when a file was written long after.
    async fn note_going_on(&self, db: &mut SqliteConnection, run: RunId, row: &CheckpointRow) -> Result<()> {
        let Some(finished) = self.store.finished_at(db, run).await? else { return Ok(()) };
        let end = chrono::DateTime::parse_from_rfc3339(&finished).ok().and_then(|end| end.timestamp_nanos_opt());
        let late = i64::try_from(LATE.as_nanos()).unwrap_or(i64::MAX);
        if row.identity.zip(end).is_some_and(|(identity, end)| identity.mtime_ns > end.saturating_add(late)) {
            self.store.set_finished(db, run, None).await?;
        }
        Ok(())
    }
}

fn contradiction(arrival: &Arrival, attempt: u32, step: i64) -> Error {
    Error::conflict(format!("attempt {attempt} of run `{}` already holds other weights at step {step}", arrival.run))
}
