//! Checkpoints of the trainer: restricted readers, proof, pin. (Interface first; see helper A.)

use std::{collections::BTreeMap, path::Path};

use crate::domain::{Digest, EncoderShape, Epoch, Format, Pinned, ValueSource};

/// Shape and stored dtype of one tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    pub shape: Vec<usize>,
    /// `f32`, `f16`, `bf16`, `i64`, ...
    pub dtype: String,
}

/// Why a checkpoint is refused.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CheckpointError {
    /// A class-word of `clay/bad/expected.json`.
    pub reason: &'static str,
    /// Names the file and the tensor.
    pub message: String,
    /// Half written, perhaps: try again when it changed.
    pub retry: bool,
}

/// What the caller decides.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub opaque_globals: Vec<String>,
}

/// An opened checkpoint whose set of encoder tensors was checked.
pub struct Checkpoint {}

impl Checkpoint {
    pub fn open(_path: &Path, _options: &Options) -> Result<Self, CheckpointError> {
        todo!()
    }
    pub fn format(&self) -> Format {
        todo!()
    }
    pub fn epoch(&self) -> Option<(Epoch, ValueSource)> {
        todo!()
    }
    pub fn global_step(&self) -> Option<(u64, ValueSource)> {
        todo!()
    }
    pub fn encoder(&self) -> &EncoderShape {
        todo!()
    }
    /// Encoder tensors by their name without prefix and wrappers.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        todo!()
    }
    /// One tensor, row-major, as f32; CRC and finiteness are checked.
    pub fn read_f32(&mut self, _name: &str) -> Result<Vec<f32>, CheckpointError> {
        todo!()
    }
    /// Reads every encoder tensor once.
    pub fn weights_digest(&mut self) -> Result<Digest, CheckpointError> {
        todo!()
    }
}

/// Proves a checkpoint and copies its encoder into `<pins>/<weights_digest>.safetensors`.
pub fn pin(_path: &Path, _pins: &Path, _options: &Options) -> Result<Pinned, CheckpointError> {
    todo!()
}
