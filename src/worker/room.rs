//! Room on disk: makes it after each job, and stops the taking in of checkpoints where none can be made.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::{
    domain::Reason,
    status::Status,
    store::{Limits, Store},
};

/// While the folder is full, it is looked at so often.
const LOOK: Duration = Duration::from_secs(3);

/// Shared by the runners; cheap to clone.
#[derive(Clone)]
pub struct Room {
    store: Store,
    status: Status,
    limits: Limits,
    keep_events: u32,
    full: Arc<AtomicBool>,
    /// When it was looked at while it was full.
    looked: Arc<Mutex<Option<Instant>>>,
}

impl Room {
    /// Full until it was looked at.
    pub fn new(store: Store, status: Status, limits: Limits, keep_events: u32) -> Self {
        let full = Arc::new(AtomicBool::new(true));
        Self { store, status, limits, keep_events, full, looked: Arc::default() }
    }

    /// Whether nothing more fits; looked at anew from time to time.
    pub async fn is_full(&self) -> bool {
        let full = || self.full.load(Ordering::SeqCst);
        if full() {
            let mut looked = self.looked.lock().await;
            if full() && looked.is_none_or(|at| at.elapsed() > LOOK) {
                self.make().await;
                *looked = Some(Instant::now());
            }
        }
        full()
    }

    /// Makes room, drops old events, and finds out whether another pin fits.
    pub async fn make(&self) {
        let usage = match self.store.make_room(self.limits).await {
            Ok(usage) => usage,
            Err(error) => return warn!(%error, "old files could not be removed; it is tried again"),
        };
        if let Err(error) = self.store.prune_events(self.keep_events).await {
            warn!(%error, "old events could not be dropped; it is tried again");
        }
        let full = usage.over(self.limits.max_bytes) > 0;
        let message = format!(
            "`{}` takes {} bytes and may take {}; new checkpoints wait; hint: raise `store.max_bytes`, or remove runs",
            self.store.folder().path().display(),
            usage.total(),
            self.limits.max_bytes
        );
        if full {
            if self.status.add_problem(Reason::NoSpace, message.as_str()) {
                warn!(message, "no space");
            }
        } else if self.status.clear_problem(Reason::NoSpace) {
            info!("there is space again");
        }
        if self.full.swap(full, Ordering::SeqCst) != full || full {
            let waiting = full.then_some((Reason::NoSpace, message.as_str()));
            if let Err(error) = self.store.note_waiting_pins(waiting).await {
                warn!(%error, "waiting checkpoints could not be told why");
            }
        }
    }
}
