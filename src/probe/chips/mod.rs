//! Flood chips: a data set read once into a memory-mapped cache. (Interface first; see helper B.)

use std::path::Path;

use crate::{
    config,
    domain::{ChipRecord, DatasetSummary, Progress},
};

/// Why a data set or a chip cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ChipError {
    /// A class-word.
    pub reason: &'static str,
    /// Names the file.
    pub message: String,
}

/// A data set, decoded, in a cache file of ours that is memory-mapped.
pub struct Dataset {}

/// Which chips a head is fitted on and which it is scored on; indices into [`Dataset::chips`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    pub number: u32,
    pub train: Vec<usize>,
    pub val: Vec<usize>,
}

impl Dataset {
    /// Scans `settings.data`, decodes what the cache lacks, maps the cache. `default_cache` is used where
    /// `settings.cache` is empty.
    pub fn open(
        _settings: &config::Probe,
        _default_cache: &Path,
        _progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, ChipError> {
        todo!()
    }
    pub fn summary(&self) -> &DatasetSummary {
        todo!()
    }
    /// Usable chips sorted by path.
    pub fn chips(&self) -> &[ChipRecord] {
        todo!()
    }
    /// Normalised pixels of chip `i`, `[13, side, side]`.
    pub fn pixels(&self, _i: usize) -> &[f32] {
        todo!()
    }
    /// Labels of chip `i` after the cloud rule, `[side, side]`: 1 water, 0 land, 255 ignored.
    pub fn labels(&self, _i: usize) -> &[u8] {
        todo!()
    }
    /// The folds of the configured split.
    pub fn folds(&self) -> &[Fold] {
        todo!()
    }
}
