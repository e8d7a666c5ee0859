//! Where a raster lies: its transform, its EPSG code, its centre in degrees.

use std::io::{Read, Seek};

use proj4rs::{Proj, transform::transform};
use tiff::{decoder::Decoder, tags::Tag};

use crate::domain::Reason;

use super::ChipError;

/// `GTModelTypeGeoKey`, `GTRasterTypeGeoKey`, `GeographicTypeGeoKey`, `ProjectedCSTypeGeoKey` of GeoTIFF 1.1.
const MODEL_TYPE: u16 = 1024;
const RASTER_TYPE: u16 = 1025;
const GEOGRAPHIC: u16 = 2048;
const PROJECTED: u16 = 3072;
/// The code of a CRS that is spelled out in the file and in no register.
const USER_DEFINED: u16 = 32767;

/// The georeference of a raster as its tags tell it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Georef {
    /// The EPSG code; 32767 is a CRS without one.
    pub epsg: Option<u16>,
    /// min x, min y, max x, max y in the CRS.
    pub bbox: Option<[f64; 4]>,
    /// Width and height of a pixel in the CRS.
    pub pixel: [f64; 2],
}

/// A place on Earth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    pub epsg: u16,
    /// min x, min y, max x, max y in the CRS.
    pub bbox: [f64; 4],
    /// Degrees, WGS84, of the centre of `bbox`.
    pub lat: f64,
    pub lon: f64,
}

impl Place {
    /// A part of it, as fractions of its width from the west and of its height from the north.
    ///
    /// # Errors
    /// `crs`, where its centre lies outside of the CRS.
    pub fn part(&self, across: (f64, f64), down: (f64, f64)) -> Result<Self, ChipError> {
        let [min_x, min_y, max_x, max_y] = self.bbox;
        let (x, y) = (|part: f64| min_x + part * (max_x - min_x), |part: f64| max_y - part * (max_y - min_y));
        let bbox = [x(across.0), y(down.1), x(across.1), y(down.0)];
        let (centre_x, centre_y) = centre(bbox);
        let (lat, lon) = to_wgs84(self.epsg, centre_x, centre_y)?;
        Ok(Self { epsg: self.epsg, bbox, lat, lon })
    }
}

impl Georef {
    /// Reads ModelPixelScale and ModelTiepoint, or ModelTransformation, and the GeoKeyDirectory.
    pub fn read<R: Read + Seek>(decoder: &mut Decoder<R>, width: u32, height: u32) -> Self {
        let keys = decoder.get_tag_u16_vec(Tag::GeoKeyDirectoryTag).unwrap_or_default();
        // After a header of four numbers, four per key: id, where its value lies (0: here), count, value.
        let key = |id| keys.chunks_exact(4).skip(1).find(|k| k[0] == id && k[1] == 0).map(|k| k[3]);
        let epsg = match key(MODEL_TYPE) {
            Some(2) => key(GEOGRAPHIC),
            _ => key(PROJECTED).or_else(|| key(GEOGRAPHIC)),
        };
        // Pixel-is-point: the transform is that of pixel centres.
        let shift = if key(RASTER_TYPE) == Some(2) { 0.5 } else { 0.0 };
        let mut numbers = |tag| decoder.get_tag_f64_vec(tag).ok();
        let scale = numbers(Tag::ModelPixelScaleTag).filter(|s| s.len() >= 2);
        let tie = numbers(Tag::ModelTiepointTag).filter(|t| t.len() >= 6);
        let matrix = numbers(Tag::ModelTransformationTag).filter(|m| m.len() == 16);
        // x = a*col + b*row + c; y = d*col + e*row + f
        let [a, b, c, d, e, f] = match (scale, tie, matrix) {
            (Some(s), Some(t), _) => [s[0], 0.0, t[3] - t[0] * s[0], 0.0, -s[1], t[4] + t[1] * s[1]],
            (_, _, Some(m)) => [m[0], m[1], m[3], m[4], m[5], m[7]],
            _ => return Self { epsg, ..Self::default() },
        };
        let (w, h) = (f64::from(width), f64::from(height));
        let corners = [(0.0, 0.0), (w, 0.0), (0.0, h), (w, h)].map(|(col, row)| {
            let (col, row) = (col - shift, row - shift);
            (a * col + b * row + c, d * col + e * row + f)
        });
        let bbox = corners.iter().fold([f64::INFINITY, f64::INFINITY, -f64::INFINITY, -f64::INFINITY], |r, (x, y)| {
            [r[0].min(*x), r[1].min(*y), r[2].max(*x), r[3].max(*y)]
        });
        let sound =
            corners.iter().all(|(x, y)| x.is_finite() && y.is_finite()) && bbox[0] < bbox[2] && bbox[1] < bbox[3];
        Self { epsg, bbox: sound.then_some(bbox), pixel: [a.hypot(d), b.hypot(e)] }
    }

    /// The place of the raster's centre.
    ///
    /// # Errors
    /// `no-crs` without a CRS, `no-transform` without a transform, `crs` where the CRS is not known or the centre lies
    /// outside of it.
    pub fn place(&self, name: &str) -> Result<Place, ChipError> {
        let Some(epsg) = self.epsg else {
            let message = format!("`{name}` has no CRS, so it has no latitude and longitude");
            return Err(ChipError::new(Reason::NoCrs, message).with_hint("set its EPSG code"));
        };
        let Some(bbox) = self.bbox else {
            let message = format!("`{name}` has no transform (tie point and pixel scale), so its place is not known");
            return Err(ChipError::new(Reason::NoTransform, message));
        };
        let (x, y) = centre(bbox);
        let (lat, lon) = to_wgs84(epsg, x, y).map_err(|why| {
            let message = format!("`{name}` lies in EPSG:{epsg} at {x}, {y}: {}", why.message);
            ChipError { message, ..why }
        })?;
        Ok(Place { epsg, bbox, lat, lon })
    }

    /// The width of a pixel in metres; `None` outside of the UTM zones (EPSG 32601 to 32660 and 32701 to 32760), whose
    /// unit is the metre.
    pub fn metres(&self) -> Option<f64> {
        let utm = self.epsg.is_some_and(|e| (32601..=32660).contains(&e) || (32701..=32760).contains(&e));
        Some(self.pixel[0]).filter(|width| utm && *width > 0.0)
    }

    /// Box and CRS, for messages.
    pub fn extent(&self) -> String {
        let epsg = self.epsg.map_or("no CRS".to_owned(), |e| format!("EPSG:{e}"));
        self.bbox.map_or(epsg.clone(), |b| format!("{} {} {} {} ({epsg})", b[0], b[1], b[2], b[3]))
    }
}

/// Whether two rasters of one size lie at the same place, within half a pixel. One without a georeference is taken to
/// lie where the other does.
pub fn same_place(a: &Georef, b: &Georef) -> bool {
    let same_crs = a.epsg.is_none() || b.epsg.is_none() || a.epsg == b.epsg;
    let near = match (a.bbox, b.bbox) {
        (Some(l), Some(r)) => (0..4).all(|i| (l[i] - r[i]).abs() <= b.pixel[i % 2] / 2.0),
        _ => true,
    };
    same_crs && near
}

/// The centre of a box, x before y.
pub fn centre(bbox: [f64; 4]) -> (f64, f64) {
    (f64::midpoint(bbox[0], bbox[2]), f64::midpoint(bbox[1], bbox[3]))
}

/// Latitude and longitude in degrees of a point of a CRS; the error does not name the file.
pub fn to_wgs84(epsg: u16, x: f64, y: f64) -> Result<(f64, f64), ChipError> {
    let (lat, lon) = if epsg == 4326 { (y, x) } else { project(epsg, x, y)? };
    if !(-90.0..=90.0).contains(&lat) || !(-180.0..=180.0).contains(&lon) {
        return Err(ChipError::new(Reason::Crs, format!("latitude {lat} and longitude {lon} are not on Earth")));
    }
    Ok((lat, lon))
}

fn project(epsg: u16, x: f64, y: f64) -> Result<(f64, f64), ChipError> {
    let wrong = |message: String| ChipError::new(Reason::Crs, message);
    let other = |message: String| wrong(message).with_hint("reproject it to a UTM zone");
    if epsg == USER_DEFINED {
        return Err(other("its CRS has no EPSG code".into()));
    }
    let definition = crs_definitions::from_code(epsg).ok_or_else(|| wrong("that code is not known".into()))?;
    let unsupported = |e| other(format!("that CRS is not supported ({e})"));
    let from = Proj::from_proj_string(definition.proj4).map_err(unsupported)?;
    let wgs84 = Proj::from_proj_string("+proj=longlat +datum=WGS84 +no_defs").map_err(unsupported)?;
    let mut point = if from.is_latlong() { (x.to_radians(), y.to_radians(), 0.0) } else { (x, y, 0.0) };
    transform(&from, &wgs84, &mut point).map_err(|e| wrong(format!("it has no latitude and longitude there ({e})")))?;
    Ok((point.1.to_degrees(), point.0.to_degrees()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn degrees_of_known_points() {
        // The first golden chip, and the point where every zone's central meridian meets the equator.
        let (lat, lon) = to_wgs84(32646, 574270.0, 2959580.0).unwrap();
        assert!((lat - 26.755562841).abs() < 1e-8 && (lon - 93.746953944).abs() < 1e-8, "{lat} {lon}");
        let (lat, lon) = to_wgs84(32631, 500000.0, 0.0).unwrap();
        assert!(lat.abs() < 1e-9 && (lon - 3.0).abs() < 1e-9, "{lat} {lon}");
        // South with a false northing and north with a negative one are the same place.
        let south = to_wgs84(32722, 589_470.0, 7_200_000.0).unwrap();
        let north = to_wgs84(32622, 589_470.0, -2_800_000.0).unwrap();
        assert!((south.0 - north.0).abs() < 1e-9 && (south.1 - north.1).abs() < 1e-9);
    }

    #[test]
    fn nowhere() {
        assert!(to_wgs84(4326, 574270.0, 2959580.0).unwrap_err().message.contains("not on Earth"));
        assert!(to_wgs84(32767, 0.0, 0.0).unwrap_err().message.contains("no EPSG code"));
        assert!(to_wgs84(1, 0.0, 0.0).unwrap_err().message.contains("not known"));
        let error = Georef::default().place("a.tif").unwrap_err();
        assert_eq!(error.reason, Reason::NoCrs);
        assert!(error.message.contains("`a.tif`"));
    }
}
