//! The journal, read: for `/events`, and its pruning.

use serde::Serialize;
use sqlx::FromRow;

use super::Store;
use crate::{
    domain::{Change, CheckpointId, Epoch, EventId, JobId, JobKind, Reason, RunName, State},
    error::Result,
};

/// A change of state, as `/events` tells it; what does not belong to it is null.
#[derive(Clone, Debug, PartialEq, Serialize, FromRow, utoipa::ToSchema)]
pub struct EventRow {
    #[schema(value_type = i64)]
    pub id: EventId,
    pub at: String,
    #[schema(value_type = Option<String>)]
    pub run: Option<RunName>,
    /// Whose state changed, where no job is named; else whose file is pinned, or a file of the point that is probed.
    #[schema(value_type = Option<i64>)]
    pub checkpoint_id: Option<CheckpointId>,
    /// Whose state changed.
    #[schema(value_type = Option<i64>)]
    pub job_id: Option<JobId>,
    /// Of the job.
    pub kind: Option<JobKind>,
    /// Of the point, once there is one.
    pub attempt: Option<u32>,
    #[schema(value_type = Option<u32>)]
    pub epoch: Option<Epoch>,
    pub global_step: Option<i64>,
    pub change: Change,
    /// After the change.
    pub state: State,
    pub reason: Option<Reason>,
    pub message: Option<String>,
}

impl Store {
    /// At most `limit` events after `after`, oldest first, of one run or of all.
    pub async fn events_after(&self, after: EventId, run: Option<&RunName>, limit: u32) -> Result<Vec<EventRow>> {
        Ok(sqlx::query_as(
            "select e.id, e.at, r.name as run, coalesce(e.checkpoint_id, \
                 (select min(c.id) from checkpoints c where c.point_id = e.point_id)) as checkpoint_id, \
                 e.job_id, e.kind, p.attempt, p.epoch, p.global_step, e.change, e.state, e.reason, e.message \
             from events e left join runs r on r.id = e.run_id left join points p on p.id = e.point_id \
             where e.id > ?1 and (?2 is null or r.name = ?2) order by e.id limit ?3",
        )
        .bind(after)
        .bind(run)
        .bind(limit)
        .fetch_all(self.pool())
        .await?)
    }

    /// The first and the last event that are kept; `None` where there is none.
    pub async fn event_bounds(&self) -> Result<Option<(EventId, EventId)>> {
        let (first, last): (Option<EventId>, Option<EventId>) =
            sqlx::query_as("select (select min(id) from events), (select max(id) from events)")
                .fetch_one(self.pool())
                .await?;
        Ok(first.zip(last))
    }

    /// Drops all events but the newest `keep`.
    pub async fn prune_events(&self, keep: u32) -> Result<()> {
        let mut tx = self.write().await?;
        let done = sqlx::query("delete from events where id <= (select max(id) from events) - ?1")
            .bind(keep)
            .execute(&mut *tx)
            .await;
        tx.end(done.map(drop).map_err(Into::into)).await
    }
}
