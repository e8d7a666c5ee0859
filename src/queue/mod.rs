//! Which checkpoints are probed, and which job is next: rules as pure functions, and the changes they cause in the store.

mod control;
mod due;
mod lifecycle;
mod place;
mod plan;
mod retry;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};
use tokio_util::sync::CancellationToken;

use crate::{
    config,
    domain::{DatasetSummary, JobId},
    store::Store,
};

pub use lifecycle::{Claimed, Output, Verdict};
pub use place::Arrival;
pub use plan::{Plan, Prepare, Target};
pub use retry::backoff;

/// The queue: the store, the rules, and what wakes those who wait for a change; cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Store,
    rules: config::Queue,
    /// How long an unreadable checkpoint is tried again.
    give_up: Duration,
    plan: Plan,
    /// Known once the data set is scanned; a data set that changed is scanned again.
    dataset: Arc<Mutex<Option<Arc<DatasetSummary>>>>,
    /// When the last listing began whose files are all noted; empty before the first.
    listed: Arc<Mutex<String>>,
    /// Stop signals of the jobs that run.
    running: Arc<Mutex<HashMap<JobId, CancellationToken>>>,
    changed: Arc<Notify>,
}

impl Queue {
    /// A queue of jobs under one plan.
    pub fn new(store: Store, rules: config::Queue, give_up: Duration, plan: Plan) -> Self {
        Self {
            store,
            rules,
            give_up,
            plan,
            dataset: Arc::default(),
            listed: Arc::default(),
            running: Arc::default(),
            changed: Arc::default(),
        }
    }

    /// Resolves at the next change of the queue or of a checkpoint. Arm it (`enable`) before looking into the table, so
    /// that nothing that happens meanwhile is missed.
    pub fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Wakes all who wait for a change.
    pub fn tell_change(&self) {
        self.changed.notify_waiters();
    }
}

/// A panic while the lock was held left whole values behind.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
