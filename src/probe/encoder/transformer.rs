//! `transformer`: pre-norm blocks with residuals, then a last norm.

use candle_core::{Result as TensorResult, Tensor};

use super::{
    EncoderError, Trace,
    attention::Attention,
    layers::{Blocks, LayerNorm, Linear},
    source::Weights,
};

// B images, T tokens, D width, M hidden width.

pub(super) struct Transformer {
    norm: LayerNorm,
    /// `layers.{i}`: `0` attends, `1` is an MLP.
    layers: Vec<(Attention, Mlp)>,
}

impl Transformer {
    pub(super) fn load(weights: &mut Weights, blocks: &Blocks) -> Result<Self, EncoderError> {
        let norm = LayerNorm::load(weights, "transformer.norm", blocks.shape.dim)?;
        let layer = |i| {
            let attention = Attention::load(weights, &format!("transformer.layers.{i}.0"), blocks)?;
            Ok((attention, Mlp::load(weights, &format!("transformer.layers.{i}.1.net"), blocks)?))
        };
        Ok(Self { norm, layers: (0..blocks.shape.depth).map(layer).collect::<Result<_, EncoderError>>()? })
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

/// `net`: norm, linear, GELU (the exact one, with erf), linear.
struct Mlp {
    net_0: LayerNorm,
    net_1: Linear,
    /// `net.{Blocks::second}`.
    second: Linear,
}

impl Mlp {
    fn load(weights: &mut Weights, prefix: &str, blocks: &Blocks) -> Result<Self, EncoderError> {
        let (dim, hidden) = (blocks.shape.dim, blocks.shape.mlp_dim);
        Ok(Self {
            net_0: LayerNorm::load(weights, &format!("{prefix}.0"), dim)?,
            net_1: Linear::load(weights, &format!("{prefix}.1"), dim, hidden)?,
            second: Linear::load(weights, &format!("{prefix}.{}", blocks.second), hidden, dim)?,
        })
    }

    fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        let hidden = self.net_1.forward_gelu(&self.net_0.forward(x)?)?; // [B, T, M]
        self.second.forward(&hidden)
    }
}
