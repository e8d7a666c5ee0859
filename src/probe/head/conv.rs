//! The documented flood decoder: a 1x1 convolution, then nearest doublings, each before a 3x3 transposed convolution.
//!
//! For patches of 2^k pixels it has k doublings and at most four transposed convolutions: for 32 px the last doubling
//! stands alone at the end, as documented, for 8 px there are three of each. A pass does each doubling together with the
//! convolution after it (see `phases`), channels last, and leaves out the one that stands alone: its pixels share a cell.
//! The same decoder, operation by operation, is the oracle in `tests/it/heads.rs`.

use candle_core::{DType, Result, Tensor};

use super::{
    Head, HeadError, Kind, Needs, Parameter, column_sums,
    phases::{Kept, Phases},
    restore, tensors, values,
};
use crate::{
    domain::{HeadName, Metric, Seed},
    probe::seed::Initial,
};

// B chips, C feature channels, h×w their grid, N = B*h*w.

/// Names of weight and bias by the layer's place in the PyTorch list; the doublings and ReLUs between have none.
const NAMES: [(&str, &str); 5] = [
    ("0.weight", "0.bias"),
    ("2.weight", "2.bias"),
    ("5.weight", "5.bias"),
    ("8.weight", "8.bias"),
    ("11.weight", "11.bias"),
];

/// Output channels of all layers but the last, which has one.
const WIDTHS: [usize; 4] = [64, 32, 16, 8];

/// For patches of 2 to 32 pixels, a power of two.
pub(super) fn kind(channels: usize, patch: usize) -> std::result::Result<Kind, HeadError> {
    if !patch.is_power_of_two() || !(2..=32).contains(&patch) {
        let hint = "take it out of `probe.heads`";
        return Err(HeadError::Patch { head: HeadName::Conv, wanted: "2, 4, 8, 16 or 32", patch, hint });
    }
    Ok(Kind {
        cell: patch >> convolutions(patch),
        metrics: Metric::OF_PIXELS,
        needs: Needs::Raw,
        cost: None,
        channels,
        patch,
        make: |channels, patch, seed| Box::new(Conv::new(channels, patch, seed)),
    })
}

/// How many transposed convolutions there are.
fn convolutions(patch: usize) -> usize {
    (patch.ilog2() as usize).min(WIDTHS.len())
}

/// The decoder: weight and bias of each layer in order, in PyTorch's layout.
struct Conv {
    parameters: Vec<Parameter>,
}

/// A forward pass that can be gone back.
struct Pass {
    phases: Phases,
    /// Per transposed convolution: what the way back needs, and its output `[B, 2h, 2w, O]`.
    layers: Vec<(Kept, Tensor)>,
}

impl Conv {
    /// PyTorch's default initialisation from our own generator: weight and bias of each layer from
    /// U(-1/sqrt(f), 1/sqrt(f)) with f = `weight.size(1)` times the kernel's area, drawn in the order of the parameters.
    fn new(channels: usize, patch: usize, seed: Seed) -> Self {
        let mut initial = Initial::new(seed);
        let mut parameters = Vec::new();
        let mut input = channels;
        let layers = convolutions(patch);
        for (i, (weight, bias)) in NAMES.into_iter().enumerate().take(layers + 1) {
            let output = if i == layers { 1 } else { WIDTHS[i] };
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

    fn forward(&self, features: &Tensor, grid: usize) -> Result<Pass> {
        let parameters = tensors(&self.parameters, features.device())?;
        let weight = parameters[0].reshape((WIDTHS[0], ()))?; // [64, C]
        let first = features.matmul(&weight.t()?)?.broadcast_add(&parameters[1])?; // [N, 64]
        let mut x = first.reshape(((), grid, grid, WIDTHS[0]))?; // [B, h, w, 64]
        let phases = Phases::new(features.device())?;
        let mut layers = Vec::with_capacity(WIDTHS.len());
        let transposed = parameters[2..].chunks_exact(2);
        let last = transposed.len() - 1;
        for (i, layer) in transposed.enumerate() {
            let (y, kept) = phases.forward(&x, &layer[0], &layer[1])?; // twice the side, fewer channels
            x = if i < last { y.relu()? } else { y };
            layers.push((kept, x.clone()));
        }
        Ok(Pass { phases, layers })
    }

    /// Gradients in order, from the gradient of the logits.
    fn backward(&self, features: &Tensor, pass: &Pass, gradient: Vec<f32>) -> Result<Vec<Vec<f32>>> {
        let (_, logits) = &pass.layers[pass.layers.len() - 1];
        let mut x = Tensor::from_vec(gradient, logits.shape(), features.device())?;
        let mut all = Vec::with_capacity(self.parameters.len());
        for (i, (kept, y)) in pass.layers.iter().enumerate().rev() {
            if i + 1 < pass.layers.len() {
                x = (x * y.gt(0f32)?.to_dtype(DType::F32)?)?; // of the ReLU
            }
            let gradients = pass.phases.backward(kept, &x)?;
            all.extend([gradients.bias, gradients.weight]);
            x = gradients.x;
        }
        let first = x.reshape(((), WIDTHS[0]))?; // [N, 64]; features need no gradient
        all.extend([column_sums(&first)?, first.t()?.matmul(features)?]); // [64], [64, C]
        all.reverse();
        values(&all)
    }
}

impl Pass {
    /// One per cell.
    fn logits(&self) -> Result<Vec<f32>> {
        self.layers[self.layers.len() - 1].1.flatten_all()?.to_vec1()
    }
}

impl Head for Conv {
    fn parameters(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    fn state(&self) -> Vec<Parameter> {
        self.parameters.clone()
    }

    fn restore(&mut self, state: &[Parameter]) {
        restore(&mut self.parameters, state);
    }

    fn predict(&self, features: &Tensor, grid: usize) -> Result<Vec<f32>> {
        self.forward(features, grid)?.logits()
    }

    fn gradients(
        &mut self,
        features: &Tensor,
        grid: usize,
        loss: &mut dyn FnMut(&[f32]) -> Vec<f32>,
    ) -> Result<Vec<Vec<f32>>> {
        let pass = self.forward(features, grid)?;
        let gradient = loss(&pass.logits()?);
        self.backward(features, &pass, gradient)
    }
}
