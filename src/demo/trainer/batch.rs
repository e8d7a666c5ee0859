//! Batches of the trainer: crops in random turns, and which of their patches are hidden.

use candle_core::{Device, Result, Tensor};
use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::probe::encoder::clay_v0::{self, GROUPS, PATCH};

/// Bands of a chip.
const BANDS: usize = clay_v0::BANDS.len();
/// Pixels of a patch.
pub const PATCH_PIXELS: usize = PATCH * PATCH;
/// Side of a crop in pixels: 2×2 patches.
pub const CROP: usize = 2 * PATCH;
/// Share of the patches that the encoder does not see.
pub const MASK_RATIO: f64 = 0.7;

/// One crop as the trainer needs it.
#[derive(Clone, Debug)]
pub struct Chip {
    /// Normalised, `[13, side, side]`.
    pub pixels: Vec<f32>,
    pub side: usize,
    pub latlon: [f32; 2],
    pub time: [f32; 3],
}

/// Crops with their masks. B crops, L patches, N = 6·L tokens, K kept of them.
pub struct Batch {
    /// `[B, 13, L, 1024]`: a patch's pixels row by row.
    pub planes: Tensor,
    /// `[B, 2]`.
    pub latlon: Tensor,
    /// `[B, 3]`.
    pub time: Tensor,
    /// `[B*K]`: rows of `[B*N]` that the encoder sees.
    pub kept: Tensor,
    /// `[B*N]`: for each patch its row of `[B*(K+2)]`, or `B*(K+2)` where it is hidden.
    pub canvas: Tensor,
    /// `[B, N]`: 1 where hidden.
    pub hidden: Tensor,
}

impl Batch {
    /// The `chips`, all of one side, each turned by a random number of quarter turns, with random masks.
    ///
    /// `chips` must not be empty.
    pub fn draw<'a>(chips: impl IntoIterator<Item = &'a Chip>, rng: &mut ChaCha8Rng) -> Result<Self> {
        let chips: Vec<&Chip> = chips.into_iter().collect();
        let (count, side, device) = (chips.len(), chips[0].side, &Device::Cpu);
        let grid = side / PATCH;
        let (l, n) = (grid * grid, GROUPS.len() * grid * grid);
        let keep = n - (MASK_RATIO * n as f64) as usize;
        let mut planes = Vec::with_capacity(count * BANDS * l * PATCH_PIXELS);
        let (mut latlon, mut time, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let nothing = (count * (keep + 2)) as u32;
        let (mut canvas, mut hidden) = (vec![nothing; count * n], vec![1f32; count * n]);
        for (b, chip) in chips.into_iter().enumerate() {
            let turns = rng.random_range(0..4);
            for (band, cell, y) in places(l) {
                let plane = &chip.pixels[band * side * side..(band + 1) * side * side];
                let (row, left) = (cell / grid * PATCH + y, cell % grid * PATCH);
                planes.extend((left..left + PATCH).map(|col| plane[turned((row, col), turns, side)]));
            }
            latlon.extend_from_slice(&chip.latlon);
            time.extend_from_slice(&chip.time);
            let mut order: Vec<usize> = (0..n).collect();
            order.shuffle(rng);
            for (k, &token) in order[..keep].iter().enumerate() {
                kept.push((b * n + token) as u32);
                canvas[b * n + token] = (b * (keep + 2) + k) as u32;
                hidden[b * n + token] = 0.0;
            }
        }
        Ok(Self {
            planes: Tensor::from_vec(planes, (count, BANDS, l, PATCH_PIXELS), device)?,
            latlon: Tensor::from_vec(latlon, (count, 2), device)?,
            time: Tensor::from_vec(time, (count, 3), device)?,
            kept: Tensor::from_vec(kept, count * keep, device)?,
            canvas: Tensor::from_vec(canvas, count * n, device)?,
            hidden: Tensor::from_vec(hidden, (count, n), device)?,
        })
    }
}

/// Where the pixel lies that a plane has at (row, column) after so many quarter turns against the clock.
fn turned((row, col): (usize, usize), turns: u8, side: usize) -> usize {
    let (row, col) = (0..turns).fold((row, col), |(row, col), _| (col, side - 1 - row));
    row * side + col
}

/// Every (band, patch, row of the patch), in the order of `planes`.
fn places(l: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..BANDS).flat_map(move |band| (0..l).flat_map(move |cell| (0..PATCH).map(move |y| (band, cell, y))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarter_turns() {
        let plane = [0, 1, 2, 3];
        let of = |turns| [(0, 0), (0, 1), (1, 0), (1, 1)].map(|at| plane[turned(at, turns, 2)]);
        assert_eq!((of(0), of(1), of(2), of(3)), ([0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0], [2, 0, 3, 1]));
    }
}
