//! What the bands tell without an encoder: mean and spread of each, per patch.

use candle_core::{Result, Tensor};

use crate::{
    domain::Band,
    probe::chips::{Dataset, RawChip},
};

/// Features `[h*w, 2*bands]` of each chip, row by row: of every band that all chips have its mean and its sample
/// standard deviation over the patch's finite pixels, in f64; 0 where there are none (for a deviation: fewer than two).
pub fn features(dataset: &Dataset, patch: usize) -> Result<Vec<Tensor>> {
    let bands = &dataset.summary().bands;
    let of = |i| {
        let chip = dataset.raw(i);
        let grid = chip.side / patch;
        let mut values = Vec::with_capacity(grid * grid * 2 * bands.len());
        for cell in 0..grid * grid {
            let at = (cell / grid * patch, cell % grid * patch);
            let (means, spreads): (Vec<f32>, Vec<f32>) =
                bands.iter().map(|&band| moments(&chip, band, at, patch)).unzip();
            values.extend(means);
            values.extend(spreads);
        }
        Tensor::from_vec(values, (grid * grid, 2 * bands.len()), &candle_core::Device::Cpu)
    };
    (0..dataset.chips().len()).map(of).collect()
}

fn moments(chip: &RawChip, band: Band, (top, left): (usize, usize), patch: usize) -> (f32, f32) {
    let Some(plane) = chip.plane(band) else { return (0.0, 0.0) };
    let rows = plane.chunks_exact(chip.side).skip(top).take(patch);
    let values: Vec<f64> =
        rows.flat_map(|row| &row[left..left + patch]).filter(|v| v.is_finite()).map(|&v| f64::from(v)).collect();
    let n = values.len() as f64;
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean as f32, if n < 2.0 { 0.0 } else { (squares / (n - 1.0)).sqrt() as f32 })
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::probe::chips::Place;

    #[test]
    fn a_patch_is_told_by_its_finite_pixels() {
        let mut plane = vec![1.0f32; 16];
        (plane[2], plane[3], plane[6], plane[7]) = (2.0, 4.0, f32::NAN, 6.0);
        let chip = RawChip {
            path: "a",
            bands: &[Band::Vv],
            planes: &plane,
            side: 4,
            date: NaiveDate::default(),
            hour: None,
            place: Place { epsg: 4326, bbox: [0.0; 4], lat: 0.0, lon: 0.0 },
            gsd: 10.0,
            clouds: None,
        };
        assert_eq!(moments(&chip, Band::Vv, (0, 2), 2), (4.0, 2.0));
        assert_eq!(moments(&chip, Band::Vv, (0, 0), 2), (1.0, 0.0));
        assert_eq!(moments(&chip, Band::Vh, (0, 0), 2), (0.0, 0.0));
    }
}
