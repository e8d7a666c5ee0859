//! `transformer`: pre-norm blocks with residuals, then a last norm.

use candle_core::{Result as TensorResult, Tensor};

use super::{
    EncoderError, Trace,
    attention::Attention,
    layers::{LayerNorm, Linear},
    source::Weights,
};
use crate::domain::EncoderFacts;

// B images, T tokens, D width, M hidden width.

pub(super) struct Transformer {
    norm: LayerNorm,
    /// `layers.{i}`: `0` attends, `1` is an MLP.
    layers: Vec<(Attention, Mlp)>,
}

impl Transformer {
    pub(super) fn load(weights: &mut Weights, shape: &EncoderFacts) -> Result<Self, EncoderError> {
        let norm = LayerNorm::load(weights, "transformer.norm", shape.dim)?;
        let layer = |i| {
            let attention = Attention::load(weights, &format!("transformer.layers.{i}.0"), shape)?;
            Ok((attention, Mlp::load(weights, &format!("transformer.layers.{i}.1.net"), shape)?))
        };
        Ok(Self { norm, layers: (0..shape.depth).map(layer).collect::<Result<_, EncoderError>>()? })
    }

    /// `[B, T, D]` to `[B, T, D]`.
    pub(super) fn forward(&self, mut x: Tensor, trace: Trace) -> TensorResult<Tensor> {
        for (i, (attention, mlp)) in self.layers.iter().enumerate() {
            x = (&x + attention.forward(&x)?)?;
            trace(&format!("block{i}.attn"), &x)?;
            x = (&x + mlp.forward(&x)?)?;
            trace(&format!("block{i}"), &x)?;
        }
        self.norm.forward(&x)
    }
}

/// `net`: 0 norm, 1 linear, 2 GELU (the exact one, with erf), 4 linear; 3 and 5 are dropouts of 0.
struct Mlp {
    net_0: LayerNorm,
    net_1: Linear,
    net_4: Linear,
}

impl Mlp {
    fn load(weights: &mut Weights, prefix: &str, shape: &EncoderFacts) -> Result<Self, EncoderError> {
        Ok(Self {
            net_0: LayerNorm::load(weights, &format!("{prefix}.0"), shape.dim)?,
            net_1: Linear::load(weights, &format!("{prefix}.1"), shape.dim, shape.mlp_dim)?,
            net_4: Linear::load(weights, &format!("{prefix}.4"), shape.mlp_dim, shape.dim)?,
        })
    }

    fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        let hidden = self.net_1.forward(&self.net_0.forward(x)?)?.gelu_erf()?; // [B, T, M]
        self.net_4.forward(&hidden)
    }
}
