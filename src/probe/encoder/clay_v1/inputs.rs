//! Chips to what one input of Clay v1 takes: standardised bands of a sensor, angles of time and place.

use std::f64::consts::PI;

use candle_core::{Device, Result as TensorResult, Tensor};
use chrono::Datelike;

use super::super::inputs::prepare as prepare_plane;
use crate::{
    config::{Clouds, Latlon},
    domain::{Input, InputStatistics},
    probe::chips::RawChip,
};

// B chips, C bands of the input, S their side.

/// The hour of a chip whose layout tells none: noon. Sentinel-2 passes at about 10:30 and Sentinel-1 at about 6 and 18
/// local solar time, so in UTC any hour occurs; noon is as good as any and the same for all chips of a set.
const HOUR: u32 = 12;

/// What a power of radar that is 0 or less counts as, before its logarithm: -100 dB (Clay's data module of v1.5).
const LEAST_POWER: f32 = 1e-10;

/// Pixels `[B, C, S, S]` of the input's bands in its order: `(x - mean) / std` of reflectance x 10000; of radar in dB, or in
/// linear power where the statistics are of that (v1.0).
pub(super) fn pixels(
    chips: &[RawChip],
    side: usize,
    input: Input,
    statistics: &InputStatistics,
    clouds: Clouds,
    device: &Device,
) -> TensorResult<Tensor> {
    let bands = input.bands();
    let mut pixels = Vec::with_capacity(chips.len() * bands.len() * side * side);
    for chip in chips {
        for (&band, (mean, std)) in bands.iter().zip(statistics.mean.iter().zip(&statistics.std)) {
            let decibels = band.is_radar() && !statistics.is_linear_power();
            let unit = |raw: f32| if decibels { to_decibels(raw) } else { raw };
            prepare_plane(&mut pixels, chip, band, clouds, |raw| (unit(raw) - mean) / std);
        }
    }
    Tensor::from_vec(pixels, (chips.len(), bands.len(), side, side), device)
}

fn to_decibels(power: f32) -> f32 {
    10.0 * (if power <= 0.0 { LEAST_POWER } else { power }).log10()
}

/// Times `[B, 4]` and places `[B, 4]`; zeros, which mean unknown, with `Latlon::None`.
///
/// Projected metres taken for degrees are a quirk of the v0 benchmark's loader: here both other words mean degrees.
pub(super) fn time_and_place(chips: &[RawChip], latlon: Latlon, device: &Device) -> TensorResult<(Tensor, Tensor)> {
    let told = latlon != Latlon::None;
    let times: Vec<f32> = chips.iter().flat_map(|chip| if told { time_of(chip) } else { [0.0; 4] }).collect();
    let places: Vec<f32> = chips.iter().flat_map(|chip| if told { place_of(chip) } else { [0.0; 4] }).collect();
    Ok((Tensor::from_vec(times, (chips.len(), 4), device)?, Tensor::from_vec(places, (chips.len(), 4), device)?))
}

/// `[sin w, cos w, sin t, cos t]` of `w = 2 pi (ISO week) / 52` and `t = 2 pi hour / 24`. Computed in f64.
fn time_of(chip: &RawChip) -> [f32; 4] {
    let week = 2.0 * PI * f64::from(chip.date.iso_week().week()) / 52.0;
    let hour = 2.0 * PI * f64::from(chip.hour.unwrap_or(HOUR)) / 24.0;
    [week.sin(), week.cos(), hour.sin(), hour.cos()].map(|v| v as f32)
}

/// `[sin lat, cos lat, sin lon, cos lon]` of the centre. Computed in f64.
fn place_of(chip: &RawChip) -> [f32; 4] {
    let (lat, lon) = (chip.place.lat.to_radians(), chip.place.lon.to_radians());
    [lat.sin(), lat.cos(), lon.sin(), lon.cos()].map(|v| v as f32)
}
