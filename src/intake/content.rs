//! What it means for a checkpoint's row that other content lies at its path now.

use sqlx::SqliteConnection;

use crate::{
    domain::{Change, Context, Facts, Identity, JobId, Reason, RunName, State, Via},
    error::Result,
    queue::Queue,
    store::{CheckpointRow, NewCheckpoint, Store, now},
};

/// What lies at a path now.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    pub path: &'a str,
    pub run: &'a RunName,
    pub identity: Identity,
    pub batch: &'a str,
}

/// Notes that content lies at a path whose newest row is `newest`. Returns jobs to be stopped once this is committed.
///
/// A row that waits for its content takes it, and so does one whose file is still being written. What was posted about
/// other content, or is being read, is not passed on to what overwrote it: that gets a row of its own.
pub async fn note_content(
    store: &Store,
    queue: &Queue,
    db: &mut SqliteConnection,
    newest: Option<&CheckpointRow>,
    content: Content<'_>,
) -> Result<Option<JobId>> {
    let Content { path, run, identity, batch } = content;
    let mut stopped = None;
    match newest {
        Some(row) if row.identity == Some(identity) => return Ok(None),
        Some(row) if matches!(row.state, State::Seen | State::Settling) => {
            let grew = row.identity.is_some_and(|before| before.grew_into(&identity));
            // Posted about the content that was there before, or that is away now.
            let posted_so = row
                .posted_identity
                .is_some_and(|posted| posted != identity && row.identity.is_none_or(|before| posted == before));
            let being_read = row.is_being_read();
            if grew || !(posted_so || being_read) {
                let waiting = row.pin_state == Some(State::Queued);
                let queued = if waiting { queue.cancel_pin(db, row.id, Reason::Changed).await? } else { None };
                store.note_identity(db, row, Some(identity), &now()).await?;
                return Ok(queued);
            }
            if !being_read {
                stopped = overwritten(queue, db, row).await?;
            }
        }
        _ => {}
    }
    let (facts, context) = (Facts::default(), Context::default());
    let new = NewCheckpoint {
        path,
        via: Via::Scan,
        run,
        facts: &facts,
        forced: false,
        context: &context,
        identity: Some(identity),
        batch,
    };
    store.add_checkpoint(db, &new, &now()).await?;
    Ok(stopped)
}

/// Ends a row whose content is gone: other content took its path before it was read.
pub async fn overwritten(queue: &Queue, db: &mut SqliteConnection, row: &CheckpointRow) -> Result<Option<JobId>> {
    let stopped = queue.cancel_pin(db, row.id, Reason::Overwritten).await?;
    let message = format!("other content took `{}` before it was read", row.path);
    queue.refuse(db, row.id, Change::Missed, Reason::Overwritten, message).await?;
    Ok(stopped)
}
