//! AdamW as PyTorch's, in f32: the weights decay first, `eps` is added to the corrected root.

use rayon::prelude::*;

use super::Parameter;

pub const BETA1: f64 = 0.9;
pub const BETA2: f64 = 0.999;
pub const EPS: f64 = 1e-8;
pub const WEIGHT_DECAY: f64 = 0.01;

/// Values that one thread takes at a time; each is moved alone, so the number of threads changes none.
const PART: usize = 1 << 16;

/// The optimiser's state: first and second moments, and the number of steps.
pub struct AdamW {
    learning_rate: f64,
    step: i32,
    moments: Vec<(Vec<f32>, Vec<f32>)>,
}

impl AdamW {
    /// PyTorch's defaults besides the learning rate: betas 0.9 and 0.999, eps 1e-8, weight decay 0.01.
    pub fn new(parameters: &[Parameter], learning_rate: f64) -> Self {
        let zeros = |p: &Parameter| (vec![0.0; p.value.len()], vec![0.0; p.value.len()]);
        Self { learning_rate, step: 0, moments: parameters.iter().map(zeros).collect() }
    }

    /// One step; `gradients` in the order of the parameters.
    pub fn step(&mut self, parameters: &mut [Parameter], gradients: &[Vec<f32>]) {
        self.step += 1;
        let keep = (1.0 - self.learning_rate * WEIGHT_DECAY) as f32;
        let step_size = (self.learning_rate / (1.0 - BETA1.powi(self.step))) as f32;
        let root = (1.0 - BETA2.powi(self.step)).sqrt() as f32;
        let (new1, beta2, new2) = ((1.0 - BETA1) as f32, BETA2 as f32, (1.0 - BETA2) as f32);
        let eps = EPS as f32;
        for ((parameter, gradient), (first, second)) in parameters.iter_mut().zip(gradients).zip(&mut self.moments) {
            let parts = parameter.value.par_chunks_mut(PART).zip(gradient.par_chunks(PART));
            parts.zip(first.par_chunks_mut(PART)).zip(second.par_chunks_mut(PART)).for_each(|(((p, g), m), v)| {
                for (((p, &g), m), v) in p.iter_mut().zip(g).zip(m).zip(v) {
                    *m += (g - *m) * new1;
                    *v = *v * beta2 + g * g * new2;
                    *p = *p * keep - step_size * (*m / (v.sqrt() / root + eps));
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two steps of `torch.optim.AdamW([1.0, -2.0], lr=0.1)` with gradients (0.5, -1) and (0.25, 0).
    #[test]
    fn two_steps_as_torch() {
        let mut parameters = [Parameter { name: "p", shape: vec![2], value: vec![1.0, -2.0] }];
        let mut optimiser = AdamW::new(&parameters, 0.1);
        optimiser.step(&mut parameters, &[vec![0.5, -1.0]]);
        let close = |got: &[f32], want: &[f32]| got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-6);
        assert!(close(&parameters[0].value, &[0.899, -1.898]), "{:?}", parameters[0].value);
        optimiser.step(&mut parameters, &[vec![0.25, 0.0]]);
        // m = 0.07, v = 0.00031219..; m/(1-0.81) / sqrt(v/(1-0.998001)) by hand for the first, likewise the second
        let want = |p: f64, g1: f64, g2: f64| {
            let m = 0.9 * (0.1 * g1) + 0.1 * g2;
            let v = 0.999 * (0.001 * g1 * g1) + 0.001 * g2 * g2;
            (p * 0.999 - 0.1 * (m / 0.19) / ((v / (1.0 - 0.999f64.powi(2))).sqrt() + 1e-8)) as f32
        };
        assert!(close(&parameters[0].value, &[want(0.899, 0.5, 0.25), want(-1.898, -1.0, 0.0)]));
    }
}
