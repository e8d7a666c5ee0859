//! Checkpoints as they are listed.

use serde::Serialize;
use serde_json::Value;
use sqlx::{Sqlite, query::QueryAs, sqlite::SqliteArguments, types::Json};

use super::Page;
use crate::{
    domain::{
        CheckpointId, Context, Digest, DueReason, EncoderFacts, Epoch, Facts, Format, JobId, Reason, RunId, RunName,
        Shown, ValueSource, Via,
    },
    error::{Error, Result},
    store::Store,
};

/// Which checkpoints.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckpointFilter {
    pub run: Option<RunId>,
    pub state: Option<Shown>,
    /// The `next` of the page before.
    pub cursor: Option<i64>,
    pub limit: u32,
}

/// A checkpoint as `/checkpoints` tells it; what is not known yet is null.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct CheckpointItem {
    #[schema(value_type = i64)]
    pub id: CheckpointId,
    pub path: String,
    pub via: Via,
    /// Its own, or, once whole, that of its point: of the latest probe job, else `held` or `skipped`.
    pub state: Shown,
    /// Why it is as it is.
    pub reason: Option<Reason>,
    /// What, where, what to do.
    pub message: Option<String>,
    #[schema(value_type = String)]
    pub run: RunName,
    pub attempt: Option<u32>,
    /// Of its content; while that is not read, as posted.
    #[schema(value_type = Option<u32>)]
    pub epoch: Option<Epoch>,
    /// Where the epoch was read.
    pub epoch_source: Option<ValueSource>,
    pub global_step: Option<i64>,
    pub step_source: Option<ValueSource>,
    /// Whether it is probed; null while unknown, and while it may become so as the last of its run.
    pub due: Option<bool>,
    pub due_reason: Option<DueReason>,
    pub forced: bool,
    pub format: Option<Format>,
    /// Bytes.
    pub size: Option<i64>,
    #[schema(value_type = Option<String>)]
    pub file_digest: Option<Digest>,
    #[schema(value_type = Option<String>)]
    pub weights_digest: Option<Digest>,
    #[schema(value_type = Option<Object>)]
    pub encoder: Option<Json<EncoderFacts>>,
    /// What else the file says of itself.
    #[schema(value_type = Option<Object>)]
    pub about: Option<Json<Value>>,
    /// Run, attempt, epoch and global step as posted.
    #[schema(value_type = Object)]
    pub posted: Json<Facts>,
    /// Scalars of the trainer.
    #[schema(value_type = Object)]
    pub context: Json<Context>,
    /// Its latest probe job, or, while it settles, its pin job.
    #[schema(value_type = Option<i64>)]
    pub job_id: Option<JobId>,
    /// Failed tries of that job so far.
    pub tries: Option<i64>,
    pub created_at: String,
    pub whole_at: Option<String>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
}

/// All columns of an item of the checkpoints `c`. A whole one without a probe job is held where its point is the newest
/// of its run, else skipped.
const ITEM: &str = "
    select c.id, c.path, c.via,
           case when c.shown <> 'whole' then c.shown when p.id = (select n.id from points n where n.run_id = p.run_id
               order by n.attempt desc, n.global_step desc limit 1) then 'held' else 'skipped' end as state,
           coalesce(case c.state when 'whole' then j.reason when 'settling' then n.reason end, c.reason,
               case when c.shown = 'whole' then case when p.id = (select n.id from points n where n.run_id = p.run_id
                   order by n.attempt desc, n.global_step desc limit 1) then 'not-due-yet' else 'not-due' end end)
               as reason,
           coalesce(case c.state when 'whole' then j.message when 'settling' then n.message end, c.message) as message,
           r.name as run, coalesce(p.attempt, c.posted ->> '$.attempt') as attempt,
           coalesce(p.epoch, c.posted ->> '$.epoch') as epoch, p.epoch_source,
           coalesce(p.global_step, c.posted ->> '$.global_step') as global_step, p.step_source,
           case when p.due_reason is not null then 1 when c.state in ('rejected', 'vanished') then 0
                when c.shown = 'whole' and p.id <> (select n.id from points n where n.run_id = p.run_id
                    order by n.attempt desc, n.global_step desc limit 1) then 0 end as due,
           p.due_reason, c.forced, c.format, c.bytes as size, c.file_digest, c.weights_digest, c.encoder, c.about,
           c.posted, c.context, coalesce(j.id, n.id) as job_id, coalesce(j.tries, n.tries) as tries, c.created_at,
           c.whole_at, j.started_at, j.finished_at
    from checkpoints c
    join runs r on r.id = c.run_id
    left join points p on p.id = c.point_id
    left join jobs j on j.id = (select max(id) from jobs where point_id = c.point_id and kind = 'probe')
    left join jobs n on c.state = 'settling' and n.id = (select max(id) from jobs where checkpoint_id = c.id)";

type Query<'q> = QueryAs<'q, Sqlite, CheckpointItem, SqliteArguments>;

fn items(narrowed: &str) -> Query<'static> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("{ITEM} where {narrowed}")))
}

impl Store {
    /// Checkpoints, the newest first. Each way to narrow them has an index of its own.
    pub async fn checkpoints(&self, of: CheckpointFilter) -> Result<Page<CheckpointItem>> {
        let cursor = of.cursor.unwrap_or(i64::MAX);
        let newest = "c.point_id = (select n.id from points n where n.run_id = c.run_id \
                      order by n.attempt desc, n.global_step desc limit 1)";
        let state = match of.state {
            // The newest point of each run is looked up first: there are few runs. (`+`: not by the index of `shown`.)
            Some(Shown::Held) => "c.id in (select k.id from checkpoints k where +k.shown = 'whole' and k.point_id in \
                 (select (select n.id from points n where n.run_id = q.id order by n.attempt desc, n.global_step desc \
                  limit 1) from runs q))"
                .to_owned(),
            Some(Shown::Skipped) => format!("c.shown = 'whole' and not {newest}"),
            Some(state) => format!("c.shown = '{state}'"),
            None => "true".to_owned(),
        };
        let run = if of.run.is_some() { "c.run_id = ?3" } else { "?3 is null" };
        let rows = items(&format!("c.id < ?1 and {run} and {state} order by c.id desc limit ?2"))
            .bind(cursor)
            .bind(of.limit + 1)
            .bind(of.run)
            .fetch_all(self.pool())
            .await?;
        Ok(Page::cut(rows, of.limit, |row| row.id.0))
    }

    /// One checkpoint.
    pub async fn checkpoint(&self, id: CheckpointId) -> Result<CheckpointItem> {
        let row = items("c.id = ?1").bind(id).fetch_optional(self.pool()).await?;
        row.ok_or_else(|| {
            Error::not_found(format!("no checkpoint `{id}` was seen")).with_hint("`/checkpoints` lists them")
        })
    }
}
