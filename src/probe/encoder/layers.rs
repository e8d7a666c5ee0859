//! Layers that all families share.

use candle_core::{Result as TensorResult, Tensor};

use super::{EncoderError, source::Weights};

/// `y = x W^T + b` over the last axis; the bias may be absent.
pub(super) struct Linear {
    pub(super) weight: Tensor, // [out, in]
    pub(super) bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn load(weights: &mut Weights, name: &str, input: usize, output: usize) -> Result<Self, EncoderError> {
        let weight = weights.get(&format!("{name}.weight"), &[output, input])?;
        Ok(Self { weight, bias: Some(weights.get(&format!("{name}.bias"), &[output])?) })
    }

    pub(super) fn without_bias(
        weights: &mut Weights,
        name: &str,
        input: usize,
        output: usize,
    ) -> Result<Self, EncoderError> {
        Ok(Self { weight: weights.get(&format!("{name}.weight"), &[output, input])?, bias: None })
    }

    /// `[..., in]` to `[..., out]`.
    pub(super) fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        let (output, input) = self.weight.dims2()?;
        let mut shape = x.dims().to_vec();
        let rows = x.elem_count() / input;
        let y = x.reshape((rows, input))?.matmul(&self.weight.t()?)?; // one product over all rows
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        if let Some(last) = shape.last_mut() {
            *last = output;
        }
        y.reshape(shape)
    }
}

/// Layer normalisation over the last axis with eps 1e-5, as everywhere in Clay.
pub(super) struct LayerNorm {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

impl LayerNorm {
    pub(super) fn load(weights: &mut Weights, name: &str, dim: usize) -> Result<Self, EncoderError> {
        let weight = weights.get(&format!("{name}.weight"), &[dim])?;
        Ok(Self { weight, bias: weights.get(&format!("{name}.bias"), &[dim])? })
    }

    pub(super) fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        candle_nn::ops::layer_norm(&x.contiguous()?, &self.weight, &self.bias, 1e-5)
    }
}
