//! The documented flood decoder: a 1x1 convolution and four 3x3 transposed ones between nearest doublings.
//!
//! Two ways to compute it. [`ConvHead::forward_plain`] reads like the PyTorch module and is the oracle;
//! [`ConvHead::forward`] is what fits use: the same function without the last doubling, channels last, each doubling
//! done together with the convolution after it (see `lifted`).

use candle_core::{Device, Result, Tensor, Var};

use super::lifted::Lifted;
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
    /// What the 1x1 convolution gave, `[N, 64]`: the gradient stops here, for features need none.
    first: Tensor,
    /// Parameters after the first two, as tensors of the graph.
    later: Vec<Tensor>,
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

    /// Logits `[B, 1, 32h, 32w]` of features `[B, C, h, w]`, operation by operation.
    pub fn forward_plain(&self, features: &Tensor) -> Result<Tensor> {
        let device = features.device();
        let double = |x: &Tensor| x.upsample_nearest2d(2 * x.dim(2)?, 2 * x.dim(3)?);
        let channels = |i: usize| self.tensor(i, device)?.reshape((1, (), 1, 1));
        let mut x = features.conv2d(&self.tensor(0, device)?, 0, 1, 1, 1)?.broadcast_add(&channels(1)?)?;
        for layer in 1..LAYERS.len() {
            x = double(&x)?;
            x = x.conv_transpose2d(&self.tensor(2 * layer, device)?, 1, 0, 1, 1)?;
            x = x.broadcast_add(&channels(2 * layer + 1)?)?;
            if layer + 1 < LAYERS.len() {
                x = x.relu()?;
            }
        }
        double(&x)
    }

    /// Logits of `features` `[N, C]` (chip by chip, row by row) on a square grid of side `grid`, one per cell of 2x2
    /// pixels. Only with `trainable` can the pass be gone back.
    pub fn forward(&self, features: &Tensor, grid: usize, trainable: bool) -> Result<Pass> {
        let device = features.device();
        let leaf =
            |t: Tensor| if trainable { Ok(Var::from_tensor(&t)?.into_inner()) } else { Ok::<_, candle_core::Error>(t) };
        let weight = self.tensor(0, device)?.reshape((LAYERS[0].2, ()))?; // [64, C]
        let first = leaf(features.matmul(&weight.t()?)?.broadcast_add(&self.tensor(1, device)?)?)?; // [N, 64]
        let later = (2..self.parameters.len()).map(|i| leaf(self.tensor(i, device)?)).collect::<Result<Vec<_>>>()?;

        let lifted = Lifted::new(device)?;
        let mut x = first.reshape(((), grid, grid, LAYERS[0].2))?; // [B, h, w, 64]
        for layer in later.chunks_exact(2) {
            if x.dim(3)? != LAYERS[0].2 {
                x = x.relu()?; // after each transposed convolution but the last
            }
            x = lifted.double_and_convolve(&x, &layer[0], &layer[1])?; // twice the side, fewer channels
        }
        let logits = x.squeeze(3)?; // [B, 16h, 16w]
        Ok(Pass { first, later, logits })
    }

    /// Gradients of all parameters, in order, from the gradient of `pass.logits` (row-major).
    pub fn backward(&self, features: &Tensor, pass: &Pass, gradient: Vec<f32>) -> Result<Vec<Vec<f32>>> {
        let seed = Tensor::from_vec(gradient, pass.logits.shape(), features.device())?;
        let grads = (&pass.logits * seed)?.sum_all()?.backward()?;
        let of = |t: &Tensor| match grads.get(t) {
            Some(gradient) => Ok(gradient.clone()),
            None => t.zeros_like(),
        };
        let first = of(&pass.first)?; // [N, 64]
        let mut all = vec![first.t()?.contiguous()?.matmul(features)?, first.sum(0)?]; // [64, C], [64]
        for parameter in &pass.later {
            all.push(of(parameter)?);
        }
        all.iter().map(|t| t.flatten_all()?.to_vec1()).collect()
    }
}
