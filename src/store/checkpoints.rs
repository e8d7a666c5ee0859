//! Checkpoints: one row per sighting of one content of a path.

use std::collections::HashMap;

use sqlx::{FromRow, SqliteConnection, types::Json};

use super::{Store, journal};
use crate::{
    domain::{
        Change, CheckpointId, Context, Facts, Identity, Pinned, PointId, Reason, RunId, RunName, State, Subject, Via,
    },
    error::Result,
};

/// A row of `checkpoints`, the part that the service decides by, with its latest pin job.
#[derive(Clone, Debug, PartialEq, FromRow)]
pub struct CheckpointRow {
    pub id: CheckpointId,
    pub run_id: RunId,
    pub run: RunName,
    pub path: String,
    pub via: Via,
    pub state: State,
    pub reason: Option<Reason>,
    pub posted: Json<Facts>,
    pub posted_identity: Option<Identity>,
    pub forced: bool,
    pub context: Json<Context>,
    pub identity: Option<Identity>,
    pub changed_at: String,
    pub batch: String,
    pub point_id: Option<PointId>,
    /// State of its latest pin job, and the content that is or was pinned by it.
    pub pin_state: Option<State>,
    pub pin_key: Option<Identity>,
    /// Failed tries of it.
    pub pin_tries: Option<u32>,
    /// What it gave, once done.
    pub pinned: Option<Json<Pinned>>,
}

impl CheckpointRow {
    /// Whether a pin reads, or has read, the content that the row is of.
    pub fn is_being_read(&self) -> bool {
        self.pin_key == self.identity && matches!(self.pin_state, Some(State::Running | State::Done))
    }

    /// What its latest pin job proved, where that was the present content.
    pub fn proven(&self) -> Option<&Pinned> {
        let same = self.identity.is_some() && self.pin_key == self.identity;
        self.pinned.as_ref().map(|pinned| &pinned.0).filter(|_| same && self.pin_state == Some(State::Done))
    }
}

/// A checkpoint seen or announced for the first time.
#[derive(Clone, Debug)]
pub struct NewCheckpoint<'a> {
    pub path: &'a str,
    pub via: Via,
    pub run: &'a RunName,
    pub facts: &'a Facts,
    pub forced: bool,
    pub context: &'a Context,
    /// `None`: announced, not there yet.
    pub identity: Option<Identity>,
    pub batch: &'a str,
}

const COLUMNS: &str = "select c.id, c.run_id, r.name as run, c.path, c.via, c.state, c.reason, c.posted, \
     c.posted_identity, c.forced, c.context, c.identity, c.changed_at, c.batch, c.point_id, j.state as pin_state, \
     j.key as pin_key, j.tries as pin_tries, j.output as pinned from checkpoints c join runs r on r.id = c.run_id \
     left join jobs j on j.id = (select max(id) from jobs where checkpoint_id = c.id)";

impl Store {
    /// The newest row of a path.
    pub async fn checkpoint_at(&self, db: &mut SqliteConnection, path: &str) -> Result<Option<CheckpointRow>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where c.path = ?1 order by c.id desc limit 1"));
        Ok(sqlx::query_as(sql).bind(path).fetch_optional(db).await?)
    }

    /// One row.
    pub async fn file(&self, db: &mut SqliteConnection, id: CheckpointId) -> Result<Option<CheckpointRow>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where c.id = ?1"));
        Ok(sqlx::query_as(sql).bind(id).fetch_optional(db).await?)
    }

    /// All that are announced or settling, oldest first.
    pub async fn open_checkpoints(&self) -> Result<Vec<CheckpointRow>> {
        let sql = sqlx::AssertSqlSafe(format!("{COLUMNS} where c.state in ('seen', 'settling') order by c.id"));
        Ok(sqlx::query_as(sql).fetch_all(self.pool()).await?)
    }

    /// The newest row of each of these paths.
    pub async fn newest_of(&self, paths: impl Iterator<Item = &str>) -> Result<HashMap<String, CheckpointId>> {
        let paths: Vec<&str> = paths.collect();
        let sql = "select path, max(id) from checkpoints where path in (select value from json_each(?1)) group by path";
        let rows: Vec<(String, CheckpointId)> = sqlx::query_as(sql).bind(Json(paths)).fetch_all(self.pool()).await?;
        Ok(rows.into_iter().collect())
    }

    /// The identity that is known of a path's content, of its newest row.
    pub async fn known_identity(&self, path: &str) -> Result<Option<Identity>> {
        let sql = "select identity from checkpoints where path = ?1 order by id desc limit 1";
        let row: Option<Option<Identity>> = sqlx::query_scalar(sql).bind(path).fetch_optional(self.pool()).await?;
        Ok(row.flatten())
    }

    /// Adds one, and its run where that is new: `settling` when it is there, else `seen`.
    pub async fn add_checkpoint(
        &self,
        db: &mut SqliteConnection,
        new: &NewCheckpoint<'_>,
        now: &str,
    ) -> Result<CheckpointId> {
        let run = self.add_run(db, new.run, now).await?;
        let change = if new.identity.is_some() { Change::Found } else { Change::Announced };
        let posted_identity = new.identity.filter(|_| new.via == Via::Post);
        let id = sqlx::query_scalar(
            "insert into checkpoints (run_id, path, via, state, shown, posted, posted_identity, forced, context, \
             identity, bytes, changed_at, batch, created_at) \
             values (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?11) returning id",
        )
        .bind(run)
        .bind(new.path)
        .bind(new.via)
        .bind(State::after(None, change))
        .bind(Json(new.facts))
        .bind(posted_identity)
        .bind(new.forced)
        .bind(Json(new.context))
        .bind(new.identity)
        .bind(new.identity.map(|i| i.size.cast_signed()))
        .bind(now)
        .bind(new.batch)
        .fetch_one(&mut *db)
        .await?;
        journal::begin(db, Subject::Checkpoint(id), change).await?;
        Ok(id)
    }

    /// Notes the content that is there now: it settles from now. `None`: nothing is.
    pub async fn note_identity(
        &self,
        db: &mut SqliteConnection,
        row: &CheckpointRow,
        identity: Option<Identity>,
        now: &str,
    ) -> Result<()> {
        sqlx::query("update checkpoints set identity = ?2, bytes = ?3, changed_at = ?4 where id = ?1")
            .bind(row.id)
            .bind(identity)
            .bind(identity.map(|i| i.size.cast_signed()))
            .bind(now)
            .execute(&mut *db)
            .await?;
        match (row.state, identity) {
            (State::Seen | State::Rejected, Some(_)) => self.change_file(db, row.id, Change::Found, None).await,
            (State::Settling, None) => self.change_file(db, row.id, Change::Left, None).await,
            _ => Ok(()),
        }
    }

    /// Keeps what a post said about it, and what was there then.
    pub async fn note_posted(
        &self,
        db: &mut SqliteConnection,
        id: CheckpointId,
        post: &NewCheckpoint<'_>,
        now: &str,
    ) -> Result<()> {
        let run = self.add_run(db, post.run, now).await?;
        sqlx::query(
            "update checkpoints set via = 'post', run_id = ?2, posted = ?3, forced = max(forced, ?4), \
             context = json_patch(context, ?5), posted_identity = ?6 where id = ?1",
        )
        .bind(id)
        .bind(run)
        .bind(Json(post.facts))
        .bind(post.forced)
        .bind(Json(post.context))
        .bind(post.identity)
        .execute(&mut *db)
        .await?;
        self.drop_empty_runs(db).await
    }

    /// Forgets what was posted: it was about other content of the path.
    pub async fn forget_posted(&self, db: &mut SqliteConnection, id: CheckpointId) -> Result<()> {
        sqlx::query("update checkpoints set posted = '{}', context = '{}', posted_identity = null where id = ?1")
            .bind(id)
            .execute(db)
            .await?;
        Ok(())
    }

    /// Changes the state of a checkpoint; see [`journal::change`].
    pub async fn change_file(
        &self,
        db: &mut SqliteConnection,
        id: CheckpointId,
        change: Change,
        why: Option<(Reason, String)>,
    ) -> Result<()> {
        let why = why.map_or_else(journal::Why::default, |(reason, message)| journal::Why::of(reason, message));
        journal::change(db, Subject::Checkpoint(id), change, why).await.map(drop)
    }

    /// It is proven whole and belongs to a point.
    pub async fn complete_checkpoint(
        &self,
        db: &mut SqliteConnection,
        id: CheckpointId,
        pinned: &Pinned,
        point: PointId,
        run: RunId,
        now: &str,
    ) -> Result<()> {
        let about = serde_json::json!({ "dtype": pinned.dtype, "file": pinned.about });
        sqlx::query(
            "update checkpoints set run_id = ?2, format = ?3, file_digest = ?4, weights_digest = ?5, encoder = ?6, \
             about = ?7, point_id = ?8, whole_at = ?9 where id = ?1",
        )
        .bind(id)
        .bind(run)
        .bind(pinned.format)
        .bind(pinned.file_digest)
        .bind(pinned.weights_digest)
        .bind(Json(&pinned.encoder))
        .bind(Json(about))
        .bind(point)
        .bind(now)
        .execute(&mut *db)
        .await?;
        self.change_file(db, id, Change::Proven, None).await
    }
}
