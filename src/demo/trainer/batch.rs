//! Batches of the trainer: random crops of the chips, and which of their patches are hidden.

use candle_core::{Device, Result, Tensor};
use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::probe::encoder::clay_v0::{self, GROUPS, PATCH};

/// Bands of a chip.
const BANDS: usize = clay_v0::BANDS.len();
/// Pixels of a patch.
pub const PATCH_PIXELS: usize = PATCH * PATCH;
/// Side of a crop in pixels: 3×3 patches.
pub const CROP: usize = 3 * PATCH;
/// Share of the patches that the encoder does not see.
pub const MASK_RATIO: f64 = 0.75;

/// One chip as the trainer needs it.
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
    /// `count` crops of `size` pixels at random places of random chips, with random masks.
    ///
    /// `chips` must not be empty, nor smaller than a crop.
    pub fn draw(chips: &[Chip], count: usize, size: usize, rng: &mut ChaCha8Rng) -> Result<Self> {
        let (grid, device) = (size / PATCH, &Device::Cpu);
        let (l, n) = (grid * grid, GROUPS.len() * grid * grid);
        let keep = n - (MASK_RATIO * n as f64) as usize;
        let mut planes = Vec::with_capacity(count * BANDS * l * PATCH_PIXELS);
        let (mut latlon, mut time, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let nothing = (count * (keep + 2)) as u32;
        let (mut canvas, mut hidden) = (vec![nothing; count * n], vec![1f32; count * n]);
        for b in 0..count {
            let chip = &chips[rng.random_range(0..chips.len())];
            let (top, left) = (rng.random_range(0..=chip.side - size), rng.random_range(0..=chip.side - size));
            for (band, cell, y) in places(l) {
                let row = band * chip.side + top + cell / grid * PATCH + y;
                let from = row * chip.side + left + cell % grid * PATCH;
                planes.extend_from_slice(&chip.pixels[from..from + PATCH]);
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

/// Every (band, patch, row of the patch), in the order of `planes`.
fn places(l: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..BANDS).flat_map(move |band| (0..l).flat_map(move |cell| (0..PATCH).map(move |y| (band, cell, y))))
}
