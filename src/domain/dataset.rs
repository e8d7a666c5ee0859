//! A labelled data set and its chips, as a scan found them.

use serde::{Deserialize, Serialize};

use super::{Band, Digest, LayoutName, Level, Reason};

/// The data set that a probe used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatasetSummary {
    /// Over paths and contents of the usable chips; not over how they are split.
    pub digest: Digest,
    /// Over the side or fold of each usable chip: an edited `fold` or `split` column is a new one, a moved folder not.
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
    /// Values over bands that were missing or not finite; they are 0 after normalisation.
    pub nonfinite: u64,
    /// What could not be used, with the reason.
    pub refused: Vec<Refusal>,
    /// What is used and looks wrong: another unit, ground that both sides of the split share.
    pub warnings: Vec<Refusal>,
    /// What people should know of the folder: its split files, its pairs.
    pub notes: Vec<String>,
    /// Chips marked `test`, or held out by their layout, which are never read.
    pub held_out: u64,
    /// TIFF files decoded in this call; 0 when the cache held all.
    pub decoded: u64,
}

/// A chip that cannot be used, or that is used with a warning.
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
    /// As its layout calls it: `Ghana_53713`, `<uuid>/<position>`, or the cube's path.
    pub id: String,
    /// The flood it shows: as `manifest.csv` or its layout tells, else the folder it lies in.
    pub event: String,
    /// `train`, `val` or `fold <n>`; what the split made of it.
    pub split: String,
    /// Side in pixels.
    pub side: u32,
    /// min x, min y, max x, max y in the chip's own CRS.
    pub bbox: [f64; 4],
    pub epsg: u32,
    /// Degrees, WGS84, of the centre.
    pub lat: f64,
    pub lon: f64,
    /// Ground sampling distance in metres, as declared.
    pub gsd: f64,
    /// Processing level of its optical bands, where it is known.
    pub level: Option<Level>,
    /// YYYY-MM-DD.
    pub date: String,
    /// What its image is called where it is from: the file's stem, as Clay's loader calls it; elsewhere the id.
    pub source_url: String,
    /// What the encoder gets.
    pub latlon: [f32; 2],
    pub timestep: [f32; 3],
    /// Label pixels, after the cloud rule.
    pub water: u64,
    pub land: u64,
    pub ignored: u64,
    /// Values over bands that were missing or not finite.
    pub nonfinite: u64,
}

impl ChipRecord {
    /// Where a picture of the chip at `path` lies below a folder of pictures: beside no other's, whatever its event is
    /// called.
    pub fn picture(path: &str, layer: &str) -> String {
        format!("{}.{layer}.png", path.strip_suffix(".tif").unwrap_or(path))
    }
}
