//! The kernel's events, which only make the next rescan come sooner.

use std::{path::PathBuf, sync::Arc};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tracing::{info, warn};

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
            // Reads of ours make access events; they are no news.
            if event.is_ok_and(|e| !e.kind.is_access() || is_close_after_write(&e)) {
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

fn is_close_after_write(event: &notify::Event) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(event.kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}
