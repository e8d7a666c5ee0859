//! The encoders, frozen: one folder per family, one transformer for all.
//!
//! The modules mirror the state dict: a field is named like its segment of the key. Only inference: nothing here
//! has a gradient. A family has its own keys, patch size, bands, normalisation, encodings of place and date, and shape
//! of features; all that the rest of the probe sees of it is [`Encoder`].

mod attention;
pub mod clay_v0;
pub mod clay_v1;
mod evidence;
mod inputs;
pub mod keys;
mod layers;
pub mod metadata;
pub mod recognise;
mod rows;
mod source;
mod transformer;

use std::collections::HashMap;

use candle_core::{Device, Result as TensorResult, Tensor};

use crate::{
    config::{Clouds, Latlon},
    domain::{EncoderFacts, Family, Input, InputMetadata},
    probe::chips::RawChip,
};

pub use evidence::Evidence;
pub use metadata::MetadataError;
pub use source::{EncoderError, TensorSource};

/// Watches the intermediate results of a forward pass, by the names of the golden files.
pub type Trace<'a> = &'a mut dyn FnMut(&str, &Tensor) -> TensorResult<()>;

/// The most tokens of one pass; keeps memory flat, whatever the size of chips and encoder.
const TOKENS: usize = 2048;
/// The most chips of one pass: more gain no time.
const CHIPS: usize = 16;

/// What the inputs of a data set's chips are made by.
#[derive(Clone, Debug, PartialEq)]
pub struct InputPlan {
    /// Encoded one after the other, joined over channels; a family with one fixed set of bands ignores them.
    pub inputs: Vec<Input>,
    /// Wavelengths and statistics of at least these inputs.
    pub metadata: InputMetadata,
    pub clouds: Clouds,
    pub latlon: Latlon,
}

impl InputPlan {
    /// No inputs to choose: for a family with one fixed set of bands, or an encoder that is only given tensors.
    pub fn fixed(clouds: Clouds, latlon: Latlon) -> Self {
        let metadata = InputMetadata { source: "the family's own".to_owned(), inputs: Default::default() };
        Self { inputs: Vec::new(), metadata, clouds, latlon }
    }
}

/// What [`Encoder::embed`] gives of B images.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// All that the encoder gives out, `[B, n, D]`: `n` is `G*L+2` for Clay v0 and `1+L` for Clay v1.
    pub tokens: Tensor,
    /// The map that a decoder takes, `[B, C, h, w]`.
    pub decoder_input: Tensor,
}

/// An encoder on its device, ready for chips.
pub trait Encoder: Send + Sync {
    /// What it was loaded by.
    fn facts(&self) -> &EncoderFacts;

    /// C, channels of the feature map: G*D for Clay v0, D per input for Clay v1.
    fn channels(&self) -> usize;

    /// Tokens that one chip of `side` pixels costs in a pass.
    fn tokens(&self, side: usize) -> usize;

    /// Features `[B, h*w, C]`, row by row, of chips of one side, prepared by the family's rules: cloud rule, then
    /// normalisation, then 0 for what was not finite or is missing.
    ///
    /// # Errors
    /// `Input` where there are no chips, their sides differ, or a side is no multiple of the patch.
    fn features(&self, chips: &[RawChip]) -> Result<Tensor, EncoderError>;

    /// Of tensors that are prepared already; those that the family does not know are ignored.
    ///
    /// Clay v0: `pixels` `[B, 13, S, S]`, `latlon` `[B, 2]`, `time` or `timestep` `[B, 3]`. Clay v1: `pixels`
    /// `[B, C, S, S]`, `time` `[B, 4]`, `latlon` `[B, 4]`, `waves` `[C]` in micrometres, `gsd` in metres (one number).
    ///
    /// # Errors
    /// `Input` naming the tensor that is not there or has another shape.
    fn embed(&self, tensors: &HashMap<String, Tensor>) -> Result<Embedded, EncoderError>;

    /// Chips of `side` pixels that go through in one pass: at least one.
    fn chips_per_pass(&self, side: usize) -> usize {
        (TOKENS / self.tokens(side)).clamp(1, CHIPS)
    }
}

/// Names and shapes of all tensors that an encoder of such facts has.
pub fn tensors(facts: &EncoderFacts) -> Vec<(String, Vec<usize>)> {
    match facts.family {
        Family::ClayV0 => clay_v0::keys::tensors(facts),
        Family::ClayV1 => clay_v1::keys::tensors(facts),
    }
}

/// Reads every tensor of the encoder from `source` onto `device`, one at a time.
///
/// # Errors
/// `Input` where a tensor is not there or has another shape than `facts` tell, or `plan` asks for an input of which its
/// metadata tells nothing.
pub fn load(
    facts: &EncoderFacts,
    plan: &InputPlan,
    source: &mut dyn TensorSource,
    device: &Device,
) -> Result<Box<dyn Encoder>, EncoderError> {
    Ok(match facts.family {
        Family::ClayV0 => Box::new(clay_v0::ClayV0::load(facts, plan, source, device)?),
        Family::ClayV1 => Box::new(clay_v1::ClayV1::load(facts, plan, source, device)?),
    })
}
