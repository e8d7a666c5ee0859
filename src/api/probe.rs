//! `/probes/{epoch}`: one probe, whole.

use std::collections::{BTreeMap, BTreeSet};

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Serialize;

use super::{
    ApiState,
    problem::{Answer, Problem},
    query::{self, EpochPath, PointQuery, Tracked},
};
use crate::{
    domain::{
        ChipScore, Confusion, DatasetSummary, Digest, EncoderFacts, Fit, Metric, Metrics, Protocol, Seconds, Seed,
        Summary, Versions,
    },
    store::{Other, PointItem, ResultItem},
};

/// One probe: the point, and, once done, its result.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Probe {
    #[serde(flatten)]
    pub point: Tracked<PointItem>,
    #[serde(flatten)]
    pub result: Computed,
    /// Other points of the same epoch.
    pub others: Vec<Other>,
}

/// What a result says; null or empty until there is one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Computed {
    /// Of the settings that decide the numbers; told from the start of the probe on, as the next.
    #[schema(value_type = Option<String>)]
    pub protocol_digest: Option<Digest>,
    #[schema(value_type = Option<String>)]
    pub dataset_digest: Option<Digest>,
    /// The device really used.
    pub device: Option<String>,
    /// Why that device.
    pub device_reason: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub encoder: Option<EncoderFacts>,
    #[schema(value_type = Option<Object>)]
    pub dataset: Option<DatasetSummary>,
    #[schema(value_type = Option<Object>)]
    pub protocol: Option<Protocol>,
    /// Wall-clock seconds of `load`, `embed`, `fit`, `score`.
    #[schema(value_type = Option<Object>)]
    pub seconds: Option<Seconds>,
    #[schema(value_type = Option<Object>)]
    pub versions: Option<Versions>,
    /// The mean of per-batch IoU that Clay reports.
    pub mean_batch_iou: Option<f64>,
    /// Encoder passes made; 0 where embeddings were cached.
    pub chips_encoded: Option<u64>,
    pub n_seeds: Option<usize>,
    pub n_events: Option<usize>,
    pub n_chips: Option<u64>,
    /// When it was computed.
    pub computed_at: Option<String>,
    /// Every metric over seeds: `mean`, `std`, `n` (seeds in the mean; those with `0/0` are left out), `low`, `high`,
    /// and what these two are, `interval`.
    #[schema(value_type = BTreeMap<String, Object>)]
    pub summary: BTreeMap<Metric, Summary>,
    /// One per head, seed and fold.
    pub fits: Vec<FitItem>,
    /// One per validation chip and head.
    pub chips: Vec<ChipSum>,
    /// The same protocol on networks that learnt nothing; none are computed yet.
    #[schema(value_type = Vec<Object>)]
    pub controls: Vec<serde_json::Value>,
}

/// One head fitted with one seed on one fold: its last fit epoch on the validation side.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FitItem {
    pub head: String,
    #[schema(value_type = u64)]
    pub seed: Seed,
    pub fold: u32,
    #[schema(value_type = Object)]
    pub metrics: Metrics,
    #[schema(value_type = Object)]
    pub confusion: Confusion,
    pub mean_batch_iou: Option<f64>,
}

/// One validation chip under one head, its counts pooled over the fits that scored it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ChipSum {
    /// Relative to the data folder.
    pub chip: String,
    pub event: String,
    pub head: String,
    /// Fits that scored it.
    pub n: u32,
    /// Of the pooled counts; counts hold no loss.
    #[schema(value_type = Object)]
    pub metrics: Metrics,
    #[schema(value_type = Object)]
    pub confusion: Confusion,
}

/// One probe, whole; with its state while it is queued, running, skipped or failed. `latest`: the epoch of the highest
/// step with a score.
#[utoipa::path(get, path = "/probes/{epoch}", tag = "probes", params(
    ("epoch" = String, Path, description = "the trainer's epoch, or `latest`"), PointQuery), responses(
    (status = 200, body = Probe), (status = 400, body = Problem),
    (status = 404, body = Problem, description = "never seen")))]
pub async fn one(
    State(state): State<ApiState>,
    Path(epoch): Path<EpochPath>,
    Query(q): Query<PointQuery>,
) -> Answer<Json<Probe>> {
    let (point, others) = query::points(&state.store, epoch, &q).await?;
    let result = match point.result_id {
        Some(id) => Computed::from(state.store.result(id).await?),
        None => Computed::under(&point),
    };
    let point = Tracked::new(&state.status, point.state, point.job_id, point);
    Ok(Json(Probe { point, result, others: others.into_iter().map(Other::from).collect() }))
}

/// By head, seed and fold.
pub fn in_order(mut fits: Vec<Fit>) -> Vec<Fit> {
    fits.sort_by(|a, b| (&a.head, a.seed, a.fold).cmp(&(&b.head, b.seed, b.fold)));
    fits
}

impl Computed {
    /// Nothing yet but what it is or was computed under.
    fn under(point: &PointItem) -> Self {
        let (protocol_digest, dataset_digest) = point.line_key().map(|line| (line.protocol, line.dataset)).unzip();
        Self { protocol_digest, dataset_digest, ..Self::default() }
    }
}

impl From<ResultItem> for Computed {
    fn from(item: ResultItem) -> Self {
        let ResultItem { report, created_at } = item;
        let seeds: BTreeSet<Seed> = report.fits.iter().map(|fit| fit.seed).collect();
        Self {
            protocol_digest: Some(report.protocol_digest),
            dataset_digest: Some(report.dataset.digest),
            device: Some(report.device),
            device_reason: Some(report.device_reason),
            encoder: Some(report.encoder),
            n_seeds: Some(seeds.len()),
            n_events: Some(report.dataset.events.len()),
            n_chips: Some(report.dataset.chips),
            dataset: Some(report.dataset),
            protocol: Some(report.protocol),
            seconds: Some(report.seconds),
            versions: Some(report.versions),
            mean_batch_iou: report.mean_batch_iou,
            chips_encoded: Some(report.chips_encoded),
            computed_at: Some(created_at),
            summary: report.summary,
            fits: in_order(report.fits).into_iter().map(FitItem::from).collect(),
            chips: pooled(report.chip_scores),
            controls: Vec::new(),
        }
    }
}

impl From<Fit> for FitItem {
    fn from(fit: Fit) -> Self {
        let Fit { head, seed, fold, metrics, confusion, mean_batch_iou, .. } = fit;
        Self { head, seed, fold, metrics, confusion, mean_batch_iou }
    }
}

/// One entry per head and chip, in that order.
fn pooled(scores: Vec<ChipScore>) -> Vec<ChipSum> {
    let mut sums = BTreeMap::<(String, String), (String, u32, Confusion)>::new();
    for ChipScore { head, chip, event, confusion, .. } in scores {
        let (_, n, sum) = sums.entry((head, chip)).or_insert((event, 0, Confusion::default()));
        *n += 1;
        *sum = sum.plus(confusion);
    }
    let sum = |((head, chip), (event, n, confusion)): (_, (_, _, Confusion))| ChipSum {
        chip,
        event,
        head,
        n,
        metrics: confusion.metrics(None),
        confusion,
    };
    sums.into_iter().map(sum).collect()
}
