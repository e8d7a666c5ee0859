//! Has a checkpoint proven and its encoder copied out, by a job of its own.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::{
    Supervisor,
    protocol::{Outcome, Pin, Task},
};
use crate::domain::{Failure, Pinned};

/// Pins into one folder.
#[derive(Clone, Debug)]
pub struct Pinner {
    pub supervisor: Supervisor,
    pub folder: PathBuf,
    pub opaque_globals: Vec<String>,
}

impl Pinner {
    /// The copy, or why there is none; `cancel` ends the job.
    pub async fn pin(&self, job: i64, try_: u32, path: &Path, cancel: &CancellationToken) -> Result<Pinned, Failure> {
        let task = Task::Pin(Pin {
            path: path.to_path_buf(),
            pins: self.folder.clone(),
            opaque_globals: self.opaque_globals.clone(),
        });
        match self.supervisor.run(job, try_, task, cancel, |_| {}).await? {
            Outcome::Pin(pinned) => Ok(*pinned),
            _ => Err(Failure {
                reason: "internal".into(),
                message: "the worker finished another kind of job than the pin".into(),
                retry: false,
            }),
        }
    }
}
