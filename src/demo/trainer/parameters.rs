//! The trainer's parameters: named, in the order of a PyTorch state dict, with PyTorch's default initial values.

use candle_core::{Device, Result, Tensor, Var};
use candle_nn::Linear;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Variables by name, in the order in which they were made. Candle's generator cannot be seeded on a CPU, so the
/// initial values come from our own.
pub struct Parameters {
    named: Vec<(String, Var)>,
    rng: ChaCha8Rng,
}

impl Parameters {
    /// No variables yet.
    pub fn new(seed: u64) -> Self {
        Self { named: Vec::new(), rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// All of them, in the order of the file.
    pub fn named(&self) -> &[(String, Var)] {
        &self.named
    }

    fn add(&mut self, name: String, values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        let variable = Var::from_vec(values, shape, &Device::Cpu)?;
        let tensor = variable.as_tensor().clone(); // the same storage: it sees every step of the optimiser
        self.named.push((name, variable));
        Ok(tensor)
    }

    /// Uniform in ±1/√`fan_in`, as PyTorch's `Linear` and `Conv2d` start, weight and bias alike.
    pub fn uniform(&mut self, name: String, shape: &[usize], fan_in: usize) -> Result<Tensor> {
        let bound = 1.0 / (fan_in as f32).sqrt();
        let values = (0..shape.iter().product()).map(|_| self.rng.random_range(-bound..bound)).collect();
        self.add(name, values, shape)
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self, name: String, shape: &[usize]) -> Result<Tensor> {
        let mut draw = || {
            let (u, v): (f32, f32) = (1.0 - self.rng.random::<f32>(), self.rng.random());
            (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
        };
        let values = (0..shape.iter().product()).map(|_| draw()).collect();
        self.add(name, values, shape)
    }

    /// `weight [out, in]` and, if asked for, `bias [out]`.
    pub fn linear(&mut self, name: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear> {
        let weight = self.uniform(format!("{name}.weight"), &[outputs, inputs], inputs)?;
        let bias = bias.then(|| self.uniform(format!("{name}.bias"), &[outputs], inputs)).transpose()?;
        Ok(Linear::new(weight, bias))
    }

    /// `weight` of ones and `bias` of zeros, `[dim]` each.
    pub fn norm(&mut self, name: &str, dim: usize) -> Result<Norm> {
        let weight = self.add(format!("{name}.weight"), vec![1.0; dim], &[dim])?;
        let bias = self.add(format!("{name}.bias"), vec![0.0; dim], &[dim])?;
        Ok(Norm { weight, bias })
    }
}

/// A layer norm in plain operations, for candle's fused one has no gradient.
pub struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    /// Normalises the last axis, with eps 1e-5.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        candle_nn::ops::layer_norm_slow(x, &self.weight, &self.bias, 1e-5)
    }
}
