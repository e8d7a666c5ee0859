//! What an encoder is given: planes of chips, prepared in one order for all families, and tensors, checked.

use std::collections::HashMap;

use candle_core::{DType, Tensor};

use super::EncoderError;
use crate::{config::Clouds, domain::Band, probe::chips::RawChip};

/// Appends the plane of `band` to `out`, prepared: the cloud rule (`clay_v0`: raw 0 under cloud and shadow), then
/// `normalise`, then 0 for what is not finite. A chip without the band gives zeros.
pub(super) fn prepare(out: &mut Vec<f32>, chip: &RawChip, band: Band, rule: Clouds, normalise: impl Fn(f32) -> f32) {
    let Some(plane) = chip.plane(band) else {
        out.resize(out.len() + chip.side * chip.side, 0.0);
        return;
    };
    let hidden = chip.clouds.filter(|_| rule == Clouds::ClayV0);
    let one = |(i, &raw): (usize, &f32)| {
        let raw = if hidden.is_some_and(|clouds| clouds[i] != 0) { 0.0 } else { raw };
        // Asked before normalising: the logarithm of radar makes a number of minus infinity.
        let value = if raw.is_finite() { normalise(raw) } else { 0.0 };
        if value.is_finite() { value } else { 0.0 }
    };
    out.extend(plane.iter().enumerate().map(one));
}

/// The one side of `chips`, a multiple of `patch`.
pub(super) fn side(chips: &[RawChip], patch: usize) -> Result<usize, EncoderError> {
    let Some(first) = chips.first() else {
        return Err(EncoderError::Input("there are no chips to encode".to_owned()));
    };
    for chip in chips {
        let (path, side) = (chip.path, chip.side);
        if side == 0 || side % patch != 0 {
            return Err(EncoderError::Input(format!("`{path}` is {side} pixels wide, not a multiple of {patch}")));
        }
        if side != first.side {
            let message =
                format!("`{path}` is {side} pixels wide, `{}` is {}: one pass takes one size", first.path, first.side);
            return Err(EncoderError::Input(message));
        }
        if chip.planes.len() != chip.bands.len() * side * side
            || chip.clouds.is_some_and(|clouds| clouds.len() != side * side)
        {
            return Err(EncoderError::Input(format!(
                "`{path}` has planes or clouds of another size than {side}x{side}"
            )));
        }
    }
    Ok(first.side)
}

/// The first of `names` that is there, as f32.
pub(super) fn named(tensors: &HashMap<String, Tensor>, names: &[&str]) -> Result<Tensor, EncoderError> {
    let missing = || EncoderError::Input(format!("there is no tensor `{}`", names.join("` or `")));
    Ok(names.iter().find_map(|name| tensors.get(*name)).ok_or_else(missing)?.to_dtype(DType::F32)?)
}

/// B and S of `pixels` `[B, bands, S, S]`, S a multiple of `patch`.
pub(super) fn square(pixels: &Tensor, bands: usize, patch: usize) -> Result<(usize, usize), EncoderError> {
    let &[b, c, height, width] = pixels.dims() else {
        let dims = pixels.dims();
        return Err(EncoderError::Input(format!("`pixels` must be [B, {bands}, S, S], not {dims:?}")));
    };
    if b == 0 || c != bands {
        let dims = pixels.dims();
        return Err(EncoderError::Input(format!("`pixels` must be [B, {bands}, S, S], not {dims:?}")));
    }
    if height != width || height == 0 || height % patch != 0 {
        return Err(EncoderError::Input(format!(
            "images must be square with a side that is a multiple of {patch} pixels, not {height}x{width}"
        )));
    }
    Ok((b, height))
}

/// Refuses a tensor of another shape.
pub(super) fn shaped(name: &str, tensor: &Tensor, shape: &[usize]) -> Result<(), EncoderError> {
    if tensor.dims() == shape {
        return Ok(());
    }
    Err(EncoderError::Input(format!("`{name}` must be {shape:?}, not {:?}", tensor.dims())))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use chrono::NaiveDate;

    use super::*;
    use crate::probe::chips::Place;

    fn chip<'a>(bands: &'a [Band], planes: &'a [f32], clouds: Option<&'a [u8]>) -> RawChip<'a> {
        RawChip {
            path: "a.tif",
            bands,
            planes,
            side: 2,
            date: NaiveDate::default(),
            hour: None,
            place: Place { epsg: 4326, bbox: [0.0; 4], lat: 0.0, lon: 0.0 },
            gsd: 10.0,
            clouds,
        }
    }

    #[test]
    fn the_order_of_preparation() {
        // Clear, cloud, shadow over a NaN, minus infinity; normalised by adding 1.
        let planes = [5.0, 5.0, f32::NAN, f32::NEG_INFINITY];
        let chip = chip(&[Band::Vv], &planes, Some(&[0, 1, 2, 0]));
        let of = |band, rule| {
            let mut out = Vec::new();
            prepare(&mut out, &chip, band, rule, |raw| raw.max(0.0) + 1.0);
            out
        };
        assert_eq!(of(Band::Vv, Clouds::Ignore), [6.0, 6.0, 0.0, 0.0]);
        assert_eq!(of(Band::Vv, Clouds::ClayV0), [6.0, 1.0, 1.0, 0.0]);
        assert_eq!(of(Band::Vh, Clouds::ClayV0), [0.0; 4], "a band that is not there");
    }

    #[test]
    fn chips_of_one_size() {
        let planes = [0.0; 4];
        let good = chip(&[Band::Vv], &planes, None);
        assert_eq!(side(&[good, good], 2).unwrap(), 2);
        assert!(side(&[], 2).is_err());
        assert!(side(&[good], 8).unwrap_err().to_string().contains("`a.tif`"));
        assert!(side(&[RawChip { bands: &[Band::Vv, Band::Vh], ..good }], 2).is_err());
        assert!(side(&[RawChip { clouds: Some(&[0]), ..good }], 2).is_err());
    }

    #[test]
    fn images_must_be_square() {
        let of = |dims: &[usize]| square(&Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap(), 13, 32);
        assert_eq!(of(&[1, 13, 64, 64]).unwrap(), (1, 64));
        assert!(of(&[1, 13, 32, 128]).unwrap_err().to_string().contains("32x128"));
        assert!(of(&[1, 13, 72, 72]).is_err());
        assert!(of(&[1, 12, 64, 64]).is_err());
        assert!(of(&[0, 13, 64, 64]).is_err());
        assert!(of(&[13, 64, 64]).is_err());
    }
}
