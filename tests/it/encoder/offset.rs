//! An offset in the residual stream: a norm takes it away again, so features stay.

use std::path::Path;

use candle_core::Device;
use clay_probe::probe::{
    encoder::{EncoderError, TensorSource, clay_v0::ClayV0, clay_v1::ClayV1},
    weights::{Options, open},
};

use super::{GOLDEN, clay_v1_facts, clay_v1_tensors, difference, plan};
use crate::shared::checkpoint_in;

/// What is added to all that enters the residual stream.
const OFFSET: f32 = 100.0;

/// A source with some of its tensors shifted.
struct Shifted<S> {
    source: S,
    shifted: fn(&str) -> bool,
}

impl<S: TensorSource> TensorSource for Shifted<S> {
    fn read(&mut self, name: &str) -> Result<Vec<f32>, EncoderError> {
        let mut values = self.source.read(name)?;
        if (self.shifted)(name) {
            values.iter_mut().for_each(|v| *v += OFFSET);
        }
        Ok(values)
    }
}

/// f32 holds 100 to 7.6e-6; PyTorch's features are off by 3e-5, those of a variance as `E[x²] - mean²` by 2.7e-2.
fn hold(what: &str, got: &candle_core::Tensor, want: &candle_core::Tensor) {
    let off = difference(got, want);
    println!("{what} with an offset of {OFFSET}: off by {off:e}");
    assert!(off <= 1e-4, "{what}: {off:e}");
}

#[test]
fn clay_v0_bears_an_offset_in_the_residual_stream() {
    let folder = Path::new(GOLDEN).join("d24h3-full");
    let golden = candle_core::safetensors::load(folder.join("io_64.safetensors"), &Device::Cpu).unwrap();
    let file = open(&checkpoint_in(&folder), &Options::default()).unwrap();
    let facts = file.encoder().clone();
    let shifted =
        |name: &str| name.ends_with("_embedding.bias") || name.ends_with(".norm.bias") && name.starts_with("patch");
    let encoder = ClayV0::load(&facts, &plan(), &mut Shifted { source: file, shifted }, &Device::Cpu).unwrap();
    let tokens = encoder.forward(&golden["pixels"], &golden["latlon"], &golden["time"]).unwrap();
    hold("Clay v0", &tokens, &golden["tokens"]);
}

#[test]
fn clay_v1_bears_an_offset_in_the_residual_stream() {
    let folder = Path::new(GOLDEN).join("v1-d32");
    let golden = candle_core::safetensors::load(folder.join("io_sentinel2_40.safetensors"), &Device::Cpu).unwrap();
    let source = clay_v1_tensors(&checkpoint_in(&folder));
    let facts = clay_v1_facts(&source);
    let shifted = |name: &str| name == "cls_token" || name.ends_with("fc_bias.bias");
    let encoder = ClayV1::load(&facts, &plan(), &mut Shifted { source, shifted }, &Device::Cpu).unwrap();
    let waves: Vec<f32> = golden["waves"].to_vec1().unwrap();
    let (pixels, time, latlon) = (&golden["pixels"], &golden["time"], &golden["latlon"]);
    let tokens = encoder.forward_traced(pixels, time, latlon, &waves, 10.0, &mut |_, _| Ok(())).unwrap();
    hold("Clay v1", &tokens, &golden["tokens"]);
}
