//! The fixed encodings, computed in f32 as PyTorch does: positions of patches, numbers of band groups.

use candle_core::{Device, Result, Tensor};

/// `count` geometric frequencies from 1 down to 1/10000, both ends included.
fn frequencies(count: usize) -> impl Iterator<Item = f32> + Clone {
    (0..count).map(move |i| 1.0 / 10_000f32.powf(i as f32 / (count - 1) as f32))
}

/// `[L, width]` for a square grid, row-major: four equal blocks `sin(col·f) cos(col·f) sin(row·f) cos(row·f)`.
///
/// `width` is D/2, a multiple of 4 and at least 8.
pub fn pos_encoding(grid: usize, width: usize, device: &Device) -> Result<Tensor> {
    let f = frequencies(width / 4);
    let mut table = Vec::with_capacity(grid * grid * width);
    for (row, col) in (0..grid).flat_map(|row| (0..grid).map(move |col| (row as f32, col as f32))) {
        table.extend(f.clone().map(|f| (col * f).sin()));
        table.extend(f.clone().map(|f| (col * f).cos()));
        table.extend(f.clone().map(|f| (row * f).sin()));
        table.extend(f.clone().map(|f| (row * f).cos()));
    }
    Tensor::from_vec(table, (grid * grid, width), device)
}

/// `[groups, width]`: two equal blocks `sin(g·f) cos(g·f)`. `width` is D/2.
pub fn band_encoding(groups: usize, width: usize, device: &Device) -> Result<Tensor> {
    let f = frequencies(width / 2);
    let mut table = Vec::with_capacity(groups * width);
    for g in 0..groups {
        table.extend(f.clone().map(|f| (g as f32 * f).sin()));
        table.extend(f.clone().map(|f| (g as f32 * f).cos()));
    }
    Tensor::from_vec(table, (groups, width), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[f32], want: &[f32]) {
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-6, "{got:?} is not {want:?}");
        }
    }

    #[test]
    fn the_worked_example_of_width_64() {
        let pos: Vec<Vec<f32>> = pos_encoding(2, 32, &Device::Cpu).unwrap().to_vec2().unwrap();
        let band: Vec<Vec<f32>> = band_encoding(6, 32, &Device::Cpu).unwrap().to_vec2().unwrap();
        close(&pos[1][..3], &[0.841_471, 0.2650633, 0.0719064]); // row 0, col 1
        close(&pos[1][8..11], &[0.5403023, 0.964_231, 0.9974114]);
        close(&pos[1][16..32], &[[0.0; 8], [1.0; 8]].concat());
        close(&pos[2][16..19], &[0.841_471, 0.2650633, 0.0719064]); // row 1, col 0
        close(&band[1][..3], &[0.841_471, 0.5151387, 0.2886959]);
        close(&band[1][16..19], &[0.5403023, 0.8571068, 0.9574209]);
        close(&band[5][..3], &[-0.9589243, 0.4220858, 0.994_337]);
    }
}
