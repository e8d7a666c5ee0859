//! The points of an epoch, each with its latest request.

use serde::Serialize;

use super::Doc;
use crate::{error::Result, store::Store};

/// A point of a curve, its checkpoint and its latest request.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct PointRow {
    pub run: String,
    pub attempt: i64,
    pub epoch: i64,
    /// Where the epoch was read: `file`, `metadata`, `posted`, `name`.
    pub epoch_source: String,
    pub global_step: i64,
    pub step_source: String,
    /// Of its latest request; null where none was made.
    pub state: Option<String>,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub due_reason: Option<String>,
    pub checkpoint_id: Option<i64>,
    /// The trainer's file.
    pub path: Option<String>,
    pub format: Option<String>,
    pub file_digest: Option<String>,
    pub weights_digest: String,
    pub protocol_digest: Option<String>,
    pub dataset_digest: Option<String>,
    /// Scalars of the trainer.
    #[schema(value_type = Object)]
    pub context: Doc,
    /// What else the file says of itself.
    #[schema(value_type = Option<Object>)]
    pub about: Option<Doc>,
    /// How far the worker is, while probing: `stage`, `done`, `total`.
    #[schema(value_type = Option<Object>)]
    pub progress: Option<Doc>,
    /// Failed tries so far.
    pub tries: Option<i64>,
    /// The request whose computation this shares.
    pub same_as: Option<i64>,
    pub created_at: String,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    #[serde(skip)]
    #[schema(ignore)]
    pub result_id: Option<i64>,
}

/// Another point of the same epoch.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Other {
    pub attempt: i64,
    pub global_step: i64,
    pub state: Option<String>,
    pub checkpoint_id: Option<i64>,
    pub weights_digest: String,
}

impl From<PointRow> for Other {
    fn from(point: PointRow) -> Self {
        let PointRow { attempt, global_step, state, checkpoint_id, weights_digest, .. } = point;
        Self { attempt, global_step, state, checkpoint_id, weights_digest }
    }
}

/// Points of a run, narrowed by epoch (?2), attempt (?3) and to those that are done (?4).
const POINTS: &str = "
    select r.name as run, a.number as attempt, p.epoch, p.epoch_source, p.global_step, p.step_source,
           q.state, q.message, q.due_reason,
           coalesce(q.reason, case q.state when 'held' then 'not-yet-due' when 'skipped' then 'not-due' end) as reason,
           c.id as checkpoint_id, c.path, c.format, c.file_digest, c.about,
           p.weights_digest, q.protocol_digest, q.dataset_digest, p.context,
           case q.state when 'probing' then q.progress end as progress,
           q.tries, q.same_as, coalesce(q.created_at, p.created_at) as created_at, q.started_at, q.finished_at,
           q.result_id
    from points p join attempts a on a.id = p.attempt_id join runs r on r.id = a.run_id
    left join requests q on q.id = (select max(id) from requests where point_id = p.id)
    left join checkpoints c on c.id = (select min(id) from checkpoints where point_id = p.id)
    where r.name = ?1 and (?2 is null or p.epoch = ?2) and (?3 is null or a.number = ?3)
      and (not ?4 or q.state = 'done')
    order by case when ?4 then p.global_step end desc, a.number desc, p.global_step desc
    limit ?5";

impl Store {
    /// The points of an epoch: the newest attempt's highest step first. Empty where it was never seen.
    pub async fn points_of_epoch(&self, run: &str, epoch: u32, attempt: Option<u32>) -> Result<Vec<PointRow>> {
        let rows = sqlx::query_as(POINTS).bind(run).bind(epoch).bind(attempt).bind(false).bind(1000);
        Ok(rows.fetch_all(self.pool()).await?)
    }

    /// The point with the highest step that has a score.
    pub async fn latest_done(&self, run: &str, attempt: Option<u32>) -> Result<Option<PointRow>> {
        let row = sqlx::query_as(POINTS).bind(run).bind(None::<u32>).bind(attempt).bind(true).bind(1);
        Ok(row.fetch_optional(self.pool()).await?)
    }
}
