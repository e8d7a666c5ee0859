//! Operations over rows that candle runs on one thread: on a CPU in parallel and in place, elsewhere by its own kernels.

use candle_core::{
    CpuStorage, CustomOp3, InplaceOp2, Layout, Result as TensorResult, Shape, Tensor, cpu::erf::erf_f32,
};
use rayon::prelude::*;

/// `then(x + bias)` over rows `x` `[n, width]`, a product that nobody else holds; `bias` is `[width]`.
struct AddBias<F> {
    then: F,
}

impl<F: Fn(f32) -> f32 + Sync> InplaceOp2 for AddBias<F> {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(&self, x: &mut CpuStorage, rows: &Layout, bias: &CpuStorage, columns: &Layout) -> TensorResult<()> {
        let (CpuStorage::F32(x), CpuStorage::F32(bias)) = (x, bias) else {
            candle_core::bail!("rows and bias must be f32");
        };
        let (Some((start, end)), Some((first, last))) = (rows.contiguous_offsets(), columns.contiguous_offsets())
        else {
            candle_core::bail!("rows and bias must be contiguous");
        };
        let bias = &bias[first..last];
        x[start..end].par_chunks_exact_mut(bias.len()).for_each(|row| {
            row.iter_mut().zip(bias).for_each(|(x, b)| *x = (self.then)(*x + b));
        });
        Ok(())
    }
}

/// `x + bias`; `x` `[n, width]` is changed in place on a CPU.
pub(super) fn add_bias(x: Tensor, bias: &Tensor) -> TensorResult<Tensor> {
    if !x.device().is_cpu() {
        return x.broadcast_add(bias);
    }
    x.inplace_op2(bias, &AddBias { then: |x| x })?;
    Ok(x)
}

/// `gelu(x + bias)`, the exact GELU; `x` `[n, width]` is changed in place on a CPU.
pub(super) fn add_bias_gelu(x: Tensor, bias: &Tensor) -> TensorResult<Tensor> {
    if !x.device().is_cpu() {
        return x.broadcast_add(bias)?.gelu_erf();
    }
    let then = |x: f32| (erf_f32(x * std::f32::consts::FRAC_1_SQRT_2) + 1.0) * 0.5 * x;
    x.inplace_op2(bias, &AddBias { then })?;
    Ok(x)
}

/// Layer normalisation of rows by weight and bias `[width]`.
struct Normalise {
    eps: f32,
}

impl Normalise {
    /// Two passes: the mean, then the mean of squared differences from it. `E[x²] - mean²`, as candle has it, loses all
    /// digits of a small variance beside a large mean.
    fn row(&self, row: &[f32], out: &mut [f32], weight: &[f32], bias: &[f32]) {
        let count = row.len() as f64;
        let mean = lanes(row, f64::from) / count;
        row.iter().zip(&mut *out).for_each(|(x, out)| *out = (f64::from(*x) - mean) as f32);
        let variance = lanes(out, |x| f64::from(x) * f64::from(x)) / count;
        let scale = (variance as f32 + self.eps).sqrt().recip();
        let by = weight.iter().zip(bias);
        out.iter_mut().zip(by).for_each(|(out, (weight, bias))| *out = *out * scale * weight + bias);
    }
}

/// The sum of `of` over all values, in eight sums side by side: the compiler keeps them in vectors.
fn lanes(values: &[f32], of: impl Fn(f32) -> f64) -> f64 {
    let mut sums = [0f64; 8];
    let chunks = values.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|&x| of(x)).sum();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &x)| *sum += of(x));
    }
    sums.iter().sum::<f64>() + rest
}

impl CustomOp3 for Normalise {
    fn name(&self) -> &'static str {
        "normalise"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        rows: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> TensorResult<(CpuStorage, Shape)> {
        fn of<'a>(storage: &'a CpuStorage, layout: &Layout) -> TensorResult<&'a [f32]> {
            match (storage, layout.contiguous_offsets()) {
                (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
                _ => candle_core::bail!("rows, weight and bias must be f32 and contiguous"),
            }
        }
        let (x, weight, bias) = (of(x, rows)?, of(weight, weight_layout)?, of(bias, bias_layout)?);
        let width = weight.len();
        if rows.dims().last() != Some(&width) || bias.len() != width {
            candle_core::bail!("rows {:?} do not fit {width} weights and {} biases", rows.dims(), bias.len());
        }
        let mut out = vec![0f32; x.len()];
        let pairs = x.par_chunks_exact(width).zip(out.par_chunks_exact_mut(width));
        pairs.for_each(|(row, out)| self.row(row, out, weight, bias));
        Ok((CpuStorage::F32(out), rows.shape().clone()))
    }
}

/// Layer normalisation over the last axis of `x` `[..., width]`, contiguous.
pub(super) fn normalise(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> TensorResult<Tensor> {
    if !x.device().is_cpu() {
        return candle_nn::ops::layer_norm_slow(x, weight, bias, eps); // of two passes, one operation each
    }
    x.apply_op3_no_bwd(weight, bias, &Normalise { eps })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn as_candle_does_it_bit_for_bit() {
        let x = Tensor::randn(0f32, 3.0, (7, 33), &Device::Cpu).unwrap();
        let bias = Tensor::randn(0f32, 1.0, 33, &Device::Cpu).unwrap();
        let values = |t: Tensor| t.to_vec2::<f32>().unwrap();
        let sum = x.broadcast_add(&bias).unwrap();
        assert_eq!(values(add_bias(x.copy().unwrap(), &bias).unwrap()), values(sum.clone()));
        assert_eq!(values(add_bias_gelu(x.copy().unwrap(), &bias).unwrap()), values(sum.gelu_erf().unwrap()));
    }

    #[test]
    fn a_norm_bears_an_offset() {
        let width = 1027;
        let x = Tensor::randn(100f32, 1.0, (3, width), &Device::Cpu).unwrap();
        let weight = Tensor::randn(1f32, 0.2, width, &Device::Cpu).unwrap();
        let bias = Tensor::randn(0f32, 1.0, width, &Device::Cpu).unwrap();
        let double = |t: &Tensor| t.to_dtype(candle_core::DType::F64).unwrap();
        let exact = candle_nn::ops::layer_norm_slow(&double(&x), &double(&weight), &double(&bias), 1e-5).unwrap();
        let off = |got: Tensor| {
            (double(&got) - &exact).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap()
        };
        let ours = off(normalise(&x, &weight, &bias, 1e-5).unwrap());
        let candles = off(candle_nn::ops::layer_norm(&x, &weight, &bias, 1e-5).unwrap());
        let elsewhere = off(candle_nn::ops::layer_norm_slow(&x, &weight, &bias, 1e-5).unwrap());
        println!("off by {ours:e}; candle's by {candles:e}, as on other devices by {elsewhere:e}");
        assert!(ours < 3e-6 && elsewhere < 1e-4 && candles > 1e-3, "{ours:e} {elsewhere:e} {candles:e}");
        assert!(normalise(&x, &bias.narrow(0, 0, 3).unwrap(), &bias, 1e-5).is_err());
    }
}
