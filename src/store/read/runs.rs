//! Runs, and which of them an answer is about.

use serde::Serialize;

use super::Page;
use crate::{
    domain::{Epoch, RunId, RunName},
    error::{Error, Result},
    store::Store,
};

/// A run as `/runs` lists it.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct RunItem {
    #[serde(skip)]
    #[schema(ignore)]
    pub id: RunId,
    #[sqlx(rename = "name")]
    #[schema(value_type = String)]
    pub run: RunName,
    /// Starts and restarts seen.
    pub attempts: i64,
    /// Files seen.
    pub checkpoints: i64,
    /// Points of its curve.
    pub points: i64,
    /// Points with a score.
    pub done: i64,
    /// The highest epoch seen.
    #[schema(value_type = Option<u32>)]
    pub latest_epoch: Option<Epoch>,
    pub created_at: String,
    /// When its last checkpoint was seen.
    pub active_at: String,
    /// When its end was told; null while it goes on.
    pub finished_at: Option<String>,
}

const ITEM: &str = "
    select r.id, r.name, r.checkpoints, r.points, r.scored as done, r.created_at, r.active_at, r.finished_at,
           coalesce((select max(p.attempt) + 1 from points p where p.run_id = r.id), 0) as attempts,
           (select max(p.epoch) from points p where p.run_id = r.id) as latest_epoch
    from runs r";

impl Store {
    /// Runs, the newest first; `cursor` is the `next` of the page before.
    pub async fn runs(&self, limit: u32, cursor: Option<i64>) -> Result<Page<RunItem>> {
        let sql = sqlx::AssertSqlSafe(format!("{ITEM} where r.id < ?1 order by r.id desc limit ?2"));
        let rows = sqlx::query_as::<_, RunItem>(sql).bind(cursor.unwrap_or(i64::MAX)).bind(limit + 1);
        Ok(Page::cut(rows.fetch_all(self.pool()).await?, limit, |run| run.id.0))
    }

    /// The run of that name.
    pub async fn run(&self, name: &str) -> Result<RunItem> {
        let sql = sqlx::AssertSqlSafe(format!("{ITEM} where r.name = ?1"));
        let row = sqlx::query_as(sql).bind(name).fetch_optional(self.pool()).await?;
        row.ok_or_else(|| Error::not_found(format!("no run `{name}` was seen")).with_hint("`/runs` lists them"))
    }

    /// The run that an answer is about where none is named: the one with the newest point, else with the newest
    /// checkpoint; `None` where nothing was seen yet.
    pub async fn default_run(&self) -> Result<Option<RunItem>> {
        let newest = "(select coalesce((select run_id from points order by id desc limit 1), \
                       (select run_id from checkpoints order by id desc limit 1)))";
        let sql = sqlx::AssertSqlSafe(format!("{ITEM} where r.id = {newest}"));
        Ok(sqlx::query_as(sql).fetch_optional(self.pool()).await?)
    }
}
