//! The desk: takes what is posted, and what people ask of checkpoints and runs.

use std::{path::Path, sync::Arc};

use sqlx::SqliteConnection;
use tokio::sync::Notify;

use super::{Places, files::identity_of};
use crate::{
    domain::{CheckpointState, Posted, PostedCheckpoint, RunName},
    error::{Error, Result},
    queue::Queue,
    store::{FileRow, Identity, NewCheckpoint, PostedFields, Store, now},
};

/// Answers posts; everything it says was committed before.
#[derive(Clone)]
pub struct Desk {
    pub store: Store,
    pub queue: Queue,
    pub places: Places,
    /// Wakes the scanner.
    pub wake: Arc<Notify>,
}

impl Desk {
    /// Takes a checkpoint in. A path whose file is not there yet is taken too: asynchronous savers post early.
    pub async fn post(&self, body: PostedCheckpoint) -> Result<Posted> {
        let path = self.places.resolve(body.path.as_str())?;
        let identity = identity_of(&path).ok();
        let fields = PostedFields {
            run: body.run.clone(),
            attempt: body.attempt,
            epoch: body.epoch.map(|e| e.0),
            global_step: body.global_step,
        };
        let context = serde_json::to_string(&body.context).map_err(|e| Error::Internal(e.to_string()))?;
        let text = path.to_string_lossy().into_owned();
        let mut tx = self.store.write().await?;
        let row = self.store.checkpoint_at(&mut tx, &text).await?;
        let posted = match row.filter(|row| is_same_file(row, identity)) {
            Some(row) => self.again(&mut tx, &row, &path, &fields, body.force, &context).await?,
            None => {
                let run = fields.run.clone().unwrap_or_else(|| self.places.run_of(&path));
                let new = NewCheckpoint {
                    path: &text,
                    via: "post",
                    run: &run,
                    posted: &fields,
                    force: body.force,
                    context: &context,
                    identity,
                };
                let id = self.store.add_checkpoint(&mut tx, &new, &now()).await?;
                Posted { id, known: false }
            }
        };
        tx.commit().await?;
        self.wake.notify_one();
        Ok(posted)
    }

    /// A post about a file that is known: it may add to what is known, not contradict it.
    async fn again(
        &self,
        db: &mut SqliteConnection,
        row: &FileRow,
        path: &Path,
        fields: &PostedFields,
        force: bool,
        context: &str,
    ) -> Result<Posted> {
        let (id, at) = (row.id, now());
        let before = row.posted()?;
        match row.state()? {
            CheckpointState::Whole => {
                let point =
                    row.point_id.ok_or_else(|| Error::Internal(format!("checkpoint {id} is whole without a point")))?;
                self.agrees_with_point(db, point, row, fields).await?;
                self.store.merge_context(db, point, context).await?;
                let queued = force && self.queue.force(db, point, &at).await?;
                Ok(Posted { id, known: !queued })
            }
            state => {
                let merged = merge(&before, fields, path)?;
                let run = merged.run.clone().unwrap_or_else(|| self.places.run_of(path));
                let context = merge_json(&row.context, context)?;
                self.store.note_posted(db, id, &run, &merged, force, &context).await?;
                // What ended can be asked for again, with what was missing.
                let again = state == CheckpointState::Rejected && (force || merged != before);
                if again {
                    self.store.note_identity(db, id, row.identity(), &at).await?;
                }
                // Found by the scan a moment ago, and posted for the first time: news to the one who posts.
                let first = row.via == "scan" && matches!(state, CheckpointState::Seen | CheckpointState::Settling);
                Ok(Posted { id, known: !(again || first) })
            }
        }
    }

    async fn agrees_with_point(
        &self,
        db: &mut SqliteConnection,
        point: i64,
        row: &FileRow,
        fields: &PostedFields,
    ) -> Result<()> {
        let Some(known) = self.store.placed_point(db, point).await? else { return Ok(()) };
        let differs = |name: &str, posted: String, known: String| {
            Err(Error::Conflict(format!(
                "`{}`: `{name}` was posted as `{posted}`, but is known as `{known}`",
                row.path
            )))
        };
        let posted_run = row.posted()?.run;
        match fields {
            PostedFields { run: Some(run), .. }
                if posted_run.as_ref().map_or(row.run.as_str(), RunName::as_str) != run.as_str() =>
            {
                differs("run", run.to_string(), row.run.clone())
            }
            PostedFields { attempt: Some(n), .. } if i64::from(*n) != known.attempt => {
                differs("attempt", n.to_string(), known.attempt.to_string())
            }
            PostedFields { epoch: Some(n), .. } if i64::from(*n) != known.epoch => {
                differs("epoch", n.to_string(), known.epoch.to_string())
            }
            PostedFields { global_step: Some(n), .. } if i64::try_from(*n) != Ok(known.global_step) => {
                differs("global_step", n.to_string(), known.global_step.to_string())
            }
            _ => Ok(()),
        }
    }

    /// Takes back what waits or runs for a checkpoint. Returns the request whose job is to be stopped, if any.
    pub async fn cancel(&self, id: i64) -> Result<Option<i64>> {
        let mut tx = self.store.write().await?;
        let row = self.store.file(&mut tx, id).await?;
        let row = row.ok_or_else(|| Error::NotFound(format!("there is no checkpoint {id}")))?;
        let over = || Error::Conflict(format!("checkpoint {id} is over: nothing waits or runs for it"));
        match (row.state()?, row.point_id) {
            (CheckpointState::Seen | CheckpointState::Settling, _) => {
                let state = CheckpointState::Rejected;
                self.store.end_checkpoint(&mut tx, id, state, "cancelled", "taken back before it was read").await?;
                tx.commit().await?;
                Ok(None)
            }
            (CheckpointState::Whole, Some(point)) => {
                drop(tx);
                self.queue.cancel(point).await?.map(Some).ok_or_else(over)
            }
            _ => Err(over()),
        }
    }

    /// Ends a run.
    pub async fn finish(&self, run: RunName) -> Result<()> {
        let mut tx = self.store.write().await?;
        let id = self.store.run_id(&mut tx, run.as_str()).await?;
        drop(tx);
        let id = id.ok_or_else(|| Error::NotFound(format!("there is no run `{run}`")))?;
        self.queue.finish_run(id).await.map(drop)
    }
}

/// Whether a row tells of the file as it is now. An announced file is the same before and after it appears.
fn is_same_file(row: &FileRow, now: Option<Identity>) -> bool {
    match row.state.as_str() {
        "seen" | "settling" => true,
        "vanished" => now.is_none(),
        _ => now.is_none() || row.identity() == now,
    }
}

/// What two posts say together.
fn merge(before: &PostedFields, now: &PostedFields, path: &Path) -> Result<PostedFields> {
    fn one<T: Clone + PartialEq + std::fmt::Display>(
        name: &str,
        a: &Option<T>,
        b: &Option<T>,
        path: &Path,
    ) -> Result<Option<T>> {
        match (a, b) {
            (Some(a), Some(b)) if a != b => Err(Error::Conflict(format!(
                "`{}`: `{name}` was posted as `{a}` before, and as `{b}` now",
                path.display()
            ))),
            (a, b) => Ok(b.clone().or(a.clone())),
        }
    }
    Ok(PostedFields {
        run: one("run", &before.run, &now.run, path)?,
        attempt: one("attempt", &before.attempt, &now.attempt, path)?,
        epoch: one("epoch", &before.epoch, &now.epoch, path)?,
        global_step: one("global_step", &before.global_step, &now.global_step, path)?,
    })
}

/// Two JSON objects, the later one winning key by key.
fn merge_json(before: &str, now: &str) -> Result<String> {
    let parse = |text: &str| {
        serde_json::from_str::<serde_json::Map<_, _>>(text)
            .map_err(|e| Error::Internal(format!("context `{text}`: {e}")))
    };
    let mut merged = parse(before)?;
    merged.extend(parse(now)?);
    serde_json::to_string(&merged).map_err(|e| Error::Internal(e.to_string()))
}
