//! The last two convolutions of the head and the PixelShuffle between them as one product.
//!
//! They are linear in a row, so what a patch adds to the logits is one linear function of its nine neighbours' values:
//! of the pixels of the patch and of a border of one pixel around it, which the last kernel reaches. Folded, the weight
//! `[9*M, K*64]` becomes `[9*M, 100]`; patches overlap in their borders, and what reaches beyond the chip is dropped,
//! as zero padding does. The way back goes through the folded weight too: its gradient `[9*M, 100]` is all that the
//! gradients of both convolutions need. Nothing is subtracted, so a gradient that is exactly 0 stays so (cf. `phases`).

use candle_core::{Result, Tensor};

use super::{PATCH, Sizes, column_sums, product};

/// Pixels per side of what a patch adds to: its own and the border.
const REACH: usize = PATCH + 2;

/// Both convolutions.
pub(super) struct Fold {
    sizes: Sizes,
    /// Weight `[9*M, K*64]` and bias `[1, K*64]` before the shuffle.
    weight: Tensor,
    bias: Tensor,
    /// The last kernel as a matrix from a patch's values to what they add to, `[K*64, 100]`.
    spread: Tensor,
    /// Weight by `spread`, `[9*M, 100]`.
    folded: Tensor,
    last_bias: f32,
}

/// Gradients of the input `[N, 9*M]` and of the four parameters.
pub(super) struct FoldBack {
    pub x: Tensor,
    pub parameters: [Tensor; 4],
}

impl Fold {
    /// Of `conv_ps` (weight `[9, M, K*64]`, bias) and `conv_out` (weight `[1, K, 3, 3]`, bias).
    pub(super) fn new(parameters: &[Tensor], sizes: Sizes) -> Result<Self> {
        let device = parameters[0].device();
        let weight = parameters[0].flatten(0, 1)?;
        let kernel: Vec<f32> = parameters[2].flatten_all()?.to_vec1()?;
        let mut spread = vec![0.0; sizes.shuffled() * REACH * REACH];
        for_each_tap(sizes.last, |tap, place| spread[place] = kernel[tap]);
        let spread = Tensor::from_vec(spread, (sizes.shuffled(), REACH * REACH), device)?;
        let folded = weight.matmul(&spread)?;
        let last_bias = parameters[3].to_vec1::<f32>()?[0];
        Ok(Self { sizes, weight, bias: parameters[1].unsqueeze(0)?, spread, folded, last_bias })
    }

    /// Logits `[B, 8h, 8w]` of neighbours `[N, 9*M]`.
    pub(super) fn logits(&self, x: &Tensor, grid: usize) -> Result<Vec<f32>> {
        let added = product(x, &self.folded.unsqueeze(0)?)?.broadcast_add(&self.bias.matmul(&self.spread)?)?; // [N, 100]
        let added: Vec<f32> = added.flatten_all()?.to_vec1()?;
        let mut logits = vec![self.last_bias; x.dim(0)? * PATCH * PATCH];
        for_each_place(x.dim(0)?, grid, |place, pixel| logits[pixel] += added[place]);
        Ok(logits)
    }

    /// From the gradient of the logits.
    pub(super) fn back(&self, x: &Tensor, grid: usize, gradient: &[f32]) -> Result<FoldBack> {
        let n = x.dim(0)?;
        let mut added = vec![0.0; n * REACH * REACH];
        for_each_place(n, grid, |place, pixel| added[place] = gradient[pixel]);
        let added = Tensor::from_vec(added, (n, REACH * REACH), x.device())?; // [N, 100]
        let folded = x.t()?.matmul(&added)?; // [9*M, 100]
        let folded_bias = column_sums(&added)?.unsqueeze(0)?; // [1, 100]
        let weight = folded.matmul(&self.spread.t()?)?; // [9*M, K*64]
        let bias = folded_bias.matmul(&self.spread.t()?)?; // [1, K*64]
        let spread = (self.weight.t()?.matmul(&folded)? + self.bias.t()?.matmul(&folded_bias)?)?; // [K*64, 100]
        let spread: Vec<f32> = spread.flatten_all()?.to_vec1()?;
        let mut kernel = vec![0f64; self.sizes.last * 9];
        for_each_tap(self.sizes.last, |tap, place| kernel[tap] += f64::from(spread[place]));
        let kernel = Tensor::from_iter(kernel.into_iter().map(|v| v as f32), x.device())?;
        let last_bias: f64 = gradient.iter().copied().map(f64::from).sum();
        let last_bias = Tensor::from_slice(&[last_bias as f32], 1, x.device())?;
        let x = added.matmul(&self.folded.t()?)?; // [N, 9*M]
        Ok(FoldBack { x, parameters: [weight, bias, kernel, last_bias] })
    }
}

/// Each entry of the last kernel (`[K, 3, 3]`) with each place of the spread matrix that it stands at.
fn for_each_tap(channels: usize, mut each: impl FnMut(usize, usize)) {
    for value in 0..channels * PATCH * PATCH {
        let (channel, i, j) = (value / (PATCH * PATCH), value / PATCH % PATCH, value % PATCH);
        for (u, v) in (0..9).map(|t| (t / 3, t % 3)) {
            // Pixel (i, j) is the neighbour (u-1, v-1) of pixel (i+1-u, j+1-v), which lies one further in the reach.
            let place = (i + 2 - u) * REACH + (j + 2 - v);
            each(channel * 9 + u * 3 + v, value * REACH * REACH + place);
        }
    }
}

/// Each place of what patches add to (`[N, 10, 10]`) with its pixel in the chips (`[B, 8h, 8w]`), where it has one.
fn for_each_place(patches: usize, grid: usize, mut each: impl FnMut(usize, usize)) {
    let side = grid * PATCH;
    let inside = |patch: usize| {
        let (from, to) = (patch * PATCH, patch * PATCH + REACH); // one further than the pixels
        (from.max(1) - from, to.min(side + 1) - from)
    };
    for n in 0..patches {
        let (chip, y, x) = (n / (grid * grid), n / grid % grid, n % grid);
        let (rows, columns) = (inside(y), inside(x));
        for r in rows.0..rows.1 {
            let row = (chip * side + y * PATCH + r - 1) * side + x * PATCH;
            for s in columns.0..columns.1 {
                each((n * REACH + r) * REACH + s, row + s - 1);
            }
        }
    }
}
