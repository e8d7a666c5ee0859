//! The documented flood decoder: a 1x1 convolution and four 3x3 transposed ones between nearest doublings.
//!
//! Two ways to compute it. [`ConvHead::forward_plain`] reads like the PyTorch module and is the oracle;
//! [`ConvHead::forward`] is what fits use: the same function without the last doubling, channels last, each doubling
//! done together with the convolution after it (see `phases`).

use candle_core::{DType, Device, Result, Tensor};

use super::phases::{Kept, Phases, column_sums};
use crate::{domain::Seed, probe::seed::Initial};

// B chips, C = G*D feature channels, h×w their grid, N = B*h*w.

/// The layers by their place in the PyTorch list: names of weight and bias, output channels.
pub const LAYERS: [(&str, &str, usize); 5] = [
    ("0.weight", "0.bias", 64),
    ("2.weight", "2.bias", 32),
    ("5.weight", "5.bias", 16),
    ("8.weight", "8.bias", 8),
    ("11.weight", "11.bias", 1),
];

/// One parameter, row-major in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub value: Vec<f32>,
}

/// The decoder's parameters, weight and bias of each layer in order.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvHead {
    pub parameters: Vec<Parameter>,
}

/// A forward pass that can be gone back.
pub struct Pass {
    phases: Phases,
    /// Per transposed convolution: what the way back needs, and its output `[B, 2h, 2w, O]`.
    layers: Vec<(Kept, Tensor)>,
    /// One logit per cell of 2x2 pixels, `[B, 16h, 16w]`.
    pub logits: Tensor,
}

impl ConvHead {
    /// PyTorch's default initialisation from our own generator: weight and bias of each layer from
    /// U(-1/sqrt(f), 1/sqrt(f)) with f = `weight.size(1)` times the kernel's area, drawn in the order of the parameters.
    pub fn new(channels: usize, seed: Seed) -> Self {
        let mut initial = Initial::new(seed);
        let mut parameters = Vec::with_capacity(2 * LAYERS.len());
        let mut input = channels;
        for (i, (weight, bias, output)) in LAYERS.into_iter().enumerate() {
            // A convolution's weight is [out, in, k, k], a transposed one's [in, out, k, k].
            let shape = if i == 0 { vec![output, input, 1, 1] } else { vec![input, output, 3, 3] };
            let bound = 1.0 / ((shape[1] * shape[2] * shape[3]) as f32).sqrt();
            let value = initial.uniform(shape.iter().product(), bound);
            parameters.push(Parameter { name: weight, shape, value });
            parameters.push(Parameter { name: bias, shape: vec![output], value: initial.uniform(output, bound) });
            input = output;
        }
        Self { parameters }
    }

    fn tensor(&self, i: usize, device: &Device) -> Result<Tensor> {
        let p = &self.parameters[i];
        Tensor::from_slice(&p.value, p.shape.as_slice(), device)
    }

    /// All parameters as tensors, in order.
    pub fn tensors(&self, device: &Device) -> Result<Vec<Tensor>> {
        (0..self.parameters.len()).map(|i| self.tensor(i, device)).collect()
    }

    /// Logits `[B, 1, 32h, 32w]` of features `[B, C, h, w]`, operation by operation, so that candle can go back.
    pub fn forward_plain(features: &Tensor, parameters: &[Tensor]) -> Result<Tensor> {
        let double = |x: &Tensor| x.upsample_nearest2d(2 * x.dim(2)?, 2 * x.dim(3)?);
        let channels = |i: usize| parameters[i].reshape((1, (), 1, 1));
        let mut x = features.conv2d(&parameters[0], 0, 1, 1, 1)?.broadcast_add(&channels(1)?)?;
        for layer in 1..LAYERS.len() {
            x = double(&x)?;
            x = x.conv_transpose2d(&parameters[2 * layer], 1, 0, 1, 1)?;
            x = x.broadcast_add(&channels(2 * layer + 1)?)?;
            if layer + 1 < LAYERS.len() {
                x = x.relu()?;
            }
        }
        double(&x)
    }

    /// Logits of `features` `[N, C]` (chip by chip, row by row) on a square grid of side `grid`, one per cell of 2x2
    /// pixels.
    pub fn forward(&self, features: &Tensor, grid: usize) -> Result<Pass> {
        let device = features.device();
        let weight = self.tensor(0, device)?.reshape((LAYERS[0].2, ()))?; // [64, C]
        let first = features.matmul(&weight.t()?)?.broadcast_add(&self.tensor(1, device)?)?; // [N, 64]
        let mut x = first.reshape(((), grid, grid, LAYERS[0].2))?; // [B, h, w, 64]

        let phases = Phases::new(device)?;
        let mut layers = Vec::with_capacity(LAYERS.len() - 1);
        for layer in 1..LAYERS.len() {
            let (weight, bias) = (self.tensor(2 * layer, device)?, self.tensor(2 * layer + 1, device)?);
            let (y, kept) = phases.forward(&x, &weight, &bias)?; // twice the side, fewer channels
            x = if layer + 1 < LAYERS.len() { y.relu()? } else { y };
            layers.push((kept, x.clone()));
        }
        Ok(Pass { phases, layers, logits: x.squeeze(3)? }) // [B, 16h, 16w]
    }

    /// Gradients of all parameters, in order, from the gradient of `pass.logits` (row-major).
    pub fn backward(&self, features: &Tensor, pass: &Pass, gradient: Vec<f32>) -> Result<Vec<Vec<f32>>> {
        let mut x = Tensor::from_vec(gradient, pass.logits.shape(), features.device())?.unsqueeze(3)?;
        let mut all = Vec::with_capacity(self.parameters.len());
        for (i, (kept, y)) in pass.layers.iter().enumerate().rev() {
            if i + 1 < pass.layers.len() {
                x = (x * y.gt(0f32)?.to_dtype(DType::F32)?)?; // of the ReLU
            }
            let gradients = pass.phases.backward(kept, &x)?;
            all.extend([gradients.bias, gradients.weight]);
            x = gradients.x;
        }
        let first = x.reshape(((), LAYERS[0].2))?; // [N, 64]; features need no gradient
        all.extend([column_sums(&first)?, first.t()?.matmul(features)?]); // [64], [64, C]
        all.iter().rev().map(|t| t.flatten_all()?.to_vec1()).collect()
    }
}
