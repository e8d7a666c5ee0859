//! The journal: the one function that changes a state, with its reason, its time and its event in one transaction.

use sqlx::{FromRow, SqliteConnection};

use super::now;
use crate::{
    domain::{Change, CheckpointId, Failure, JobId, JobKind, PointId, Reason, RunId, State, Subject},
    error::{Error, Result},
};

/// Why a state changes, and until when what is tried again waits.
#[derive(Clone, Debug, Default)]
pub struct Why {
    pub reason: Option<Reason>,
    pub message: Option<String>,
    pub not_before: Option<String>,
}

impl Why {
    /// A reason with a sentence.
    pub fn of(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason: Some(reason), message: Some(message.into()), not_before: None }
    }
}

impl From<Reason> for Why {
    fn from(reason: Reason) -> Self {
        Self { reason: Some(reason), ..Self::default() }
    }
}

impl From<&Failure> for Why {
    fn from(failure: &Failure) -> Self {
        Self::of(failure.reason, failure.text())
    }
}

/// What an event tells of its subject besides the change.
#[derive(FromRow)]
struct About {
    state: State,
    run_id: Option<RunId>,
    checkpoint_id: Option<CheckpointId>,
    point_id: Option<PointId>,
    kind: Option<JobKind>,
}

/// Changes the state of a checkpoint or a job as the table in `domain` allows, and writes it into the journal. Returns
/// the new state.
///
/// # Errors
/// [`Error::Conflict`] where the change cannot happen, or another came before it.
pub async fn change(
    db: &mut SqliteConnection,
    subject: Subject,
    change: Change,
    why: impl Into<Why> + Send,
) -> Result<State> {
    let (why, at) = (why.into(), now());
    let about = about(db, subject).await?;
    let refused = || Error::conflict(format!("{subject} is `{}`: it cannot be {change} now", about.state));
    let to = State::after(Some(about.state), change).ok_or_else(refused)?;
    let moved = match subject {
        Subject::Checkpoint(id) => move_checkpoint(db, id, about.state, to, &why).await?,
        Subject::Job(id) => move_job(db, id, about.state, to, change, &why, &at).await?,
    };
    if moved != 1 {
        return Err(refused());
    }
    tell(db, subject, &about, change, to, &why, &at).await?;
    Ok(to)
}

/// Writes into the journal that a row was just added, in the state that `change` gives to what is new.
pub async fn begin(db: &mut SqliteConnection, subject: Subject, change: Change) -> Result<()> {
    let about = about(db, subject).await?;
    if State::after(None, change) != Some(about.state) {
        return Err(Error::Internal(format!("{subject} began as `{}`, which {change} does not give", about.state)));
    }
    tell(db, subject, &about, change, about.state, &Why::default(), &now()).await
}

async fn tell(
    db: &mut SqliteConnection,
    subject: Subject,
    about: &About,
    change: Change,
    to: State,
    why: &Why,
    at: &str,
) -> Result<()> {
    if let (Subject::Job(_), Some(JobKind::Probe), Some(point)) = (subject, about.kind, about.point_id) {
        show(db, point, to).await?;
    }
    let job = if let Subject::Job(id) = subject { Some(id) } else { None };
    sqlx::query(
        "insert into events (at, run_id, checkpoint_id, job_id, point_id, kind, change, state, reason, message) \
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )
    .bind(at)
    .bind(about.run_id)
    .bind(about.checkpoint_id)
    .bind(job)
    .bind(about.point_id)
    .bind(about.kind)
    .bind(change)
    .bind(to)
    .bind(why.reason)
    .bind(&why.message)
    .execute(db)
    .await?;
    Ok(())
}

async fn about(db: &mut SqliteConnection, subject: Subject) -> Result<About> {
    let row = match subject {
        Subject::Checkpoint(id) => {
            sqlx::query_as(
                "select state, run_id, id as checkpoint_id, point_id, null as kind from checkpoints where id = ?1",
            )
            .bind(id)
            .fetch_optional(db)
            .await?
        }
        Subject::Job(id) => {
            sqlx::query_as(
                "select j.state, coalesce(p.run_id, c.run_id) as run_id, j.checkpoint_id, j.point_id, j.kind from jobs j \
                 left join points p on p.id = j.point_id left join checkpoints c on c.id = j.checkpoint_id where j.id = ?1",
            )
            .bind(id)
            .fetch_optional(db)
            .await?
        }
    };
    row.ok_or_else(|| Error::not_found(format!("there is no {subject}")))
}

/// The SQL repeats the guard, so that a race cannot go around the table.
async fn move_checkpoint(
    db: &mut SqliteConnection,
    id: CheckpointId,
    from: State,
    to: State,
    why: &Why,
) -> Result<u64> {
    let done = sqlx::query(
        "update checkpoints set state = ?3, reason = ?4, message = ?5, shown = case when ?3 <> 'whole' then ?3 else \
         coalesce((select case state when 'running' then 'probing' else state end from jobs \
                   where point_id = checkpoints.point_id and kind = 'probe' order by id desc limit 1), 'whole') end \
         where id = ?1 and state = ?2",
    )
    .bind(id)
    .bind(from)
    .bind(to)
    .bind(why.reason)
    .bind(&why.message)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

async fn move_job(
    db: &mut SqliteConnection,
    id: JobId,
    from: State,
    to: State,
    change: Change,
    why: &Why,
    at: &str,
) -> Result<u64> {
    let done = sqlx::query(
        "update jobs set state = ?3, reason = ?4, message = ?5, not_before = ?6, tries = tries + ?7, \
         started_at = case ?3 when 'running' then ?8 else started_at end, \
         finished_at = case when ?3 in ('done', 'failed', 'cancelled') then ?8 end where id = ?1 and state = ?2",
    )
    .bind(id)
    .bind(from)
    .bind(to)
    .bind(why.reason)
    .bind(&why.message)
    .bind(&why.not_before)
    .bind(change == Change::Retried)
    .bind(at)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// What the checkpoints of a point show once its probe job's state changed.
async fn show(db: &mut SqliteConnection, point: PointId, state: State) -> Result<()> {
    let shown = if state == State::Running { "probing" } else { state.as_str() };
    sqlx::query("update checkpoints set shown = ?2 where point_id = ?1 and state = 'whole'")
        .bind(point)
        .bind(shown)
        .execute(db)
        .await?;
    Ok(())
}
