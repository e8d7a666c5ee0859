//! A nearest doubling and the 3x3 transposed convolution after it, in one, at the low resolution.
//!
//! In one dimension, with correlation taps w0 w1 w2, S = w0+w1+w2 and outside zero:
//! `y[2i] = S*x[i] + w0*(x[i-1]-x[i])` and `y[2i+1] = S*x[i] + w2*(x[i+1]-x[i])`. In two dimensions it is the tensor
//! product: nine products at the low resolution give all four outputs of a cell, a quarter of the multiplications.
//! A transposed convolution (stride 1, padding 1) is the correlation with the kernel turned by 180 degrees, so the
//! tap before the centre is the kernel's last.

use candle_core::{Device, Result, Tensor};

// B chips, h×w grid, C channels in, O channels out, N = B*h*w.

/// What of the kernel (in its own order) belongs to `x`, `x[i-1]-x`, `x[i+1]-x`.
const TAPS: [[f32; 3]; 3] = [[1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]];

/// What of the three products makes the even and the odd output.
const OUTPUTS: [[f32; 3]; 2] = [[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]];

/// The constant matrices on a device.
pub(super) struct Lifted {
    /// `[9, 9]`: products (column, row) by kernel entries (row, column).
    taps: Tensor,
    /// `[4, 9]`: outputs (row, column) by products (column, row).
    outputs: Tensor,
}

impl Lifted {
    pub(super) fn new(device: &Device) -> Result<Self> {
        let three = || (0..3usize).flat_map(|column| (0..3usize).map(move |row| (column, row)));
        let mut taps = Vec::with_capacity(81);
        for (column, row) in three() {
            taps.extend((0..9).map(|kernel| TAPS[row][kernel / 3] * TAPS[column][kernel % 3]));
        }
        let mut outputs = Vec::with_capacity(36);
        for output in 0..4 {
            outputs.extend(three().map(|(column, row)| OUTPUTS[output / 2][row] * OUTPUTS[output % 2][column]));
        }
        Ok(Self { taps: Tensor::from_vec(taps, (9, 9), device)?, outputs: Tensor::from_vec(outputs, (4, 9), device)? })
    }

    /// `x` `[B, h, w, C]`, `weight` `[C, O, 3, 3]` and `bias` `[O]` of the transposed convolution to `[B, 2h, 2w, O]`.
    pub(super) fn double_and_convolve(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let o = weight.dim(1)?;
        let kernels = weight.reshape((c * o, 9))?.matmul(&self.taps.t()?)?; // [C*O, 9]
        let kernels = kernels.t()?.contiguous()?.reshape((9, c, o))?;
        let rows = with_differences(x, 1)?; // [3 (row), B, h, w, C]
        let both = with_differences(&rows, 3)?; // [3 (column), 3 (row), B, h, w, C]
        let products = both.reshape((9, b * h * w, c))?.matmul(&kernels)?; // [9, N, O]
        let cells = self.outputs.matmul(&products.reshape((9, b * h * w * o))?)?; // [4, N*O]
        let cells = cells.reshape(&[2, 2, b, h, w, o][..])?.permute(vec![2, 3, 0, 4, 1, 5])?; // [B, h, 2, w, 2, O]
        cells.contiguous()?.reshape((b, 2 * h, 2 * w, o))?.broadcast_add(bias)
    }
}

/// `x`, `x[i-1]-x[i]` and `x[i+1]-x[i]` along `dim`, stacked before all dimensions; outside is zero.
fn with_differences(x: &Tensor, dim: usize) -> Result<Tensor> {
    let n = x.dim(dim)?;
    let before = x.narrow(dim, 0, n - 1)?.pad_with_zeros(dim, 1, 0)?;
    let after = x.narrow(dim, 1, n - 1)?.pad_with_zeros(dim, 0, 1)?;
    Tensor::stack(&[x, &(before - x)?, &(after - x)?], 0)
}
