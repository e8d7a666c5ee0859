//! The Clay v0 encoder, frozen: pixels, place and date to tokens.
//!
//! Band groups in fixed order; specification and numbering of the steps: the Clay v0 network.

mod inputs;
pub mod keys;
mod patches;
mod positions;
mod statistics;

use std::collections::HashMap;

use candle_core::{Device, Result as TensorResult, Tensor};

pub use inputs::pixels;
pub use positions::{band_encoding, pos_encoding};
pub use statistics::{BANDS, MEAN, STD, digest as statistics_digest};

use super::{
    Embedded, Encoder, EncoderError, InputPlan, TensorSource, Trace,
    inputs::{named, shaped, side, square},
    layers::{Blocks, Linear},
    source::Weights,
    transformer::Transformer,
};
use crate::{
    config::{Clouds, Latlon},
    domain::EncoderFacts,
    probe::chips::RawChip,
};
use patches::PatchEmbedding;

// B images, G band groups, D width, L = h*w patches of an image, N = G*L, P patch side.

/// Side of a patch in pixels.
pub const PATCH: usize = 32;

/// Band groups in token order, with the bands each takes. `rgb` is reversed, B8A comes after B07.
pub const GROUPS: [(&str, &[u32]); 6] = [
    ("rgb", &[2, 1, 0]),
    ("rededge", &[3, 4, 5, 7]),
    ("nir", &[6]),
    ("swir", &[8, 9]),
    ("sar", &[10, 11]),
    ("dem", &[12]),
];

/// The encoder's weights on a device.
pub struct ClayV0 {
    facts: EncoderFacts,
    device: Device,
    clouds: Clouds,
    latlon: Latlon,
    latlon_embedding: Linear,
    time_embedding: Linear,
    patch_embedding: PatchEmbedding,
    transformer: Transformer,
}

impl ClayV0 {
    /// Reads every tensor from `source` onto `device`, one at a time.
    pub fn load(
        facts: &EncoderFacts,
        plan: &InputPlan,
        source: &mut dyn TensorSource,
        device: &Device,
    ) -> Result<Self, EncoderError> {
        let d = facts.dim;
        let mut weights = Weights::new(source, device);
        let blocks = Blocks { shape: facts, to_out: "to_out.0", to_out_bias: true, may_skip_to_out: true, second: 4 };
        Ok(Self {
            facts: facts.clone(),
            device: device.clone(),
            clouds: plan.clouds,
            latlon: plan.latlon,
            latlon_embedding: Linear::load(&mut weights, "latlon_embedding", 2, d)?,
            time_embedding: Linear::load(&mut weights, "time_embedding", 3, d)?,
            patch_embedding: PatchEmbedding::load(&mut weights, d)?,
            transformer: Transformer::load(&mut weights, &blocks)?,
        })
    }

    /// Tokens `[B, G*L+2, D]` of normalised `pixels` `[B, 13, S, S]`, `latlon` `[B, 2]` and `time` `[B, 3]`.
    ///
    /// Token `g*L + row*w + col`, then the place, then the date. S is any multiple of 32, else an error.
    pub fn forward(&self, pixels: &Tensor, latlon: &Tensor, time: &Tensor) -> Result<Tensor, EncoderError> {
        self.forward_traced(pixels, latlon, time, &mut |_, _| Ok(()))
    }

    /// [`Self::forward`] that shows its intermediate results to `trace`.
    pub fn forward_traced(
        &self,
        pixels: &Tensor,
        latlon: &Tensor,
        time: &Tensor,
        trace: Trace,
    ) -> Result<Tensor, EncoderError> {
        let (b, side) = square(pixels, BANDS.len(), PATCH)?;
        shaped("latlon", latlon, &[b, 2])?;
        shaped("time", time, &[b, 3])?;
        let (grid, d) = (side / PATCH, self.facts.dim);
        let patches = self.patch_embedding.forward(pixels)?; // [B, G, L, D]
        trace("patches", &patches)?;

        let pos = pos_encoding(grid, d / 2, pixels.device())?; // [L, D/2]
        let band = band_encoding(GROUPS.len(), d / 2, pixels.device())?; // [G, D/2]
        trace("pos_encoding", &pos)?;
        trace("band_encoding", &band)?;
        let each = (GROUPS.len(), grid * grid, d / 2);
        let pos = pos.unsqueeze(0)?.broadcast_as(each)?;
        let band = band.unsqueeze(1)?.broadcast_as(each)?;
        let encoding = Tensor::cat(&[pos, band], 2)?; // [G, L, D]
        let tokens = patches.broadcast_add(&encoding)?.flatten(1, 2)?; // [B, G*L, D]
        trace("encoded_patches", &tokens)?;

        let place = self.latlon_embedding.forward(latlon)?.reshape((b, 1, d))?;
        let date = self.time_embedding.forward(time)?.reshape((b, 1, d))?;
        let sequence = Tensor::cat(&[tokens, place, date], 1)?; // [B, G*L+2, D]
        trace("sequence", &sequence)?;
        Ok(self.transformer.forward(sequence, trace)?)
    }
}

impl Encoder for ClayV0 {
    fn facts(&self) -> &EncoderFacts {
        &self.facts
    }

    fn channels(&self) -> usize {
        GROUPS.len() * self.facts.dim
    }

    fn tokens(&self, side: usize) -> usize {
        GROUPS.len() * (side / PATCH).pow(2) + 2
    }

    fn features(&self, chips: &[RawChip]) -> Result<Tensor, EncoderError> {
        let side = side(chips, PATCH)?;
        let (pixels, latlon, time) = inputs::prepare(chips, side, self.clouds, self.latlon, &self.device)?;
        let tokens = self.forward(&pixels, &latlon, &time)?; // [B, G*L+2, D]
        let (b, d) = (chips.len(), self.facts.dim);
        let (g, l) = (GROUPS.len(), (side / PATCH).pow(2));
        let patches = tokens.narrow(1, 0, g * l)?.reshape((b, g, l, d))?;
        Ok(patches.transpose(1, 2)?.reshape((b, l, g * d))?) // [B, L, G*D]
    }

    fn embed(&self, tensors: &HashMap<String, Tensor>) -> Result<Embedded, EncoderError> {
        let of = |names: &[&str]| Ok::<_, EncoderError>(named(tensors, names)?.to_device(&self.device)?);
        let tokens = self.forward(&of(&["pixels"])?, &of(&["latlon"])?, &of(&["time", "timestep"])?)?;
        Ok(Embedded { decoder_input: to_grid(&tokens)?, tokens })
    }
}

/// `[B, G*L+2, D]` to the map a decoder takes, `[B, G*D, h, w]` with channel `g*D + d`; the last two tokens drop.
pub fn to_grid(tokens: &Tensor) -> TensorResult<Tensor> {
    let (b, n, d) = tokens.dims3()?;
    let (g, l) = (GROUPS.len(), (n - 2) / GROUPS.len());
    let side = l.isqrt();
    if side * side * g + 2 != n {
        candle_core::bail!("{n} tokens are not those of a square image");
    }
    let grid = tokens.narrow(1, 0, g * l)?.reshape((b, g, l, d))?;
    grid.transpose(2, 3)?.reshape((b, g * d, side, side))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_to_a_map() {
        // One image of 2x2 patches, D = 1: token n holds n, so channel g holds 4g .. 4g+3 in row order.
        let tokens = Tensor::arange(0f32, 26.0, &Device::Cpu).unwrap().reshape((1, 26, 1)).unwrap();
        let map = to_grid(&tokens).unwrap();
        assert_eq!(map.dims(), [1, 6, 2, 2]);
        let flat: Vec<f32> = map.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(flat, (0..24).map(|n| n as f32).collect::<Vec<_>>());
        assert!(to_grid(&tokens.narrow(1, 0, 14).unwrap()).is_err());
    }
}
