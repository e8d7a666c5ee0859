//! What a request to the service can fail with. `api/problem.rs` alone maps these to HTTP.

use std::{fmt, path::PathBuf};

/// What went wrong and, apart from it, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error of the service, in words that a person can act on; the hint is told apart, by [`Error::hint`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for was never seen.
    #[error("{0}")]
    NotFound(Told),
    /// What was sent cannot be understood or is out of range.
    #[error("{0}")]
    Invalid(Told),
    /// What was sent contradicts what is known.
    #[error("{0}")]
    Conflict(Told),
    /// A posted path lies outside every root.
    #[error("`{path}` lies under none of the roots ({roots})", path = path.display())]
    OutsideRoots {
        /// The path after `path_map` and symlinks.
        path: PathBuf,
        /// The roots, for the message.
        roots: String,
    },
    /// The database failed.
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    /// A file or folder of ours failed.
    #[error("`{path}`: {source}", path = path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something that cannot happen did, such as a row of the database that does not parse.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// [`Error::NotFound`] without a hint.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::NotFound(Told { message: message.into(), hint: None })
    }

    /// [`Error::Invalid`] without a hint.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(Told { message: message.into(), hint: None })
    }

    /// [`Error::Conflict`] without a hint.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict(Told { message: message.into(), hint: None })
    }

    /// The same with what to do; errors that nobody can act on stay as they are.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::NotFound(told) | Self::Invalid(told) | Self::Conflict(told) = &mut self {
            told.hint = Some(text.into());
        }
        self
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NotFound(told) | Self::Invalid(told) | Self::Conflict(told) => told.hint.as_deref(),
            Self::OutsideRoots { .. } => Some(
                "if the trainer mounts the volume at another place, map it with `intake.path_map`, else add its folder \
                 to `intake.roots`",
            ),
            Self::Store(_) | Self::Io { .. } | Self::Internal(_) => None,
        }
    }

    /// An I/O error with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// A result of the service.
pub type Result<T, E = Error> = std::result::Result<T, E>;
