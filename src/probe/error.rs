//! Why a probe fails, with a class-word for the store.

use std::path::PathBuf;

use super::{checkpoint::CheckpointError, chips::ChipError, device::DeviceError, encoder::EncoderError};
use crate::domain::Digest;

/// Why a probe or an embedding ends without a result.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The checkpoint is refused.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The data set is refused.
    #[error(transparent)]
    Chips(#[from] ChipError),
    /// The device asked for cannot be had.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The data set is another than the one the request was made for.
    #[error(
        "the data set changed: its digest is {found}, not {expected}; hint: let `serve` scan it again by a restart"
    )]
    DatasetChanged { expected: Digest, found: Digest },
    /// What was given does not fit the encoder.
    #[error("{0}")]
    Input(String),
    /// An embedding or a loss is not finite.
    #[error("{0}")]
    NotFinite(String),
    /// A file of ours failed.
    #[error("`{path}`: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A tensor operation failed: memory, or the device.
    #[error("the computation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}

impl ProbeError {
    /// An I/O error with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// The class-word: of a checkpoint or a data set its own, else of the kind of failure.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Checkpoint(e) => e.reason,
            Self::Chips(e) => e.reason,
            Self::Device(e) => e.reason(),
            Self::DatasetChanged { .. } => "dataset-changed",
            Self::Input(_) => "input",
            Self::NotFinite(_) => "not-finite",
            Self::Io { .. } => "io",
            Self::Tensor(e) if out_of_memory(e) => "out-of-memory",
            Self::Tensor(_) => "computation",
        }
    }

    /// Whether the same probe may succeed later: memory, disk and devices come back, wrong input does not.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Checkpoint(e) => e.retry,
            Self::Device(_) | Self::Io { .. } | Self::Tensor(_) => true,
            Self::Chips(_) | Self::DatasetChanged { .. } | Self::Input(_) | Self::NotFinite(_) => false,
        }
    }
}

fn out_of_memory(error: &candle_core::Error) -> bool {
    let text = error.to_string().to_lowercase();
    text.contains("out of memory") || text.contains("out_of_memory")
}

impl From<EncoderError> for ProbeError {
    fn from(error: EncoderError) -> Self {
        match error {
            EncoderError::Checkpoint(e) => Self::Checkpoint(e),
            EncoderError::Tensor(e) => Self::Tensor(e),
            EncoderError::Input(text) => Self::Input(text),
        }
    }
}
