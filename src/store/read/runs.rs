//! Runs, and which of them an answer is about.

use serde::Serialize;

use super::Page;
use crate::{
    error::{Error, Result},
    store::Store,
};

/// A run as `/runs` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct RunRow {
    #[serde(skip)]
    #[schema(ignore)]
    pub id: i64,
    #[sqlx(rename = "name")]
    pub run: String,
    /// Starts and restarts seen.
    pub attempts: i64,
    /// Files seen.
    pub checkpoints: i64,
    /// Points of its curve.
    pub points: i64,
    /// Points with a score.
    pub done: i64,
    /// The highest epoch seen.
    pub latest_epoch: Option<i64>,
    pub created_at: String,
    /// When its last checkpoint was seen.
    pub active_at: String,
    /// When its end was told; null while it goes on.
    pub finished_at: Option<String>,
}

const RUNS: &str = "
    select r.id, r.name, r.created_at, r.active_at, r.finished_at,
           (select count(*) from attempts a where a.run_id = r.id) as attempts,
           (select count(*) from checkpoints c where c.run = r.name) as checkpoints,
           (select count(*) from points p join attempts a on a.id = p.attempt_id where a.run_id = r.id) as points,
           (select count(*) from points p join attempts a on a.id = p.attempt_id where a.run_id = r.id and exists
               (select 1 from requests q where q.point_id = p.id and q.state = 'done')) as done,
           (select max(p.epoch) from points p join attempts a on a.id = p.attempt_id where a.run_id = r.id)
               as latest_epoch
    from runs r
    where (?1 is null or r.name = ?1) and (?2 is null or r.id < ?2)
    order by r.id desc limit ?3";

impl Store {
    /// Runs, the newest first; `cursor` is the `next` of the page before.
    pub async fn runs(&self, limit: u32, cursor: Option<i64>) -> Result<Page<RunRow>> {
        let rows = sqlx::query_as::<_, RunRow>(RUNS)
            .bind(None::<&str>)
            .bind(cursor)
            .bind(limit + 1)
            .fetch_all(self.pool())
            .await?;
        Ok(Page::cut(rows, limit, |run| run.id))
    }

    /// The run of that name; `NotFound` where no checkpoint of it proved whole yet.
    pub async fn run(&self, name: &str) -> Result<RunRow> {
        let row =
            sqlx::query_as::<_, RunRow>(RUNS).bind(name).bind(None::<i64>).bind(1).fetch_optional(self.pool()).await?;
        row.ok_or_else(|| unknown(name))
    }

    /// The run that an answer is about: `asked`, else the most recently active one (so the only one); `None` where
    /// nothing was seen yet. A run that was asked for and never seen is `NotFound`.
    pub async fn run_asked(&self, asked: Option<&str>) -> Result<Option<String>> {
        let found = sqlx::query_scalar::<_, String>(
            "select name from (
                 select name, active_at as at from runs
                 union all
                 select run, max(created_at) from checkpoints where run not in (select name from runs) group by run)
             where ?1 is null or name = ?1
             order by at desc, name limit 1",
        )
        .bind(asked)
        .fetch_optional(self.pool())
        .await?;
        match (found, asked) {
            (None, Some(name)) => Err(unknown(name)),
            (found, _) => Ok(found),
        }
    }
}

fn unknown(name: &str) -> Error {
    Error::NotFound(format!("no run `{name}` was seen; hint: `/runs` lists them"))
}
