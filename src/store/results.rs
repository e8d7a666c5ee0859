//! Results: a computation with its report, stored once, in one transaction.

use std::{fmt, str::FromStr};

use sqlx::{SqliteConnection, types::Json};

use super::Store;
use crate::{
    domain::{Digest, ProbeReport, ResultId, Seed},
    error::Result,
};

/// What a line of the chart is under: results under one key may be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineKey {
    pub protocol: Digest,
    pub dataset: Digest,
}

impl LineKey {
    /// Its name in answers: twelve digits.
    pub fn name(&self) -> String {
        Digest::of(self.to_string().as_bytes()).short()
    }
}

impl fmt::Display for LineKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.protocol, self.dataset)
    }
}

impl FromStr for LineKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, dataset) = text.split_once(' ').ok_or_else(|| format!("`{text}` is not the key of a line"))?;
        Ok(Self { protocol: protocol.parse()?, dataset: dataset.parse()? })
    }
}

/// What a result is keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultKey {
    pub weights: Digest,
    pub line: LineKey,
}

impl ResultKey {
    /// One digest of all: the name of the report's file and of the pictures' folder.
    pub fn digest(&self) -> Digest {
        Digest::of(format!("{} {} {}", self.weights, self.line.protocol, self.line.dataset).as_bytes())
    }

    /// Whether a report is of this.
    pub fn is_of(&self, report: &ProbeReport) -> bool {
        let line = LineKey { protocol: report.protocol_digest, dataset: report.dataset.digest };
        *self == Self { weights: report.weights_digest, line }
    }
}

impl Store {
    /// The result that is stored under a key.
    pub async fn result_of(&self, db: &mut SqliteConnection, key: &ResultKey) -> Result<Option<ResultId>> {
        let sql = "select id from results where weights_digest = ?1 and protocol_digest = ?2 and dataset_digest = ?3";
        let query = sqlx::query_scalar(sql).bind(key.weights).bind(key.line.protocol).bind(key.line.dataset);
        Ok(query.fetch_optional(db).await?)
    }

    /// Stores a report; one already stored under its key stays.
    pub async fn add_result(&self, db: &mut SqliteConnection, report: &ProbeReport, now: &str) -> Result<ResultId> {
        let line = LineKey { protocol: report.protocol_digest, dataset: report.dataset.digest };
        if let Some(known) = self.result_of(db, &ResultKey { weights: report.weights_digest, line }).await? {
            return Ok(known);
        }
        let seeds: std::collections::BTreeSet<Seed> = report.fits.iter().map(|fit| fit.seed).collect();
        let result: ResultId = sqlx::query_scalar(
            "insert into results (weights_digest, protocol_digest, dataset_digest, line, device, n_seeds, n_events, \
             n_chips, report, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) returning id",
        )
        .bind(report.weights_digest)
        .bind(line.protocol)
        .bind(line.dataset)
        .bind(line.name())
        .bind(&report.device)
        .bind(signed(seeds.len() as u64))
        .bind(signed(report.dataset.events.len() as u64))
        .bind(signed(report.dataset.chips))
        .bind(Json(report))
        .bind(now)
        .fetch_one(&mut *db)
        .await?;
        for (metric, summary) in &report.summary {
            sqlx::query(
                "insert into summaries (result_id, metric, value, std, n, low, high, interval) \
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )
            .bind(result)
            .bind(metric)
            .bind(summary.mean)
            .bind(summary.std)
            .bind(summary.n)
            .bind(summary.low)
            .bind(summary.high)
            .bind(summary.interval)
            .execute(&mut *db)
            .await?;
        }
        Ok(result)
    }
}

/// SQLite's integers are signed; no count of ours comes near the end.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
