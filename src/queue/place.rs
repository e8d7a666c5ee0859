//! Puts a proven checkpoint on its curve: run, attempt, point, and a request that is queued, held or skipped.

use sqlx::SqliteConnection;
use tracing::info;

use super::{
    Queue,
    due::{DueReason, attempt_of, is_due},
};
use crate::{
    domain::{Change, Epoch, Pinned, RequestState, RunName, ValueSource},
    error::{Error, Result},
    store::{FileRow, NewPoint, RequestRow, now},
};

/// Where a checkpoint belongs: the file's word, else the post's, else the name's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub run: RunName,
    /// As posted.
    pub attempt: Option<u32>,
    pub epoch: (Epoch, ValueSource),
    pub global_step: (u64, ValueSource),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub point: i64,
    /// The state of the point's latest request.
    pub state: RequestState,
}

impl Queue {
    /// Places a whole checkpoint, in one transaction with the change of its own state.
    pub async fn place(&self, checkpoint: &FileRow, pinned: &Pinned, arrival: &Arrival) -> Result<Placed> {
        let at = now();
        let mut tx = self.store.write().await?;
        let db = &mut *tx;
        let weights = pinned.weights_digest.to_string();
        let run = self.store.touch_run(db, &arrival.run, &at).await?;
        let known = self.store.points_at(db, run, arrival.global_step.0).await?;
        let wanted = arrival.attempt.map(i64::from);
        let same = known.iter().find(|p| p.weights_digest == weights && wanted.is_none_or(|a| a == p.attempt));
        let point = match same {
            Some(point) => {
                self.store.merge_context(db, point.id, &checkpoint.context).await?;
                point.id
            }
            None => {
                let top = self.store.attempt_top(db, run).await?;
                let newest = wanted.or(top.as_ref().map(|t| t.attempt));
                let taken = known.iter().any(|p| Some(p.attempt) == newest);
                let number = match wanted {
                    Some(number) if taken => return Err(contradiction(arrival, number)),
                    Some(number) => number,
                    None => {
                        let mtime = checkpoint.mtime_ns.unwrap_or_default();
                        attempt_of(top.as_ref(), arrival.global_step.0, taken, mtime, &checkpoint.created_at)
                    }
                };
                let attempt_id = self.store.attempt_id(db, run, number, &at).await?;
                let new = NewPoint {
                    attempt_id,
                    epoch: arrival.epoch.0,
                    epoch_source: arrival.epoch.1,
                    global_step: arrival.global_step.0,
                    step_source: arrival.global_step.1,
                    weights_digest: &weights,
                    context: &checkpoint.context,
                };
                let point = self.store.add_point(db, &new, &at).await?;
                let is_newest = top.is_none_or(|t| {
                    (number, arrival.global_step.0) > (t.attempt, u64::try_from(t.global_step).unwrap_or_default())
                });
                self.first_request(db, run, attempt_id, point, arrival.epoch.0, is_newest, &at).await?;
                point
            }
        };
        self.store.add_pin(db, pinned, &at).await?;
        self.store.complete_checkpoint(db, checkpoint.id, pinned, point, &at).await?;
        if checkpoint.force {
            self.force(db, point, &at).await?;
        }
        let latest = self.store.latest_request(db, point).await?.map(|r| r.state()).transpose()?;
        tx.commit().await?;
        self.bell.notify_waiters();
        let state = latest.ok_or_else(|| Error::Internal(format!("point {point} has no request")))?;
        info!(
            run = %arrival.run, epoch = arrival.epoch.0.0, global_step = arrival.global_step.0,
            state = state.as_str(), path = %checkpoint.path, "checkpoint is whole"
        );
        Ok(Placed { point, state })
    }

    /// The request of a new point. What was held before is no longer the newest, if this one is.
    #[expect(clippy::too_many_arguments, reason = "one row's facts, used once")]
    async fn first_request(
        &self,
        db: &mut SqliteConnection,
        run: i64,
        attempt_id: i64,
        point: i64,
        epoch: Epoch,
        is_newest: bool,
        at: &str,
    ) -> Result<()> {
        let mut slots = Vec::new();
        for row in self.store.slots(db, attempt_id).await? {
            let state = RequestState::parse(&row.state)
                .ok_or_else(|| Error::Internal(format!("unknown state `{}`", row.state)))?;
            slots.push((Epoch(u32::try_from(row.epoch).unwrap_or(u32::MAX)), state));
        }
        let due = is_due(self.rules.due, self.rules.every_n_epochs, epoch, &slots);
        if is_newest {
            for held in self.store.held(db, run).await? {
                self.store.change_request(db, &held, Change::Passed).await?;
                self.store.note_end(db, held.id, Some("not-due"), None, at).await?;
            }
        }
        let (state, reason) = match due {
            Some(_) => (RequestState::Queued, None),
            None if is_newest => (RequestState::Held, Some("not-due-yet")),
            None => (RequestState::Skipped, Some("not-due")),
        };
        self.add(db, point, state, due, reason, at).await
    }

    async fn add(
        &self,
        db: &mut SqliteConnection,
        point: i64,
        state: RequestState,
        due: Option<DueReason>,
        reason: Option<&str>,
        at: &str,
    ) -> Result<()> {
        let due = due.map(DueReason::as_str);
        let dataset = self.dataset()?;
        self.store.add_request(db, point, &self.protocol_digest, dataset, state, due, reason, at).await?;
        Ok(())
    }

    /// Somebody asked for this point: a held request becomes due, an ended one without a score gets a successor.
    /// What is queued, probing or done stays. Returns whether something was queued.
    pub async fn force(&self, db: &mut SqliteConnection, point: i64, at: &str) -> Result<bool> {
        let latest = self.store.latest_request(db, point).await?;
        match latest.as_ref().map(RequestRow::state).transpose()? {
            Some(RequestState::Held) => self.due(db, &latest, DueReason::Forced).await?,
            Some(state) if state.holds_slot() => return Ok(false),
            _ => self.add(db, point, RequestState::Queued, Some(DueReason::Forced), None, at).await?,
        }
        self.bell.notify_waiters();
        Ok(true)
    }

    async fn due(&self, db: &mut SqliteConnection, request: &Option<RequestRow>, why: DueReason) -> Result<()> {
        if let Some(request) = request {
            self.store.change_request(db, request, Change::Due).await?;
            self.store.note_due(db, request.id, why.as_str()).await?;
        }
        Ok(())
    }

    /// The run is over: its newest checkpoint, if held, is due. Returns how many became due.
    pub async fn finish_run(&self, run: i64) -> Result<usize> {
        let at = now();
        let mut tx = self.store.write().await?;
        let held = self.store.held(&mut tx, run).await?;
        for request in &held {
            self.due(&mut tx, &Some(request.clone()), DueReason::Last).await?;
        }
        self.store.finish_run(&mut tx, run, &at).await?;
        tx.commit().await?;
        self.bell.notify_waiters();
        Ok(held.len())
    }

    /// Finishes runs that were silent for longer than `idle_after`.
    pub async fn finish_idle(&self) -> Result<()> {
        let Some(idle_after) = self.rules.idle_after.and_then(|d| chrono::Duration::from_std(d).ok()) else {
            return Ok(());
        };
        for (run, name) in self.store.idle_runs(&crate::store::text_of(chrono::Utc::now() - idle_after)).await? {
            let due = self.finish_run(run).await?;
            info!(run = name, due, "no checkpoint for `queue.idle_after`: the run is over");
        }
        Ok(())
    }
}

fn contradiction(arrival: &Arrival, number: i64) -> Error {
    Error::Conflict(format!(
        "attempt {number} of run `{}` already holds other weights at step {}",
        arrival.run, arrival.global_step.0
    ))
}
