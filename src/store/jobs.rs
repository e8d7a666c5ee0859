//! Jobs of all kinds: one queue, one row each.

use sqlx::{FromRow, SqliteConnection, types::Json};

use super::{Store, journal};
use crate::{
    domain::{
        Basis, Change, CheckpointId, Digest, EncoderFacts, Epoch, Identity, JobId, JobKind, PointId, Reason, RunId,
        RunName, State, Subject,
    },
    error::Result,
};

/// A row of `jobs`, the part that the service decides by.
#[derive(Clone, Debug, FromRow)]
pub struct JobRow {
    pub id: JobId,
    pub kind: JobKind,
    pub checkpoint_id: Option<CheckpointId>,
    pub point_id: Option<PointId>,
    pub key: Option<String>,
    pub state: State,
    /// Failed tries so far.
    pub tries: u32,
    /// Daemons that went down in a row while it ran.
    pub restarts: u32,
    pub created_at: String,
}

/// A job to be done.
#[derive(Clone, Copy, Debug)]
pub enum NewJob {
    Scan,
    Pin(CheckpointId, Identity),
    /// The closed-form head alone.
    Quick(PointId),
    Probe(PointId),
    /// The next draw of a control, for encoders as that of the point.
    Control(PointId),
}

/// What a probe job is about.
#[derive(Clone, Debug, FromRow)]
pub struct ProbeSubject {
    pub weights: Digest,
    pub epoch: Epoch,
    pub global_step: i64,
    pub run: RunName,
    /// The trainer's file.
    pub path: String,
    /// The `metadata.yaml` that was posted with it.
    pub metadata: Option<String>,
}

/// All kinds, quoted for SQL: the index of jobs begins with the kind.
pub(super) fn kinds() -> String {
    JobKind::ALL.iter().map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ")
}

const COLUMNS: &str = "select id, kind, checkpoint_id, point_id, key, state, tries, restarts, created_at from jobs";

impl Store {
    /// Adds a job to the queue.
    pub async fn add_job(&self, db: &mut SqliteConnection, new: NewJob, now: &str) -> Result<JobId> {
        let (kind, checkpoint, point, key) = match new {
            NewJob::Scan => (JobKind::Scan, None, None, None),
            NewJob::Pin(checkpoint, identity) => (JobKind::Pin, Some(checkpoint), None, Some(identity)),
            NewJob::Quick(point) => (JobKind::Quick, None, Some(point), None),
            NewJob::Probe(point) => (JobKind::Probe, None, Some(point), None),
            NewJob::Control(point) => (JobKind::Control, None, Some(point), None),
        };
        let sql = "insert into jobs (kind, checkpoint_id, point_id, key, state, created_at) \
                   values (?1, ?2, ?3, ?4, 'queued', ?5) returning id";
        let query = sqlx::query_scalar(sql).bind(kind).bind(checkpoint).bind(point).bind(key).bind(now);
        let id = query.fetch_one(&mut *db).await?;
        journal::begin(db, Subject::Job(id), Change::Asked).await?;
        Ok(id)
    }

    /// One job.
    pub async fn job(&self, db: &mut SqliteConnection, id: JobId) -> Result<JobRow> {
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(format!("{COLUMNS} where id = ?1"))).bind(id).fetch_one(db).await?)
    }

    /// The latest probe job of a point.
    pub async fn latest_probe(&self, db: &mut SqliteConnection, point: PointId) -> Result<Option<JobRow>> {
        let sql = format!("{COLUMNS} where point_id = ?1 and kind = 'probe' order by id desc limit 1");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(point).fetch_optional(db).await?)
    }

    /// The latest pin job of a checkpoint.
    pub async fn latest_pin(&self, db: &mut SqliteConnection, checkpoint: CheckpointId) -> Result<Option<JobRow>> {
        let sql = format!("{COLUMNS} where checkpoint_id = ?1 order by id desc limit 1");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(checkpoint).fetch_optional(db).await?)
    }

    /// The queued job of a kind that may start now, first come first served; of a probe only one whose weights are not
    /// being embedded already, nor are about to be for a quick score: it will share the embeddings or the result.
    pub async fn next_job(&self, db: &mut SqliteConnection, kind: JobKind, now: &str) -> Result<Option<JobRow>> {
        let sql = format!(
            "{COLUMNS} q where kind = ?1 and state = 'queued' and (not_before is null or not_before <= ?2) \
             and not exists (select 1 from jobs b join points pb on pb.id = b.point_id join points pq on pq.id = q.point_id \
                             where pb.weights_digest = pq.weights_digest and ((b.kind in ('quick', 'probe') and b.state = 'running') \
             or (b.kind = 'quick' and q.kind = 'probe' and b.state = 'queued' and b.tries = 0))) \
             order by id limit 1"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(kind).bind(now).fetch_optional(db).await?)
    }

    /// Whether a job of a kind is queued; looked at before a transaction is begun to claim one.
    pub async fn has_queued(&self, kind: JobKind) -> Result<bool> {
        let sql = "select exists (select 1 from jobs where kind = ?1 and state = 'queued')";
        Ok(sqlx::query_scalar(sql).bind(kind).fetch_one(self.pool()).await?)
    }

    /// All running jobs.
    pub async fn running_jobs(&self, db: &mut SqliteConnection) -> Result<Vec<JobRow>> {
        let sql = format!("{COLUMNS} where kind in ({}) and state = 'running' order by id", kinds());
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(db).await?)
    }

    /// The running jobs of a run.
    pub async fn jobs_of_run(&self, db: &mut SqliteConnection, run: RunId) -> Result<Vec<JobId>> {
        let sql = format!(
            "select j.id from jobs j left join points p on p.id = j.point_id \
             left join checkpoints c on c.id = j.checkpoint_id \
             where j.kind in ({}) and j.state = 'running' and coalesce(p.run_id, c.run_id) = ?1",
            kinds()
        );
        Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(run).fetch_all(db).await?)
    }

    /// Jobs of a kind that are queued or running.
    pub async fn open_jobs(&self, kind: JobKind) -> Result<i64> {
        let sql = "select count(*) from jobs where kind = ?1 and state in ('queued', 'running')";
        Ok(sqlx::query_scalar(sql).bind(kind).fetch_one(self.pool()).await?)
    }

    /// What a probe job is about.
    pub async fn probe_subject(&self, point: PointId) -> Result<ProbeSubject> {
        Ok(sqlx::query_as(
            "select p.weights_digest as weights, p.epoch, p.global_step, r.name as run, c.path, \
             c.posted ->> '$.metadata' as metadata from points p join runs r on r.id = p.run_id \
             join checkpoints c on c.id = (select max(id) from checkpoints where point_id = p.id) where p.id = ?1",
        )
        .bind(point)
        .fetch_one(self.pool())
        .await?)
    }

    /// What the encoder of a point's weights is known to be, of its newest proven checkpoint.
    pub async fn encoder_of(&self, db: &mut SqliteConnection, point: PointId) -> Result<EncoderFacts> {
        let sql =
            "select encoder from checkpoints where point_id = ?1 and encoder is not null order by id desc limit 1";
        let Json(facts) = sqlx::query_scalar(sql).bind(point).fetch_one(db).await?;
        Ok(facts)
    }

    /// The same, read outside of any write.
    pub async fn encoder_of_point(&self, point: PointId) -> Result<EncoderFacts> {
        let mut db = self.pool().acquire().await?;
        self.encoder_of(&mut db, point).await
    }

    /// What a probe job is of besides weights and heads, from its claim on.
    pub async fn note_basis(&self, db: &mut SqliteConnection, id: JobId, basis: Basis) -> Result<()> {
        sqlx::query("update jobs set key = ?2 where id = ?1").bind(id).bind(basis.to_string()).execute(db).await?;
        Ok(())
    }

    /// What a job gave.
    pub async fn note_output(
        &self,
        db: &mut SqliteConnection,
        id: JobId,
        output: &(impl serde::Serialize + Sync),
    ) -> Result<()> {
        sqlx::query("update jobs set output = ?2 where id = ?1").bind(id).bind(Json(output)).execute(db).await?;
        Ok(())
    }

    /// Counts daemons that went down in a row while a job ran; 0 after a clean stop.
    pub async fn note_restarts(&self, db: &mut SqliteConnection, id: JobId, restarts: u32) -> Result<()> {
        sqlx::query("update jobs set restarts = ?2 where id = ?1").bind(id).bind(restarts).execute(db).await?;
        Ok(())
    }

    /// Says why queued pins wait, or that they no longer do; their state stays as it is.
    pub async fn note_waiting_pins(&self, why: Option<(Reason, &str)>) -> Result<()> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "update jobs set reason = ?1, message = ?2 where kind = 'pin' and state = 'queued' \
             and (reason is null or reason = 'no-space')",
        )
        .bind(why.map(|why| why.0))
        .bind(why.map(|why| why.1))
        .execute(&mut *tx)
        .await;
        tx.end(done.map(drop).map_err(Into::into)).await
    }
}
