//! The loop of intake: rescan, settle, pin, place. The rescan is the truth; events and posts only make it come sooner.

use std::{
    collections::HashSet,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::Utc;
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    Places, Watcher,
    files::{self, Found, identity_of, training_order},
};
use crate::{
    config,
    domain::{CheckpointState, Epoch, Failure, Pinned, RunName, ValueSource},
    error::Result,
    queue::{Arrival, Queue},
    store::{FileRow, NewCheckpoint, PostedFields, Store, now, text_of, time_of},
};

/// Proves a settled file in another process and copies its encoder out.
pub trait PinJobs: Send + Sync {
    /// The copy, or why there is none.
    fn pin(&self, checkpoint: i64, try_: u32, path: &Path) -> impl Future<Output = Result<Pinned, Failure>> + Send;
}

/// The loop and what it needs.
pub struct Scanner<P> {
    pub store: Store,
    pub queue: Queue,
    pub config: config::Intake,
    pub places: Places,
    pub pins: P,
    /// Rung by file events and by posts.
    pub wake: Arc<Notify>,
}

impl<P: PinJobs> Scanner<P> {
    /// Runs until it is told to stop.
    pub async fn run(&self, stop: &CancellationToken) -> Result<()> {
        let mut watcher = Watcher::start(self.config.watch, self.places.dirs(), self.wake.clone())?;
        let mut missing: HashSet<PathBuf> = HashSet::new();
        while !stop.is_cancelled() {
            let started = Instant::now();
            watcher.watch_pending();
            self.tell_missing(&mut missing);
            if let Err(error) = self.round(stop).await {
                error!(%error, "a scan failed; it is tried again");
            }
            if let Err(error) = self.queue.finish_idle().await {
                error!(%error, "idle runs could not be finished; it is tried again");
            }
            let until = started + self.until_next().await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.wake.notified() => {
                    // A growing file rings hundreds of times a second; look at most ten times.
                    tokio::time::sleep_until(started + Duration::from_millis(100)).await;
                }
                () = tokio::time::sleep_until(until) => {}
            }
        }
        Ok(())
    }

    fn tell_missing(&self, missing: &mut HashSet<PathBuf>) {
        for dir in self.places.dirs() {
            if dir.is_dir() {
                missing.remove(dir);
            } else if missing.insert(dir.clone()) {
                warn!(dir = %dir.display(), "`intake.dirs`: not there yet; it is watched as soon as it is");
            }
        }
    }

    /// Time until something may be due: the next rescan, or sooner a file that has settled by then.
    async fn until_next(&self) -> Duration {
        let open = self.store.open_checkpoints().await.unwrap_or_default();
        let settling = open.iter().filter(|row| row.state == "settling" && row.tries == 0);
        let waits = settling.map(|row| self.config.settle.saturating_sub(age(&row.changed_at)));
        // A little later than the bound, so that it has passed then.
        waits.map(|w| w + Duration::from_millis(20)).min().unwrap_or(self.config.poll).min(self.config.poll)
    }

    /// One look at the directories and at what is open.
    async fn round(&self, stop: &CancellationToken) -> Result<()> {
        self.discover().await?;
        for row in self.ready().await? {
            if stop.is_cancelled() {
                break;
            }
            self.prove(&row).await?;
        }
        Ok(())
    }

    /// Notes new and changed files.
    async fn discover(&self) -> Result<()> {
        let dirs = self.places.dirs().to_vec();
        // Network file systems can take long over a listing.
        let listing = tokio::task::spawn_blocking(move || dirs.iter().flat_map(|d| files::list(d)).collect::<Vec<_>>());
        for found in listing.await.unwrap_or_default() {
            let path = found.path.to_string_lossy().into_owned();
            let mut tx = self.store.write().await?;
            let known = self.store.checkpoint_at(&mut tx, &path).await?;
            if let Some(row) = &known
                && row.identity() == Some(found.identity)
            {
                continue;
            }
            let at = now();
            match known {
                Some(row) if matches!(row.state()?, CheckpointState::Seen | CheckpointState::Settling) => {
                    self.store.note_identity(&mut tx, row.id, Some(found.identity), &at).await?;
                }
                _ => {
                    let id = self.add(&mut tx, &found, &path, &at).await?;
                    debug!(id, path, "found");
                }
            }
            tx.commit().await?;
        }
        Ok(())
    }

    async fn add(&self, db: &mut sqlx::SqliteConnection, found: &Found, path: &str, at: &str) -> Result<i64> {
        let run = self.places.run_of(&found.path);
        let posted = PostedFields::default();
        let new = NewCheckpoint {
            path,
            via: "scan",
            run: &run,
            posted: &posted,
            force: false,
            context: "{}",
            identity: Some(found.identity),
        };
        self.store.add_checkpoint(db, &new, at).await
    }

    /// Those that have settled, in the order of the training. On the way: what changed settles anew, what is gone
    /// or never came is `vanished`.
    async fn ready(&self) -> Result<Vec<FileRow>> {
        let mut ready = Vec::new();
        for row in self.store.open_checkpoints().await? {
            let seen = identity_of(Path::new(&row.path)).ok();
            if seen != row.identity() {
                let mut tx = self.store.write().await?;
                self.store.note_identity(&mut tx, row.id, seen, &now()).await?;
                tx.commit().await?;
            } else if seen.is_none() {
                if age(&row.changed_at) >= self.config.give_up {
                    let text = format!("`{}` was not there for `intake.give_up`", row.path);
                    self.finish(&row, CheckpointState::Vanished, "missing", &text).await?;
                }
            } else {
                let waited = row.not_before.as_deref().is_none_or(|t| t <= now().as_str());
                if age(&row.changed_at) >= self.config.settle && waited {
                    ready.push(row);
                }
            }
        }
        ready.sort_by_cached_key(|row| training_order(Path::new(&row.path), row.mtime_ns.unwrap_or_default()));
        Ok(ready)
    }

    /// Has one proven and pinned, then places it.
    async fn prove(&self, row: &FileRow) -> Result<()> {
        let try_ = u32::try_from(row.tries).unwrap_or(u32::MAX).saturating_add(1);
        match self.pins.pin(row.id, try_, Path::new(&row.path)).await {
            Ok(pinned) => match arrival(row, &pinned)? {
                Some(arrival) => match self.queue.place(row, &pinned, &arrival).await {
                    Err(crate::error::Error::Conflict(text)) => {
                        self.finish(row, CheckpointState::Rejected, "contradiction", &text).await
                    }
                    placed => placed.map(drop),
                },
                None => {
                    let text = format!(
                        "`{}` tells no epoch, neither inside nor in its name; hint: POST it to `/checkpoints` with `epoch`",
                        row.path
                    );
                    self.finish(row, CheckpointState::Rejected, "no-epoch", &text).await
                }
            },
            Err(failure) if failure.reason == "stopped" => Ok(()),
            Err(failure) if failure.retry && age(&row.changed_at) < self.config.give_up => {
                let wait =
                    self.config.settle.max(Duration::from_millis(500)).saturating_mul(1 << row.tries.clamp(0, 6));
                let not_before = text_of(Utc::now() + wait.min(Duration::from_secs(60)));
                debug!(path = row.path, reason = failure.reason, "not readable yet");
                self.store.postpone_checkpoint(row.id, &failure.reason, &failure.message, &not_before).await
            }
            Err(failure) => self.finish(row, CheckpointState::Rejected, &failure.reason, &failure.message).await,
        }
    }

    async fn finish(&self, row: &FileRow, state: CheckpointState, reason: &str, message: &str) -> Result<()> {
        let mut tx = self.store.write().await?;
        if self.store.end_checkpoint(&mut tx, row.id, state, reason, message).await? {
            info!(path = row.path, state = state.as_str(), reason, message, "checkpoint ended without a point");
        }
        Ok(tx.commit().await?)
    }
}

/// Where a checkpoint belongs: what the file says, else what was posted, else what its name says. `None`: no epoch.
///
/// A file without a global step takes the place of its epoch.
fn arrival(row: &FileRow, pinned: &Pinned) -> Result<Option<Arrival>> {
    let posted = row.posted()?;
    let name = Path::new(&row.path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let from_post = posted.epoch.map(|e| (Epoch(e), ValueSource::Posted));
    let from_name = Epoch::from_file_name(&name).map(|e| (e, ValueSource::Name));
    let Some(epoch) = pinned.epoch.or(from_post).or(from_name) else { return Ok(None) };
    let step = pinned.global_step.or(posted.global_step.map(|s| (s, ValueSource::Posted)));
    Ok(Some(Arrival {
        run: posted.run.unwrap_or(row.run.parse().unwrap_or_else(|_| RunName::default_run())),
        attempt: posted.attempt,
        epoch,
        global_step: step.unwrap_or((u64::from(epoch.0.0), epoch.1)),
    }))
}

/// How long ago a time of the database is; zero for the future.
fn age(text: &str) -> Duration {
    time_of(text).ok().and_then(|t| (Utc::now() - t).to_std().ok()).unwrap_or_default()
}
