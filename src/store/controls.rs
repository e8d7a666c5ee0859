//! Controls, a row per draw: what is there already is not computed again.

use sqlx::{FromRow, SqliteConnection, types::Json};

use super::Store;
use crate::{
    domain::{
        Basis, ControlDraw, ControlName, ControlReport, ControlScore, ControlStep, Digest, EncoderFacts, HeadId,
        HeadName, Metric, RunId,
    },
    error::Result,
};

/// What controls are of: a result's key with an architecture in the place of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlKey {
    pub basis: Basis,
    /// Over family and sizes of the encoder.
    pub architecture: Digest,
}

#[derive(FromRow)]
struct Row {
    control: ControlName,
    head: Option<HeadName>,
    head_digest: Option<Digest>,
    metric: Metric,
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    n: u32,
    note: Option<String>,
}

impl From<Row> for ControlScore {
    fn from(row: Row) -> Self {
        let Row { control, head, head_digest, metric, value, n, note, .. } = row;
        let (low, high) = row.low.zip(row.high).filter(|_| n >= 2).unzip();
        Self { control, head, head_digest, metric, value, low, high, n, note }
    }
}

const UNDER: &str = "dataset_digest = ?1 and assignment = ?2 and preparation_digest = ?3 and architecture = ?4";

impl Store {
    /// The controls of a stored head, over their draws: those on which it was fitted with its settings, and those without
    /// a head.
    pub async fn controls(&self, head: HeadId) -> Result<Vec<ControlScore>> {
        let sql = format!(
            "select control, head, head_digest, metric, avg(value) as value, min(value) as low, max(value) as high, \
             count(value) as n, max(note) as note from controls where {UNDER} \
             and (head is null or (head = ?5 and head_digest = ?6)) group by control, head, head_digest, metric order by min(id)"
        );
        let (key, name, digest) = self.control_key(head).await?;
        let Basis { dataset, assignment, preparation } = key.basis;
        let query = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(dataset).bind(assignment).bind(preparation);
        let rows: Vec<Row> = query.bind(key.architecture).bind(name).bind(digest).fetch_all(self.pool()).await?;
        Ok(rows.into_iter().map(ControlScore::from).collect())
    }

    /// What controls of a stored head are of, and that head with its settings.
    pub async fn control_key(&self, head: HeadId) -> Result<(ControlKey, HeadName, Digest)> {
        let (dataset, assignment, preparation, Json(encoder), name, digest): (_, _, _, Json<EncoderFacts>, _, _) =
            sqlx::query_as(
                "select x.dataset_digest, x.assignment, x.preparation_digest, c.encoder, h.head, h.digest \
                 from heads h join results x on x.id = h.result_id join points p on p.weights_digest = x.weights_digest \
                 join checkpoints c on c.point_id = p.id where h.id = ?1 and c.encoder is not null limit 1",
            )
            .bind(head)
            .fetch_one(self.pool())
            .await?;
        let basis = Basis { dataset, assignment, preparation };
        Ok((ControlKey { basis, architecture: encoder.architecture() }, name, digest))
    }

    /// A stored head of a line.
    pub async fn head_of_line(&self, run: RunId, line: &str) -> Result<HeadId> {
        let sql = "select head_id from lines where run_id = ?1 and line = ?2";
        Ok(sqlx::query_scalar(sql).bind(run).bind(line).fetch_one(self.pool()).await?)
    }

    /// The draws that are stored under a key, each once with each head's settings.
    pub async fn control_draws(
        &self,
        db: &mut SqliteConnection,
        key: ControlKey,
    ) -> Result<Vec<(ControlDraw, Option<Digest>)>> {
        let sql = format!("select distinct control, draw, head_digest from controls where {UNDER}");
        let Basis { dataset, assignment, preparation } = key.basis;
        let query = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(dataset).bind(assignment).bind(preparation);
        let rows: Vec<(ControlName, u32, Option<Digest>)> = query.bind(key.architecture).fetch_all(db).await?;
        Ok(rows.into_iter().map(|(control, draw, head)| (ControlDraw { control, draw }, head)).collect())
    }

    /// Whether a control job is open, or one of this basis failed for good.
    pub async fn control_is_asked(&self, db: &mut SqliteConnection, basis: Basis) -> Result<bool> {
        let sql = "select exists (select 1 from jobs where kind = 'control' \
                   and (state in ('queued', 'running') or (state = 'failed' and key = ?1)))";
        Ok(sqlx::query_scalar(sql).bind(basis.to_string()).fetch_one(db).await?)
    }

    /// Keeps what a control job gave.
    pub async fn add_controls(&self, db: &mut SqliteConnection, report: &ControlReport, now: &str) -> Result<()> {
        let Basis { dataset, assignment, preparation } = report.basis;
        for ControlStep { of, head, head_digest, metric, value, note } in &report.steps {
            sqlx::query(
                "insert into controls (dataset_digest, assignment, preparation_digest, architecture, control, draw, head, \
                 head_digest, metric, value, note, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )
            .bind(dataset)
            .bind(assignment)
            .bind(preparation)
            .bind(report.architecture)
            .bind(of.control)
            .bind(of.draw)
            .bind(head)
            .bind(head_digest)
            .bind(metric)
            .bind(value)
            .bind(note)
            .bind(now)
            .execute(&mut *db)
            .await?;
        }
        Ok(())
    }
}
