//! A labelled data set and its chips, as a scan found them.

use serde::{Deserialize, Serialize};

use super::{Band, Digest, LayoutName, Level, Reason};

/// The data set that a probe used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// Over paths, contents and splits of the usable chips.
    pub digest: Digest,
    /// Over the side or fold of each usable chip.
    pub assignment: Digest,
    pub layout: LayoutName,
    /// Processing levels of the optical bands.
    pub levels: Vec<Level>,
    /// Bands that every usable chip has.
    pub bands: Vec<Band>,
    /// Bands that some usable chips have and others lack.
    pub partial: Vec<Band>,
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
