//! Which bands Clay v0 takes, and what they are normalised by.

use crate::domain::{Band, Digest};

/// The bands in the order of the pixel channels.
pub const BANDS: [Band; 13] = [
    Band::B02,
    Band::B03,
    Band::B04,
    Band::B05,
    Band::B06,
    Band::B07,
    Band::B08,
    Band::B8A,
    Band::B11,
    Band::B12,
    Band::Vh,
    Band::Vv,
    Band::Dem,
];

/// Mean of each band over Clay v0's training data (its `configs/metadata.yaml` of v0.2), raw units.
pub const MEAN: [f32; 13] =
    [1369.03, 1597.68, 1741.10, 2053.58, 2569.82, 2763.01, 2858.43, 2893.86, 2303.00, 1807.79, 0.026, 0.118, 499.46];

/// Standard deviation of each band, from the same place.
pub const STD: [f32; 13] =
    [2026.96, 2011.88, 2146.35, 2138.96, 2003.27, 1962.45, 2016.38, 1917.12, 1679.88, 1568.06, 0.118, 0.873, 880.35];

/// The digest of means and deviations.
pub fn digest() -> Digest {
    let values = MEAN.iter().chain(&STD).flat_map(|v| v.to_le_bytes());
    Digest::of(&values.collect::<Vec<u8>>())
}
