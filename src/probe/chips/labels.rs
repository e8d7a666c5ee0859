//! Water and cloud labels, and what becomes of a chip under cloud.
//!
//! The order of preparation: pixels that are not finite are marked; the cloud rule; normalisation; what was marked
//! becomes 0.

use crate::{config::Clouds, domain::Reason};

use super::{
    ChipError,
    encode::{BANDS, normalise},
    tiff::{Header, Tiff},
};

/// Water, land, and pixels that count for nothing.
pub const WATER: u8 = 1;
pub const LAND: u8 = 0;
pub const IGNORED: u8 = 255;

/// A water label `[height, width]` of 1, 0 and 255, decoded from `bytes` and checked against the chip it belongs to.
///
/// In it 255, NaN, the file's own no-data value and, in signed types, -1 are ignored.
///
/// # Errors
/// `label-size`, `label-extent`, `label-value`, or that of the TIFF.
pub fn water(bytes: Vec<u8>, name: &str, chip: &Header, chip_name: &str) -> Result<Vec<u8>, ChipError> {
    let (header, values) = decode(bytes, name, chip, chip_name)?;
    let signed = header.signed();
    let one = |value: f32| match value {
        0.0 => Ok(LAND),
        1.0 => Ok(WATER),
        255.0 => Ok(IGNORED),
        -1.0 if signed => Ok(IGNORED),
        v if v.is_nan() => Ok(IGNORED),
        other => Err(other),
    };
    collect(&values, one, name, "1 (water), 0 (land) and 255 (ignored)")
}

/// A cloud label `[height, width]` of 0 (clear), 1 (cloud) and 2 (shadow), checked as [`water`] is.
///
/// # Errors
/// `label-size`, `label-extent`, `label-value`, or that of the TIFF.
pub fn cloud(bytes: Vec<u8>, name: &str, chip: &Header, chip_name: &str) -> Result<Vec<u8>, ChipError> {
    let (_, values) = decode(bytes, name, chip, chip_name)?;
    let one = |value: f32| match value {
        0.0 => Ok(0),
        1.0 => Ok(1),
        2.0 => Ok(2),
        other => Err(other),
    };
    collect(&values, one, name, "0 (clear), 1 (cloud) and 2 (shadow)")
}

fn collect(
    values: &[f32],
    one: impl Fn(f32) -> Result<u8, f32>,
    name: &str,
    allowed: &str,
) -> Result<Vec<u8>, ChipError> {
    values.iter().map(|v| one(*v)).collect::<Result<_, _>>().map_err(|odd| {
        let count = values.iter().filter(|v| **v == odd || v.is_nan() && odd.is_nan()).count();
        ChipError::new(
            Reason::LabelValue,
            format!("`{name}` has the value {odd} in {count} pixels; it may hold {allowed}"),
        )
    })
}

fn decode(bytes: Vec<u8>, name: &str, chip: &Header, chip_name: &str) -> Result<(Header, Vec<f32>), ChipError> {
    let mut tiff = Tiff::open(bytes, name)?;
    // A no-data value of 0 or 1 is what tools write without being asked; these values are labels.
    tiff.header.nodata = tiff.header.nodata.filter(|n| *n != 0.0 && *n != 1.0 && *n != 2.0);
    let header = tiff.header.clone();
    check(&header, name, chip, chip_name)?;
    Ok((header, tiff.pixels()?))
}

/// One band, and size and extent of the chip.
fn check(label: &Header, name: &str, chip: &Header, chip_name: &str) -> Result<(), ChipError> {
    if label.bands != 1 {
        let message = format!("`{name}` has {} bands; a label has one", label.bands);
        return Err(ChipError::new(Reason::LabelBands, message));
    }
    if (label.width, label.height) != (chip.width, chip.height) {
        let message = format!(
            "`{name}` is {}x{} pixels, its chip `{chip_name}` is {}x{}",
            label.width, label.height, chip.width, chip.height
        );
        return Err(ChipError::new(Reason::LabelSize, message));
    }
    // A label without a georeference of its own is taken to be its chip's.
    let same_crs = label.georef.epsg.is_none() || chip.georef.epsg.is_none() || label.georef.epsg == chip.georef.epsg;
    let same_place = match (label.georef.bbox, chip.georef.bbox) {
        (Some(l), Some(c)) => (0..4).all(|i| (l[i] - c[i]).abs() <= chip.georef.pixel[i % 2] / 2.0),
        _ => true,
    };
    if same_crs && same_place {
        return Ok(());
    }
    let extent = |h: &Header| {
        let epsg = h.georef.epsg.map_or("no CRS".to_owned(), |e| format!("EPSG:{e}"));
        h.georef.bbox.map_or(epsg.clone(), |b| format!("{} {} {} {} ({epsg})", b[0], b[1], b[2], b[3]))
    };
    let message = format!("`{name}` covers {}, its chip `{chip_name}` covers {}", extent(label), extent(chip));
    Err(ChipError::new(Reason::LabelExtent, message))
}

/// Applies the cloud rule, normalises, and sets what is not finite to 0, in place. Returns how many values, of all
/// bands, were not finite.
///
/// `pixels` `[13, n]` are raw on entry and normalised on return; `labels` and `clouds` are `[n]`. `Ignore`: pixels stay,
/// the label under cloud or shadow is ignored. `ClayV0`: there all bands are raw 0, so `-mean / std`, and the label is
/// land.
pub fn prepare(pixels: &mut [f32], labels: &mut [u8], clouds: Option<&[u8]>, rule: Clouds) -> u64 {
    let n = labels.len();
    let cloudy = |i: usize| clouds.is_some_and(|c| c[i] != 0);
    let mut nonfinite = 0;
    for (band, plane) in pixels.chunks_exact_mut(n).enumerate().take(BANDS) {
        for (i, value) in plane.iter_mut().enumerate() {
            nonfinite += u64::from(!value.is_finite());
            if rule == Clouds::ClayV0 && cloudy(i) {
                *value = 0.0;
            }
            let normal = normalise(band, *value);
            *value = if normal.is_finite() { normal } else { 0.0 };
        }
    }
    for (_, label) in labels.iter_mut().enumerate().filter(|(i, _)| cloudy(*i)) {
        *label = if rule == Clouds::ClayV0 { LAND } else { IGNORED };
    }
    nonfinite
}

/// Water, land and ignored pixels of a label.
pub fn count(labels: &[u8]) -> [u64; 3] {
    labels.iter().fold([0; 3], |[water, land, ignored], label| match *label {
        WATER => [water + 1, land, ignored],
        LAND => [water, land + 1, ignored],
        _ => [water, land, ignored + 1],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four pixels: clear, cloud, shadow over a NaN, clear NaN.
    fn prepared(rule: Clouds) -> (Vec<f32>, Vec<u8>, u64) {
        let mut pixels = vec![100.0; BANDS * 4];
        for band in 0..BANDS {
            pixels[band * 4 + 2] = f32::NAN;
            pixels[band * 4 + 3] = f32::NEG_INFINITY;
        }
        let mut labels = vec![1, 1, 1, 255];
        let nonfinite = prepare(&mut pixels, &mut labels, Some(&[0, 1, 2, 0]), rule);
        (pixels, labels, nonfinite)
    }

    #[test]
    fn the_two_cloud_rules() {
        let (pixels, labels, nonfinite) = prepared(Clouds::Ignore);
        assert_eq!(labels, [1, 255, 255, 255]);
        assert_eq!(nonfinite, 26);
        assert_eq!(pixels[..4], [normalise(0, 100.0), normalise(0, 100.0), 0.0, 0.0]);

        let (pixels, labels, nonfinite) = prepared(Clouds::ClayV0);
        assert_eq!(labels, [1, 0, 0, 255]);
        assert_eq!(nonfinite, 26);
        let zero = normalise(0, 0.0);
        assert_eq!(pixels[..4], [normalise(0, 100.0), zero, zero, 0.0]);
    }

    #[test]
    fn counting() {
        assert_eq!(count(&[1, 0, 0, 255, 1, 1]), [3, 2, 1]);
    }
}
