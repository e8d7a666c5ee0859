//! The small network of Clay's documentation, trained from scratch on the pixels of each chip: what a data set teaches
//! without any pre-training.
//!
//! A fit of it is heavy, so a batch goes through it chip by chip, and the map that is doubled before the last convolution is
//! never made (see `kernel`). It computes on the CPU. The same network, operation by operation, is the oracle in
//! `oracle.rs`; `tests/compare_from_scratch.py` holds its steps against PyTorch's.

mod convolve;
mod fit;
mod kernel;
mod map;
#[cfg(test)]
mod oracle;
mod pass;

pub use fit::{Side, Step, fit};

use self::{
    kernel::{Form, Kernel},
    pass::{Convolution, Gradients, Pass},
};
use crate::{
    domain::Seed,
    probe::{
        head::{AdamW, Parameter, Targets},
        seed::Initial,
    },
};

// S pixels per side of a chip, an even number; C bands.

/// A convolution, 3x3 with padding 1, by its place in the PyTorch list; ReLUs (1, 3, 6, 8), the pooling (4) and the
/// doubling (9) between have no parameters.
struct Layer {
    names: (&'static str, &'static str),
    form: Form,
    output: usize,
}

const LAYERS: [Layer; 5] = [
    Layer { names: ("0.weight", "0.bias"), form: Form::Conv, output: 64 },
    Layer { names: ("2.weight", "2.bias"), form: Form::Conv, output: 64 },
    Layer { names: ("5.weight", "5.bias"), form: Form::Transposed, output: 128 },
    Layer { names: ("7.weight", "7.bias"), form: Form::Transposed, output: 512 },
    Layer { names: ("10.weight", "10.bias"), form: Form::Doubled, output: 1 },
];

/// Each layer with its input channels.
fn layers(channels: usize) -> impl Iterator<Item = (usize, &'static Layer)> {
    let inputs = std::iter::once(channels).chain(LAYERS.iter().map(|layer| layer.output));
    inputs.zip(&LAYERS)
}

/// What a fit on chips of `side` pixels and `channels` bands costs, in words, before it starts: counted from the
/// architecture. How long a step takes is told by the first one ([`Step::pace`]).
pub fn cost(side: usize, channels: usize) -> String {
    let parameters: usize = layers(channels).map(|(input, layer)| (9 * input + 1) * layer.output).sum();
    // The transposed convolutions see a quarter of the pixels.
    let share = |layer: &Layer| if layer.form == Form::Transposed { 0.25 } else { 1.0 };
    let products: f64 = layers(channels).map(|(input, l)| share(l) * (9 * input * l.output) as f64).sum();
    let pixels = (side * side) as f64;
    format!(
        "the from-scratch network: {:.2} million parameters, {:.1} GMAC a chip of {side} px, about three times that a chip \
         and step of a fit; {:.1} GB of memory",
        parameters as f64 / 1e6,
        products * pixels / 1e9,
        (pass::values_per_pixel(channels) * pixels * 4.0 + 1e8) / 1e9,
    )
}

/// The network: weight and bias of each convolution in order, as in PyTorch.
pub struct Network {
    channels: usize,
    parameters: Vec<Parameter>,
}

impl Network {
    /// PyTorch's default initialisation from our own generator: weight and bias of each layer from
    /// U(-1/sqrt(f), 1/sqrt(f)) with f = `weight.size(1)` times nine, drawn in the order of the parameters.
    pub fn new(channels: usize, seed: Seed) -> Self {
        let (mut initial, mut parameters) = (Initial::new(seed), Vec::new());
        for (input, layer) in layers(channels) {
            let shape = layer.form.shape(input, layer.output);
            let bound = 1.0 / ((shape[1] * 9) as f32).sqrt();
            let mut draw = |name, shape: Vec<usize>| {
                let value = initial.uniform(shape.iter().product(), bound);
                parameters.push(Parameter { name, shape, value });
            };
            draw(layer.names.0, shape);
            draw(layer.names.1, vec![layer.output]);
        }
        Self { channels, parameters }
    }

    /// All of it, named and laid out as in PyTorch's state dict.
    pub fn state(&self) -> Vec<Parameter> {
        self.parameters.clone()
    }

    /// Takes the values of a [`Network::state`] for as many bands; what it does not name stays.
    pub fn restore(&mut self, state: &[Parameter]) {
        for parameter in &mut self.parameters {
            if let Some(given) = state.iter().find(|given| given.name == parameter.name) {
                parameter.value.copy_from_slice(&given.value);
            }
        }
    }

    /// An optimiser for [`Network::step`].
    pub fn optimiser(&self, learning_rate: f64) -> AdamW {
        AdamW::new(&self.parameters, learning_rate)
    }

    /// Logits `[S, S]` of `pixels` `[C, S, S]`.
    pub fn predict(&self, pixels: &[f32]) -> Vec<f32> {
        pass::predict(pixels, &self.convolutions())
    }

    /// One step on chips `[C, S, S]`, each with targets per pixel, of any sizes: the loss before it, over the labelled pixels
    /// of all. Where that is not finite, as without any labelled pixel, nothing is moved.
    pub fn step(&mut self, batch: &[(Vec<f32>, &Targets)], optimiser: &mut AdamW) -> f64 {
        let (loss, gradients) = self.gradients(batch);
        if loss.is_finite() {
            optimiser.step(&mut self.parameters, &gradients);
        }
        loss
    }

    /// The loss of a batch, and the gradients of all parameters in order.
    fn gradients(&self, batch: &[(Vec<f32>, &Targets)]) -> (f64, Vec<Vec<f32>>) {
        let labelled = batch.iter().map(|(_, targets)| targets.labelled).sum::<u64>();
        let convolutions = self.convolutions();
        let reversed: Vec<Kernel> = convolutions.iter().map(|c| c.kernel.reversed()).collect();
        let mut sums: Vec<Gradients> = convolutions.iter().map(|c| Gradients::zeros(&c.kernel)).collect();
        let mut loss = 0.0;
        for (pixels, targets) in batch {
            let (pass, logits) = Pass::new(pixels, &convolutions);
            let mut gradient = Vec::with_capacity(logits.len());
            loss += targets.loss(&logits, labelled, &mut gradient);
            pass.back(&gradient, &reversed, &mut sums);
        }
        let both = layers(self.channels).zip(sums).flat_map(|((input, layer), sum)| {
            let weight = layer.form.gradient(&sum.kernel, input, layer.output);
            [weight, layer.form.bias_gradient(&sum.bias)]
        });
        (loss / labelled as f64, both.collect())
    }

    fn convolutions(&self) -> Vec<Convolution> {
        let both = self.parameters.chunks_exact(2).zip(layers(self.channels));
        both.map(|(both, (input, layer))| Convolution {
            kernel: layer.form.kernel(&both[0].value, input, layer.output),
            bias: layer.form.bias(&both[1].value),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_as_pytorch_starts_it() {
        let network = Network::new(13, Seed(0));
        let bounds: Vec<f32> =
            network.state().iter().map(|p| p.value.iter().fold(0.0, |m: f32, v| m.max(v.abs()))).collect();
        let fans = [13.0, 64.0, 128.0, 512.0, 512.0];
        for (both, fan) in bounds.chunks_exact(2).zip(fans) {
            let bound = 1.0 / f32::sqrt(9.0 * fan);
            assert!(both[0] <= bound && both[0] > 0.99 * bound && both[1] <= bound, "{both:?} {bound}");
        }
        let shapes: Vec<Vec<usize>> = network.state().into_iter().map(|p| p.shape).collect();
        assert_eq!(shapes[0], [64, 13, 3, 3]);
        assert_eq!(shapes[6..10], [vec![128, 512, 3, 3], vec![512], vec![1, 512, 3, 3], vec![1]]);
        assert_eq!(Network::new(2, Seed(1)).state(), Network::new(2, Seed(1)).state());
        assert_ne!(Network::new(2, Seed(1)).state(), Network::new(2, Seed(2)).state());
    }

    /// 10.8 GMAC, as the issue that asked for it says.
    #[test]
    fn what_it_costs_is_told_beforehand() {
        let told = cost(224, 13);
        assert!(told.contains("0.71 million parameters, 10.8 GMAC a chip of 224 px"), "{told}");
    }
}
