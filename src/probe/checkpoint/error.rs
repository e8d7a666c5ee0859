//! Why a checkpoint is refused: a reason code, a sentence, what to do, and whether to try again.

use std::{io, path::Path};

use crate::domain::{Failure, Fault, Reason};

/// Why a checkpoint is refused.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct CheckpointError {
    pub reason: Reason,
    /// Names the file and the tensor.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Passing: half written, perhaps; try again when it changed. Surroundings: our own folder failed.
    pub fault: Fault,
}

impl CheckpointError {
    /// A final refusal of the file at `path`; `what` follows its name in the message.
    pub(in crate::probe) fn refuse(reason: Reason, path: &Path, what: impl AsRef<str>) -> Self {
        let message = format!("`{}` {}", path.display(), what.as_ref());
        Self { reason, message, hint: None, fault: Fault::Final }
    }

    /// A refusal that may be over once the writer is done.
    pub(in crate::probe) fn later(reason: Reason, path: &Path, what: impl AsRef<str>) -> Self {
        Self { fault: Fault::Passing, ..Self::refuse(reason, path, what) }
    }

    /// The same with what to do.
    #[must_use]
    pub(in crate::probe) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same for a file that its writer may not be done with.
    #[must_use]
    pub(in crate::probe) fn half_written(self) -> Self {
        self.with_hint("is it still being written?")
    }

    /// What the system said when the file at `path` was opened or read.
    pub(in crate::probe) fn io(path: &Path, source: &io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => {
                Self::later(Reason::Missing, path, "does not exist, or is a link to a file that does not (yet)")
            }
            io::ErrorKind::PermissionDenied => {
                Self::later(Reason::Unreadable, path, "may not be read: permission denied").half_written()
            }
            io::ErrorKind::UnexpectedEof => Self::later(Reason::Truncated, path, "ends before its content does"),
            _ => Self::later(Reason::Unreadable, path, format!("could not be read: {source}")),
        }
    }
}

impl From<CheckpointError> for Failure {
    fn from(CheckpointError { reason, message, hint, fault }: CheckpointError) -> Self {
        Self { reason, message, hint, fault }
    }
}

/// A result of reading a checkpoint.
pub(in crate::probe) type Result<T, E = CheckpointError> = std::result::Result<T, E>;
