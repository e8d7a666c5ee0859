//! Which checkpoints are probed, and which is next: rules as pure functions, and the changes they cause in the store.

mod due;
mod lane;
mod place;

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tracing::info;

use crate::{
    config,
    domain::{Digest, Protocol},
    error::{Error, Result},
    store::Store,
};

pub use lane::Ended;
pub use place::{Arrival, Placed};

/// The queue: the store, the rules, and the bell that wakes the workers; cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Store,
    rules: config::Queue,
    protocol_digest: String,
    /// Known once the data set is scanned.
    dataset_digest: Arc<OnceLock<String>>,
    bell: Arc<Notify>,
}

impl Queue {
    /// A queue of requests under one protocol.
    pub fn new(store: Store, rules: config::Queue, protocol: &Protocol) -> Self {
        let protocol_digest = protocol.digest().to_string();
        Self { store, rules, protocol_digest, dataset_digest: Arc::default(), bell: Arc::default() }
    }

    /// The data set is scanned: from here on checkpoints can be placed. What waited under another protocol or data
    /// set, from before a change of the configuration, is probed as it is configured now.
    pub async fn set_dataset(&self, digest: Digest) -> Result<()> {
        let dataset = digest.to_string();
        let moved = self.store.move_waiting(&self.protocol_digest, &dataset).await?;
        if moved > 0 {
            info!(requests = moved, "waiting requests are probed under the present protocol and data set");
        }
        self.dataset_digest.get_or_init(|| dataset);
        Ok(())
    }

    /// Rings when something was queued. Wait on it only after looking into the table with the wait already armed.
    pub fn bell(&self) -> &Notify {
        &self.bell
    }

    fn dataset(&self) -> Result<&str> {
        let digest = self.dataset_digest.get().map(String::as_str);
        digest.ok_or_else(|| {
            Error::Conflict("the data set is still being scanned; try again when `/readyz` says ready".into())
        })
    }
}
