//! Which bands a file holds: by the names in it, else by the order that its layout documents.

use crate::domain::{Band, Reason};

use crate::probe::chips::{ChipError, tiff::Header};

/// The band that a name means: `B2`, `B02` and `b02` are one.
pub fn band_of(name: &str) -> Option<Band> {
    let name = name.trim().to_ascii_uppercase();
    match name.strip_prefix('B').filter(|digit| digit.len() == 1) {
        Some(digit) => format!("B0{digit}").parse().ok(),
        None => name.parse().ok(),
    }
}

/// The bands of a file, in its order. Names decide where there are any; without any, the documented order does, and
/// then their number has to be right.
///
/// # Errors
/// `bands`, naming both numbers or what is not a band's name; the message goes behind the file's name.
pub fn in_file(header: &Header, documented: &[Band]) -> Result<Vec<Band>, ChipError> {
    let wrong = |message: String| ChipError::new(Reason::Bands, message);
    let found = usize::from(header.bands);
    let known: Vec<Option<Band>> =
        header.names.iter().map(|name| name.as_deref().and_then(band_of).filter(|b| documented.contains(b))).collect();
    if known.iter().all(Option::is_none) {
        if found != documented.len() {
            let message = format!("has bands without names: expected {}, found {found}", documented.len());
            return Err(wrong(message).with_hint("name its bands: `B1`, `B2`, ..."));
        }
        return Ok(documented.to_vec());
    }
    let mut bands = Vec::with_capacity(found);
    for (i, band) in known.into_iter().enumerate() {
        let name = header.names[i].as_deref().unwrap_or("none");
        let band = band.ok_or_else(|| wrong(format!("names its band {} `{name}`, which is no band of it", i + 1)))?;
        if bands.contains(&band) {
            return Err(wrong(format!("names two bands `{name}`")));
        }
        bands.push(band);
    }
    Ok(bands)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(names: &[Option<&str>]) -> Header {
        Header {
            width: 32,
            height: 32,
            bands: names.len() as u16,
            dtype: "int16".to_owned(),
            georef: Default::default(),
            nodata: None,
            date: None,
            names: names.iter().map(|n| n.map(str::to_owned)).collect(),
        }
    }

    #[test]
    fn names_of_bands() {
        let names = ["B1", "B01", " b8a", "B12", "vv", "DEM", "B13", "", "B", "Band 1"];
        let expected =
            [Some(Band::B01), Some(Band::B01), Some(Band::B8A), Some(Band::B12), Some(Band::Vv), Some(Band::Dem)];
        assert_eq!(names.map(band_of)[..6], expected);
        assert!(names.map(band_of)[6..].iter().all(Option::is_none));
    }

    #[test]
    fn names_decide_and_else_the_documented_order() {
        let documented = [Band::Vv, Band::Vh];
        let of = |names: &[Option<&str>]| in_file(&header(names), &documented);
        assert_eq!(of(&[Some("VH"), Some("VV")]).unwrap(), [Band::Vh, Band::Vv]);
        assert_eq!(of(&[None, None]).unwrap(), documented);
        assert_eq!(of(&[Some("Band 1"), Some("Band 2")]).unwrap(), documented);
        assert_eq!(of(&[Some("VH")]).unwrap(), [Band::Vh]);
        assert!(of(&[None]).unwrap_err().message.contains("expected 2, found 1"));
        assert!(of(&[Some("VV"), None]).unwrap_err().message.contains("band 2 `none`"));
        assert!(of(&[Some("VV"), Some("VV")]).unwrap_err().message.contains("two bands `VV`"));
    }
}
