//! Water and cloud labels.

use crate::domain::Reason;

use super::{
    ChipError,
    georef::same_place,
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

/// What 255 in a cloud label, or the file's own no-data value, means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoData {
    /// The label may not have it.
    Refused,
    /// Not known to be clear: taken for cloud.
    Cloud,
}

/// A cloud label `[height, width]` of 0 (clear), 1 (cloud) and 2 (shadow), checked as [`water`] is.
///
/// # Errors
/// `label-size`, `label-extent`, `label-value`, or that of the TIFF.
pub fn cloud(
    bytes: Vec<u8>,
    name: &str,
    chip: &Header,
    chip_name: &str,
    no_data: NoData,
) -> Result<Vec<u8>, ChipError> {
    let (_, values) = decode(bytes, name, chip, chip_name)?;
    let one = |value: f32| match value {
        0.0 => Ok(0),
        1.0 => Ok(1),
        2.0 => Ok(2),
        v if no_data == NoData::Cloud && (v == 255.0 || v.is_nan()) => Ok(1),
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
    if same_place(&label.georef, &chip.georef) {
        return Ok(());
    }
    let (own, its) = (label.georef.extent(), chip.georef.extent());
    let message = format!("`{name}` covers {own}, its chip `{chip_name}` covers {its}");
    Err(ChipError::new(Reason::LabelExtent, message))
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

    #[test]
    fn counting() {
        assert_eq!(count(&[1, 0, 0, 255, 1, 1]), [3, 2, 1]);
    }
}
