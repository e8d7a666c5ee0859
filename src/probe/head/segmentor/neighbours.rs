//! A 3x3 convolution (padding 1) as one product: each place with its nine neighbours in a row.

use candle_core::{Result, Tensor};

/// `[B, h, w, C]` to `[B*h*w, 9*C]`: rows of neighbours from above left to below right, zeros beyond the border.
pub(super) fn neighbours(x: &Tensor) -> Result<Tensor> {
    let (b, h, w, c) = x.dims4()?;
    let x = x.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?;
    let tap = |t: usize| x.narrow(1, t / 3, h)?.narrow(2, t % 3, w)?.contiguous()?.reshape((b * h * w, c));
    Tensor::cat(&(0..9).map(tap).collect::<Result<Vec<_>>>()?, 1)
}

/// The way back: `[B*h*w, 9*C]` to `[B*h*w, C]`, what the neighbours say of each place summed; h = w = `grid`.
pub(super) fn from_neighbours(x: &Tensor, grid: usize) -> Result<Tensor> {
    let c = x.dim(1)? / 9;
    let x = x.reshape(((), grid, grid, 9 * c))?;
    let mut sum: Option<Tensor> = None; // [B, h+2, w+2, C]
    for t in 0..9 {
        let (u, v) = (t / 3, t % 3);
        let part = x.narrow(3, t * c, c)?.contiguous()?;
        let part = part.pad_with_zeros(1, u, 2 - u)?.pad_with_zeros(2, v, 2 - v)?;
        sum = Some(match sum {
            Some(sum) => (sum + part)?,
            None => part,
        });
    }
    // Nine parts were summed, so there is a sum.
    let sum = sum.map_or_else(|| Tensor::zeros((1, 1, 1, c), x.dtype(), x.device()), Ok)?;
    sum.narrow(1, 1, grid)?.narrow(2, 1, grid)?.contiguous()?.reshape(((), c))
}
