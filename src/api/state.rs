//! What every handler is given: the store to read from, the door to the intake, and what `/readyz` tells.

use std::{
    path::PathBuf,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
};

use serde::Serialize;

use crate::{
    config,
    domain::{DatasetSummary, Posted, PostedCheckpoint, RunName},
    error::Result,
    store::Store,
};

/// Shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub store: Store,
    pub config: config::Api,
    /// Writes go through here.
    pub intake: Arc<dyn Posting>,
    pub status: Arc<Status>,
    /// `store.results`: reports and pictures.
    pub results: PathBuf,
}

/// An answer that comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What the service does when asked to. The daemon implements it; handlers read what came of it from the store.
pub trait Posting: Send + Sync {
    /// Takes a checkpoint in; its row is committed when this answers. Errors: `OutsideRoots`, `Conflict`, `Invalid`.
    fn post(&self, body: PostedCheckpoint) -> Later<'_, Posted>;

    /// Takes back what is waiting or running for checkpoint `id`. Errors: `NotFound`; `Conflict` where it is over.
    fn cancel(&self, id: i64) -> Later<'_, ()>;

    /// Ends a run: its newest checkpoint becomes due. Ending twice changes nothing. Errors: `NotFound`.
    fn finish(&self, run: RunName) -> Later<'_, ()>;
}

/// What `/readyz` tells; the daemon keeps it up to date.
#[derive(Debug, Default)]
pub struct Status(RwLock<Facts>);

/// The facts behind [`Status`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Facts {
    /// The device that workers use: `cpu`, `cuda:0`, `metal`; null until a worker told.
    pub device: Option<String>,
    /// Why that device.
    pub device_reason: Option<String>,
    /// The version of the worker, as its `hello` told.
    pub worker_version: Option<String>,
    /// The data set is being read.
    pub scanning: bool,
    /// The data set; null until it was read once.
    #[schema(value_type = Option<Object>)]
    pub dataset: Option<DatasetSummary>,
    /// What keeps the service from probing, in words.
    pub problems: Vec<String>,
}

impl Facts {
    /// The data set was read, and nothing keeps the service from probing.
    pub fn ready(&self) -> bool {
        self.dataset.is_some() && !self.scanning && self.problems.is_empty()
    }
}

impl Status {
    /// The facts as they are now.
    pub fn facts(&self) -> Facts {
        // A panic while the lock was held left whole values behind: each field is set in one go.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes some of the facts.
    pub fn update(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
