//! The head's state as PyTorch names and lays it out, and its initial weights.

use super::{Running, Segmentor, Sizes};
use crate::{
    domain::Seed,
    probe::{head::Parameter, seed::Initial},
};

/// The convolutions: names of weight and bias, place in the list of parameters.
const CONVOLUTIONS: [(&str, &str); 4] = [
    ("conv1.weight", "conv1.bias"),
    ("conv2.weight", "conv2.bias"),
    ("conv_ps.weight", "conv_ps.bias"),
    ("conv_out.weight", "conv_out.bias"),
];

/// The norms after the first two: names of scale and shift, and of the running statistics.
const NORMS: [[&str; 4]; 2] = [
    ["bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"],
    ["bn2.weight", "bn2.bias", "bn2.running_mean", "bn2.running_var"],
];

impl Sizes {
    /// Output and input channels of a convolution.
    fn of_convolution(self, i: usize) -> (usize, usize) {
        match i {
            0 => (self.middle, self.channels),
            1 => (self.middle, self.middle),
            2 => (self.shuffled(), self.middle),
            _ => (1, self.last),
        }
    }
}

impl Segmentor {
    /// PyTorch's default initialisation: weight and bias of each convolution from U(-1/sqrt(9*in), 1/sqrt(9*in)), drawn
    /// in the order of the state dict and in PyTorch's layout; norms scale by 1, shift by 0, and have seen nothing.
    pub fn new(sizes: Sizes, seed: Seed) -> Self {
        let mut initial = Initial::new(seed);
        let mut parameters = Vec::new();
        for (i, (weight, bias)) in CONVOLUTIONS.into_iter().enumerate() {
            let (output, input) = sizes.of_convolution(i);
            let bound = 1.0 / ((9 * input) as f32).sqrt();
            let drawn = initial.uniform(output * input * 9, bound);
            let (shape, value) = match i {
                3 => (vec![output, input, 3, 3], drawn),
                _ => (vec![9, input, output], to_product(&drawn, output, input)),
            };
            parameters.push(Parameter { name: weight, shape, value });
            parameters.push(Parameter { name: bias, shape: vec![output], value: initial.uniform(output, bound) });
            if let Some(&[scale, shift, ..]) = NORMS.get(i) {
                let all = |name, value| Parameter { name, shape: vec![output], value: vec![value; output] };
                parameters.extend([all(scale, 1.0), all(shift, 0.0)]);
            }
        }
        Self { sizes, parameters, running: [Running::new(sizes.middle), Running::new(sizes.middle)] }
    }

    /// Parameters in PyTorch's layout, and the running statistics.
    pub(super) fn in_torchs_layout(&self) -> Vec<Parameter> {
        let turned = |p: &Parameter| match p.shape[..] {
            [9, input, output] => {
                let value = from_product(&p.value, output, input);
                Parameter { name: p.name, shape: vec![output, input, 3, 3], value }
            }
            _ => p.clone(),
        };
        let mut state: Vec<Parameter> = self.parameters.iter().map(turned).collect();
        for ([_, _, mean, var], running) in NORMS.into_iter().zip(&self.running) {
            let of = |name, value: &Vec<f32>| Parameter { name, shape: vec![value.len()], value: value.clone() };
            state.extend([of(mean, &running.mean), of(var, &running.var)]);
        }
        state
    }

    /// The way back.
    pub(super) fn take(&mut self, state: &[Parameter]) {
        let given = |name: &str| state.iter().find(|p| p.name == name);
        for parameter in &mut self.parameters {
            let Some(given) = given(parameter.name) else { continue };
            match parameter.shape[..] {
                [9, input, output] => parameter.value = to_product(&given.value, output, input),
                _ => parameter.value.copy_from_slice(&given.value),
            }
        }
        for ([_, _, mean, var], running) in NORMS.into_iter().zip(&mut self.running) {
            for (name, value) in [(mean, &mut running.mean), (var, &mut running.var)] {
                if let Some(given) = given(name) {
                    value.copy_from_slice(&given.value);
                }
            }
        }
    }
}

/// `[out, in, 3, 3]` to `[9, in, out]`.
fn to_product(weight: &[f32], output: usize, input: usize) -> Vec<f32> {
    let mut product = vec![0.0; weight.len()];
    for_each_entry(output, input, |torch, own| product[own] = weight[torch]);
    product
}

/// `[9, in, out]` to `[out, in, 3, 3]`.
fn from_product(product: &[f32], output: usize, input: usize) -> Vec<f32> {
    let mut weight = vec![0.0; product.len()];
    for_each_entry(output, input, |torch, own| weight[torch] = product[own]);
    weight
}

/// Places of an entry in both layouts.
fn for_each_entry(output: usize, input: usize, mut each: impl FnMut(usize, usize)) {
    for (o, c, t) in (0..output).flat_map(|o| (0..input).flat_map(move |c| (0..9).map(move |t| (o, c, t)))) {
        each((o * input + c) * 9 + t, (t * input + c) * output + o);
    }
}
