//! A computation, whole: its provenance, its fits, their summary, the chips.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Doc;
use crate::{
    domain::{Confusion, Metrics},
    error::{Error, Result},
    store::Store,
};

/// What a result says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct ResultRow {
    /// The device really used.
    pub device: String,
    /// Why that device.
    pub device_reason: String,
    #[schema(value_type = Object)]
    pub encoder: Doc,
    #[schema(value_type = Object)]
    pub dataset: Doc,
    #[schema(value_type = Object)]
    pub protocol: Doc,
    /// Wall-clock seconds of `load`, `embed`, `fit`, `score`.
    #[schema(value_type = Object)]
    pub seconds: Doc,
    #[schema(value_type = Object)]
    pub versions: Doc,
    /// The mean of per-batch IoU that Clay reports.
    pub mean_batch_iou: Option<f64>,
    /// Encoder passes made; 0 where embeddings were cached.
    pub chips_encoded: i64,
    pub n_seeds: i64,
    pub n_events: i64,
    pub n_chips: i64,
    /// When it was computed.
    pub computed_at: String,
    #[serde(skip)]
    #[schema(ignore)]
    pub dataset_digest: String,
    #[serde(skip)]
    #[schema(ignore)]
    pub file: String,
}

/// A metric over seeds.
#[derive(Clone, Debug, PartialEq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct SummaryRow {
    #[serde(skip)]
    #[schema(ignore)]
    pub metric: String,
    pub mean: Option<f64>,
    pub std: Option<f64>,
    /// Seeds in the mean; those with `0/0` are left out.
    pub n: i64,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// What `low` and `high` are.
    pub interval: String,
}

/// One head fitted with one seed on one fold: its last fit epoch on the validation side.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FitRow {
    pub head: String,
    pub seed: i64,
    pub fold: i64,
    #[schema(value_type = Object)]
    pub metrics: Metrics,
    #[schema(value_type = Object)]
    pub confusion: Confusion,
    pub mean_batch_iou: Option<f64>,
}

/// One validation chip under one head, its counts pooled over seeds.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ChipSum {
    /// Relative to the data folder.
    pub chip: String,
    pub event: Option<String>,
    pub head: String,
    /// Fits that scored it.
    pub n: i64,
    #[schema(value_type = Object)]
    pub metrics: Metrics,
    #[schema(value_type = Object)]
    pub confusion: Confusion,
}

#[derive(sqlx::FromRow)]
struct Counts {
    tp: i64,
    fp: i64,
    #[sqlx(rename = "fn")]
    fn_: i64,
    tn: i64,
    ignored: i64,
}

impl From<Counts> for Confusion {
    fn from(c: Counts) -> Self {
        // Written from unsigned counts, so never negative.
        let count = |n: i64| n.max(0).unsigned_abs();
        Self { tp: count(c.tp), fp: count(c.fp), fn_: count(c.fn_), tn: count(c.tn), ignored: count(c.ignored) }
    }
}

/// The columns of metrics, wherever they stand.
#[derive(sqlx::FromRow)]
pub(super) struct MetricColumns {
    iou: Option<f64>,
    dice: Option<f64>,
    f1: Option<f64>,
    precision: Option<f64>,
    recall: Option<f64>,
    loss: Option<f64>,
}

impl From<MetricColumns> for Metrics {
    fn from(m: MetricColumns) -> Self {
        let MetricColumns { iou, dice, f1, precision, recall, loss } = m;
        Self { iou, dice, f1, precision, recall, loss }
    }
}

#[derive(sqlx::FromRow)]
struct RawFit {
    head: String,
    seed: i64,
    fold: i64,
    #[sqlx(flatten)]
    metrics: MetricColumns,
    #[sqlx(flatten)]
    counts: Counts,
    mean_batch_iou: Option<f64>,
}

#[derive(sqlx::FromRow)]
struct RawChip {
    chip: String,
    event: Option<String>,
    head: String,
    n: i64,
    #[sqlx(flatten)]
    counts: Counts,
}

impl Store {
    /// The provenance of a result.
    pub async fn result(&self, id: i64) -> Result<ResultRow> {
        let row = sqlx::query_as::<_, ResultRow>(
            "select x.device, x.device_reason, x.encoder, d.summary as dataset, t.body as protocol, x.seconds,
                    x.versions, x.mean_batch_iou, x.chips_encoded, x.n_seeds, x.n_events, x.n_chips,
                    x.created_at as computed_at, x.dataset_digest, x.file
             from results x join datasets d on d.digest = x.dataset_digest join protocols t on t.digest = x.protocol_digest
             where x.id = ?1",
        )
        .bind(id)
        .fetch_optional(self.pool())
        .await?;
        row.ok_or_else(|| Error::Internal(format!("a request refers to result {id}, which is not there")))
    }

    /// The summaries of a result by metric.
    pub async fn summaries(&self, result: i64) -> Result<BTreeMap<String, SummaryRow>> {
        let rows = sqlx::query_as::<_, SummaryRow>(
            "select metric, mean, std, n, low, high, interval from summaries where result_id = ?1",
        )
        .bind(result)
        .fetch_all(self.pool())
        .await?;
        Ok(rows.into_iter().map(|row| (row.metric.clone(), row)).collect())
    }

    /// The fits of a result by head, seed and fold.
    pub async fn fits(&self, result: i64) -> Result<Vec<FitRow>> {
        let rows = sqlx::query_as::<_, RawFit>(
            r#"select head, seed, fold, iou, dice, f1, "precision", recall, loss, tp, fp, fn, tn, ignored, mean_batch_iou
             from fits where result_id = ?1 order by head, seed, fold"#,
        )
        .bind(result)
        .fetch_all(self.pool())
        .await?;
        let fit = |f: RawFit| FitRow {
            metrics: f.metrics.into(),
            confusion: f.counts.into(),
            head: f.head,
            seed: f.seed,
            fold: f.fold,
            mean_batch_iou: f.mean_batch_iou,
        };
        Ok(rows.into_iter().map(fit).collect())
    }

    /// The chips of a result, each one's counts summed over the fits that scored it. Its loss is not kept.
    pub async fn chip_sums(&self, result: i64) -> Result<Vec<ChipSum>> {
        let rows = sqlx::query_as::<_, RawChip>(
            "select s.chip, c.event, f.head, count(*) as n, sum(s.tp) as tp, sum(s.fp) as fp, sum(s.fn) as fn,
                    sum(s.tn) as tn, sum(s.ignored) as ignored
             from chip_scores s join fits f on f.id = s.fit_id join results x on x.id = f.result_id
             left join chips c on c.dataset_digest = x.dataset_digest and c.path = s.chip
             where f.result_id = ?1 group by f.head, s.chip order by f.head, s.chip",
        )
        .bind(result)
        .fetch_all(self.pool())
        .await?;
        let sum = |c: RawChip| {
            let confusion = Confusion::from(c.counts);
            let metrics = confusion.metrics(None);
            ChipSum { chip: c.chip, event: c.event, head: c.head, n: c.n, metrics, confusion }
        };
        Ok(rows.into_iter().map(sum).collect())
    }
}
