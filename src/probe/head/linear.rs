//! The linear head: a 1x1 convolution from a patch's features to its pixels (PixelShuffle), one logit each.
//!
//! Its features are standardised per channel: Clay v1.5's channels differ in scale by three orders, and AdamW's steps
//! are of one size for all.

use candle_core::{Result, Tensor};

use super::{
    Head, Kind, Needs, Parameter, column_sums,
    pixels::{to_patches, to_pixels},
    restore, tensors, values,
};
use crate::{
    domain::{Metric, Seed},
    probe::seed::Initial,
};

/// For patches of any size.
pub(super) fn kind(channels: usize, patch: usize) -> Kind {
    Kind {
        cell: 1,
        metrics: Metric::OF_PIXELS,
        needs: Needs::Standardised,
        cost: None,
        channels,
        patch,
        make: |channels, patch, seed| Box::new(Linear::new(channels, patch, seed)),
    }
}

/// Weight `[P*P, C, 1, 1]` and bias `[P*P]`, a row of pixels after the other.
struct Linear {
    patch: usize,
    parameters: [Parameter; 2],
}

impl Linear {
    /// PyTorch's default initialisation: both from U(-1/sqrt(C), 1/sqrt(C)).
    fn new(channels: usize, patch: usize, seed: Seed) -> Self {
        let mut initial = Initial::new(seed);
        let (pixels, bound) = (patch * patch, 1.0 / (channels as f32).sqrt());
        let value = initial.uniform(pixels * channels, bound);
        let weight = Parameter { name: "0.weight", shape: vec![pixels, channels, 1, 1], value };
        let bias = Parameter { name: "0.bias", shape: vec![pixels], value: initial.uniform(pixels, bound) };
        Self { patch, parameters: [weight, bias] }
    }
}

impl Head for Linear {
    fn parameters(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    fn state(&self) -> Vec<Parameter> {
        self.parameters.to_vec()
    }

    fn restore(&mut self, state: &[Parameter]) {
        restore(&mut self.parameters, state);
    }

    fn predict(&self, features: &Tensor, grid: usize) -> Result<Vec<f32>> {
        let parameters = tensors(&self.parameters, features.device())?;
        let weight = parameters[0].reshape((self.patch * self.patch, ()))?; // [P*P, C]
        let x = features.matmul(&weight.t()?)?.broadcast_add(&parameters[1])?; // [N, P*P]
        Ok(to_pixels(&x.flatten_all()?.to_vec1::<f32>()?, grid, self.patch))
    }

    fn gradients(
        &mut self,
        features: &Tensor,
        grid: usize,
        loss: &mut dyn FnMut(&[f32]) -> Vec<f32>,
    ) -> Result<Vec<Vec<f32>>> {
        let gradient = to_patches(&loss(&self.predict(features, grid)?), grid, self.patch);
        let shape = (features.dim(0)?, self.patch * self.patch);
        let x = Tensor::from_vec(gradient, shape, features.device())?; // [N, P*P]
        values(&[x.t()?.matmul(features)?, column_sums(&x)?])
    }
}
