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
        Basis, ChipScore, Confusion, ControlScore, DatasetSummary, Digest, EncoderFacts, Fit, FitNote, HeadName,
        HeadReport, HeadSettings, Interval, Metric, Metrics, Preparation, ProbeReport, Reason, Seconds, Seed, Summary,
        Versions,
    },
    store::{HeadItem, Other, PointItem, SeriesName},
};

/// One probe: the point, and, once done, its result.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Probe {
    #[serde(flatten)]
    pub point: Tracked<PointItem>,
    /// The head that `line`, `summary`, device, seconds and versions are about; `heads` has all.
    pub head: HeadName,
    pub series: SeriesName,
    #[serde(flatten)]
    pub result: Computed,
    /// Other points of the same epoch.
    pub others: Vec<Other>,
}

/// What a result says; null or empty until there is one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Computed {
    /// Told from the start of the probe on, as the next two.
    #[schema(value_type = Option<String>)]
    pub dataset_digest: Option<Digest>,
    /// Which chip was on which side of which fold.
    #[schema(value_type = Option<String>)]
    pub assignment: Option<Digest>,
    #[schema(value_type = Option<String>)]
    pub preparation_digest: Option<Digest>,
    /// The device really used.
    pub device: Option<String>,
    /// Why that device.
    pub device_reason: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub encoder: Option<EncoderFacts>,
    #[schema(value_type = Option<Object>)]
    pub dataset: Option<DatasetSummary>,
    /// What decided the features.
    #[schema(value_type = Option<Object>)]
    pub preparation: Option<Preparation>,
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
    /// Every head of the result, side by side.
    pub heads: BTreeMap<HeadName, HeadSum>,
    /// One per head, seed and fold.
    pub fits: Vec<FitItem>,
    /// One per validation chip and head.
    pub chips: Vec<ChipSum>,
    /// What the shown head scores on what learnt nothing, as far as that was computed.
    pub controls: Vec<ControlScore>,
}

/// One head over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct HeadSum {
    /// Its line, for `?line=`.
    pub line: String,
    /// Of its settings.
    #[schema(value_type = String)]
    pub digest: Digest,
    #[schema(value_type = Object)]
    pub settings: HeadSettings,
    /// As `summary` of the probe.
    #[schema(value_type = BTreeMap<String, Object>)]
    pub summary: BTreeMap<Metric, Summary>,
    pub mean_batch_iou: Option<f64>,
    /// How many of its fits have which note.
    #[schema(value_type = BTreeMap<String, u32>)]
    pub notes: BTreeMap<FitNote, u32>,
    /// How many fits it has, and how many of them could not be made.
    pub n_fits: u32,
    pub null_fits: u32,
    pub device: String,
    pub computed_at: String,
}

/// One head fitted with one seed on one fold: after its last fit step, on the validation side.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FitItem {
    pub head: HeadName,
    #[schema(value_type = u64)]
    pub seed: Seed,
    pub fold: u32,
    #[schema(value_type = Object)]
    pub metrics: Metrics,
    #[schema(value_type = Object)]
    pub confusion: Confusion,
    pub mean_batch_iou: Option<f64>,
    /// What a reader of the score should know.
    pub notes: Vec<FitNote>,
    /// Why it could not be fitted, and its metrics are null.
    pub reason: Option<Reason>,
    pub message: Option<String>,
}

/// One validation chip under one head, its counts pooled over the fits that scored it.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ChipSum {
    /// Relative to the data folder.
    pub chip: String,
    pub event: String,
    pub head: HeadName,
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
    let (line, point, others) = query::points(&state.store, state.view, epoch, &q).await?;
    let heads = match point.head_id {
        Some(id) => state.store.heads_beside(id).await?,
        None => Vec::new(),
    };
    let mut result = Computed::of(&point, heads, state.view.interval);
    if let Some(id) = point.head_id {
        result.controls = state.store.controls(id).await?;
    }
    let point = Tracked::new(&state.status, point.state, point.job_id, point);
    let others = others.into_iter().map(Other::from).collect();
    Ok(Json(Probe { point, head: line.head, series: SeriesName::Main, result, others }))
}

/// By head, seed and fold.
pub fn in_order(mut fits: Vec<Fit>) -> Vec<Fit> {
    fits.sort_by_key(|fit| (fit.head, fit.seed, fit.fold));
    fits
}

impl Computed {
    /// Of the heads of a result, the shown one first; without any, nothing but what the probe is or was of.
    fn of(point: &PointItem, heads: Vec<HeadItem>, interval: Interval) -> Self {
        let Some(shown) = heads.first().cloned() else { return Self::under(point.basis()) };
        let report = shown.report;
        let mut all = Self::under(Some(report.basis()));
        for HeadItem { head, line, report, created_at } in heads {
            for (_, told) in report.heads.clone() {
                all.heads.insert(head, HeadSum::new(&report, told, line.clone(), created_at.clone(), interval));
            }
            all.fits.extend(in_order(report.fits).into_iter().map(FitItem::from));
            all.chips.extend(pooled(report.chip_scores));
        }
        let own = all.heads.get(&shown.head);
        let seeds: BTreeSet<Seed> = report.fits.iter().map(|fit| fit.seed).collect();
        Self {
            summary: own.map(|head| head.summary.clone()).unwrap_or_default(),
            mean_batch_iou: own.and_then(|head| head.mean_batch_iou),
            device: Some(report.device),
            device_reason: Some(report.device_reason),
            encoder: Some(report.encoder),
            n_seeds: Some(seeds.len()),
            n_events: Some(report.dataset.events.len()),
            n_chips: Some(report.dataset.chips),
            dataset: Some(report.dataset),
            preparation: Some(report.preparation),
            seconds: Some(report.seconds),
            versions: Some(report.versions),
            chips_encoded: Some(report.chips_encoded),
            computed_at: Some(shown.created_at),
            ..all
        }
    }

    fn under(basis: Option<Basis>) -> Self {
        Self {
            dataset_digest: basis.map(|basis| basis.dataset),
            assignment: basis.map(|basis| basis.assignment),
            preparation_digest: basis.map(|basis| basis.preparation),
            ..Self::default()
        }
    }
}

impl HeadSum {
    fn new(report: &ProbeReport, mut head: HeadReport, line: String, computed_at: String, interval: Interval) -> Self {
        head.set_interval(interval);
        let mut notes = BTreeMap::new();
        report.fits.iter().flat_map(|fit| &fit.notes).for_each(|&note| *notes.entry(note).or_default() += 1);
        let HeadReport { digest, settings, summary, mean_batch_iou, .. } = head;
        let n_fits = report.fits.len() as u32;
        let null_fits = report.fits.iter().filter(|fit| fit.reason.is_some()).count() as u32;
        let device = report.device.clone();
        Self { line, digest, settings, summary, mean_batch_iou, notes, n_fits, null_fits, device, computed_at }
    }
}

impl From<Fit> for FitItem {
    fn from(fit: Fit) -> Self {
        let Fit { head, seed, fold, metrics, confusion, mean_batch_iou, notes, reason, message, .. } = fit;
        Self { head, seed, fold, metrics, confusion, mean_batch_iou, notes, reason, message }
    }
}

/// One entry per head and chip, in that order.
fn pooled(scores: Vec<ChipScore>) -> Vec<ChipSum> {
    let mut sums = BTreeMap::<(HeadName, String), (String, u32, Confusion)>::new();
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
