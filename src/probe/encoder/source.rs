//! Where the encoder's tensors come from: one at a time, so that two copies of the weights never live together.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::probe::checkpoint::CheckpointError;

/// Why an encoder cannot be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor operation failed: memory, or the device.
    #[error("the encoder failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// What it was given does not fit.
    #[error("{0}")]
    Input(String),
}

/// Named tensors as f32, row-major, without prefix (`transformer.norm.weight`).
pub trait TensorSource {
    /// All values of the tensor `name`.
    fn read(&mut self, name: &str) -> Result<Vec<f32>, EncoderError>;
}

/// Weights that are already tensors, such as those of a network that is being trained.
impl TensorSource for HashMap<String, Tensor> {
    fn read(&mut self, name: &str) -> Result<Vec<f32>, EncoderError> {
        let missing = || EncoderError::Input(format!("there is no tensor `{name}`"));
        Ok(self.get(name).ok_or_else(missing)?.flatten_all()?.to_dtype(candle_core::DType::F32)?.to_vec1()?)
    }
}

/// A source with the device its tensors go to.
pub(super) struct Weights<'a> {
    source: &'a mut dyn TensorSource,
    device: &'a Device,
}

impl<'a> Weights<'a> {
    pub(super) fn new(source: &'a mut dyn TensorSource, device: &'a Device) -> Self {
        Self { source, device }
    }

    /// The tensor `name`, which must hold as many values as `shape` says.
    pub(super) fn get(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, EncoderError> {
        let values = self.source.read(name)?;
        if values.len() != shape.iter().product::<usize>() {
            return Err(EncoderError::Input(format!("tensor `{name}` has {} values, not {shape:?}", values.len())));
        }
        Ok(Tensor::from_vec(values, shape, self.device)?)
    }

    /// Indices of bands, beside the weights.
    pub(super) fn indices(&self, bands: &[u32]) -> Result<Tensor, EncoderError> {
        Ok(Tensor::new(bands, self.device)?)
    }
}
