//! How the service fares: the depth of its queue, how far it lags, the last scores. For `/metrics`.

use sqlx::FromRow;

use crate::{
    domain::{Epoch, HeadName, JobKind, RunName, State},
    error::Result,
    store::{Store, jobs::kinds},
};

/// How many jobs of a kind are queued or running.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct QueueDepth {
    pub kind: JobKind,
    pub state: State,
    pub jobs: i64,
}

/// The last score of a run and head, and how many epochs the training is ahead of it.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct LastScore {
    pub run: RunName,
    /// `None` where the run has no score.
    pub head: Option<HeadName>,
    pub epoch: Option<Epoch>,
    pub iou: Option<f64>,
    /// The highest epoch seen less the epoch of the last score; of a run without a score, all epochs seen.
    pub lag_epochs: i64,
}

impl Store {
    /// Jobs that are queued or running, by kind and state.
    pub async fn queue_depth(&self) -> Result<Vec<QueueDepth>> {
        let sql = format!(
            "select kind, state, count(*) as jobs from jobs where kind in ({}) and state in ('queued', 'running') \
             group by kind, state",
            kinds()
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(self.pool()).await?)
    }

    /// When the oldest probe that waits was asked for.
    pub async fn oldest_due(&self) -> Result<Option<String>> {
        let sql = "select min(created_at) from jobs where kind = 'probe' and state in ('queued', 'running')";
        Ok(sqlx::query_scalar(sql).fetch_one(self.pool()).await?)
    }

    /// The last score of every run that has points, a row per head.
    pub async fn last_scores(&self) -> Result<Vec<LastScore>> {
        Ok(sqlx::query_as(include_str!("last_scores.sql")).fetch_all(self.pool()).await?)
    }
}
