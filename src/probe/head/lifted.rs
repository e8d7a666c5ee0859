//! A nearest doubling and the 3x3 transposed convolution after it, in one, at the low resolution.
//!
//! In one dimension, with correlation taps w0 w1 w2, S = w0+w1+w2 and outside zero:
//! `y[2i] = S*x[i] + w0*(x[i-1]-x[i])` and `y[2i+1] = S*x[i] + w2*(x[i+1]-x[i])`. In two dimensions it is the tensor
//! product: nine products at the low resolution give all four outputs of a cell, a quarter of the multiplications.
//! A transposed convolution (stride 1, padding 1) is the correlation with the kernel turned by 180 degrees, so the
//! tap before the centre is the kernel's last. The way back is written out: candle's own takes several times longer.

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

/// What the way back needs of a way forth.
pub(super) struct Kept {
    /// `[9, N, C]`: the input and its differences.
    inputs: Tensor,
    /// `[9, C, O]`
    kernels: Tensor,
    /// B, h, w, C
    dims: (usize, usize, usize, usize),
}

/// Gradients of a step's input and parameters.
pub(super) struct Gradients {
    /// `[B, h, w, C]`
    pub x: Tensor,
    /// `[C, O, 3, 3]`
    pub weight: Tensor,
    /// `[O]`
    pub bias: Tensor,
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
    pub(super) fn forward(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<(Tensor, Kept)> {
        let (b, h, w, c) = x.dims4()?;
        let o = weight.dim(1)?;
        let kernels = self.taps.matmul(&weight.reshape((c * o, 9))?.t()?)?.reshape((9, c, o))?;
        let rows = with_differences(x, 1)?; // [3 (row), B, h, w, C]
        let inputs = with_differences(&rows, 3)?.reshape((9, b * h * w, c))?; // [3 (column), 3 (row), B, h, w, C]
        let products = inputs.matmul(&kernels)?; // [9, N, O]
        let cells = self.outputs.matmul(&products.reshape((9, b * h * w * o))?)?; // [4, N*O]
        let cells = cells.reshape(&[2, 2, b, h, w, o][..])?.permute(vec![2, 3, 0, 4, 1, 5])?; // [B, h, 2, w, 2, O]
        let y = cells.reshape((b, 2 * h, 2 * w, o))?.broadcast_add(bias)?;
        Ok((y, Kept { inputs, kernels, dims: (b, h, w, c) }))
    }

    /// From the gradient of the output, `[B, 2h, 2w, O]`.
    pub(super) fn backward(&self, kept: &Kept, y: &Tensor) -> Result<Gradients> {
        let ((b, h, w, c), o) = (kept.dims, y.dim(3)?);
        let bias = column_sums(&y.reshape(((), o))?)?; // [O]
        let cells = y.reshape(&[b, h, 2, w, 2, o][..])?.permute(vec![2, 4, 0, 1, 3, 5])?; // [2, 2, B, h, w, O]
        let cells = cells.reshape((4, b * h * w * o))?;
        let products = self.outputs.t()?.matmul(&cells)?.reshape((9, b * h * w, o))?; // [9, N, O]
        let kernels = kept.inputs.t()?.matmul(&products)?; // [9, C, O]
        let weight = kernels.reshape((9, c * o))?.t()?.matmul(&self.taps)?.reshape((c, o, 3, 3))?;
        let inputs = products.matmul(&kept.kernels.t()?)?; // [9, N, C]
        let rows = of_differences(&inputs.reshape(&[3, 3, b, h, w, c][..])?, 3)?; // [3 (row), B, h, w, C]
        Ok(Gradients { x: of_differences(&rows, 1)?, weight, bias })
    }
}

/// `x[i-1]` and `x[i+1]` along `dim`; outside is zero.
fn neighbours(x: &Tensor, dim: usize) -> Result<(Tensor, Tensor)> {
    let n = x.dim(dim)?;
    let before = x.narrow(dim, 0, n - 1)?.pad_with_zeros(dim, 1, 0)?;
    let after = x.narrow(dim, 1, n - 1)?.pad_with_zeros(dim, 0, 1)?;
    Ok((before, after))
}

/// `x`, `x[i-1]-x[i]` and `x[i+1]-x[i]` along `dim`, stacked before all dimensions.
fn with_differences(x: &Tensor, dim: usize) -> Result<Tensor> {
    let (before, after) = neighbours(x, dim)?;
    Tensor::stack(&[x, &(before - x)?, &(after - x)?], 0)
}

/// The transpose of [`with_differences`]: from the gradients of its three parts to that of `x`.
fn of_differences(parts: &Tensor, dim: usize) -> Result<Tensor> {
    let (x, before, after) = (parts.get(0)?, parts.get(1)?, parts.get(2)?);
    let moved = (neighbours(&before, dim)?.1 + neighbours(&after, dim)?.0)?;
    ((x - before)? - after)? + moved
}

/// `[N, O]` to `[O]`, as a product: candle's own sum adds one by one, and loses two digits over many rows.
pub(super) fn column_sums(x: &Tensor) -> Result<Tensor> {
    let ones = Tensor::ones((1, x.dim(0)?), x.dtype(), x.device())?;
    ones.matmul(x)?.squeeze(0)
}
