//! What the demo can fail with.

use std::{io, path::PathBuf};

use crate::{config::ConfigError, error::Told, probe::chips::ChipError};

/// Why the demo or its trainer stopped.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or folder failed.
    #[error("`{path}`: {source}")]
    Io { path: PathBuf, source: io::Error },
    /// The chips cannot be used.
    #[error(transparent)]
    Chips(#[from] ChipError),
    /// The tensor library failed.
    #[error("a computation of the trainer failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The daemon failed.
    #[error(transparent)]
    Daemon(#[from] crate::error::Error),
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Refused(Told),
}

impl DemoError {
    /// An I/O error with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// [`DemoError::Refused`] without a hint.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused(Told { message: message.into(), hint: None })
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Chips(error) => error.hint.as_deref(),
            Self::Daemon(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Refused(told) => told.hint.as_deref(),
            Self::Io { .. } | Self::Tensor(_) => None,
        }
    }
}
