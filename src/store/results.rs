//! Results: the scores of one computation, stored once, in one transaction.

use sqlx::SqliteConnection;

use super::{Store, to_json};
use crate::{
    domain::{Digest, Fit, Metrics, ProbeReport, Seed},
    error::Result,
};

/// What a result is keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultKey {
    pub weights: Digest,
    pub protocol: Digest,
    pub dataset: Digest,
}

impl ResultKey {
    /// One digest of all three: the name of the report's file.
    pub fn digest(&self) -> Digest {
        Digest::of(format!("{} {} {}", self.weights, self.protocol, self.dataset).as_bytes())
    }
}

impl Store {
    /// Stores a report; one already stored under its key stays. Returns its id.
    pub async fn add_result(
        &self,
        db: &mut SqliteConnection,
        report: &ProbeReport,
        file: &str,
        now: &str,
    ) -> Result<i64> {
        let seeds: std::collections::BTreeSet<Seed> = report.fits.iter().map(|fit| fit.seed).collect();
        let added = sqlx::query_scalar(
            "insert into results (weights_digest, protocol_digest, dataset_digest, device, device_reason, encoder, \
             seconds, versions, mean_batch_iou, chips_encoded, n_seeds, n_events, n_chips, file, created_at) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) \
             on conflict (weights_digest, protocol_digest, dataset_digest) do nothing returning id",
        )
        .bind(report.weights_digest.to_string())
        .bind(report.protocol_digest.to_string())
        .bind(report.dataset.digest.to_string())
        .bind(&report.device)
        .bind(&report.device_reason)
        .bind(to_json(&report.encoder)?)
        .bind(to_json(&report.seconds)?)
        .bind(to_json(&report.versions)?)
        .bind(report.mean_batch_iou)
        .bind(signed(report.chips_encoded))
        .bind(signed(seeds.len() as u64))
        .bind(signed(report.dataset.events.len() as u64))
        .bind(signed(report.dataset.chips))
        .bind(file)
        .bind(now)
        .fetch_optional(&mut *db)
        .await?;
        let Some(result) = added else {
            return Ok(sqlx::query_scalar(
                "select id from results where weights_digest = ?1 and protocol_digest = ?2 and dataset_digest = ?3",
            )
            .bind(report.weights_digest.to_string())
            .bind(report.protocol_digest.to_string())
            .bind(report.dataset.digest.to_string())
            .fetch_one(db)
            .await?);
        };
        for (metric, summary) in &report.summary {
            sqlx::query(
                "insert into summaries (result_id, metric, mean, std, n, low, high, interval) \
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )
            .bind(result)
            .bind(metric.as_str())
            .bind(summary.mean)
            .bind(summary.std)
            .bind(summary.n)
            .bind(summary.low)
            .bind(summary.high)
            .bind(serde_json::json!(summary.interval).as_str())
            .execute(&mut *db)
            .await?;
        }
        for fit in &report.fits {
            let id = add_fit(db, result, fit).await?;
            add_curve(db, id, fit).await?;
            let own = |s: &&crate::domain::ChipScore| s.head == fit.head && s.seed == fit.seed && s.fold == fit.fold;
            for score in report.chip_scores.iter().filter(own) {
                let c = score.confusion;
                sqlx::query("insert into chip_scores (fit_id, chip, tp, fp, fn, tn, ignored) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)")
                    .bind(id)
                    .bind(&score.chip)
                    .bind(signed(c.tp))
                    .bind(signed(c.fp))
                    .bind(signed(c.fn_))
                    .bind(signed(c.tn))
                    .bind(signed(c.ignored))
                    .execute(&mut *db)
                    .await?;
            }
        }
        Ok(result)
    }

    /// Points a finished request to its result; `same_as` is filled when another request computed it.
    pub async fn link_result(&self, db: &mut SqliteConnection, request: i64, result: i64) -> Result<()> {
        sqlx::query(
            "update requests set result_id = ?2, same_as = (select min(id) from requests \
             where result_id = ?2 and id <> ?1) where id = ?1",
        )
        .bind(request)
        .bind(result)
        .execute(db)
        .await?;
        Ok(())
    }
}

async fn add_fit(db: &mut SqliteConnection, result: i64, fit: &Fit) -> Result<i64> {
    let c = fit.confusion;
    let Metrics { iou, dice, f1, precision, recall, loss } = fit.metrics;
    Ok(sqlx::query_scalar(
        "insert into fits (result_id, head, seed, fold, iou, dice, f1, \"precision\", recall, loss, tp, fp, fn, tn, \
         ignored, mean_batch_iou) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) returning id",
    )
    .bind(result)
    .bind(&fit.head)
    .bind(signed(fit.seed.0))
    .bind(fit.fold)
    .bind(iou)
    .bind(dice)
    .bind(f1)
    .bind(precision)
    .bind(recall)
    .bind(loss)
    .bind(signed(c.tp))
    .bind(signed(c.fp))
    .bind(signed(c.fn_))
    .bind(signed(c.tn))
    .bind(signed(c.ignored))
    .bind(fit.mean_batch_iou)
    .fetch_one(db)
    .await?)
}

async fn add_curve(db: &mut SqliteConnection, fit_id: i64, fit: &Fit) -> Result<()> {
    for point in &fit.curve {
        let Metrics { iou, dice, f1, precision, recall, loss } = point.metrics;
        sqlx::query(
            "insert into curve_points (fit_id, fit_epoch, side, iou, dice, f1, \"precision\", recall, loss) \
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .bind(fit_id)
        .bind(point.fit_epoch)
        .bind(serde_json::json!(point.split).as_str())
        .bind(iou)
        .bind(dice)
        .bind(f1)
        .bind(precision)
        .bind(recall)
        .bind(loss)
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// SQLite's integers are signed; no count of ours comes near the end.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
