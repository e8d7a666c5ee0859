//! Settling: a file whose size and times stay unchanged for `intake.settle` is pinned. What never comes is `vanished`.

use std::{path::Path, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    Intake,
    content::{Content, note_content, overwritten},
    files::identity_of,
    rest,
};
use crate::{
    domain::{Change, Identity, JobId, Reason, State},
    error::Result,
    store::{CheckpointRow, NewJob, age_of, now},
};

/// How long a look at the open files may take: a file system that hangs holds up nothing else.
const LOOK: Duration = Duration::from_secs(10);
/// Looks are at least so far apart.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

impl Intake {
    /// Runs until it is told to stop.
    pub(super) async fn settle(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let changed = self.queue.changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let began = Instant::now();
            let next = match self.settle_once().await {
                Ok(next) => next,
                Err(error) => {
                    error!(%error, "open checkpoints could not be looked at; it is tried again");
                    Duration::from_secs(1)
                }
            };
            if let Err(error) = self.queue.queue_idle().await {
                error!(%error, "idle runs could not be looked at; it is tried again");
            }
            rest(changed, stop, began, SHORTEST_PAUSE, next).await;
        }
    }

    /// One look at what is open. Returns the time until the next one is due.
    async fn settle_once(&self) -> Result<Duration> {
        let rows = self.store.open_checkpoints().await?;
        let rows: Vec<CheckpointRow> = rows.into_iter().filter(|row| row.proven().is_none()).collect();
        let newest = self.store.newest_of(rows.iter().map(|row| row.path.as_str())).await?;
        let mut next = self.config.poll;
        for (row, identity) in rows.iter().zip(look(&rows).await) {
            if newest.get(&row.path) != Some(&row.id) {
                self.end_overwritten(row).await?;
                continue;
            }
            let Ok(identity) = identity else { continue };
            let age = age_of(&row.changed_at);
            if identity != row.identity {
                self.note_look(row, identity).await?;
                next = next.min(self.config.settle);
            } else if identity.is_none() {
                if age >= self.config.give_up {
                    let message = format!("`{}` was not there for `intake.give_up`", row.path);
                    self.end(row, Change::Missed, Reason::Missing, message).await?;
                }
            } else if age < self.config.settle {
                // A little later than the bound, so that it has passed then.
                next = next.min(self.config.settle - age + Duration::from_millis(20));
            } else if row.pin_key != identity || matches!(row.pin_state, Some(State::Cancelled | State::Failed)) {
                self.queue_pin(row).await?;
            }
        }
        Ok(next)
    }

    async fn queue_pin(&self, row: &CheckpointRow) -> Result<()> {
        let Some(identity) = row.identity else { return Ok(()) };
        let mut tx = self.store.write().await?;
        let added = self.store.add_job(&mut tx, NewJob::Pin(row.id, identity), &now()).await;
        tx.end(added).await?;
        self.queue.tell_change();
        Ok(())
    }

    /// Notes what a look saw: the row is read again first, for a post may have come meanwhile.
    async fn note_look(&self, row: &CheckpointRow, seen: Option<Identity>) -> Result<()> {
        let mut tx = self.store.write().await?;
        let note = async {
            let newest = self.store.checkpoint_at(&mut tx, &row.path).await?;
            let Some(now_there) =
                newest.as_ref().filter(|newest| newest.id == row.id && newest.identity == row.identity)
            else {
                return Ok(None::<JobId>);
            };
            match seen {
                None => self.store.note_identity(&mut tx, now_there, None, &now()).await.map(|()| None),
                Some(identity) => {
                    let (store, queue) = (&self.store, &self.queue);
                    let content = Content { path: &row.path, run: &row.run, identity, batch: &now() };
                    note_content(store, queue, &mut tx, Some(now_there), content).await
                }
            }
        };
        let done = note.await;
        let stopped = tx.end(done).await?;
        self.queue.stop(stopped);
        Ok(())
    }

    /// A row that no longer is its path's newest waits for the pin that still reads its content, and ends after it.
    async fn end_overwritten(&self, row: &CheckpointRow) -> Result<()> {
        let mut tx = self.store.write().await?;
        let end = async {
            let Some(row) = self.store.file(&mut tx, row.id).await? else { return Ok(None) };
            let over = row.state.is_end() || row.proven().is_some() || row.pin_state == Some(State::Running);
            if over { Ok(None) } else { overwritten(&self.queue, &mut tx, &row).await }
        };
        let done = end.await;
        tx.end(done).await.map(|stopped| self.queue.stop(stopped))
    }

    /// Ends a checkpoint without a point. One that is no longer as it was looked at (a post came) is looked at again.
    pub(super) async fn end(&self, row: &CheckpointRow, how: Change, reason: Reason, message: String) -> Result<()> {
        let mut tx = self.store.write().await?;
        let end = async {
            match self.store.file(&mut tx, row.id).await? {
                Some(now) if now == *row => self.queue.refuse(&mut tx, row.id, how, reason, message).await,
                _ => Ok(()),
            }
        };
        let ended = end.await;
        tx.end(ended).await
    }
}

/// What lies at each row's path now: `Ok(None)` where nothing does, `Err` where the file system did not answer in time.
async fn look(rows: &[CheckpointRow]) -> Vec<Result<Option<Identity>, ()>> {
    let looks = rows.iter().map(|row| {
        let path = row.path.clone();
        tokio::task::spawn_blocking(move || identity_of(Path::new(&path)).ok())
    });
    let looks: Vec<_> = looks.collect();
    let until = Instant::now() + LOOK;
    let mut seen = Vec::with_capacity(rows.len());
    for (row, look) in rows.iter().zip(looks) {
        match tokio::time::timeout_at(until, look).await {
            Ok(Ok(identity)) => seen.push(Ok(identity)),
            _ => {
                warn!(path = row.path, "its file system does not answer; it is looked at again");
                seen.push(Err(()));
            }
        }
    }
    seen
}
