//! Fixed encodings, in f32 as PyTorch does: of wavelengths, and of patches on the ground.

use candle_core::{Device, Result as TensorResult, Tensor};

/// Width of a wavelength's code.
pub(super) const CODE: usize = 128;

/// `[C, 128]` of `waves` in micrometres: `sin a, cos a` of `a = wave * 10000^(-k/63)`, k = 0..63.
pub(super) fn wave_code(waves: &[f32], device: &Device) -> TensorResult<Tensor> {
    let half = CODE / 2;
    let frequencies = (0..half).map(|k| 1.0 / 10_000f32.powf(k as f32 / (half - 1) as f32));
    let mut codes = Vec::with_capacity(waves.len() * CODE);
    for wave in waves {
        codes.extend(frequencies.clone().map(|f| (wave * f).sin()));
        codes.extend(frequencies.clone().map(|f| (wave * f).cos()));
    }
    Tensor::from_vec(codes, (waves.len(), CODE), device)
}

/// `[L, width]` for a square grid, row-major: four equal blocks `sin(col·f) cos(col·f) sin(row·f) cos(row·f)` with
/// `f = gsd * 10000^(-2 (i/(m-1)) / width)`, i of m = `width`/4; `gsd` in metres.
///
/// `width` is D-8, a multiple of 4 and at least 8. Dividing the exponent by it leaves all frequencies within a few percent
/// of `gsd`: odd, but what the weights were trained with. Angles reach hundreds of radians, so index times frequency is
/// rounded to f32 before the sine, as in the original.
pub(super) fn pos_encoding(grid: usize, width: usize, gsd: f64, device: &Device) -> TensorResult<Tensor> {
    let m = width / 4;
    let power = |i: usize| 10_000f32.powf(2.0 * (i as f32 / (m - 1) as f32) / width as f32);
    let frequencies: Vec<f32> = (0..m).map(|i| 1.0 / power(i) * gsd as f32).collect();
    // Columns and rows share one line of the grid.
    let line: Vec<Vec<f32>> = (0..grid)
        .map(|at| {
            let angles = frequencies.iter().map(|f| at as f32 * f);
            angles.clone().map(f32::sin).chain(angles.map(f32::cos)).collect()
        })
        .collect();
    let mut table = Vec::with_capacity(grid * grid * width);
    for (row, col) in (0..grid).flat_map(|row| (0..grid).map(move |col| (row, col))) {
        table.extend_from_slice(&line[col]);
        table.extend_from_slice(&line[row]);
    }
    Tensor::from_vec(table, (grid * grid, width), device)
}
