//! What Clay v0 gets besides the bands: angles of the date, angles of the place.

use std::f64::consts::PI;

use chrono::{Datelike, NaiveDate};

use crate::config::Latlon;

use super::georef::{Place, centre};

/// Year, month and day as angles in (-pi, pi], radians: `atan2(cos a, sin a)`, cosine first as in Clay v0, of
/// `a = 2 pi (year - 2012) / 18`, `2 pi (month - 1) / 11` and `2 pi (day - 1) / 30`. Computed in f64.
pub fn encode_date(date: NaiveDate) -> [f32; 3] {
    let year = 2.0 * PI * f64::from(date.year() - 2012) / 18.0;
    let month = 2.0 * PI * f64::from(date.month0()) / 11.0;
    let day = 2.0 * PI * f64::from(date.day0()) / 30.0;
    [year, month, day].map(|a| a.cos().atan2(a.sin()) as f32)
}

/// `[sin(lat), atan2(cos(lon), sin(lon))]` of degrees. Computed in f64.
pub fn encode_latlon(lat: f64, lon: f64) -> [f32; 2] {
    let (lat, lon) = (lat.to_radians(), lon.to_radians());
    [lat.sin() as f32, lon.cos().atan2(lon.sin()) as f32]
}

/// The encoding of a place: of its degrees, or, as Clay's flood loader did, of its projected metres taken for degrees.
pub fn encode_place(place: &Place, mode: Latlon) -> [f32; 2] {
    match mode {
        Latlon::Wgs84 => encode_latlon(place.lat, place.lon),
        Latlon::ClayV0Benchmark => {
            let (x, y) = centre(place.bbox);
            encode_latlon(y, x)
        }
        Latlon::None => [0.0; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_sample() {
        let bbox = [661415.0, 5369305.0, 666535.0, 5374425.0];
        let (x, y) = centre(bbox);
        let (lat, lon) = super::super::georef::to_wgs84(32633, x, y).unwrap();
        let place = Place { epsg: 32633, bbox, lat, lon };
        let rounded = |v: f32| format!("{v:.4}");
        let timestep = encode_date(NaiveDate::from_ymd_opt(2020, 10, 20).unwrap());
        assert_eq!(timestep.map(rounded), ["-1.2217", "2.7132", "-2.4086"]);
        assert_eq!(encode_place(&place, Latlon::ClayV0Benchmark).map(rounded), ["-0.8192", "-0.7854"]);
        assert!((lat - 48.48).abs() < 0.01 && (lon - 17.22).abs() < 0.01, "{lat} {lon}");
        assert_eq!(encode_place(&place, Latlon::Wgs84), encode_latlon(lat, lon));
    }
}
