//! Claim, finish, retry, cancel, recover: what a worker's lane asks of the queue.

use std::time::Duration;

use chrono::Utc;
use tracing::{info, warn};

use super::Queue;
use crate::{
    domain::{Change, Failure, ProbeReport, RequestState},
    error::{Error, Result},
    store::{ClaimedRequest, RequestRow, now, text_of},
};

/// Restarts of the daemon in a row, while the same request was probed, after which it is given up.
const MAX_RESTARTS: i64 = 5;

/// How a try ended.
#[derive(Debug)]
pub enum Ended<'a> {
    /// With a report, written to that file.
    Scored(&'a ProbeReport, &'a str),
    /// Without.
    Failed(&'a Failure),
}

impl Queue {
    /// Takes the next request. One whose computation is already stored is done at once and not returned.
    pub async fn claim(&self) -> Result<Option<ClaimedRequest>> {
        loop {
            let at = now();
            let mut tx = self.store.write().await?;
            let Some(next) = self.store.next_queued(&mut tx, &at).await? else { return Ok(None) };
            let row = self.request(&mut tx, next.id).await?;
            self.store.change_request(&mut tx, &row, Change::Claimed).await?;
            self.store.note_started(&mut tx, next.id, &at).await?;
            let known = match next.result_id {
                Some(result) => {
                    self.scored(&mut tx, next.id, result, &at).await?;
                    true
                }
                None => false,
            };
            tx.commit().await?;
            if !known {
                return Ok(Some(next));
            }
            info!(run = next.run, epoch = next.epoch, "equal weights were probed before: same result");
        }
    }

    /// Ends a try. A failure that may pass is tried again, later each time. Returns the state after.
    pub async fn end(&self, claimed: &ClaimedRequest, ended: Ended<'_>) -> Result<RequestState> {
        let at = now();
        let mut tx = self.store.write().await?;
        let row = self.request(&mut tx, claimed.id).await?;
        if row.state()? != RequestState::Probing {
            return row.state(); // cancelled meanwhile
        }
        match ended {
            Ended::Scored(report, file) => {
                let result = self.store.add_result(&mut tx, report, file, &at).await?;
                self.scored(&mut tx, claimed.id, result, &at).await?;
            }
            Ended::Failed(failure) => {
                let last = !failure.retry || row.tries >= i64::from(self.rules.retries);
                self.store.change_request(&mut tx, &row, Change::Crashed { last }).await?;
                let (reason, message) = (failure.reason.as_str(), failure.message.as_str());
                if last {
                    warn!(run = claimed.run, epoch = claimed.epoch, reason, message, "probe failed for good");
                    self.store.note_end(&mut tx, claimed.id, Some(reason), Some(message), &at).await?;
                } else {
                    let wait = Duration::from_secs(1 << row.tries.clamp(0, 8));
                    warn!(
                        run = claimed.run,
                        epoch = claimed.epoch,
                        reason,
                        message,
                        wait_seconds = wait.as_secs(),
                        "probe failed, trying again"
                    );
                    let not_before = text_of(Utc::now() + wait);
                    self.store.note_retry(&mut tx, claimed.id, reason, message, &not_before).await?;
                }
            }
        }
        let state = self.request(&mut tx, claimed.id).await?.state();
        tx.commit().await?;
        self.bell.notify_waiters();
        state
    }

    /// Returns a request that was interrupted by a clean stop to the queue, without using up a retry or a restart.
    pub async fn interrupt(&self, claimed: &ClaimedRequest) -> Result<()> {
        let mut tx = self.store.write().await?;
        let row = self.request(&mut tx, claimed.id).await?;
        if row.state()? == RequestState::Probing {
            self.store.change_request(&mut tx, &row, Change::Interrupted).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Takes back a request that has not ended. Returns its id.
    pub async fn cancel(&self, point: i64) -> Result<Option<i64>> {
        let mut tx = self.store.write().await?;
        let Some(row) = self.store.latest_request(&mut tx, point).await? else { return Ok(None) };
        if row.state()?.is_end() {
            return Ok(None);
        }
        self.store.change_request(&mut tx, &row, Change::Cancelled).await?;
        self.store.note_end(&mut tx, row.id, Some("cancelled"), None, &now()).await?;
        tx.commit().await?;
        Ok(Some(row.id))
    }

    /// After a crash of the daemon: what was being probed is queued again, unless that happened too often in a row.
    pub async fn recover(&self) -> Result<usize> {
        let at = now();
        let mut tx = self.store.write().await?;
        let rows = self.store.probing(&mut tx).await?;
        for row in &rows {
            if row.restarts + 1 >= MAX_RESTARTS {
                self.store.change_request(&mut tx, row, Change::Crashed { last: true }).await?;
                let message = "the daemon went down five times in a row while this was probed";
                self.store.note_end(&mut tx, row.id, Some("restarts"), Some(message), &at).await?;
            } else {
                self.store.change_request(&mut tx, row, Change::Interrupted).await?;
                self.store.note_restart(&mut tx, row.id).await?;
            }
        }
        tx.commit().await?;
        Ok(rows.len())
    }

    async fn scored(&self, db: &mut sqlx::SqliteConnection, request: i64, result: i64, at: &str) -> Result<()> {
        let row = self.request(db, request).await?;
        self.store.change_request(db, &row, Change::Scored).await?;
        self.store.note_end(db, request, None, None, at).await?;
        self.store.link_result(db, request, result).await
    }

    async fn request(&self, db: &mut sqlx::SqliteConnection, id: i64) -> Result<RequestRow> {
        let row = self.store.request(db, id).await?;
        row.ok_or_else(|| Error::Internal(format!("request {id} is gone")))
    }
}
