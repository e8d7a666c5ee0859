//! Discovery: lists the watched directories, and notes new and changed files. The listing is the truth; events and posts
//! only make the next one come sooner.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::{
    Intake,
    content::{Content, note_content},
    files::{self, Found, text_of},
    watch::Watcher,
};
use crate::{
    domain::{Change, Identity, Reason, RunName},
    error::Result,
    store::now,
};

/// The shortest pause between two listings.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// A listing is followed by a pause of so many times the processor time that it took: a share of under 1%.
const PAUSE_PER_SECOND: u32 = 150;

/// What is known of the files listed: no transaction for an unchanged file.
type Known = HashMap<PathBuf, Identity>;

/// What one listing found.
#[derive(Default)]
struct Listing {
    found: Vec<Found>,
    /// Directories that are not there.
    away: Vec<PathBuf>,
    /// The processor time that it took.
    cpu: Duration,
}

impl Intake {
    /// Runs until it is told to stop.
    pub(super) async fn discover(&self, watcher: &Arc<Mutex<Watcher>>, stop: &CancellationToken) {
        let mut missing: HashSet<PathBuf> = HashSet::new();
        let mut known = Known::new();
        while !stop.is_cancelled() {
            let (started, began) = (Instant::now(), now());
            let Listing { found, away, cpu } = self.list(watcher).await;
            tell_missing(&mut missing, away);
            self.metrics.observe_scan(started.elapsed().as_secs_f64());
            let noted = async {
                self.note(found, &mut known).await?;
                self.queue.note_listing(&began).await
            };
            if let Err(error) = noted.await {
                error!(%error, "what was found could not be noted; it is tried again");
            }
            let pause = (cpu * PAUSE_PER_SECOND).max(SHORTEST_PAUSE).min(self.config.poll);
            let rest = async {
                tokio::time::sleep(pause).await;
                let _ = tokio::time::timeout(self.config.poll.saturating_sub(pause), self.wake.notified()).await;
            };
            tokio::select! { () = stop.cancelled() => {}, () = rest => {} }
        }
    }

    /// Network file systems can take long over a listing: it is made off the async threads.
    async fn list(&self, watcher: &Arc<Mutex<Watcher>>) -> Listing {
        let (dirs, watcher) = (self.roots.dirs().to_vec(), watcher.clone());
        let listing = tokio::task::spawn_blocking(move || {
            watcher.lock().unwrap_or_else(PoisonError::into_inner).watch_pending();
            let before = thread_time();
            let found = dirs.iter().flat_map(|dir| files::list(dir)).collect();
            let cpu = thread_time().saturating_sub(before);
            Listing { found, away: dirs.into_iter().filter(|dir| !dir.is_dir()).collect(), cpu }
        });
        listing.await.unwrap_or_default()
    }

    /// The runs of files that are new.
    async fn runs_of(&self, paths: Vec<PathBuf>) -> Vec<RunName> {
        let roots = self.roots.clone();
        let runs = tokio::task::spawn_blocking(move || paths.iter().map(|path| roots.run_of(path)).collect());
        runs.await.unwrap_or_default()
    }

    /// Notes what is new, in one transaction; the files of one listing are one batch.
    async fn note(&self, found: Vec<Found>, known: &mut Known) -> Result<()> {
        let mut news = Vec::new();
        for file in &found {
            if known.get(&file.path) == Some(&file.identity) {
                continue;
            }
            if !known.contains_key(&file.path)
                && self.store.known_identity(&text_of(&file.path)).await? == Some(file.identity)
            {
                known.insert(file.path.clone(), file.identity);
                continue;
            }
            news.push(file);
        }
        if !news.is_empty() {
            let batch = now();
            let runs = self.runs_of(news.iter().map(|file| file.path.clone()).collect()).await;
            let mut stopped = Vec::new();
            let mut tx = self.store.write().await?;
            let note = async {
                for (file, run) in news.iter().zip(&runs) {
                    let path = text_of(&file.path);
                    debug!(path, "found");
                    let newest = self.store.checkpoint_at(&mut tx, &path).await?;
                    let (store, queue) = (&self.store, &self.queue);
                    let content = Content { path: &path, run, identity: file.identity, batch: &batch };
                    let job = note_content(store, queue, &mut tx, newest.as_ref(), content);
                    stopped.extend(job.await?);
                    self.refuse_unreadable_name(&mut tx, &file.path, &path).await?;
                }
                Ok(())
            };
            let done = note.await;
            tx.end(done).await?;
            self.queue.stop(stopped);
            self.queue.tell_change();
        }
        known.extend(news.into_iter().map(|file| (file.path.clone(), file.identity)));
        let there: HashSet<&PathBuf> = found.iter().map(|file| &file.path).collect();
        known.retain(|path, _| there.contains(path));
        Ok(())
    }

    /// A path that is not text can be neither kept nor posted.
    async fn refuse_unreadable_name(&self, db: &mut sqlx::SqliteConnection, path: &Path, text: &str) -> Result<()> {
        if path.to_str().is_some() {
            return Ok(());
        }
        let Some(row) = self.store.checkpoint_at(db, text).await? else { return Ok(()) };
        let message = format!("the name of `{text}` is not UTF-8; hint: rename it");
        self.queue.refuse(db, row.id, Change::Refused, Reason::NameNotUtf8, message).await
    }
}

fn tell_missing(missing: &mut HashSet<PathBuf>, away: Vec<PathBuf>) {
    missing.retain(|dir| away.contains(dir));
    for dir in away {
        if missing.insert(dir.clone()) {
            warn!(dir = %dir.display(), "`intake.dirs`: not there yet; it is watched as soon as it is");
        }
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
