//! The folder of all state: database, pins, results, pictures, caches, lock. Nothing else is written.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use tracing::warn;

use super::ResultKey;
use crate::{
    domain::{Digest, HeadName, head_folder},
    error::{Error, Result},
};

/// How long a daemon waits for the lock of one that is just going down.
const LOCK_PATIENCE: Duration = Duration::from_secs(8);

/// `store.dir`, absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder and those below it.
    pub fn create(dir: &Path) -> Result<Self> {
        let folder = Self(std::path::absolute(dir).map_err(Error::io(dir))?);
        for dir in [folder.pins(), folder.results(), folder.pictures(), folder.datasets(), folder.caches()] {
            fs::create_dir_all(&dir).map_err(Error::io(dir))?;
        }
        Ok(folder)
    }

    /// Takes the folder for this process alone, until the file is dropped. Blocks for some seconds where another has it.
    pub fn lock(&self) -> Result<File> {
        let path = self.0.join("lock");
        let file = File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        let since = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(Error::io(path)(error)),
                Err(TryLockError::WouldBlock) if since.elapsed() < LOCK_PATIENCE => {
                    if !told {
                        warn!(folder = %self.0.display(), "another clay-probe still has this folder; waiting for it to end");
                        told = true;
                    }
                    thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::invalid(format!("another clay-probe works on `{}`", self.0.display()))
                        .with_hint("stop it, or give this one its own `store.dir`"));
                }
            }
        }
    }

    /// Removes copies that a killed worker left half written. The lock must be held: then none is being written.
    pub fn sweep(&self) -> Result<()> {
        let pins = self.pins();
        for entry in fs::read_dir(&pins).map_err(Error::io(&pins))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(".tmp-") {
                fs::remove_file(entry.path()).map_err(Error::io(entry.path()))?;
            }
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn database(&self) -> PathBuf {
        self.0.join("clay-probe.db")
    }

    /// Copies of encoders.
    pub fn pins(&self) -> PathBuf {
        self.0.join("pins")
    }

    /// The copy of the encoder with these weights.
    pub fn pin(&self, weights: &Digest) -> PathBuf {
        self.pins().join(format!("{weights}.safetensors"))
    }

    /// Reports that are not stored yet.
    pub fn results(&self) -> PathBuf {
        self.0.join("results")
    }

    /// The report of a computation of these heads, between its worker and the database.
    pub fn report(&self, key: &ResultKey, heads: &[Digest]) -> PathBuf {
        self.results().join(format!("{}.json", key.digest_with(heads)))
    }

    /// Pictures of predictions, a folder per result.
    pub fn pictures(&self) -> PathBuf {
        self.0.join("pictures")
    }

    /// The pictures of one result, a folder per head.
    pub fn pictures_of(&self, key: &ResultKey) -> PathBuf {
        self.pictures().join(key.digest().to_string())
    }

    /// The pictures of one head of a result: `<event>/<stem>.prediction.png`.
    pub fn predictions(&self, key: &ResultKey, head: HeadName, digest: &Digest) -> PathBuf {
        self.pictures_of(key).join(head_folder(head, digest))
    }

    /// Scanned data sets, `<digest>.json`, and the pictures of their chips in `<digest>`.
    pub fn datasets(&self) -> PathBuf {
        self.0.join("datasets")
    }

    /// What can be made anew at the cost of time.
    pub fn caches(&self) -> PathBuf {
        self.0.join("cache")
    }
}
