//! The lines of a run: which there are, which one an answer is about, and what its scores are of.

use sqlx::types::Json;

use super::Snapshot;
use crate::{
    domain::{Basis, Digest, HeadId, HeadName, HeadSettings, LineFacts, LineKey, Preparation, RunId},
    error::{Error, Result},
    store::{ResultKey, Store},
};

/// A line of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct LineRow {
    /// Its name: twelve digits.
    pub line: String,
    pub key: LineKey,
    pub facts: LineFacts,
    /// Points with a score under it.
    pub points: i64,
    pub first_epoch: u32,
    pub last_epoch: u32,
    /// What its head shows where no line is named.
    pub newest: bool,
    /// When its first score was computed.
    pub created_at: String,
}

#[derive(sqlx::FromRow)]
struct Row {
    line: String,
    head: HeadName,
    digest: Digest,
    settings: Json<HeadSettings>,
    dataset_digest: Digest,
    assignment: Digest,
    preparation_digest: Digest,
    preparation: Json<Preparation>,
    points: i64,
    first_epoch: u32,
    last_epoch: u32,
    newest: bool,
    created_at: String,
}

impl From<Row> for LineRow {
    fn from(row: Row) -> Self {
        let Row { line, head, digest, dataset_digest: dataset, assignment, preparation_digest: preparation, .. } = row;
        let Row { points, first_epoch, last_epoch, newest, created_at, .. } = row;
        let key = Basis { dataset, assignment, preparation }.line(head, digest);
        let facts = LineFacts { dataset, assignment, preparation: row.preparation.0, settings: row.settings.0 };
        Self { line, key, facts, points, first_epoch, last_epoch, newest, created_at }
    }
}

/// Which line an answer is about; what is not given is chosen.
#[derive(Clone, Copy, Debug)]
pub struct LineChoice<'a> {
    /// The head; the first configured one where not given.
    pub head: Option<HeadName>,
    /// A line by its name; the head's newest where not given.
    pub line: Option<&'a str>,
    /// The first configured head.
    pub first: HeadName,
}

/// The line that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenLine {
    pub head: HeadName,
    /// `None` where the head has no score in the run yet.
    pub line: Option<String>,
}

impl Store {
    /// All lines of a run, in the order they began.
    pub async fn lines(&self, run: RunId) -> Result<Vec<LineRow>> {
        let rows: Vec<Row> = sqlx::query_as(
            "select l.line, l.head, h.digest, h.settings, x.dataset_digest, x.assignment, x.preparation_digest, \
             x.preparation, l.points, l.first_epoch, l.last_epoch, l.created_at, \
             l.id = (select o.id from lines o where o.run_id = l.run_id and o.head = l.head \
                     order by o.asked desc, o.id desc limit 1) as newest \
             from lines l join heads h on h.id = l.head_id join results x on x.id = h.result_id \
             where l.run_id = ?1 order by l.id",
        )
        .bind(run)
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().map(LineRow::from).collect())
    }
}

impl Snapshot {
    /// The line of a run that an answer is about.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a line that the run has not; [`Error::Invalid`] for one of another head than the given.
    pub async fn choose_line(&mut self, run: RunId, choice: LineChoice<'_>) -> Result<ChosenLine> {
        let Some(name) = choice.line else {
            let head = choice.head.unwrap_or(choice.first);
            let sql = "select line from lines where run_id = ?1 and head = ?2 order by asked desc, id desc limit 1";
            let line = sqlx::query_scalar(sql).bind(run).bind(head).fetch_optional(self.connection()).await?;
            return Ok(ChosenLine { head, line });
        };
        let sql = "select head from lines where run_id = ?1 and line = ?2";
        let head: Option<HeadName> =
            sqlx::query_scalar(sql).bind(run).bind(name).fetch_optional(self.connection()).await?;
        let unknown =
            || Error::not_found(format!("the run has no line `{name}`")).with_hint("`/lines?run=` lists them");
        let head = head.ok_or_else(unknown)?;
        match choice.head {
            Some(asked) if asked != head => {
                let other = Error::invalid(format!("line `{name}` is of head `{head}`, not `{asked}`"));
                Err(other.with_hint("give `line` alone"))
            }
            _ => Ok(ChosenLine { head, line: Some(name.to_owned()) }),
        }
    }
}

impl Store {
    /// What a stored head is of: the key of its result, its name, the digest of its settings.
    pub async fn head_key(&self, head: HeadId) -> Result<(ResultKey, HeadName, Digest)> {
        let (weights, dataset, assignment, preparation, head, digest) = sqlx::query_as(
            "select x.weights_digest, x.dataset_digest, x.assignment, x.preparation_digest, h.head, h.digest \
             from heads h join results x on x.id = h.result_id where h.id = ?1",
        )
        .bind(head)
        .fetch_one(self.pool())
        .await?;
        Ok((ResultKey { weights, basis: Basis { dataset, assignment, preparation } }, head, digest))
    }
}
