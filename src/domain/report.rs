//! The report of one probe: what `probe --json` prints, a worker writes and the store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Confusion, Digest, EncoderShape, Epoch, Metric, Metrics, Reason, RunName, Seed, words};

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
    pub encoder: EncoderShape,
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

/// The data set that a probe used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// Over paths, contents and splits of the usable chips.
    pub digest: Digest,
    /// Usable chips.
    pub chips: u64,
    /// Distinct events among them.
    pub events: Vec<String>,
    /// Labelled pixels of the usable chips after the cloud rule.
    pub water: u64,
    pub land: u64,
    pub ignored: u64,
    /// Pixels that were not finite and were set to 0 after normalisation.
    pub nonfinite: u64,
    /// What could not be used, with the reason.
    pub refused: Vec<Refusal>,
    /// Rows marked `test`, which are never read.
    pub held_out: u64,
    /// TIFF files decoded in this call; 0 when the cache held all.
    pub decoded: u64,
}

/// A chip that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Relative to the data folder.
    pub path: String,
    pub reason: Reason,
    /// One sentence that names what is wrong.
    pub message: String,
}

/// One usable chip, as Clay's batch dictionary keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChipRecord {
    /// Relative to the data folder, with `/`.
    pub path: String,
    /// The folder it lies in.
    pub event: String,
    /// `train`, `val` or a fold's number; what the split made of it.
    pub split: String,
    /// Side in pixels.
    pub side: u32,
    /// min x, min y, max x, max y in the chip's own CRS.
    pub bbox: [f64; 4],
    pub epsg: u32,
    /// Degrees, WGS84, of the centre.
    pub lat: f64,
    pub lon: f64,
    /// YYYY-MM-DD.
    pub date: String,
    /// The file's stem, as Clay's loader calls it.
    pub source_url: String,
    /// What the encoder gets.
    pub latlon: [f32; 2],
    pub timestep: [f32; 3],
    /// Label pixels, after the cloud rule.
    pub water: u64,
    pub land: u64,
    pub ignored: u64,
    /// Pixels (of any band) that were not finite.
    pub nonfinite: u64,
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

/// A metric over seeds; nulls are skipped and `n` says how many were left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub mean: Option<f64>,
    /// Sample standard deviation over seeds; `None` below two.
    pub std: Option<f64>,
    pub n: u32,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub interval: Interval,
}

words! {
    /// What `low` and `high` are.
    pub enum Interval {
        /// Smallest and largest over seeds.
        SeedMinmax = "seed_minmax",
        /// Student's t interval of the mean over seeds, 95%.
        T95 = "t95",
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
