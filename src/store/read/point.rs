//! The points of an epoch, as `shown_points` tells them.

use serde::Serialize;
use serde_json::Value;
use sqlx::types::Json;

use super::{ChosenLine, SHOWN_POINTS, Snapshot};
use crate::{
    domain::{
        Basis, CheckpointId, Context, Digest, DueReason, Epoch, Format, HeadId, JobId, Reason, RunId, RunName, Shown,
        ValueSource,
    },
    error::Result,
};

/// A point of a curve, its checkpoint and its latest probe job.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct PointItem {
    #[schema(value_type = String)]
    pub run: RunName,
    pub attempt: u32,
    #[schema(value_type = u32)]
    pub epoch: Epoch,
    /// Where the epoch was read.
    pub epoch_source: ValueSource,
    pub global_step: i64,
    pub step_source: ValueSource,
    /// `done` where it has a score; else of its latest probe job; else `held` or `skipped`.
    pub state: Shown,
    pub reason: Option<Reason>,
    pub message: Option<String>,
    pub due_reason: Option<DueReason>,
    #[schema(value_type = Option<i64>)]
    pub checkpoint_id: Option<CheckpointId>,
    /// The trainer's file.
    pub path: Option<String>,
    pub format: Option<Format>,
    #[schema(value_type = Option<String>)]
    pub file_digest: Option<Digest>,
    #[schema(value_type = String)]
    pub weights_digest: Digest,
    /// The line of its score: results of one line may be compared.
    pub line: Option<String>,
    /// Scalars of the trainer.
    #[schema(value_type = Object)]
    pub context: Json<Context>,
    /// What else the file says of itself.
    #[schema(value_type = Option<Object>)]
    pub about: Option<Json<Value>>,
    /// Its latest probe job.
    #[schema(value_type = Option<i64>)]
    pub job_id: Option<JobId>,
    /// Failed tries of that job so far.
    pub tries: Option<u32>,
    pub created_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    /// The stored head of its score.
    #[serde(skip)]
    #[schema(ignore)]
    pub head_id: Option<HeadId>,
    /// What the latest probe job is or was of.
    #[serde(skip)]
    #[schema(ignore)]
    pub key: Option<String>,
}

impl PointItem {
    /// Data set, assignment and preparation of its latest probe, once that was claimed.
    pub fn basis(&self) -> Option<Basis> {
        self.key.as_deref().and_then(|key| key.parse().ok())
    }
}

/// Another point of the same epoch.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Other {
    pub attempt: u32,
    pub global_step: i64,
    pub state: Shown,
    #[schema(value_type = Option<i64>)]
    pub checkpoint_id: Option<CheckpointId>,
    #[schema(value_type = String)]
    pub weights_digest: Digest,
}

impl From<PointItem> for Other {
    fn from(point: PointItem) -> Self {
        let PointItem { attempt, global_step, state, checkpoint_id, weights_digest, .. } = point;
        Self { attempt, global_step, state, checkpoint_id, weights_digest }
    }
}

/// All columns of an item of the points `p`. What has a score under another line only says so.
const ITEM: &str = "
    select p.run, p.attempt, p.epoch, p.epoch_source, p.global_step, p.step_source, p.state,
           coalesce(case when p.head_id is null and p.state = 'done' then 'other-line' end, j.reason,
               case p.state when 'held' then 'not-due-yet' when 'skipped' then 'not-due' end) as reason,
           j.message, p.due_reason, c.id as checkpoint_id, c.path, c.format, c.file_digest, c.about, p.weights_digest,
           p.line, p.context, p.job_id, j.tries, coalesce(j.created_at, p.created_at) as created_at, j.started_at,
           j.finished_at, p.head_id, j.key
    from shown_points p
    left join jobs j on j.id = p.job_id
    left join checkpoints c on c.id = (select min(id) from checkpoints where point_id = p.id)";

impl Snapshot {
    /// The points of an epoch, that which the epoch shows under the line first. Empty where it was never seen.
    pub async fn points_of_epoch(
        &mut self,
        run: RunId,
        line: &ChosenLine,
        epoch: Epoch,
        attempt: Option<u32>,
    ) -> Result<Vec<PointItem>> {
        let sql = format!("{SHOWN_POINTS}{ITEM} where ?5 is null or p.attempt = ?5 order by p.place limit 1000");
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(run).bind(&line.line).bind(epoch).bind(epoch);
        Ok(rows.bind(attempt).fetch_all(self.connection()).await?)
    }

    /// The epoch of the highest step that has a score under a line.
    pub async fn latest_scored(
        &mut self,
        run: RunId,
        line: &ChosenLine,
        attempt: Option<u32>,
    ) -> Result<Option<Epoch>> {
        let sql = "select p.epoch from points p where p.run_id = ?1 and (?2 is null or p.attempt = ?2) \
                   and exists (select 1 from scores s where s.point_id = p.id and s.line = ?3) \
                   order by p.global_step desc, p.attempt desc limit 1";
        let Some(line) = &line.line else { return Ok(None) };
        Ok(sqlx::query_scalar(sql).bind(run).bind(attempt).bind(line).fetch_optional(self.connection()).await?)
    }
}
