//! What a request to the service can fail with. `api/problem.rs` alone maps these to HTTP.

use std::path::PathBuf;

/// An error of the service, in words that a person can act on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for was never seen.
    #[error("{0}")]
    NotFound(String),
    /// What was sent cannot be understood or is out of range.
    #[error("{0}")]
    Invalid(String),
    /// What was sent contradicts what is known.
    #[error("{0}")]
    Conflict(String),
    /// A posted path lies outside every root.
    #[error(
        "`{path}` lies under none of the roots ({roots}); hint: if the trainer mounts the volume at another place, map it with `intake.path_map`, else add its folder to `intake.roots`"
    )]
    OutsideRoots {
        /// The path after `path_map` and symlinks.
        path: PathBuf,
        /// The roots, for the message.
        roots: String,
    },
    /// The database failed.
    #[error("the database failed: {0}")]
    Store(#[from] sqlx::Error),
    /// Bringing the schema up to date failed.
    #[error("the database's schema could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A file or folder of ours failed.
    #[error("`{path}`: {source}")]
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
    /// An I/O error with the path it happened at.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// A result of the service.
pub type Result<T, E = Error> = std::result::Result<T, E>;
