//! `patch_embedding.{group}`: non-overlapping 32x32 patches of a band group to tokens.

use candle_core::{Result as TensorResult, Tensor};

use super::{
    super::{
        EncoderError,
        layers::{LayerNorm, Linear, cut},
        source::Weights,
    },
    GROUPS, PATCH,
};

// B images, G band groups, c bands of a group, D width, L = h*w patches, P patch side.

/// All groups, in [`GROUPS`]' order.
pub(super) struct PatchEmbedding(Vec<Group>);

struct Group {
    /// c bands as indices into a chip's bands.
    bands: Tensor,
    /// The convolution of stride P as a product: `[D, c*P*P]`.
    proj: Linear,
    norm: LayerNorm,
}

impl PatchEmbedding {
    pub(super) fn load(weights: &mut Weights, d: usize) -> Result<Self, EncoderError> {
        let group = |(name, bands): &(&str, &[u32])| {
            let prefix = format!("patch_embedding.{name}");
            Ok(Group {
                proj: Linear::load(weights, &format!("{prefix}.proj"), bands.len() * PATCH * PATCH, d)?,
                norm: LayerNorm::load(weights, &format!("{prefix}.norm"), d)?,
                bands: weights.indices(bands)?,
            })
        };
        Ok(Self(GROUPS.iter().map(group).collect::<Result<_, EncoderError>>()?))
    }

    /// `[B, 13, h*P, w*P]` to `[B, G, L, D]`.
    pub(super) fn forward(&self, pixels: &Tensor) -> TensorResult<Tensor> {
        let groups = self.0.iter().map(|g| g.forward(pixels)).collect::<TensorResult<Vec<_>>>()?;
        Tensor::stack(&groups, 1)
    }
}

impl Group {
    fn forward(&self, pixels: &Tensor) -> TensorResult<Tensor> {
        let x = cut(&pixels.index_select(&self.bands, 1)?, PATCH)?; // [B, L, c*P*P]
        self.norm.forward(&self.proj.forward(&x)?) // [B, L, D]
    }
}
