//! Runs, attempts and points.

use sqlx::{FromRow, SqliteConnection};

use super::Store;
use crate::{
    domain::{Epoch, RunName, ValueSource},
    error::Result,
};

/// A row of `points` with its attempt.
#[derive(Clone, Debug, FromRow)]
pub struct PlacedPoint {
    pub id: i64,
    pub attempt_id: i64,
    pub attempt: i64,
    pub run_id: i64,
    pub epoch: i64,
    pub global_step: i64,
    pub weights_digest: String,
}

/// The highest step of a run's newest attempt, and when its file was made and first seen.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct AttemptTop {
    pub attempt: i64,
    pub global_step: i64,
    pub mtime_ns: i64,
    pub seen_at: String,
}

/// A point to be added.
#[derive(Clone, Debug)]
pub struct NewPoint<'a> {
    pub attempt_id: i64,
    pub epoch: Epoch,
    pub epoch_source: ValueSource,
    pub global_step: u64,
    pub step_source: ValueSource,
    pub weights_digest: &'a str,
    pub context: &'a str,
}

const COLUMNS: &str = "select p.id, p.attempt_id, a.number as attempt, a.run_id, p.epoch, p.global_step, p.weights_digest \
     from points p join attempts a on a.id = p.attempt_id";

impl Store {
    /// The run of that name, made when new; it is active now and no longer finished.
    pub async fn touch_run(&self, db: &mut SqliteConnection, name: &RunName, now: &str) -> Result<i64> {
        Ok(sqlx::query_scalar(
            "insert into runs (name, created_at, active_at) values (?1, ?2, ?2) \
             on conflict (name) do update set active_at = excluded.active_at, finished_at = null returning id",
        )
        .bind(name.as_str())
        .bind(now)
        .fetch_one(db)
        .await?)
    }

    /// The run's id by its name.
    pub async fn run_id(&self, db: &mut SqliteConnection, name: &str) -> Result<Option<i64>> {
        Ok(sqlx::query_scalar("select id from runs where name = ?1").bind(name).fetch_optional(db).await?)
    }

    /// The run is over.
    pub async fn finish_run(&self, db: &mut SqliteConnection, run: i64, now: &str) -> Result<()> {
        sqlx::query("update runs set finished_at = ?2 where id = ?1").bind(run).bind(now).execute(db).await?;
        Ok(())
    }

    /// Runs without a checkpoint since `before` that are not finished.
    pub async fn idle_runs(&self, before: &str) -> Result<Vec<(i64, String)>> {
        Ok(sqlx::query_as("select id, name from runs where finished_at is null and active_at < ?1")
            .bind(before)
            .fetch_all(self.pool())
            .await?)
    }

    /// The attempt of that number, made when new.
    pub async fn attempt_id(&self, db: &mut SqliteConnection, run: i64, number: i64, now: &str) -> Result<i64> {
        Ok(sqlx::query_scalar(
            "insert into attempts (run_id, number, created_at) values (?1, ?2, ?3) \
             on conflict (run_id, number) do update set number = excluded.number returning id",
        )
        .bind(run)
        .bind(number)
        .bind(now)
        .fetch_one(db)
        .await?)
    }

    /// The highest step of the run's newest attempt.
    pub async fn attempt_top(&self, db: &mut SqliteConnection, run: i64) -> Result<Option<AttemptTop>> {
        Ok(sqlx::query_as(
            "select a.number as attempt, p.global_step, coalesce(c.mtime_ns, 0) as mtime_ns, c.created_at as seen_at \
             from points p join attempts a on a.id = p.attempt_id join checkpoints c on c.point_id = p.id \
             where a.run_id = ?1 order by a.number desc, p.global_step desc, c.id limit 1",
        )
        .bind(run)
        .fetch_optional(db)
        .await?)
    }

    /// The points of a run at a step, newest attempt first.
    pub async fn points_at(&self, db: &mut SqliteConnection, run: i64, step: u64) -> Result<Vec<PlacedPoint>> {
        let sql =
            sqlx::AssertSqlSafe(format!("{COLUMNS} where a.run_id = ?1 and p.global_step = ?2 order by a.number desc"));
        Ok(sqlx::query_as(sql).bind(run).bind(i64::try_from(step).unwrap_or(i64::MAX)).fetch_all(db).await?)
    }

    /// One point.
    pub async fn placed_point(&self, db: &mut SqliteConnection, id: i64) -> Result<Option<PlacedPoint>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where p.id = ?1"));
        Ok(sqlx::query_as(sql).bind(id).fetch_optional(db).await?)
    }

    /// Adds a point.
    pub async fn add_point(&self, db: &mut SqliteConnection, new: &NewPoint<'_>, now: &str) -> Result<i64> {
        let word = |source: ValueSource| serde_json::json!(source).as_str().unwrap_or_default().to_owned();
        let row = sqlx::query(
            "insert into points (attempt_id, global_step, step_source, epoch, epoch_source, weights_digest, context, \
             created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(new.attempt_id)
        .bind(i64::try_from(new.global_step).unwrap_or(i64::MAX))
        .bind(word(new.step_source))
        .bind(new.epoch.0)
        .bind(word(new.epoch_source))
        .bind(new.weights_digest)
        .bind(new.context)
        .bind(now)
        .execute(db)
        .await?;
        Ok(row.last_insert_rowid())
    }

    /// Keeps scalars of the trainer beside a point; later posts win key by key.
    pub async fn merge_context(&self, db: &mut SqliteConnection, point: i64, context: &str) -> Result<()> {
        sqlx::query("update points set context = json_patch(context, ?2) where id = ?1")
            .bind(point)
            .bind(context)
            .execute(db)
            .await?;
        Ok(())
    }
}
