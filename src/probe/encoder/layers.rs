//! Layers that all families share.

// B images, c bands, P side of a patch, L = h*w patches.

use candle_core::{Result as TensorResult, Tensor};

use super::{
    EncoderError,
    rows::{add_bias, add_bias_gelu, normalise},
    source::Weights,
};
use crate::domain::EncoderFacts;

/// The blocks of a family: their size, and what differs between families in names and biases.
pub(super) struct Blocks<'a> {
    pub(super) shape: &'a EncoderFacts,
    /// The attention's output projection below `layers.{i}.0`.
    pub(super) to_out: &'static str,
    pub(super) to_out_bias: bool,
    /// No output projection where one head is exactly as wide as the model.
    pub(super) may_skip_to_out: bool,
    /// The place of the MLP's second matrix in `layers.{i}.1.net`, which depends on the dropouts of 0 between.
    pub(super) second: usize,
}

impl Blocks<'_> {
    pub(super) fn skips_to_out(&self) -> bool {
        self.may_skip_to_out && self.shape.heads == 1 && self.shape.dim_head == self.shape.dim
    }
}

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
        let y = self.product(x)?;
        let y = match &self.bias {
            Some(bias) => add_bias(y, bias)?,
            None => y,
        };
        y.reshape(self.shape(x)?)
    }

    /// [`Self::forward`], then the exact GELU.
    pub(super) fn forward_gelu(&self, x: &Tensor) -> TensorResult<Tensor> {
        let y = self.product(x)?;
        let y = match &self.bias {
            Some(bias) => add_bias_gelu(y, bias)?,
            None => y.gelu_erf()?,
        };
        y.reshape(self.shape(x)?)
    }

    /// One product over all rows: `[n, out]`.
    fn product(&self, x: &Tensor) -> TensorResult<Tensor> {
        let input = self.weight.dim(1)?;
        x.reshape((x.elem_count() / input, input))?.matmul(&self.weight.t()?)
    }

    /// `[..., out]` of `x` `[..., in]`.
    fn shape(&self, x: &Tensor) -> TensorResult<Vec<usize>> {
        let mut shape = x.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.weight.dim(0)?;
        }
        Ok(shape)
    }
}

/// Cuts images into patches of `side` pixels: `[B, c, h*P, w*P]` to `[B, L, c*P*P]`, as the kernel of a convolution of that
/// stride is laid out.
pub(super) fn cut(pixels: &Tensor, side: usize) -> TensorResult<Tensor> {
    let (b, c, height, width) = pixels.dims4()?;
    let (h, w) = (height / side, width / side);
    let x = pixels.reshape((b, c, h, side, w, side))?.permute((0, 2, 4, 1, 3, 5))?; // [B, h, w, c, P, P]
    x.reshape((b, h * w, c * side * side)) // [B, L, c*P*P]
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
        normalise(&x.contiguous()?, &self.weight, &self.bias, 1e-5)
    }
}
