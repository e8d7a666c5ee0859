//! Where a probe or a control computes, and where it keeps what need not be computed again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    device::{self, Chosen, DeviceError, DeviceRequest},
    features::FeatureCache,
};
use crate::{config::Size, domain::Digest};

/// A device to be chosen, and a folder for caches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// `auto`, `cpu`, `cuda:N`, `metal`.
    pub device: String,
    /// Beside a trainer: leave it the GPU that it computes on.
    pub serve: bool,
    pub share_gpu: bool,
    pub gpu_memory: Size,
    /// The folder where decoded chips and embeddings are kept.
    pub cache: PathBuf,
    /// The most that embeddings may take there.
    pub cache_bytes: Size,
}

impl Resources {
    pub(super) fn device(&self) -> Result<Chosen, DeviceError> {
        device::choose(&DeviceRequest {
            device: &self.device,
            serve: self.serve,
            share_gpu: self.share_gpu,
            gpu_memory: self.gpu_memory,
        })
    }

    /// What is kept of an encoder under a preparation.
    pub(super) fn features(&self, weights: Digest, preparation: Digest) -> FeatureCache {
        FeatureCache::new(&self.cache, weights, preparation, self.cache_bytes.0)
    }
}
