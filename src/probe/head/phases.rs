//! A nearest doubling and the 3x3 transposed convolution after it, in one, at the low resolution.
//!
//! A transposed convolution (stride 1, padding 1) is the correlation with the kernel turned by 180 degrees. After a
//! doubling two of its three taps in a row see the same value: with taps w0 w1 w2 and outside zero,
//! `y[2i] = w0*x[i-1] + (w1+w2)*x[i]` and `y[2i+1] = (w0+w1)*x[i] + w2*x[i+1]`. In two dimensions each of the four
//! phases of the output takes 2x2 taps: 4/9 of the multiplications, and nothing is doubled.
//!
//! (Differences of neighbours would get by with a quarter. But then gradients that are exactly zero come out as noise
//! of 1e-10, which Adam, dividing by their size, makes steps of: losses were off by 1e-4 from PyTorch's after ten.)
//!
//! The grid gets a border of zeros and is flattened, so that a neighbour lies at a fixed distance and each tap is one
//! product with a view that starts there. The way back is written out: candle's own takes several times longer.

use candle_core::{Device, Result, Tensor};

use super::column_sums;

// B chips, h×w grid, C channels in, O channels out, R = B*(h+2)*(w+2) rows with the border.

/// What of the kernel (in its own order) a phase's first and second tap are, in one dimension.
const TAPS: [[[f32; 3]; 2]; 2] = [[[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]], [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]];

/// The 16 taps of the four phases: phase (row, column), then tap (row, column), each 0 or 1.
fn all_taps() -> impl Iterator<Item = [usize; 4]> {
    (0..16).map(|k| [k >> 3 & 1, k >> 2 & 1, k >> 1 & 1, k & 1])
}

/// The constants on a device.
pub(super) struct Phases {
    /// `[16, 9]`: taps by kernel entries (row, column).
    taps: Tensor,
}

/// What the way back needs of a way forth.
pub(super) struct Kept {
    /// `[R, C]`
    input: Tensor,
    /// `[16, C, O]`
    kernels: Tensor,
    grid: Grid,
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

/// The flattened grid with its border.
#[derive(Clone, Copy)]
struct Grid {
    b: usize,
    h: usize,
    w: usize,
}

impl Grid {
    fn rows(self) -> usize {
        self.b * (self.h + 2) * (self.w + 2)
    }

    /// How far the last tap of a pixel lies behind its first.
    fn reach(self) -> usize {
        2 * (self.w + 2) + 2
    }

    /// How far a tap lies behind a pixel's first.
    fn distance(self, [a, b, u, v]: [usize; 4]) -> usize {
        (a + u) * (self.w + 2) + b + v
    }
}

impl Phases {
    pub(super) fn new(device: &Device) -> Result<Self> {
        let entry = |[a, b, u, v]: [usize; 4]| (0..9).map(move |k| TAPS[a][u][k / 3] * TAPS[b][v][k % 3]);
        let taps: Vec<f32> = all_taps().flat_map(entry).collect();
        Ok(Self { taps: Tensor::from_vec(taps, (16, 9), device)? })
    }

    /// `x` `[B, h, w, C]`, `weight` `[C, O, 3, 3]` and `bias` `[O]` of the transposed convolution to `[B, 2h, 2w, O]`.
    pub(super) fn forward(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<(Tensor, Kept)> {
        let ((b, h, w, c), o) = (x.dims4()?, weight.dim(1)?);
        let grid = Grid { b, h, w };
        let input = x.pad_with_zeros(1, 1, 1)?.pad_with_zeros(2, 1, 1)?.reshape((grid.rows(), c))?; // [R, C]
        let kernels = self.taps.matmul(&weight.reshape((c * o, 9))?.t()?)?.reshape((16, c, o))?;
        let inner = grid.rows() - grid.reach(); // rows that have all their taps
        let mut phases: Vec<Tensor> = Vec::with_capacity(4);
        for (k, tap) in all_taps().enumerate() {
            let part = input.narrow(0, grid.distance(tap), inner)?.matmul(&kernels.get(k)?)?; // [inner, O]
            match phases.get_mut(k / 4) {
                Some(sum) => *sum = (&*sum + part)?,
                None => phases.push(part),
            }
        }
        let phases = Tensor::stack(&phases, 0)?.pad_with_zeros(1, 0, grid.reach())?; // [4, R, O]
        let phases = phases.reshape(&[2, 2, b, h + 2, w + 2, o][..])?.narrow(3, 0, h)?.narrow(4, 0, w)?;
        let y = phases.permute(vec![2, 3, 0, 4, 1, 5])?.reshape((b, 2 * h, 2 * w, o))?; // of [B, h, 2, w, 2, O]
        Ok((y.broadcast_add(bias)?, Kept { input, kernels, grid }))
    }

    /// From the gradient of the output, `[B, 2h, 2w, O]`.
    pub(super) fn backward(&self, kept: &Kept, y: &Tensor) -> Result<Gradients> {
        let (Grid { b, h, w }, c, o) = (kept.grid, kept.input.dim(1)?, y.dim(3)?);
        let bias = column_sums(&y.reshape(((), o))?)?; // [O]
        let phases = y.reshape(&[b, h, 2, w, 2, o][..])?.permute(vec![2, 4, 0, 1, 3, 5])?.contiguous()?;
        let phases = phases.pad_with_zeros(3, 0, 2)?.pad_with_zeros(4, 0, 2)?; // [2, 2, B, h+2, w+2, O]
        let (rows, reach) = (kept.grid.rows(), kept.grid.reach());
        let phases = phases.reshape((4, rows, o))?.pad_with_zeros(1, reach, 0)?; // [4, reach + R, O]
        let taps = all_taps().enumerate().map(|(k, tap)| {
            phases.get(k / 4)?.narrow(0, reach - kept.grid.distance(tap), rows) // [R, O], as input row r sees them
        });
        let spread = Tensor::cat(&taps.collect::<Result<Vec<_>>>()?, 1)?; // [R, 16*O]
        let kernels = kept.input.t()?.matmul(&spread)?.reshape((c, 16, o))?; // [C, 16, O]
        let weight = kernels.transpose(1, 2)?.reshape((c * o, 16))?.matmul(&self.taps)?.reshape((c, o, 3, 3))?;
        let back = kept.kernels.transpose(1, 2)?.reshape((16 * o, c))?; // [16*O, C]
        let x = spread.matmul(&back)?.reshape((b, h + 2, w + 2, c))?;
        Ok(Gradients { x: x.narrow(1, 1, h)?.narrow(2, 1, w)?.contiguous()?, weight, bias })
    }
}
