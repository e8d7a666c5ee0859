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
mod raw;
mod scan;
mod split;
mod tiff;

use crate::domain::{Failure, Fault, Reason};

pub use chip::PATCH;
pub use dataset::Dataset;
pub use georef::Place;
pub use inspect::{ChipReport, DatasetReport, inspect_chip, inspect_dir};
pub use picture::{draw_chips, draw_prediction, picture_path};
pub use raw::RawChip;
pub use split::Fold;

/// Why a data set or a chip cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ChipError {
    pub reason: Reason,
    /// Names the file.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl ChipError {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), hint: None }
    }

    /// The same with what to do.
    #[must_use]
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Puts the file's name before the message.
    fn about(self, name: &str) -> Self {
        Self { message: format!("`{name}` {}", self.message), ..self }
    }

    /// Surroundings: the data folder is away or empty (not mounted), or a file of ours cannot be written. Final: what is
    /// there cannot be used.
    pub fn fault(&self) -> Fault {
        match self.reason {
            Reason::NoData | Reason::NoChips | Reason::Unreadable | Reason::Cache | Reason::Picture => {
                Fault::Surroundings
            }
            _ => Fault::Final,
        }
    }
}

impl From<ChipError> for Failure {
    fn from(error: ChipError) -> Self {
        let fault = error.fault();
        Self { reason: error.reason, message: error.message, hint: error.hint, fault }
    }
}
