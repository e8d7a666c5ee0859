//! Values that look like another unit than the layout's: dB for linear power and back, 0-1 for reflectance x 10000, an
//! offset of 1000, swapped polarisations.
//!
//! A file cannot tell its unit, its values can: every rule here is one that no sound chip meets.

use crate::domain::{Band, Reason};

use super::{ChipError, layout::look::Look};

/// Reflectance is at most about 1, and at most about 10000 times that.
const REFLECTANCE: f32 = 2.0;

/// Where the darkest value of a chip with the offset lies: dark water, shadow and the cirrus band are a few hundred at
/// most. Above it there may just be nothing dark.
const OFFSET: std::ops::Range<f32> = 950.0..1300.0;

/// Bands without a bright atmosphere: something in a chip is dark in one of them.
const DARK: [Band; 3] = [Band::B10, Band::B11, Band::B12];

/// What the values of a chip look like other than they should be; `file` names the file of a band.
///
/// Each is a `unit`.
pub fn compare(look: &Look, file: &dyn Fn(Band) -> String) -> Vec<ChipError> {
    let warn = |band: Band, message: String, hint: &str| {
        ChipError::new(Reason::Unit, format!("`{}` {message}", file(band))).with_hint(hint)
    };
    let mut found = Vec::new();
    let (vv, vh) = (look.plane(Band::Vv).unwrap_or_default(), look.plane(Band::Vh).unwrap_or_default());
    for (band, plane) in [(Band::Vv, vv), (Band::Vh, vh)] {
        let Some(Range { n, negative, least, most }) = range(plane.iter()) else { continue };
        if negative * 2 > n {
            let message = format!("looks like dB, not linear power: {band} is {least:.1} to {most:.1}");
            found.push(warn(band, message, "linear power is `10^(dB / 10)` and never negative"));
        } else if least >= 1.0 {
            let message =
                format!("looks like linear power, not dB: {band} is {least:.3} to {most:.3} after `10^(dB / 10)`");
            found.push(warn(band, message, "dB is `10 * log10(linear power)`"));
        }
    }
    let brighter = vv.iter().zip(vh).filter(|(vv, vh)| vh > vv).count();
    let both = vv.iter().zip(vh).filter(|(vv, vh)| vv.is_finite() && vh.is_finite()).count();
    if brighter * 2 > both {
        let message =
            format!("looks as if VV and VH were swapped: VH is the brighter one in {brighter} of {both} pixels");
        found.push(warn(Band::Vv, message, "cross-polarised power is the lower one nearly everywhere"));
    }
    found.extend(optical(look, &warn));
    found
}

fn optical(look: &Look, warn: &dyn Fn(Band, String, &str) -> ChipError) -> Option<ChipError> {
    let bands = look.bands.iter().copied().filter(|b| b.is_optical());
    let Range { least, most, .. } = range(bands.clone().filter_map(|b| look.plane(b)).flatten())?;
    let band = bands.clone().next()?;
    if most > 0.0 && most <= REFLECTANCE {
        let message = format!("looks like reflectance of 0 to 1, not x 10000: its bands are {least:.4} to {most:.4}");
        return Some(warn(band, message, "multiply it by 10000"));
    }
    if OFFSET.contains(&least) && bands.clone().any(|b| DARK.contains(&b)) {
        let message = format!("looks as if the offset of 1000 were still in: no band is below {least:.0} anywhere");
        return Some(warn(band, message, "take 1000 off: processing baseline 04.00 and later adds it"));
    }
    None
}

/// Of the finite values.
struct Range {
    n: usize,
    negative: usize,
    least: f32,
    most: f32,
}

/// `None` without any finite value.
fn range<'a>(values: impl Iterator<Item = &'a f32>) -> Option<Range> {
    let start = Range { n: 0, negative: 0, least: f32::INFINITY, most: f32::NEG_INFINITY };
    let range = values.filter(|v| v.is_finite()).fold(start, |r, v| Range {
        n: r.n + 1,
        negative: r.negative + usize::from(*v < 0.0),
        least: r.least.min(*v),
        most: r.most.max(*v),
    });
    (range.n > 0).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chip of 2x2 pixels.
    fn warnings(bands: &[(Band, [f32; 4])]) -> String {
        let look = Look {
            width: 2,
            height: 2,
            bands: bands.iter().map(|(band, _)| *band).collect(),
            planes: bands.iter().flat_map(|(_, plane)| *plane).collect(),
            ..Look::default()
        };
        let found = compare(&look, &|band| format!("{band}.tif"));
        assert!(found.iter().all(|w| w.reason == Reason::Unit));
        found.into_iter().map(|w| w.message).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn radar() {
        let (vv, vh) = ([0.1, 0.02, 367.0, f32::NAN], [0.02, 0.004, 1.5, f32::NAN]);
        assert_eq!(warnings(&[(Band::Vv, vv), (Band::Vh, vh)]), "");
        assert!(warnings(&[(Band::Vv, vh), (Band::Vh, vv)]).contains("`VV.tif` looks as if VV and VH were swapped"));
        let db = |plane: [f32; 4]| plane.map(|v| 10.0 * v.log10());
        let both = warnings(&[(Band::Vv, db(vv)), (Band::Vh, db(vh))]);
        assert!(both.contains("`VV.tif` looks like dB") && both.contains("`VH.tif` looks like dB"), "{both}");
        let twice = |plane: [f32; 4]| plane.map(|v| 10f32.powf(v / 10.0));
        assert!(warnings(&[(Band::Vv, twice(vv)), (Band::Vh, twice(vh))]).contains("looks like linear power, not dB"));
        assert_eq!(warnings(&[(Band::Vv, [0.0; 4]), (Band::Vh, [0.0; 4])]), "", "integers round radar to 0");
        assert_eq!(warnings(&[(Band::Vv, [f32::NAN; 4]), (Band::Vh, [f32::NAN; 4])]), "");
    }

    #[test]
    fn optical() {
        let (blue, dark) = ([1400.0, 1500.0, 1600.0, f32::NAN], [120.0, 900.0, 2000.0, f32::NAN]);
        assert_eq!(warnings(&[(Band::B02, blue), (Band::B12, dark)]), "");
        let scaled = |plane: [f32; 4]| plane.map(|v| v / 10_000.0);
        assert!(warnings(&[(Band::B02, scaled(blue)), (Band::B12, scaled(dark))]).contains("reflectance of 0 to 1"));
        let offset = |plane: [f32; 4]| plane.map(|v| v + 1000.0);
        assert!(warnings(&[(Band::B02, offset(blue)), (Band::B12, offset(dark))]).contains("no band is below 1120"));
        assert_eq!(warnings(&[(Band::B02, [1050.0; 4])]), "", "blue alone is never dark");
        assert_eq!(warnings(&[(Band::B02, [0.0; 4]), (Band::B12, [0.0; 4])]), "", "no optical bands at all");
        assert_eq!(warnings(&[(Band::B02, [2600.0; 4]), (Band::B12, [4000.0; 4])]), "", "a desert has nothing dark");
    }
}
