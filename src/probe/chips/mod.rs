//! Flood chips: a data set read once into a memory-mapped cache.
//!
//! ```text
//! folder -> scan -> chip (tiff, georef, labels) -> prepare (cloud rule, encode) -> cache -> Dataset -> split
//! ```

mod cache;
mod chip;
mod dataset;
pub mod encode;
mod georef;
mod inspect;
mod labels;
mod picture;
mod scan;
mod split;
mod tiff;

pub use chip::PATCH;
pub use dataset::Dataset;
pub use georef::Place;
pub use inspect::{ChipReport, DatasetReport, inspect_chip, inspect_dir};
pub use picture::{draw_chips, draw_prediction, picture_path};
pub use split::Fold;

/// Why a data set or a chip cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ChipError {
    /// A class-word.
    pub reason: &'static str,
    /// Names the file.
    pub message: String,
}

impl ChipError {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// Puts the file's name before the message.
    fn about(self, name: &str) -> Self {
        Self { message: format!("`{name}` {}", self.message), ..self }
    }
}
