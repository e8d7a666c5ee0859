//! The Clay v1 encoder (v1.0 and v1.5), frozen: any bands of one sensor, time and place to tokens.
//!
//! Specification and numbering of the steps: the Clay v1 network. The two releases have the same keys and formulas; they
//! differ in what their Sentinel-1 input is normalised by.

pub mod generation;
mod generator;
mod inputs;
pub mod keys;
mod positions;
mod statistics;

use std::collections::HashMap;

use candle_core::{Device, Result as TensorResult, Tensor};

pub use statistics::built_in;

use super::{
    Embedded, Encoder, EncoderError, InputPlan, TensorSource, Trace,
    inputs::{named, shaped, side, square},
    layers::{Blocks, Linear, cut},
    source::Weights,
    transformer::Transformer,
};
use crate::{
    config::{Clouds, Latlon},
    domain::{EncoderFacts, Input, InputStatistics},
    probe::chips::RawChip,
};
use generator::PatchEmbedding;
use positions::pos_encoding;

// B images, C bands of an input, D width, L = h*w patches of an image, P patch side.

/// Side of a patch in pixels.
pub const PATCH: usize = 8;

/// Channels of a token's encoding that tell time and place: four each.
const META: usize = 8;

/// The encoder's weights on a device, with the kernels of the inputs it was loaded for.
pub struct ClayV1 {
    facts: EncoderFacts,
    device: Device,
    clouds: Clouds,
    latlon: Latlon,
    sensors: Vec<Sensor>,
    cls_token: Tensor,
    patch_embedding: PatchEmbedding,
    transformer: Transformer,
}

/// An input with what its chips go through, made once.
struct Sensor {
    input: Input,
    statistics: InputStatistics,
    /// `[D, C*P*P]`.
    kernels: Linear,
}

impl ClayV1 {
    /// Reads every tensor from `source` onto `device`, one at a time, and makes the kernels of the plan's inputs.
    ///
    /// # Errors
    /// As [`super::load`].
    pub fn load(
        facts: &EncoderFacts,
        plan: &InputPlan,
        source: &mut dyn TensorSource,
        device: &Device,
    ) -> Result<Self, EncoderError> {
        let d = facts.dim;
        if d < META + 8 || !d.is_multiple_of(4) {
            return Err(EncoderError::Input(format!("a width of {d} is not a multiple of 4 from {} on", META + 8)));
        }
        let mut weights = Weights::new(source, device);
        let blocks = Blocks { shape: facts, to_out: "to_out", to_out_bias: false, may_skip_to_out: false, second: 3 };
        let cls_token = weights.get("cls_token", &[1, 1, d])?;
        let patch_embedding = PatchEmbedding::load(&mut weights, d)?;
        let sensor = |&input| Sensor::new(input, plan, &patch_embedding, device);
        Ok(Self {
            facts: facts.clone(),
            device: device.clone(),
            clouds: plan.clouds,
            latlon: plan.latlon,
            sensors: plan.inputs.iter().map(sensor).collect::<Result<_, _>>()?,
            cls_token,
            transformer: Transformer::load(&mut weights, &blocks)?,
            patch_embedding,
        })
    }

    /// Tokens `[B, 1+L, D]` of standardised `pixels` `[B, C, S, S]`, `time` `[B, 4]`, `latlon` `[B, 4]`, with kernels made
    /// for bands of wavelengths `waves` (C of them, micrometres); `gsd` in metres. Shows its intermediate results to
    /// `trace`.
    ///
    /// Token 0 is the image's, then the patches row by row. S is any multiple of 8, else an error.
    pub fn forward_traced(
        &self,
        pixels: &Tensor,
        time: &Tensor,
        latlon: &Tensor,
        waves: &[f32],
        gsd: f64,
        trace: Trace,
    ) -> Result<Tensor, EncoderError> {
        if waves.is_empty() || waves.iter().any(|wave| !wave.is_finite()) {
            return Err(EncoderError::Input("`waves` must be finite numbers, one for each band".to_owned()));
        }
        let (_, side) = square(pixels, waves.len(), PATCH)?;
        let kernels = self.patch_embedding.kernels(waves, &self.device, trace)?;
        let position = self.position(side, gsd)?;
        self.encode(&kernels, pixels, time, latlon, &position, trace)
    }

    /// `[1, L, D-8]` for images of `side` pixels of `gsd` metres.
    fn position(&self, side: usize, gsd: f64) -> TensorResult<Tensor> {
        pos_encoding(side / PATCH, self.facts.dim - META, gsd, &self.device)?.unsqueeze(0)
    }

    /// `position` is `[1, L, D-8]` or, where ground sampling distances differ, `[B, L, D-8]`.
    fn encode(
        &self,
        kernels: &Linear,
        pixels: &Tensor,
        time: &Tensor,
        latlon: &Tensor,
        position: &Tensor,
        trace: Trace,
    ) -> Result<Tensor, EncoderError> {
        let (b, d) = (pixels.dim(0)?, self.facts.dim);
        shaped("time", time, &[b, 4])?;
        shaped("latlon", latlon, &[b, 4])?;
        let patches = kernels.forward(&cut(pixels, PATCH)?)?; // [B, L, D]
        trace("patches", &patches)?;
        let l = patches.dim(1)?;
        let meta = Tensor::cat(&[time, latlon], 1)?.unsqueeze(1)?.broadcast_as((b, l, META))?;
        let encoding = Tensor::cat(&[position.broadcast_as((b, l, d - META))?, meta], 2)?; // [B, L, D]
        let encoded = (patches + encoding)?;
        trace("encoded_patches", &encoded)?;
        let sequence = Tensor::cat(&[self.cls_token.broadcast_as((b, 1, d))?, encoded], 1)?; // [B, 1+L, D]
        trace("sequence", &sequence)?;
        let tokens = self.transformer.forward(sequence, trace)?;
        trace("tokens", &tokens)?;
        Ok(tokens)
    }
}

impl Sensor {
    fn new(
        input: Input,
        plan: &InputPlan,
        patch_embedding: &PatchEmbedding,
        device: &Device,
    ) -> Result<Self, EncoderError> {
        let source = &plan.metadata.source;
        let nothing = || EncoderError::Input(format!("the metadata ({source}) tells nothing of `{input}`"));
        let statistics = plan.metadata.inputs.get(&input).ok_or_else(nothing)?;
        let (waves, bands) = (&statistics.wavelengths, input.bands().len());
        if [waves, &statistics.mean, &statistics.std].into_iter().any(|values| values.len() != bands) {
            let message = format!("the metadata ({source}) does not tell all {bands} bands of `{input}`");
            return Err(EncoderError::Input(message));
        }
        let kernels = patch_embedding.kernels(waves, device, &mut |_, _| Ok(()))?;
        Ok(Self { input, statistics: statistics.clone(), kernels })
    }
}

impl Encoder for ClayV1 {
    fn facts(&self) -> &EncoderFacts {
        &self.facts
    }

    fn channels(&self) -> usize {
        self.facts.dim * self.sensors.len()
    }

    fn tokens(&self, side: usize) -> usize {
        (side / PATCH).pow(2) + 1
    }

    fn features(&self, chips: &[RawChip]) -> Result<Tensor, EncoderError> {
        let side = side(chips, PATCH)?;
        let (time, latlon) = inputs::time_and_place(chips, self.latlon, &self.device)?;
        let position = if chips.iter().all(|chip| chip.gsd == chips[0].gsd) {
            self.position(side, chips[0].gsd)?
        } else {
            let each = chips.iter().map(|chip| self.position(side, chip.gsd)).collect::<TensorResult<Vec<_>>>()?;
            Tensor::cat(&each, 0)?
        };
        let mut joined = Vec::with_capacity(self.sensors.len());
        for Sensor { input, statistics, kernels } in &self.sensors {
            let pixels = inputs::pixels(chips, side, *input, statistics, self.clouds, &self.device)?;
            let tokens = self.encode(kernels, &pixels, &time, &latlon, &position, &mut |_, _| Ok(()))?;
            joined.push(tokens.narrow(1, 1, self.tokens(side) - 1)?); // [B, L, D]
        }
        if joined.is_empty() {
            return Err(EncoderError::Input("no inputs were chosen to encode".to_owned()));
        }
        Ok(Tensor::cat(&joined, 2)?) // [B, L, D*inputs]
    }

    fn embed(&self, tensors: &HashMap<String, Tensor>) -> Result<Embedded, EncoderError> {
        let of = |name| Ok::<_, EncoderError>(named(tensors, &[name])?.to_device(&self.device)?);
        let waves: Vec<f32> = named(tensors, &["waves"])?.flatten_all()?.to_vec1()?;
        let gsd: Vec<f32> = named(tensors, &["gsd"])?.flatten_all()?.to_vec1()?;
        let &[gsd] = gsd.as_slice() else {
            return Err(EncoderError::Input(format!("`gsd` must be one number, not {}", gsd.len())));
        };
        if !(gsd.is_finite() && gsd > 0.0) {
            return Err(EncoderError::Input(format!("`gsd` must be metres above 0, not {gsd}")));
        }
        let (pixels, time, latlon) = (of("pixels")?, of("time")?, of("latlon")?);
        let tokens = self.forward_traced(&pixels, &time, &latlon, &waves, gsd.into(), &mut |_, _| Ok(()))?;
        Ok(Embedded { decoder_input: to_map(&tokens)?, tokens })
    }
}

/// `[B, 1+L, D]` to the map a head takes, `[B, D, h, w]`; the image's token drops.
fn to_map(tokens: &Tensor) -> TensorResult<Tensor> {
    let (b, n, d) = tokens.dims3()?;
    let side = (n - 1).isqrt();
    tokens.narrow(1, 1, n - 1)?.transpose(1, 2)?.reshape((b, d, side, side))
}
