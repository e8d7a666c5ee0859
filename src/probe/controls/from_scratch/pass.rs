//! One chip forth and back.

use super::{
    convolve::{add_gradient, convolve},
    kernel::Kernel,
    map::Map,
};

// S pixels per side, C bands.

/// A convolution as it is computed.
pub(super) struct Convolution {
    pub kernel: Kernel,
    pub bias: Vec<f32>,
}

impl Convolution {
    fn of(&self, x: &Map) -> Map {
        convolve(x, &self.kernel).add(&self.bias)
    }
}

/// Gradients by a convolution, summed over chips.
pub(super) struct Gradients {
    pub kernel: Kernel,
    pub bias: Vec<f32>,
}

impl Gradients {
    pub(super) fn zeros(kernel: &Kernel) -> Self {
        Self { kernel: Kernel::zeros(kernel.input, kernel.output), bias: vec![0.0; kernel.output] }
    }

    fn add(&mut self, x: &Map, y: &Map) {
        add_gradient(x, y, &mut self.kernel, &mut self.bias);
    }
}

/// What the way back needs of the way forth; each but the pixels is behind its ReLU.
pub(super) struct Pass {
    /// `[S, S, C]`
    pixels: Map,
    /// `[S, S, 64]`
    first: Map,
    /// `[S/2, S/2, 64]`
    pooled: Map,
    /// Which pixel of four was pooled.
    choices: Vec<u8>,
    /// `[S/2, S/2, 128]`
    third: Map,
    /// `[S/2, S/2, 512]`
    fourth: Map,
}

/// How many values per pixel of a chip lie in memory where it is most: on the way back, before the last map is left behind.
pub(super) fn values_per_pixel(channels: usize) -> f64 {
    let quarters = 64.0 + 64.0 / 4.0 + 128.0 + 512.0 + 512.0; // pooled, choices, third, fourth and the gradient of that
    channels as f64 + 64.0 + quarters / 4.0
}

/// Logits `[S, S]`.
pub(super) fn predict(pixels: &[f32], convolutions: &[Convolution]) -> Vec<f32> {
    Pass::new(pixels, convolutions).1
}

impl Pass {
    /// Of `pixels` `[C, S, S]`; with the logits `[S, S]`.
    pub(super) fn new(pixels: &[f32], convolutions: &[Convolution]) -> (Self, Vec<f32>) {
        let layer = |i: usize, x: &Map| convolutions[i].of(x);
        let pixels = Map::of_planes(pixels, (pixels.len() / convolutions[0].kernel.input).isqrt());
        let first = layer(0, &pixels).relu(); // [S, S, 64]
        let (pooled, choices) = layer(1, &first).relu().pool(); // [S/2, S/2, 64]
        let third = layer(2, &pooled).relu(); // [S/2, S/2, 128]
        let fourth = layer(3, &third).relu(); // [S/2, S/2, 512]
        let logits = layer(4, &fourth).spread(); // [S/2, S/2, 4] to [S, S]
        (Self { pixels, first, pooled, choices, third, fourth }, logits)
    }

    /// Adds to `sums`, from the `gradient` `[S, S]` of the logits; a map is left behind as soon as it is of no more use.
    pub(super) fn back(self, gradient: &[f32], reversed: &[Kernel], sums: &mut [Gradients]) {
        let Self { pixels, first, pooled, choices, third, fourth } = self;
        let y = Map::gathered(gradient, fourth.side); // [S/2, S/2, 4]
        sums[4].add(&fourth, &y);
        let y = convolve(&y, &reversed[4]).relu_back(&fourth); // [S/2, S/2, 512]
        drop(fourth);
        sums[3].add(&third, &y);
        let y = convolve(&y, &reversed[3]).relu_back(&third); // [S/2, S/2, 128]
        drop(third);
        sums[2].add(&pooled, &y);
        // A ReLU before the pooling: what it closed was pooled as zero, if at all.
        let y = convolve(&y, &reversed[2]).relu_back(&pooled).pool_back(&choices); // [S, S, 64]
        sums[1].add(&first, &y);
        let y = convolve(&y, &reversed[1]).relu_back(&first); // [S, S, 64]
        sums[0].add(&pixels, &y);
    }
}
