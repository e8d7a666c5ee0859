//! Requests: their states change here only, each change guarded by the state it starts from.

use sqlx::{FromRow, SqliteConnection};

use super::Store;
use crate::{
    domain::{Change, Progress, RequestState},
    error::{Error, Result},
};

/// A row of `requests`, the part that the service decides by.
#[derive(Clone, Debug, FromRow)]
pub struct RequestRow {
    pub id: i64,
    pub point_id: i64,
    pub state: String,
    pub due_reason: Option<String>,
    pub tries: i64,
    pub restarts: i64,
}

impl RequestRow {
    /// The state as a word of the domain.
    pub fn state(&self) -> Result<RequestState> {
        RequestState::parse(&self.state).ok_or_else(|| Error::Internal(format!("unknown state `{}`", self.state)))
    }
}

/// A request of an attempt, for the due rule.
#[derive(Clone, Debug, FromRow)]
pub struct SlotRow {
    pub epoch: i64,
    pub state: String,
}

/// A request that a worker is to do, with all that the job needs.
#[derive(Clone, Debug, FromRow)]
pub struct ClaimedRequest {
    pub id: i64,
    pub tries: i64,
    pub protocol_digest: String,
    pub dataset_digest: String,
    pub weights_digest: String,
    pub epoch: i64,
    pub global_step: i64,
    pub run: String,
    pub path: String,
    pub result_id: Option<i64>,
}

const COLUMNS: &str = "select id, point_id, state, due_reason, tries, restarts from requests";

impl Store {
    /// Adds a request in its first state.
    #[expect(clippy::too_many_arguments, reason = "one column each")]
    pub async fn add_request(
        &self,
        db: &mut SqliteConnection,
        point: i64,
        protocol: &str,
        dataset: &str,
        state: RequestState,
        due_reason: Option<&str>,
        reason: Option<&str>,
        now: &str,
    ) -> Result<i64> {
        let row = sqlx::query(
            "insert into requests (point_id, protocol_digest, dataset_digest, state, due_reason, reason, created_at, \
             finished_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, case when ?8 then ?7 end)",
        )
        .bind(point)
        .bind(protocol)
        .bind(dataset)
        .bind(state.as_str())
        .bind(due_reason)
        .bind(reason)
        .bind(now)
        .bind(state.is_end())
        .execute(db)
        .await?;
        Ok(row.last_insert_rowid())
    }

    /// The latest request of a point.
    pub async fn latest_request(&self, db: &mut SqliteConnection, point: i64) -> Result<Option<RequestRow>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where point_id = ?1 order by id desc limit 1"));
        Ok(sqlx::query_as(sql).bind(point).fetch_optional(db).await?)
    }

    /// The requests of an attempt.
    pub async fn slots(&self, db: &mut SqliteConnection, attempt_id: i64) -> Result<Vec<SlotRow>> {
        Ok(sqlx::query_as(
            "select p.epoch, r.state from requests r join points p on p.id = r.point_id where p.attempt_id = ?1",
        )
        .bind(attempt_id)
        .fetch_all(db)
        .await?)
    }

    /// The held requests of a run.
    pub async fn held(&self, db: &mut SqliteConnection, run: i64) -> Result<Vec<RequestRow>> {
        Ok(sqlx::query_as(
            "select r.id, r.point_id, r.state, r.due_reason, r.tries, r.restarts from requests r \
             join points p on p.id = r.point_id join attempts a on a.id = p.attempt_id \
             where a.run_id = ?1 and r.state = 'held' order by p.global_step",
        )
        .bind(run)
        .fetch_all(db)
        .await?)
    }

    /// Changes a request's state as the table in `domain` allows; a change that another came before is an error.
    /// What belongs to the change is written beside it in the same transaction, by the `note_*` functions below.
    pub async fn change_request(&self, db: &mut SqliteConnection, request: &RequestRow, change: Change) -> Result<()> {
        let from = request.state()?;
        let refused =
            || Error::Conflict(format!("request {} is `{}`: {change:?} cannot happen", request.id, from.as_str()));
        let to = from.after(change).ok_or_else(refused)?;
        let done = sqlx::query("update requests set state = ?3, progress = null where id = ?1 and state = ?2")
            .bind(request.id)
            .bind(from.as_str())
            .bind(to.as_str())
            .execute(db)
            .await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(refused()) }
    }

    /// Why it is due; it waits for nothing else then.
    pub async fn note_due(&self, db: &mut SqliteConnection, id: i64, due_reason: &str) -> Result<()> {
        sqlx::query("update requests set due_reason = ?2, reason = null where id = ?1")
            .bind(id)
            .bind(due_reason)
            .execute(db)
            .await?;
        Ok(())
    }

    /// When a worker took it.
    pub async fn note_started(&self, db: &mut SqliteConnection, id: i64, now: &str) -> Result<()> {
        sqlx::query("update requests set started_at = ?2 where id = ?1").bind(id).bind(now).execute(db).await?;
        Ok(())
    }

    /// That a try failed, and until when the next one waits.
    pub async fn note_retry(
        &self,
        db: &mut SqliteConnection,
        id: i64,
        reason: &str,
        message: &str,
        not_before: &str,
    ) -> Result<()> {
        sqlx::query("update requests set tries = tries + 1, reason = ?2, message = ?3, not_before = ?4 where id = ?1")
            .bind(id)
            .bind(reason)
            .bind(message)
            .bind(not_before)
            .execute(db)
            .await?;
        Ok(())
    }

    /// That a restart of the daemon interrupted it.
    pub async fn note_restart(&self, db: &mut SqliteConnection, id: i64) -> Result<()> {
        sqlx::query("update requests set restarts = restarts + 1 where id = ?1").bind(id).execute(db).await?;
        Ok(())
    }

    /// How and when it ended.
    pub async fn note_end(
        &self,
        db: &mut SqliteConnection,
        id: i64,
        reason: Option<&str>,
        message: Option<&str>,
        now: &str,
    ) -> Result<()> {
        sqlx::query("update requests set reason = ?2, message = ?3, finished_at = ?4 where id = ?1")
            .bind(id)
            .bind(reason)
            .bind(message)
            .bind(now)
            .execute(db)
            .await?;
        Ok(())
    }

    /// One request.
    pub async fn request(&self, db: &mut SqliteConnection, id: i64) -> Result<Option<RequestRow>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where id = ?1"));
        Ok(sqlx::query_as(sql).bind(id).fetch_optional(db).await?)
    }

    /// All requests that were being probed.
    pub async fn probing(&self, db: &mut SqliteConnection) -> Result<Vec<RequestRow>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where state = 'probing'"));
        Ok(sqlx::query_as(sql).fetch_all(db).await?)
    }

    /// The next queued request in the order of the training, unless its computation is under way; with the result
    /// that is already known for it, if any.
    pub async fn next_queued(&self, db: &mut SqliteConnection, now: &str) -> Result<Option<ClaimedRequest>> {
        Ok(sqlx::query_as(include_str!("next_queued.sql")).bind(now).fetch_optional(db).await?)
    }

    /// What still waits is probed as it is configured now. Returns how many waited under another protocol or data set.
    pub async fn move_waiting(&self, protocol: &str, dataset: &str) -> Result<u64> {
        let mut db = self.write().await?;
        let moved = sqlx::query(
            "update requests set protocol_digest = ?1, dataset_digest = ?2 \
             where state in ('held', 'queued') and (protocol_digest <> ?1 or dataset_digest <> ?2)",
        )
        .bind(protocol)
        .bind(dataset)
        .execute(&mut *db)
        .await?;
        db.commit().await?;
        Ok(moved.rows_affected())
    }

    /// How far a worker is with it.
    pub async fn note_progress(&self, id: i64, progress: &Progress) -> Result<()> {
        let mut db = self.write().await?;
        sqlx::query("update requests set progress = ?2 where id = ?1 and state = 'probing'")
            .bind(id)
            .bind(super::to_json(progress)?)
            .execute(&mut *db)
            .await?;
        Ok(db.commit().await?)
    }
}
