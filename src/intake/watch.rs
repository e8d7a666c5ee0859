//! The kernel's events, which only make the next rescan come sooner.

use std::{path::PathBuf, sync::Arc};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::files::is_checkpoint_name;
use crate::{
    config::Watch,
    error::{Error, Result},
};

/// Watches directories; dropped, it stops.
pub struct Watcher {
    inner: Option<RecommendedWatcher>,
    pending: Vec<PathBuf>,
}

impl Watcher {
    /// Watches as configured. `auto` goes on without events where they cannot be had, `notify` fails.
    pub fn start(how: Watch, dirs: &[PathBuf], wake: Arc<Notify>) -> Result<Self> {
        if how == Watch::Poll {
            return Ok(Self { inner: None, pending: Vec::new() });
        }
        let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_news(&event)) {
                wake.notify_one();
            }
        });
        match made {
            Ok(inner) => {
                let mut watcher = Self { inner: Some(inner), pending: dirs.to_vec() };
                watcher.watch_pending();
                Ok(watcher)
            }
            Err(error) if how == Watch::Auto => {
                warn!(%error, "no file events can be had; only the rescan finds checkpoints");
                Ok(Self { inner: None, pending: Vec::new() })
            }
            Err(error) => Err(Error::Internal(format!("`intake.watch = \"notify\"`: {error}"))),
        }
    }

    /// Begins to watch directories that were not there before.
    pub fn watch_pending(&mut self) {
        let Some(inner) = &mut self.inner else { return };
        self.pending.retain(|dir| {
            if !dir.is_dir() {
                return true;
            }
            match inner.watch(dir, RecursiveMode::Recursive) {
                Ok(()) => info!(dir = %dir.display(), "watching"),
                Err(error) => warn!(dir = %dir.display(), %error, "no file events here; the rescan goes on"),
            }
            false
        });
    }
}

/// Whether an event is about a checkpoint or a folder. A log that grows beside the checkpoints is no news, and neither
/// are our own reads.
fn is_news(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    let read = event.kind.is_access() && !matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)));
    let folder = |path: &PathBuf| !matches!(event.kind, EventKind::Modify(_) | EventKind::Access(_)) && path.is_dir();
    !read && (event.need_rescan() || event.paths.iter().any(|path| is_checkpoint_name(path) || folder(path)))
}

#[cfg(test)]
mod tests {
    use notify::{
        Event,
        event::{AccessKind, AccessMode, CreateKind, DataChange, EventKind, ModifyKind},
    };

    use super::*;

    #[test]
    fn only_checkpoints_and_folders_are_news() {
        let dir = tempfile::tempdir().unwrap();
        let news = |kind: EventKind, path: &str| is_news(&Event::new(kind).add_path(dir.path().join(path)));
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        assert!(news(written, "epoch=1.ckpt") && news(EventKind::Create(CreateKind::File), "epoch=1.ckpt"));
        assert!(!news(written, "train.log") && !news(EventKind::Create(CreateKind::File), "train.log"));
        assert!(news(EventKind::Create(CreateKind::Folder), ""), "checkpoints may already lie in a new folder");
        assert!(news(EventKind::Access(AccessKind::Close(AccessMode::Write)), "epoch=1.ckpt"));
        assert!(!news(EventKind::Access(AccessKind::Open(AccessMode::Read)), "epoch=1.ckpt"));
    }
}
