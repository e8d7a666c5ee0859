//! Flood chips: a data set read once, raw, into a memory-mapped cache.
//!
//! ```text
//! folder -> layout (tiff, georef, labels) -> crop -> fill -> cache -> Dataset (manifest, split, leak) -> RawChip, labels
//! ```
//!
//! Knows no encoder: cloud rule and normalisation of the pixels come after it.

mod cache;
mod crop;
mod dataset;
pub mod encode;
mod fill;
mod georef;
mod inspect;
mod labels;
pub mod layout;
mod leak;
mod manifest;
mod picture;
mod raw;
mod record;
mod split;
mod tiff;
mod units;

use crate::domain::{Failure, Fault, Reason, Refusal};

pub use dataset::Dataset;
pub use georef::Place;
pub use inspect::{ChipReport, DatasetReport, inspect_chip, inspect_dir};
pub use picture::{draw_chips, draw_prediction};
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

    /// As the refusal of the chip at `path`, with what to do.
    pub(crate) fn refusal(self, path: &str) -> Refusal {
        let reason = self.reason;
        Refusal { path: path.to_owned(), reason, message: Failure::from(self).text() }
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
