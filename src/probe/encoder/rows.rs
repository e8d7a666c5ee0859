//! Operations over rows that candle runs on one thread: on a CPU in parallel and in place, elsewhere by its own kernels.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result as TensorResult, Tensor, cpu::erf::erf_f32};
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
}
