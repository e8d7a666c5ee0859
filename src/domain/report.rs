//! The report of one probe: what `probe --json` prints, a worker writes and the store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Basis, Confusion, ControlScore, DatasetSummary, Digest, EncoderFacts, Epoch, FitNote, HeadName, HeadSettings,
    Interval, Metric, Metrics, Preparation, Reason, RunName, Seed, Spread, Summary, words,
};

/// One probe, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// [`ProbeReport::SCHEMA`]: raised where a reader of the last one would misread this one. Keys are only ever added,
    /// and a key that is not known is not read.
    pub schema: u32,
    pub run: RunName,
    pub epoch: Option<Epoch>,
    pub global_step: Option<u64>,
    /// The file that was read, as given.
    pub path: String,
    pub weights_digest: Digest,
    pub encoder: EncoderFacts,
    pub dataset: DatasetSummary,
    /// Which chip was on which side of which fold.
    pub assignment: Digest,
    /// What decided the features.
    pub preparation: Preparation,
    pub preparation_digest: Digest,
    /// The device really used: `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// Why that device.
    pub device_reason: String,
    /// One per head, seed and fold.
    pub fits: Vec<Fit>,
    /// What the fits of each head come to.
    pub heads: BTreeMap<HeadName, HeadReport>,
    /// What the same heads score on what learnt nothing, where that was asked for.
    pub controls: Vec<ControlScore>,
    /// Per event, head and seed: what two probes are compared by.
    #[serde(default)]
    pub event_scores: Vec<EventScore>,
    /// Per validation chip, head, seed and fold.
    pub chip_scores: Vec<ChipScore>,
    pub seconds: Seconds,
    pub versions: Versions,
    /// Encoder passes made (chips encoded), 0 when embeddings were cached.
    pub chips_encoded: u64,
}

impl ProbeReport {
    /// The schema that is written. 2: several heads, each with its settings; curves over fit steps.
    pub const SCHEMA: u32 = 2;

    /// What its scores are of besides weights and heads.
    pub fn basis(&self) -> Basis {
        let (dataset, assignment, preparation) = (self.dataset.digest, self.assignment, self.preparation_digest);
        Basis { dataset, assignment, preparation }
    }

    /// What it says of one head alone.
    #[must_use]
    pub fn of_head(&self, head: HeadName) -> Self {
        let mut report = self.clone();
        report.fits.retain(|fit| fit.head == head);
        report.heads.retain(|&name, _| name == head);
        report.event_scores.retain(|score| score.head == head);
        report.chip_scores.retain(|score| score.head == head);
        report
    }
}

/// A head over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeadReport {
    /// Of `settings`.
    pub digest: Digest,
    pub settings: HeadSettings,
    /// Each seed's score, of counts pooled over its folds; null folds are left out.
    pub seeds: Vec<SeedScore>,
    /// Metrics that are one number, of a head without seeds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<Metric, Option<f64>>,
    /// Every metric over seeds.
    pub summary: BTreeMap<Metric, Summary>,
    /// Mean over seeds and folds of the per-batch mean IoU that Clay's own notebook reports; `None` where undefined.
    pub mean_batch_iou: Option<f64>,
}

impl HeadReport {
    /// Of the seeds' scores; `metrics` are those that the head's predictions allow.
    pub fn new(
        settings: &HeadSettings,
        seeds: Vec<SeedScore>,
        mean_batch_iou: Option<f64>,
        metrics: &[Metric],
        interval: Interval,
    ) -> Self {
        let summary = |&metric: &Metric| (metric, spread(&seeds, metric).summary(metric, interval));
        Self {
            digest: settings.digest(),
            settings: settings.clone(),
            summary: metrics.iter().map(summary).collect(),
            values: BTreeMap::new(),
            seeds,
            mean_batch_iou,
        }
    }

    /// Of a head that is fitted in closed form: each metric is one number, without an interval over seeds.
    pub fn closed_form(settings: &HeadSettings, values: BTreeMap<Metric, Option<f64>>, interval: Interval) -> Self {
        let mut report = Self {
            digest: settings.digest(),
            settings: settings.clone(),
            seeds: Vec::new(),
            summary: BTreeMap::new(),
            values,
            mean_batch_iou: None,
        };
        for &metric in report.values.keys() {
            report.summary.insert(metric, report.spread(metric).summary(metric, interval));
        }
        report
    }

    /// A metric over its seeds, whatever the interval; of a head without seeds its one value.
    pub fn spread(&self, metric: Metric) -> Spread {
        match self.values.get(&metric) {
            Some(&value) => Spread::of([value]),
            None => spread(&self.seeds, metric),
        }
    }

    /// The same under another interval: that is read off the seeds, and no part of what was computed.
    pub fn set_interval(&mut self, interval: Interval) {
        let metrics: Vec<Metric> = self.summary.keys().copied().collect();
        for metric in metrics {
            self.summary.insert(metric, self.spread(metric).summary(metric, interval));
        }
    }
}

fn spread(seeds: &[SeedScore], metric: Metric) -> Spread {
    Spread::of(seeds.iter().map(|seed| seed.more.get(&metric).copied().unwrap_or_else(|| seed.metrics.get(metric))))
}

/// One seed of a head, pooled over its folds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeedScore {
    pub seed: Seed,
    /// All null where none of its folds could be fitted.
    pub metrics: Metrics,
    /// [`Metric::OF_SEEDS`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub more: BTreeMap<Metric, Option<f64>>,
}

/// A metric of one head on the validation chips of one event, pooled over them; events where it is undefined have none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventScore {
    pub event: String,
    pub head: HeadName,
    /// `None`: of a head without seeds.
    pub seed: Option<Seed>,
    pub metric: Metric,
    pub value: f64,
}

/// One head fitted with one seed on one fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    pub head: HeadName,
    pub seed: Seed,
    pub fold: u32,
    /// After the last fit step, on the validation side; all null where it could not be fitted.
    pub metrics: Metrics,
    /// All 0 where it could not be fitted.
    pub confusion: Confusion,
    /// Mean over validation batches of the per-batch IoU.
    pub mean_batch_iou: Option<f64>,
    /// What a reader of its score should know.
    pub notes: Vec<FitNote>,
    /// Why it could not be fitted; null where it was.
    pub reason: Option<Reason>,
    /// The same in a sentence, with fold and class.
    pub message: Option<String>,
    pub curve: Curve,
}

/// Metrics per fit step.
pub type Curve = Vec<CurvePoint>;

/// One side at one fit step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Counted from 1: after that many steps of the optimiser.
    pub fit_step: u32,
    pub side: Side,
    pub metrics: Metrics,
}

words! {
    /// Which chips of a fold.
    pub enum Side {
        Train = "train",
        Val = "val",
    }
}

/// One validation chip under one fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChipScore {
    pub chip: String,
    pub event: String,
    pub head: HeadName,
    pub seed: Seed,
    pub fold: u32,
    pub confusion: Confusion,
    /// Metrics of this chip alone; `0/0` is null.
    pub metrics: Metrics,
}

/// Wall-clock seconds of the stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    pub load: f64,
    pub embed: f64,
    pub fit: f64,
    pub score: f64,
}

/// Who computed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    pub clay_probe: String,
    pub candle: String,
    pub host: String,
    pub threads: u32,
}
