//! Chips to what Clay v0 takes: normalised bands, angles of place and date.

use candle_core::{Device, Result as TensorResult, Tensor};

use super::{
    super::inputs::prepare as prepare_plane,
    statistics::{BANDS, MEAN, STD},
};
use crate::{
    config::{Clouds, Latlon},
    probe::chips::{
        RawChip,
        encode::{encode_date, encode_place},
    },
};

// B chips, S their side.

/// Pixels `[B, 13, S, S]`, places `[B, 2]` and dates `[B, 3]`. With `Latlon::None` places are zeros; v0 has no date that
/// means unknown.
pub(super) fn prepare(
    chips: &[RawChip],
    side: usize,
    clouds: Clouds,
    latlon: Latlon,
    device: &Device,
) -> TensorResult<(Tensor, Tensor, Tensor)> {
    let mut pixels = Vec::with_capacity(chips.len() * BANDS.len() * side * side);
    for chip in chips {
        normalise(&mut pixels, chip, clouds);
    }
    let places: Vec<f32> = chips.iter().flat_map(|chip| encode_place(&chip.place, latlon)).collect();
    let dates: Vec<f32> = chips.iter().flat_map(|chip| encode_date(chip.date)).collect();
    Ok((
        Tensor::from_vec(pixels, (chips.len(), BANDS.len(), side, side), device)?,
        Tensor::from_vec(places, (chips.len(), 2), device)?,
        Tensor::from_vec(dates, (chips.len(), 3), device)?,
    ))
}

/// Normalised pixels `[13, S, S]` of one chip, S its side.
pub fn pixels(chip: &RawChip, clouds: Clouds) -> Vec<f32> {
    let mut pixels = Vec::with_capacity(BANDS.len() * chip.side * chip.side);
    normalise(&mut pixels, chip, clouds);
    pixels
}

fn normalise(pixels: &mut Vec<f32>, chip: &RawChip, clouds: Clouds) {
    for (i, &band) in BANDS.iter().enumerate() {
        prepare_plane(pixels, chip, band, clouds, |raw| (raw - MEAN[i]) / STD[i]);
    }
}
