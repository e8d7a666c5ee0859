//! Batch norm over rows: PyTorch's `BatchNorm2d`, channels last.

use candle_core::{Result, Tensor};

use super::column_sums;

/// Added to a variance before its root.
const EPS: f64 = 1e-5;
/// The weight of a new batch in the running statistics.
const MOMENTUM: f32 = 0.1;

/// What scoring normalises by.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub mean: Vec<f32>,
    pub var: Vec<f32>,
}

/// A batch normalised by itself.
pub(super) struct Normed {
    /// Of the batch, `[M]`; the variance is the biased one.
    mean: Tensor,
    var: Tensor,
    /// `1 / sqrt(var + eps)`, `[M]`
    inverse: Tensor,
    /// Before scale and shift, `[N, M]`.
    standard: Tensor,
    /// After them, `[N, M]`.
    pub output: Tensor,
}

/// Gradients of a norm's input `[N, M]`, scale and shift `[M]`.
pub(super) struct NormBack {
    pub x: Tensor,
    pub scale: Tensor,
    pub shift: Tensor,
}

impl Running {
    /// Before the first batch: mean 0, variance 1.
    pub(super) fn new(channels: usize) -> Self {
        Self { mean: vec![0.0; channels], var: vec![1.0; channels] }
    }

    /// Moves towards a batch of `n` rows; its variance counts unbiased.
    pub(super) fn follow(&mut self, batch: &Normed, n: usize) -> Result<()> {
        let unbiased = n as f32 / (n as f32 - 1.0).max(1.0);
        let towards = |old: &mut Vec<f32>, new: Vec<f32>, factor: f32| {
            old.iter_mut().zip(new).for_each(|(old, new)| *old = (1.0 - MOMENTUM) * *old + MOMENTUM * (new * factor));
        };
        towards(&mut self.mean, batch.mean.to_vec1()?, 1.0);
        towards(&mut self.var, batch.var.to_vec1()?, unbiased);
        Ok(())
    }
}

fn column_means(x: &Tensor) -> Result<Tensor> {
    column_sums(x)? / x.dim(0)? as f64
}

/// In training mode: by the statistics of the rows of `x` `[N, M]`, variance in two passes.
pub(super) fn normed(x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Normed> {
    let mean = column_means(x)?;
    let centred = x.broadcast_sub(&mean)?;
    let var = column_means(&centred.sqr()?)?;
    let inverse = (&var + EPS)?.sqrt()?.recip()?;
    let standard = centred.broadcast_mul(&inverse)?;
    let output = standard.broadcast_mul(scale)?.broadcast_add(shift)?;
    Ok(Normed { mean, var, inverse, standard, output })
}

/// In evaluation mode: by the running statistics.
pub(super) fn normed_by(running: &Running, x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
    let of = |values: &[f32]| Tensor::from_slice(values, values.len(), x.device());
    let factor = (scale * (of(&running.var)? + EPS)?.sqrt()?.recip()?)?;
    x.broadcast_sub(&of(&running.mean)?)?.broadcast_mul(&factor)?.broadcast_add(shift)
}

/// From the gradient of the output, in training mode.
pub(super) fn normed_back(kept: &Normed, scale: &Tensor, gradient: &Tensor) -> Result<NormBack> {
    let n = gradient.dim(0)? as f64;
    let of_shift = column_sums(gradient)?;
    let of_scale = column_sums(&(gradient * &kept.standard)?)?;
    // scale * inverse * (g - mean(g) - standard * mean(g * standard))
    let along = kept.standard.broadcast_mul(&(&of_scale / n)?)?;
    let x = (gradient.broadcast_sub(&(&of_shift / n)?)? - along)?;
    let x = x.broadcast_mul(&(scale * &kept.inverse)?)?;
    Ok(NormBack { x, scale: of_scale, shift: of_shift })
}
