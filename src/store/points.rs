//! Runs and points.

use sqlx::{FromRow, SqliteConnection, types::Json};

use super::Store;
use crate::{
    domain::{Context, Digest, DueReason, Epoch, JobKind, PointId, RunId, RunName, State, ValueSource},
    error::Result,
};

/// A row of `points`.
#[derive(Clone, Debug, FromRow)]
pub struct PointRow {
    pub id: PointId,
    pub run_id: RunId,
    pub attempt: u32,
    pub epoch: Epoch,
    pub global_step: i64,
    pub step_source: ValueSource,
    pub weights_digest: Digest,
    pub due_reason: Option<DueReason>,
}

/// The highest step of a run's newest attempt, and when its file was written and first seen.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Top {
    pub id: PointId,
    pub attempt: u32,
    pub epoch: Epoch,
    pub global_step: i64,
    pub step_source: ValueSource,
    pub written_ns: i64,
    pub batch: String,
    pub due_reason: Option<DueReason>,
}

/// A point of an attempt with a job of a kind: the state of one that holds its slot in the due rule, else of the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Slot {
    pub epoch: Epoch,
    pub global_step: i64,
    pub state: State,
}

/// A point to be added.
#[derive(Clone, Debug)]
pub struct NewPoint<'a> {
    pub run: RunId,
    pub attempt: u32,
    pub epoch: (Epoch, ValueSource),
    pub global_step: (i64, ValueSource),
    pub weights: Digest,
    pub due: Option<DueReason>,
    pub written_ns: i64,
    pub batch: &'a str,
    pub context: &'a Context,
}

const COLUMNS: &str =
    "select id, run_id, attempt, epoch, global_step, step_source, weights_digest, due_reason from points";

impl Store {
    /// The run of that name, made when new.
    pub async fn add_run(&self, db: &mut SqliteConnection, name: &RunName, now: &str) -> Result<RunId> {
        sqlx::query("insert into runs (name, created_at, active_at) values (?1, ?2, ?2) on conflict (name) do nothing")
            .bind(name)
            .bind(now)
            .execute(&mut *db)
            .await?;
        Ok(sqlx::query_scalar("select id from runs where name = ?1").bind(name).fetch_one(db).await?)
    }

    /// Removes runs that a post took the last checkpoint from.
    pub async fn drop_empty_runs(&self, db: &mut SqliteConnection) -> Result<()> {
        sqlx::query("delete from runs where checkpoints = 0 and points = 0 and finished_at is null")
            .execute(db)
            .await?;
        Ok(())
    }

    /// The run's id by its name.
    pub async fn run_id(&self, db: &mut SqliteConnection, name: &RunName) -> Result<Option<RunId>> {
        Ok(sqlx::query_scalar("select id from runs where name = ?1").bind(name).fetch_optional(db).await?)
    }

    /// When the run's end was told; `None` while it goes on.
    pub async fn finished_at(&self, db: &mut SqliteConnection, run: RunId) -> Result<Option<String>> {
        Ok(sqlx::query_scalar("select finished_at from runs where id = ?1").bind(run).fetch_one(db).await?)
    }

    /// Tells a run's end, or, with `None`, that it goes on.
    pub async fn set_finished(&self, db: &mut SqliteConnection, run: RunId, at: Option<&str>) -> Result<()> {
        sqlx::query("update runs set finished_at = ?2 where id = ?1").bind(run).bind(at).execute(db).await?;
        Ok(())
    }

    /// The checkpoints of a run that are not proven yet.
    pub async fn open_in_run(&self, db: &mut SqliteConnection, run: RunId) -> Result<i64> {
        let sql = "select count(*) from checkpoints where state in ('seen', 'settling') and run_id = ?1";
        Ok(sqlx::query_scalar(sql).bind(run).fetch_one(db).await?)
    }

    /// Runs whose end was told at `since` or later.
    pub async fn finished_since(&self, since: &str) -> Result<Vec<RunId>> {
        let sql = "select id from runs where finished_at >= ?1";
        Ok(sqlx::query_scalar(sql).bind(since).fetch_all(self.pool()).await?)
    }

    /// Runs that go on, without a new checkpoint since `before`, whose newest point is not due.
    pub async fn idle_runs(&self, before: &str) -> Result<Vec<(RunId, RunName)>> {
        Ok(sqlx::query_as(
            "select r.id, r.name from runs r where r.finished_at is null and r.active_at < ?1 and exists \
             (select 1 from points p where p.due_reason is null and p.id = (select id from points where run_id = r.id \
              order by attempt desc, global_step desc limit 1))",
        )
        .bind(before)
        .fetch_all(self.pool())
        .await?)
    }

    /// The points of a run with these weights at an epoch, the newest attempt first.
    pub async fn points_with(
        &self,
        db: &mut SqliteConnection,
        run: RunId,
        epoch: Epoch,
        weights: Digest,
    ) -> Result<Vec<PointRow>> {
        let sql = format!(
            "{COLUMNS} where run_id = ?1 and epoch = ?2 and weights_digest = ?3 order by attempt desc, id desc"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(run).bind(epoch).bind(weights).fetch_all(db).await?)
    }

    /// The point of an attempt at a step.
    pub async fn point_at(
        &self,
        db: &mut SqliteConnection,
        run: RunId,
        attempt: u32,
        step: i64,
    ) -> Result<Option<PointRow>> {
        let sql = format!("{COLUMNS} where run_id = ?1 and attempt = ?2 and global_step = ?3");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(run).bind(attempt).bind(step).fetch_optional(db).await?)
    }

    /// One point.
    pub async fn point(&self, db: &mut SqliteConnection, id: PointId) -> Result<PointRow> {
        let sql = format!("{COLUMNS} where id = ?1");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(id).fetch_one(db).await?)
    }

    /// The highest step of the newest attempt of a run, or of that attempt.
    pub async fn top(&self, db: &mut SqliteConnection, run: RunId, attempt: Option<u32>) -> Result<Option<Top>> {
        Ok(sqlx::query_as(
            "select id, attempt, epoch, global_step, step_source, written_ns, batch, due_reason from points \
             where run_id = ?1 and (?2 is null or attempt = ?2) order by attempt desc, global_step desc limit 1",
        )
        .bind(run)
        .bind(attempt)
        .fetch_optional(db)
        .await?)
    }

    /// The points of an attempt that have a job of a kind.
    pub async fn slots(&self, db: &mut SqliteConnection, run: RunId, attempt: u32, kind: JobKind) -> Result<Vec<Slot>> {
        Ok(sqlx::query_as(
            "select p.epoch, p.global_step, j.state from points p join jobs j on j.id = (select id from jobs \
             where point_id = p.id and kind = ?3 order by state in ('queued', 'running', 'done') desc, id desc limit 1) \
             where p.run_id = ?1 and p.attempt = ?2",
        )
        .bind(run)
        .bind(attempt)
        .bind(kind)
        .fetch_all(db)
        .await?)
    }

    /// Adds a point.
    pub async fn add_point(&self, db: &mut SqliteConnection, new: &NewPoint<'_>, now: &str) -> Result<PointId> {
        Ok(sqlx::query_scalar(
            "insert into points (run_id, attempt, global_step, step_source, epoch, epoch_source, weights_digest, \
             due_reason, written_ns, batch, context, created_at) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) returning id",
        )
        .bind(new.run)
        .bind(new.attempt)
        .bind(new.global_step.0)
        .bind(new.global_step.1)
        .bind(new.epoch.0)
        .bind(new.epoch.1)
        .bind(new.weights)
        .bind(new.due)
        .bind(new.written_ns)
        .bind(new.batch)
        .bind(Json(new.context))
        .bind(now)
        .fetch_one(db)
        .await?)
    }

    /// A point is due after all.
    pub async fn note_due(&self, db: &mut SqliteConnection, point: PointId, why: DueReason) -> Result<()> {
        sqlx::query("update points set due_reason = ?2 where id = ?1").bind(point).bind(why).execute(db).await?;
        Ok(())
    }

    /// Keeps scalars of the trainer beside a point; later posts win key by key.
    pub async fn merge_context(&self, db: &mut SqliteConnection, point: PointId, context: &Context) -> Result<()> {
        sqlx::query("update points set context = json_patch(context, ?2) where id = ?1")
            .bind(point)
            .bind(Json(context))
            .execute(db)
            .await?;
        Ok(())
    }
}
