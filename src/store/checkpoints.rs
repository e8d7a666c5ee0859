//! Checkpoint files: one row per path and version of its content.

use serde::{Deserialize, Serialize};
use sqlx::{FromRow, SqliteConnection};

use super::{Store, to_json};
use crate::{
    domain::{CheckpointState, Pinned, RunName},
    error::{Error, Result},
};

/// What tells one version of a file from another, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct Identity {
    pub device: i64,
    pub inode: i64,
    /// Bytes.
    pub size: i64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
}

/// What was posted about a checkpoint; `None` where it was not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostedFields {
    pub run: Option<RunName>,
    pub attempt: Option<u32>,
    pub epoch: Option<u32>,
    pub global_step: Option<u64>,
}

/// A row of `checkpoints`, the part that the service decides by.
#[derive(Clone, Debug, FromRow)]
pub struct FileRow {
    pub id: i64,
    pub path: String,
    pub via: String,
    pub state: String,
    pub reason: Option<String>,
    pub message: Option<String>,
    pub run: String,
    pub posted: String,
    pub force: bool,
    pub context: String,
    pub device: Option<i64>,
    pub inode: Option<i64>,
    pub size: Option<i64>,
    pub mtime_ns: Option<i64>,
    pub ctime_ns: Option<i64>,
    pub changed_at: String,
    pub tries: i64,
    pub not_before: Option<String>,
    pub weights_digest: Option<String>,
    pub point_id: Option<i64>,
    pub created_at: String,
}

impl FileRow {
    /// The state as a word of the domain.
    pub fn state(&self) -> Result<CheckpointState> {
        CheckpointState::parse(&self.state).ok_or_else(|| Error::Internal(format!("unknown state `{}`", self.state)))
    }

    /// The file's identity when it was last looked at; `None` while it was not there.
    pub fn identity(&self) -> Option<Identity> {
        Some(Identity {
            device: self.device?,
            inode: self.inode?,
            size: self.size?,
            mtime_ns: self.mtime_ns?,
            ctime_ns: self.ctime_ns?,
        })
    }

    /// What was posted about it.
    pub fn posted(&self) -> Result<PostedFields> {
        super::json_of(&self.posted)
    }
}

/// A checkpoint seen or announced for the first time.
#[derive(Clone, Debug)]
pub struct NewCheckpoint<'a> {
    pub path: &'a str,
    /// `scan` or `post`.
    pub via: &'a str,
    pub run: &'a RunName,
    pub posted: &'a PostedFields,
    pub force: bool,
    /// JSON object.
    pub context: &'a str,
    /// `None`: announced, not there yet.
    pub identity: Option<Identity>,
}

const COLUMNS: &str = "select id, path, via, state, reason, message, run, posted, force, context, device, inode, size, \
     mtime_ns, ctime_ns, changed_at, tries, not_before, weights_digest, point_id, created_at from checkpoints";

impl Store {
    /// The newest row of a path.
    pub async fn checkpoint_at(&self, db: &mut SqliteConnection, path: &str) -> Result<Option<FileRow>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where path = ?1 order by id desc limit 1"));
        Ok(sqlx::query_as(sql).bind(path).fetch_optional(db).await?)
    }

    /// One row.
    pub async fn file(&self, db: &mut SqliteConnection, id: i64) -> Result<Option<FileRow>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where id = ?1"));
        Ok(sqlx::query_as(sql).bind(id).fetch_optional(db).await?)
    }

    /// All that are announced or settling, oldest first.
    pub async fn open_checkpoints(&self) -> Result<Vec<FileRow>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where state in ('seen', 'settling') order by id"));
        Ok(sqlx::query_as(sql).fetch_all(self.pool()).await?)
    }

    /// Adds one: `settling` when it is there, else `seen`.
    pub async fn add_checkpoint(&self, db: &mut SqliteConnection, new: &NewCheckpoint<'_>, now: &str) -> Result<i64> {
        let state = if new.identity.is_some() { CheckpointState::Settling } else { CheckpointState::Seen };
        let row = sqlx::query(
            "insert into checkpoints (path, via, state, run, posted, force, context, device, inode, size, mtime_ns, \
             ctime_ns, changed_at, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13)",
        )
        .bind(new.path)
        .bind(new.via)
        .bind(state.as_str())
        .bind(new.run.as_str())
        .bind(to_json(new.posted)?)
        .bind(new.force)
        .bind(new.context)
        .bind(new.identity.map(|i| i.device))
        .bind(new.identity.map(|i| i.inode))
        .bind(new.identity.map(|i| i.size))
        .bind(new.identity.map(|i| i.mtime_ns))
        .bind(new.identity.map(|i| i.ctime_ns))
        .bind(now)
        .execute(db)
        .await?;
        Ok(row.last_insert_rowid())
    }

    /// Its file is there, or changed: it settles from now. `None`: its file went away, it is only announced again.
    pub async fn note_identity(
        &self,
        db: &mut SqliteConnection,
        id: i64,
        identity: Option<Identity>,
        now: &str,
    ) -> Result<()> {
        let state = if identity.is_some() { CheckpointState::Settling } else { CheckpointState::Seen };
        sqlx::query(
            "update checkpoints set state = ?2, device = ?3, inode = ?4, size = ?5, mtime_ns = ?6, ctime_ns = ?7, \
             changed_at = ?8, tries = 0, not_before = null, reason = null, message = null \
             where id = ?1 and state in ('seen', 'settling', 'rejected')",
        )
        .bind(id)
        .bind(state.as_str())
        .bind(identity.map(|i| i.device))
        .bind(identity.map(|i| i.inode))
        .bind(identity.map(|i| i.size))
        .bind(identity.map(|i| i.mtime_ns))
        .bind(identity.map(|i| i.ctime_ns))
        .bind(now)
        .execute(db)
        .await?;
        Ok(())
    }

    /// Keeps what a later post said about it.
    pub async fn note_posted(
        &self,
        db: &mut SqliteConnection,
        id: i64,
        run: &RunName,
        posted: &PostedFields,
        force: bool,
        context: &str,
    ) -> Result<()> {
        sqlx::query(
            "update checkpoints set via = 'post', run = ?2, posted = ?3, force = max(force, ?4), context = ?5 where id = ?1",
        )
        .bind(id)
        .bind(run.as_str())
        .bind(to_json(posted)?)
        .bind(force)
        .bind(context)
        .execute(db)
        .await?;
        Ok(())
    }

    /// Reading it failed in a way that may pass; it stays settling and is tried again later.
    pub async fn postpone_checkpoint(&self, id: i64, reason: &str, message: &str, not_before: &str) -> Result<()> {
        let mut db = self.write().await?;
        sqlx::query(
            "update checkpoints set tries = tries + 1, not_before = ?4, reason = ?2, message = ?3 \
             where id = ?1 and state = 'settling'",
        )
        .bind(id)
        .bind(reason)
        .bind(message)
        .bind(not_before)
        .execute(&mut *db)
        .await?;
        Ok(db.commit().await?)
    }

    /// Ends it without a point: `rejected` or `vanished`.
    pub async fn end_checkpoint(
        &self,
        db: &mut SqliteConnection,
        id: i64,
        state: CheckpointState,
        reason: &str,
        message: &str,
    ) -> Result<bool> {
        let done = sqlx::query(
            "update checkpoints set state = ?2, reason = ?3, message = ?4 where id = ?1 and state in ('seen', 'settling')",
        )
        .bind(id)
        .bind(state.as_str())
        .bind(reason)
        .bind(message)
        .execute(db)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// It is proven whole and belongs to a point.
    pub async fn complete_checkpoint(
        &self,
        db: &mut SqliteConnection,
        id: i64,
        pinned: &Pinned,
        point: i64,
        now: &str,
    ) -> Result<()> {
        let about = serde_json::json!({ "dtype": pinned.dtype, "file": pinned.about });
        let done = sqlx::query(
            "update checkpoints set state = 'whole', reason = null, message = null, format = ?2, file_digest = ?3, \
             weights_digest = ?4, encoder = ?5, about = ?6, point_id = ?7, whole_at = ?8 \
             where id = ?1 and state = 'settling'",
        )
        .bind(id)
        .bind(serde_json::json!(pinned.format).as_str())
        .bind(pinned.file_digest.to_string())
        .bind(pinned.weights_digest.to_string())
        .bind(to_json(&pinned.encoder)?)
        .bind(to_json(&about)?)
        .bind(point)
        .bind(now)
        .execute(db)
        .await?;
        match done.rows_affected() {
            1 => Ok(()),
            _ => Err(Error::Conflict(format!("checkpoint {id} is no longer settling"))),
        }
    }
}
