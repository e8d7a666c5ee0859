//! Why a checkpoint is refused: a class-word for programs, a sentence for people, and whether to try again.

use std::{io, path::Path};

/// Why a checkpoint is refused.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CheckpointError {
    /// A class-word: `not-a-checkpoint`, `truncated`, `checksum`, `legacy-format`, `bad-pickle`, `unsafe-pickle`,
    /// `no-state-dict`, `no-encoder`, `clay-v1`, `duplicate-tensor`, `missing-tensor`, `unexpected-tensor`,
    /// `wrong-shape`, `wrong-dtype`, `non-finite`, and of the file itself `missing`, `unreadable`, `changed`.
    pub reason: &'static str,
    /// Names the file and the tensor.
    pub message: String,
    /// Half written, perhaps: try again when it changed.
    pub retry: bool,
}

impl CheckpointError {
    /// A final refusal of the file at `path`; `what` follows its name in the message.
    pub(super) fn refuse(reason: &'static str, path: &Path, what: impl AsRef<str>) -> Self {
        Self { reason, message: format!("`{}` {}", path.display(), what.as_ref()), retry: false }
    }

    /// A refusal that may be over once the writer is done.
    pub(super) fn later(reason: &'static str, path: &Path, what: impl AsRef<str>) -> Self {
        Self { retry: true, ..Self::refuse(reason, path, what) }
    }

    /// What the system said when the file at `path` was opened or read.
    pub(super) fn io(path: &Path, source: &io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => {
                Self::later("missing", path, "does not exist, or is a link to a file that does not (yet)")
            }
            io::ErrorKind::PermissionDenied => {
                Self::later("unreadable", path, "may not be read: permission denied; hint: is it still being written?")
            }
            io::ErrorKind::UnexpectedEof => Self::later("truncated", path, "ends before its content does"),
            _ => Self::later("unreadable", path, format!("could not be read: {source}")),
        }
    }
}

/// A result of reading a checkpoint.
pub(super) type Result<T, E = CheckpointError> = std::result::Result<T, E>;
