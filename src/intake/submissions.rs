//! Submissions: what is posted, and what people ask of checkpoints and runs.

use std::sync::Arc;

use sqlx::SqliteConnection;
use tokio::sync::Notify;
use tracing::warn;

use super::{
    Roots,
    content::overwritten,
    files::{identity_of, text_of},
    placing::told,
};
use crate::{
    domain::{Change, CheckpointId, Facts, Identity, JobId, PostedCheckpoint, Reason, RunName, State, Via},
    error::{Error, Result},
    queue::Queue,
    store::{CheckpointRow, NewCheckpoint, Store, now, remove_path},
};

/// Answers posts; everything it says was committed before. Cheap to clone.
#[derive(Clone)]
pub struct Submissions {
    pub store: Store,
    pub queue: Queue,
    pub roots: Roots,
    /// Wakes discovery.
    pub wake: Arc<Notify>,
}

/// What became of a posted checkpoint: its row, committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posted {
    pub id: CheckpointId,
    /// It was known before, and nothing was added.
    pub known: bool,
}

/// A post, with what lies at its path now.
struct Post<'a> {
    body: &'a PostedCheckpoint,
    facts: Facts,
    path: String,
    run: RunName,
    identity: Option<Identity>,
}

impl Post<'_> {
    fn row<'r>(&'r self, run: &'r RunName, facts: &'r Facts, batch: &'r str) -> NewCheckpoint<'r> {
        let PostedCheckpoint { force, context, .. } = self.body;
        let (path, identity) = (&self.path, self.identity);
        NewCheckpoint { path, via: Via::Post, run, facts, forced: *force, context, identity, batch }
    }
}

impl Submissions {
    /// Takes a checkpoint in. A path whose file is not there yet is taken too: asynchronous savers post early.
    ///
    /// # Errors
    /// Outside the roots; contradicts what the same content is proven to be.
    pub async fn post(&self, body: PostedCheckpoint) -> Result<Posted> {
        let (roots, posted) = (self.roots.clone(), body.path.as_str().to_owned());
        let metadata = body.metadata.as_ref().map(|path| path.as_str().to_owned());
        // The file system may take its time.
        let look = tokio::task::spawn_blocking(move || {
            let path = roots.resolve(&posted)?;
            let metadata = metadata.map(|posted| metadata_file(&roots, &posted)).transpose()?;
            Ok::<_, Error>((roots.run_of(&path), identity_of(&path).ok(), path, metadata))
        });
        let (own_run, identity, path, metadata) = look.await.map_err(|error| Error::Internal(error.to_string()))??;
        let facts = body.facts(metadata);
        let run = facts.run.clone().unwrap_or(own_run);
        let post = Post { body: &body, facts, path: text_of(&path), run, identity };
        let mut tx = self.store.write().await?;
        let taken = self.take(&mut tx, &post).await;
        let (posted, stopped) = tx.end(taken).await?;
        self.queue.stop(stopped);
        self.wake.notify_one();
        self.queue.tell_change();
        Ok(posted)
    }

    /// An absent or another content is a new announcement, which the next content of the path takes; a post about
    /// content that is known adds to what is known of it.
    async fn take(&self, db: &mut SqliteConnection, post: &Post<'_>) -> Result<(Posted, Option<JobId>)> {
        let newest = self.store.checkpoint_at(db, &post.path).await?;
        let mut stopped = None;
        if let Some(row) = &newest {
            let being_read = row.is_being_read();
            // What was posted of it before was not about other content.
            let of_this = row.posted_identity.is_none_or(|posted| Some(posted) == post.identity);
            let agrees = row.posted.contradiction(&post.facts).is_none();
            // A file that grew since it was posted as something else was written anew.
            let anew = row.state == State::Settling && !being_read && !of_this && !agrees;
            let same = row.identity == post.identity && post.identity.is_some() && !anew;
            // An announcement that waits for its content, or what the scan found a moment ago and is still written.
            let waits = row.state == State::Seen && of_this && agrees;
            let unposted = row.state == State::Settling && row.via == Via::Scan && post.identity.is_some();
            if same || waits || (unposted && row.proven().is_none() && row.pin_state != Some(State::Running)) {
                return Ok((self.add_to(db, row, post).await?, None));
            }
            if matches!(row.state, State::Seen | State::Settling) && !being_read {
                stopped = overwritten(&self.queue, db, row).await?;
            }
        }
        let at = now();
        let new = post.row(&post.run, &post.facts, &at);
        let id = self.store.add_checkpoint(db, &new, &at).await?;
        Ok((Posted { id, known: false }, stopped))
    }

    /// A post about content that has a row.
    async fn add_to(&self, db: &mut SqliteConnection, row: &CheckpointRow, post: &Post<'_>) -> Result<Posted> {
        let (id, force) = (row.id, post.body.force);
        self.check_against_content(db, row, post).await?;
        if let (State::Whole, Some(point)) = (row.state, row.point_id) {
            self.store.merge_context(db, point, &post.body.context).await?;
            let queued = force && self.queue.force(db, point).await?;
            return Ok(Posted { id, known: !queued });
        }
        let facts = row.posted.0.clone().with(&post.facts);
        let run = facts.run.clone().unwrap_or_else(|| post.run.clone());
        let at = now();
        self.store.note_posted(db, id, &post.row(&run, &facts, &at), &at).await?;
        let news = facts != row.posted.0 || force;
        let again = row.state == State::Rejected && news;
        if again || row.identity != post.identity {
            if row.pin_state == Some(State::Queued) {
                self.queue.cancel_pin(db, id, Reason::Changed).await?;
            }
            self.store.note_identity(db, row, post.identity, &at).await?;
        }
        // Found by the scan a moment ago, and posted for the first time: news to the one who posts.
        let first = row.via == Via::Scan && !row.state.is_end();
        Ok(Posted { id, known: !(again || first) })
    }

    /// Once content is proven, a post that contradicts it is refused.
    async fn check_against_content(
        &self,
        db: &mut SqliteConnection,
        row: &CheckpointRow,
        post: &Post<'_>,
    ) -> Result<()> {
        let (given, before) = (&post.facts.metadata, &row.posted.metadata);
        if given.is_some() && given != before && row.is_being_read() {
            let message = format!("`{}`: `metadata` was posted after the file was read", row.path);
            return Err(Error::conflict(message).with_hint("post it with the checkpoint, or set `probe.metadata`"));
        }
        let known = match (row.state, row.point_id) {
            (State::Whole, Some(id)) => {
                let point = self.store.point(db, id).await?;
                Facts {
                    run: Some(row.run.clone()),
                    attempt: Some(point.attempt),
                    epoch: Some(point.epoch),
                    global_step: u64::try_from(point.global_step).ok(),
                    metadata: None,
                }
            }
            (State::Rejected, _) => row.proven().map(told).unwrap_or_default(),
            _ => return Ok(()),
        };
        match post.facts.contradiction(&known) {
            Some(text) => Err(Error::conflict(format!("`{}`: {text}", row.path))),
            None => Ok(()),
        }
    }

    /// Takes back what waits or runs for a checkpoint.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] where nothing waits or runs.
    pub async fn cancel(&self, id: CheckpointId) -> Result<()> {
        let mut tx = self.store.write().await?;
        let cancel = async {
            let row = self.store.file(&mut tx, id).await?;
            let row = row.ok_or_else(|| Error::not_found(format!("there is no checkpoint {id}")))?;
            if row.state.is_end() {
                return Ok((row.point_id.filter(|_| row.state == State::Whole), None, false));
            }
            let stopped = self.queue.cancel_pin(&mut tx, id, Reason::Cancelled).await?;
            let message = "taken back before it was read".to_owned();
            self.queue.refuse(&mut tx, id, Change::Refused, Reason::Cancelled, message).await?;
            Ok((None, stopped, true))
        };
        let done = cancel.await;
        let (point, stopped, mut cancelled) = tx.end(done).await?;
        self.queue.stop(stopped);
        if let Some(point) = point {
            cancelled = self.queue.cancel_probe(point).await?;
        }
        let over = || Error::conflict(format!("checkpoint {id} is over: nothing waits or runs for it"));
        if cancelled { Ok(()) } else { Err(over()) }
    }

    /// Ends a run: its newest checkpoint is due, whenever that arrives; what was saved a moment ago is found first. Ending
    /// twice changes nothing.
    pub async fn finish(&self, run: &RunName) -> Result<()> {
        self.queue.finish_run(run).await?;
        self.wake.notify_one();
        Ok(())
    }

    /// Removes a run: its rows, pins, results and pictures. The trainer's files stay; files of it that are found later
    /// begin the run anew.
    pub async fn remove_run(&self, run: &RunName) -> Result<()> {
        let mut tx = self.store.write().await?;
        let remove = async {
            let none = || Error::not_found(format!("there is no run `{run}`")).with_hint("`/runs` lists them");
            let id = self.store.run_id(&mut tx, run).await?.ok_or_else(none)?;
            let jobs = self.store.jobs_of_run(&mut tx, id).await?;
            Ok((jobs, self.store.remove_run(&mut tx, id).await?))
        };
        let done = remove.await;
        let (jobs, files) = tx.end(done).await?;
        self.queue.stop(jobs);
        tokio::task::spawn_blocking(move || {
            for error in files.iter().filter_map(|path| remove_path(path).err()) {
                warn!(%error, "a file of a removed run stays");
            }
        });
        self.queue.tell_change();
        Ok(())
    }
}

/// The file that a posted `metadata` means: it is there, as the trainer read it before it began.
fn metadata_file(roots: &Roots, posted: &str) -> Result<String> {
    let path = roots.resolve(posted)?;
    if path.is_file() {
        return Ok(text_of(&path));
    }
    let message = format!("`metadata`: `{}` is not a file", path.display());
    Err(Error::invalid(message).with_hint("give the `metadata.yaml` of the training, below a root"))
}
