//! `transformer.layers.{i}.0`: pre-norm self-attention, in blocks of query rows.

use candle_core::{Result as TensorResult, Tensor};
use candle_nn::ops::softmax_last_dim;

use super::{
    EncoderError,
    layers::{Blocks, LayerNorm, Linear},
    source::Weights,
};

// B images, T tokens, D width, H heads, W width of a head, I = H*W, r query rows of a block.

/// The most attention scores that live at once: 16 MB of f32. A 512 px image would need 1.6 GB for all of them.
const SCORES: usize = 4 << 20;

pub(super) struct Attention {
    heads: usize,
    width: usize,
    norm: LayerNorm,
    to_qkv: Linear,
    /// See [`Blocks::skips_to_out`].
    to_out: Option<Linear>,
}

impl Attention {
    pub(super) fn load(weights: &mut Weights, prefix: &str, blocks: &Blocks) -> Result<Self, EncoderError> {
        let shape = blocks.shape;
        let (d, inner) = (shape.dim, shape.heads * shape.dim_head);
        let to_out = format!("{prefix}.{}", blocks.to_out);
        let to_out = match (blocks.skips_to_out(), blocks.to_out_bias) {
            (true, _) => None,
            (false, true) => Some(Linear::load(weights, &to_out, inner, d)?),
            (false, false) => Some(Linear::without_bias(weights, &to_out, inner, d)?),
        };
        Ok(Self {
            heads: shape.heads,
            width: shape.dim_head,
            norm: LayerNorm::load(weights, &format!("{prefix}.norm"), d)?,
            to_qkv: Linear::without_bias(weights, &format!("{prefix}.to_qkv"), d, 3 * inner)?,
            to_out,
        })
    }

    /// `[B, T, D]` to `[B, T, D]`; the residual is the caller's.
    pub(super) fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        let (b, t, _) = x.dims3()?;
        let qkv = self.to_qkv.forward(&self.norm.forward(x)?)?; // [B, T, 3*I]
        let qkv = qkv.reshape((b, t, 3, self.heads, self.width))?.permute((2, 0, 3, 1, 4))?; // [3, B, H, T, W]
        let q = (qkv.get(0)? * (self.width as f64).powf(-0.5))?; // [B, H, T, W]
        let k = qkv.get(1)?.contiguous()?.t()?; // [B, H, W, T]
        let v = qkv.get(2)?.contiguous()?; // [B, H, T, W]

        let rows = (SCORES / (b * self.heads * t)).clamp(1, t);
        let mut mixed = Vec::with_capacity(t.div_ceil(rows));
        for start in (0..t).step_by(rows) {
            let block = q.narrow(2, start, rows.min(t - start))?.contiguous()?; // [B, H, r, W]
            let scores = softmax_last_dim(&block.matmul(&k)?)?; // [B, H, r, T]
            mixed.push(scores.matmul(&v)?); // [B, H, r, W]
        }
        let mixed = Tensor::cat(&mixed, 2)?.transpose(1, 2)?.reshape((b, t, self.heads * self.width))?; // [B, T, I]
        match &self.to_out {
            Some(to_out) => to_out.forward(&mixed), // [B, T, D]
            None => Ok(mixed),
        }
    }
}
