//! The report of one probe: what `probe --json` prints, a worker writes and the store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Confusion, DatasetSummary, Digest, EncoderFacts, Epoch, Metric, Metrics, RunName, Seed, Summary, words};

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
    pub protocol: Protocol,
    pub protocol_digest: Digest,
    /// The device really used: `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// Why that device.
    pub device_reason: String,
    /// One per head, seed and fold.
    pub fits: Vec<Fit>,
    /// Per metric, over seeds; each seed's value comes from counts pooled over its folds.
    pub summary: BTreeMap<Metric, Summary>,
    /// Per validation chip, seed and fold.
    pub chip_scores: Vec<ChipScore>,
    /// Mean over seeds and folds of the per-batch mean IoU that Clay's own notebook reports; `None` where undefined.
    pub mean_batch_iou: Option<f64>,
    pub seconds: Seconds,
    pub versions: Versions,
    /// Encoder passes made (chips encoded), 0 when embeddings were cached.
    pub chips_encoded: u64,
}

impl ProbeReport {
    /// The schema that is written.
    pub const SCHEMA: u32 = 1;
}

/// All that decides a result besides weights and data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Raised when the same settings would give other numbers.
    pub revision: u32,
    pub heads: Vec<String>,
    pub split: String,
    pub folds: u32,
    pub split_seed: u64,
    pub seeds: Vec<Seed>,
    pub fit_epochs: u32,
    pub batch_size: u32,
    pub learning_rate: f64,
    pub threshold: f64,
    pub clouds: String,
    pub latlon: String,
    /// `seed_minmax` or `t95`.
    pub interval: String,
}

impl Protocol {
    /// The digest of its canonical JSON.
    pub fn digest(&self) -> Digest {
        // A plain struct of numbers and strings always serialises.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// One head fitted with one seed on one fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// `conv`: the documented decoder.
    pub head: String,
    pub seed: Seed,
    pub fold: u32,
    /// Of the last fit epoch, on the validation side.
    pub metrics: Metrics,
    pub confusion: Confusion,
    /// Mean over validation batches of the per-batch IoU.
    pub mean_batch_iou: Option<f64>,
    pub curve: Curve,
}

/// Metrics per fit epoch.
pub type Curve = Vec<CurvePoint>;

/// One side of one fit epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Counted from 1: after that many passes over the training chips.
    pub fit_epoch: u32,
    pub split: Side,
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
    pub head: String,
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
