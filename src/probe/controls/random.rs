//! An encoder that learnt nothing: the same architecture with PyTorch's initial weights.

use std::{collections::HashMap, f32::consts::PI};

use crate::{
    domain::{Digest, EncoderFacts, Seed},
    probe::{
        encoder::{self, EncoderError, TensorSource},
        seed::Initial,
    },
};

/// Weights as PyTorch draws them when such an encoder is made, of one seed; each tensor has draws of its own.
pub struct RandomWeights {
    shapes: HashMap<String, Vec<usize>>,
    seed: Seed,
}

impl RandomWeights {
    pub fn new(facts: &EncoderFacts, seed: Seed) -> Self {
        Self { shapes: encoder::tensors(facts).into_iter().collect(), seed }
    }

    /// The draws of a tensor: of the seed and its name.
    fn draws(&self, name: &str) -> Initial {
        let digest = Digest::of(format!("{} {name}", self.seed.0).as_bytes()).to_string();
        // The digest is 64 hexadecimal digits.
        Initial::new(Seed(u64::from_str_radix(&digest[..16], 16).unwrap_or_default()))
    }
}

/// What PyTorch initialises a tensor by.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Start {
    Constant(f32),
    /// U(-bound, bound).
    Uniform(f32),
    /// N(0, deviation²).
    Normal(f32),
}

/// `torch.nn`: `LayerNorm` is 1 and 0; `Linear` and `Conv2d` are U(±1/√fan_in), weights and biases alike; the input
/// projection of `MultiheadAttention` is Xavier-uniform with biases 0; Clay's own tokens are N(0, 0.02²).
fn start(name: &str, shapes: &HashMap<String, Vec<usize>>) -> Start {
    let of = |name: &str| shapes.get(name).map(Vec::as_slice).unwrap_or_default();
    let (layer, is_bias) = match name.rsplit_once('.') {
        Some((layer, "weight")) => (layer, false),
        Some((layer, "bias")) => (layer, true),
        _ if name.ends_with("in_proj_weight") => {
            let fans: usize = of(name).iter().sum();
            return Start::Uniform((6.0 / fans as f32).sqrt());
        }
        _ if name.ends_with("in_proj_bias") => return Start::Constant(0.0),
        _ => return Start::Normal(0.02),
    };
    let weight = of(&format!("{layer}.weight"));
    match (weight, is_bias) {
        ([_], _) => Start::Constant(if is_bias { 0.0 } else { 1.0 }), // a normalisation
        (_, true) if layer.ends_with("self_attn.out_proj") => Start::Constant(0.0),
        (weight, _) => Start::Uniform(1.0 / (weight[1..].iter().product::<usize>() as f32).sqrt()),
    }
}

impl TensorSource for RandomWeights {
    fn read(&mut self, name: &str) -> Result<Vec<f32>, EncoderError> {
        let missing = || EncoderError::Input(format!("an encoder of this size has no tensor `{name}`"));
        let count = self.shapes.get(name).ok_or_else(missing)?.iter().product();
        Ok(match start(name, &self.shapes) {
            Start::Constant(value) => vec![value; count],
            Start::Uniform(bound) => self.draws(name).uniform(count, bound),
            Start::Normal(deviation) => normal(&mut self.draws(name), count, deviation),
        })
    }
}

/// Box and Muller's transform.
fn normal(draws: &mut Initial, count: usize, deviation: f32) -> Vec<f32> {
    let unit = draws.uniform(2 * count, 0.5);
    // Of U(0, 1]; 0 has no logarithm.
    let of = |pair: &[f32]| (-2.0 * (0.5 - pair[0]).max(f32::MIN_POSITIVE).ln()).sqrt() * (2.0 * PI * pair[1]).cos();
    unit.chunks_exact(2).map(|pair| deviation * of(pair)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Family, Generation, TensorCounts};

    fn facts(family: Family, generation: Generation) -> EncoderFacts {
        EncoderFacts {
            family,
            generation,
            told_by: String::new(),
            dim: 64,
            depth: 2,
            heads: 2,
            dim_head: 64,
            mlp_dim: 128,
            patch_size: if family == Family::ClayV0 { 32 } else { 8 },
            parameters: 0,
            prefix: String::new(),
            tensors: TensorCounts::default(),
            metadata: None,
        }
    }

    #[test]
    fn every_tensor_starts_as_pytorch_starts_it() {
        let shapes: HashMap<_, _> = encoder::tensors(&facts(Family::ClayV0, Generation::V0)).into_iter().collect();
        let of = |name: &str| start(name, &shapes);
        assert_eq!(of("patch_embedding.sar.norm.weight"), Start::Constant(1.0));
        assert_eq!(of("transformer.layers.1.1.net.0.bias"), Start::Constant(0.0));
        assert_eq!(of("transformer.layers.0.0.to_qkv.weight"), Start::Uniform(0.125));
        assert_eq!(of("transformer.layers.0.1.net.4.bias"), Start::Uniform(1.0 / 128f32.sqrt()));
        assert_eq!(of("latlon_embedding.bias"), Start::Uniform(1.0 / 2f32.sqrt()));
        assert_eq!(of("patch_embedding.dem.proj.weight"), Start::Uniform(1.0 / 32.0));
        let v1: HashMap<_, _> = encoder::tensors(&facts(Family::ClayV1, Generation::V1_5)).into_iter().collect();
        let of = |name: &str| start(&format!("patch_embedding.weight_generator.{name}"), &v1);
        assert_eq!(of("encoder.layers.0.self_attn.in_proj_weight"), Start::Uniform((6.0 / 512f32).sqrt()));
        assert_eq!(of("encoder.layers.0.self_attn.out_proj.bias"), Start::Constant(0.0));
        assert_eq!(of("encoder.layers.0.self_attn.out_proj.weight"), Start::Uniform(1.0 / 128f32.sqrt()));
        assert_eq!(of("bias_token"), Start::Normal(0.02));
        assert_eq!(start("cls_token", &v1), Start::Normal(0.02));
    }

    #[test]
    fn seeds_and_tensors_have_draws_of_their_own() {
        let facts = facts(Family::ClayV1, Generation::V1_5);
        let read = |seed, name: &str| RandomWeights::new(&facts, Seed(seed)).read(name).unwrap();
        let name = "transformer.layers.0.0.to_qkv.weight";
        assert_eq!(read(0, name), read(0, name));
        assert_ne!(read(0, name), read(1, name));
        assert_ne!(read(0, name), read(0, "transformer.layers.1.0.to_qkv.weight"));
        let token = read(0, "patch_embedding.weight_generator.weight_tokens");
        let n = token.len() as f32;
        let (mean, square) = (token.iter().sum::<f32>() / n, token.iter().map(|v| v * v).sum::<f32>() / n);
        assert!(mean.abs() < 1e-3 && (square.sqrt() - 0.02).abs() < 1e-3, "{mean} {}", square.sqrt());
        assert!(RandomWeights::new(&facts, Seed(0)).read("no").is_err());
    }
}
