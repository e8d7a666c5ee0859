//! The heads operation by operation, as the PyTorch modules read, so that candle can go back: the oracles.

use std::cell::Cell;

use candle_core::{DType, Result, Tensor, Var};
use clay_probe::probe::head::Parameter;

/// Parameters by name, in f64.
pub struct Plain {
    named: Vec<(&'static str, Var)>,
    /// The smallest input of a ReLU so far, as a share of the largest of its layer.
    nearest_to_zero: Cell<f64>,
}

impl Plain {
    pub fn new(state: &[Parameter]) -> Self {
        let var = |p: &Parameter| {
            let value = Tensor::from_slice(&p.value, p.shape.as_slice(), &candle_core::Device::Cpu).unwrap();
            (p.name, Var::from_tensor(&value.to_dtype(DType::F64).unwrap()).unwrap())
        };
        Self { named: state.iter().map(var).collect(), nearest_to_zero: Cell::new(f64::INFINITY) }
    }

    /// Whether some ReLU's input lies so near 0 that f32 may round it to the other side: then both derivatives are right,
    /// and there is nothing to compare with.
    pub fn is_at_a_kink(&self) -> bool {
        self.nearest_to_zero.get() < 2e-6
    }

    fn relu(&self, x: &Tensor) -> Result<Tensor> {
        let size = |x: Tensor| x.flatten_all()?.to_vec1::<f64>();
        let sizes = size(x.abs()?)?;
        let (least, most) = sizes.iter().fold((f64::INFINITY, 0f64), |(a, b), &z| (a.min(z), b.max(z)));
        self.nearest_to_zero.set(self.nearest_to_zero.get().min(least / most));
        x.relu()
    }

    pub fn var(&self, name: &str) -> &Var {
        &self.named.iter().find(|(own, _)| *own == name).unwrap().1
    }

    /// `[1, C, 1, 1]` of a vector.
    fn channels(&self, name: &str) -> Result<Tensor> {
        self.var(name).reshape((1, (), 1, 1))
    }

    fn conv2d(&self, x: &Tensor, name: &str, padding: usize) -> Result<Tensor> {
        let weight = self.var(&format!("{name}.weight"));
        x.conv2d(weight, padding, 1, 1, 1)?.broadcast_add(&self.channels(&format!("{name}.bias"))?)
    }

    /// The documented decoder with so many doublings; logits `[B, 1, 2^doublings * h, ...]`.
    pub fn conv(&self, features: &Tensor, doublings: usize) -> Result<Tensor> {
        let double = |x: &Tensor| x.upsample_nearest2d(2 * x.dim(2)?, 2 * x.dim(3)?);
        let mut x = self.conv2d(features, "0", 0)?;
        let layers = doublings.min(4);
        for layer in 1..=layers {
            let name = format!("{}", 3 * layer - 1);
            x = double(&x)?.conv_transpose2d(self.var(&format!("{name}.weight")), 1, 0, 1, 1)?;
            x = x.broadcast_add(&self.channels(&format!("{name}.bias"))?)?;
            if layer < layers {
                x = self.relu(&x)?;
            }
        }
        if doublings > layers { double(&x) } else { Ok(x) }
    }

    /// The linear head.
    pub fn linear(&self, features: &Tensor, patch: usize) -> Result<Tensor> {
        candle_nn::ops::pixel_shuffle(&self.conv2d(features, "0", 0)?, patch)
    }

    /// Batch norm by the batch (training) or by the running statistics.
    fn norm(&self, x: &Tensor, name: &str, training: bool) -> Result<Tensor> {
        let over = |x: &Tensor| x.mean_keepdim(0)?.mean_keepdim(2)?.mean_keepdim(3);
        let (mean, var) = if training {
            let mean = over(x)?;
            let var = over(&x.broadcast_sub(&mean)?.sqr()?)?;
            (mean, var)
        } else {
            (self.channels(&format!("{name}.running_mean"))?, self.channels(&format!("{name}.running_var"))?)
        };
        let x = x.broadcast_sub(&mean)?.broadcast_div(&(var + 1e-5)?.sqrt()?)?;
        let scaled = x.broadcast_mul(&self.channels(&format!("{name}.weight"))?)?;
        scaled.broadcast_add(&self.channels(&format!("{name}.bias"))?)
    }

    /// Clay's segmentation head.
    pub fn segmentor(&self, features: &Tensor, training: bool) -> Result<Tensor> {
        let x = self.norm(&self.conv2d(features, "conv1", 1)?, "bn1", training)?;
        let x = self.relu(&x)?;
        let x = self.norm(&self.conv2d(&x, "conv2", 1)?, "bn2", training)?;
        let x = self.relu(&x)?;
        let x = candle_nn::ops::pixel_shuffle(&self.conv2d(&x, "conv_ps", 1)?, 8)?;
        self.conv2d(&x, "conv_out", 1)
    }
}

/// Mean binary cross-entropy of logits `[B, 1, H, W]` over labelled pixels of `[B, H, W]`.
pub fn loss(logits: &Tensor, labels: &[u8]) -> Result<Tensor> {
    let of = |value: fn(u8) -> f64| Tensor::from_iter(labels.iter().map(|&l| value(l)), logits.device());
    let wet = of(|l| f64::from(u8::from(l == 1)))?;
    let labelled = of(|l| f64::from(u8::from(l < 2)))?;
    let z = logits.flatten_all()?;
    let each = ((z.relu()? - (&z * wet)?)? + (z.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    (each * &labelled)?.sum_all()? / labelled.sum_all()?.to_scalar::<f64>()?
}
