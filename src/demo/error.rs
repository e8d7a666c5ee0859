//! What the demo can fail with.

use std::{io, path::PathBuf};

/// Why the demo or its trainer stopped.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or folder failed.
    #[error("`{path}`: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// The chips cannot be used.
    #[error(transparent)]
    Chips(#[from] crate::probe::chips::ChipError),
    /// The tensor library failed.
    #[error("a computation of the trainer failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The daemon failed.
    #[error(transparent)]
    Daemon(#[from] crate::error::Error),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Refused(String),
}

impl DemoError {
    /// An I/O error with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
