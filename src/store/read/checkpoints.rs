//! Checkpoints as they are listed: their own state, or, once whole, that of their latest request.

use serde::Serialize;

use super::{Doc, Page};
use crate::{
    error::{Error, Result},
    store::Store,
};

/// Which checkpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointFilter<'a> {
    pub run: Option<&'a str>,
    /// The state as it shows.
    pub state: Option<&'a str>,
    /// The `next` of the page before.
    pub cursor: Option<i64>,
    pub limit: u32,
}

/// A checkpoint as `/checkpoints` tells it; what is not known yet is null.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct CheckpointRow {
    pub id: i64,
    pub path: String,
    /// `scan` or `post`.
    pub via: String,
    /// Its own, or, once whole, that of its latest request.
    pub state: String,
    /// A class-word: why it is not probed.
    pub reason: Option<String>,
    /// What, where, what to do.
    pub message: Option<String>,
    pub run: String,
    pub attempt: Option<i64>,
    /// Of its content; while that is not read, as posted.
    pub epoch: Option<i64>,
    /// Where the epoch was read: `file`, `metadata`, `posted`, `name`.
    pub epoch_source: Option<String>,
    pub global_step: Option<i64>,
    pub step_source: Option<String>,
    /// Whether it is probed; null while unknown.
    pub due: Option<bool>,
    /// `first`, `every_n`, `modulo`, `last`, `forced`.
    pub due_reason: Option<String>,
    pub forced: bool,
    pub format: Option<String>,
    /// Bytes.
    pub size: Option<i64>,
    pub file_digest: Option<String>,
    pub weights_digest: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub encoder: Option<Doc>,
    /// What else the file says of itself.
    #[schema(value_type = Option<Object>)]
    pub about: Option<Doc>,
    /// Run, attempt, epoch and global step as posted.
    #[schema(value_type = Object)]
    pub posted: Doc,
    /// Scalars of the trainer.
    #[schema(value_type = Object)]
    pub context: Doc,
    /// How far the worker is, while probing.
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Doc>,
    /// Failed tries so far.
    pub tries: Option<i64>,
    pub created_at: String,
    pub whole_at: Option<String>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
}

/// Checkpoints, the newest first, narrowed by id (?1), run (?2), state (?3) and cursor (?4).
const CHECKPOINTS: &str = "
    select * from (
        select c.id, c.path, c.via, case c.state when 'whole' then coalesce(q.state, 'whole') else c.state end as state,
               case when c.state = 'whole' then coalesce(q.reason,
                   case q.state when 'held' then 'not-yet-due' when 'skipped' then 'not-due' end) else c.reason end
                   as reason,
               case when c.state = 'whole' then coalesce(q.message, c.message) else c.message end as message,
               coalesce(r.name, c.run) as run, coalesce(a.number, c.posted ->> '$.attempt') as attempt,
               coalesce(p.epoch, c.posted ->> '$.epoch') as epoch, p.epoch_source,
               coalesce(p.global_step, c.posted ->> '$.global_step') as global_step, p.step_source,
               case when q.due_reason is not null then 1 when q.state = 'skipped' then 0
                   when c.state in ('rejected', 'vanished') then 0 end as due,
               q.due_reason, c.force as forced, c.format, c.size, c.file_digest, c.weights_digest, c.encoder, c.about,
               c.posted, c.context, case q.state when 'probing' then q.progress end as progress, q.tries,
               c.created_at, c.whole_at, q.started_at, q.finished_at
        from checkpoints c
        left join points p on p.id = c.point_id
        left join attempts a on a.id = p.attempt_id
        left join runs r on r.id = a.run_id
        left join requests q on q.id = (select max(id) from requests where point_id = c.point_id))
    where (?1 is null or id = ?1) and (?2 is null or run = ?2) and (?3 is null or state = ?3)
      and (?4 is null or id < ?4)
    order by id desc limit ?5";

impl Store {
    /// Checkpoints, the newest first.
    pub async fn checkpoints(&self, of: CheckpointFilter<'_>) -> Result<Page<CheckpointRow>> {
        let rows = sqlx::query_as::<_, CheckpointRow>(CHECKPOINTS)
            .bind(None::<i64>)
            .bind(of.run)
            .bind(of.state)
            .bind(of.cursor)
            .bind(of.limit + 1)
            .fetch_all(self.pool())
            .await?;
        Ok(Page::cut(rows, of.limit, |row| row.id))
    }

    /// One checkpoint.
    pub async fn checkpoint(&self, id: i64) -> Result<CheckpointRow> {
        let row = sqlx::query_as::<_, CheckpointRow>(CHECKPOINTS)
            .bind(id)
            .bind(None::<&str>)
            .bind(None::<&str>)
            .bind(None::<i64>)
            .bind(1)
            .fetch_optional(self.pool())
            .await?;
        row.ok_or_else(|| Error::NotFound(format!("no checkpoint `{id}` was seen; hint: `/checkpoints` lists them")))
    }
}
