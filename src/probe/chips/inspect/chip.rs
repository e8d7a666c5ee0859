//! `inspect CHIP.tif`: what a cube is, what would be read of it, or exactly why it is refused.

use std::{fmt, path::Path};

use serde::Serialize;

use crate::{
    config,
    domain::{Failure, Reason},
    probe::chips::{
        ChipError,
        encode::{encode_date, encode_place},
        labels,
        layout::{CUBE, Look, Wanted, cube, is_cube, look_at_cube},
    },
};

use super::{Statistics, or_dash, statistics, verdict};

/// `inspect CHIP.tif`; what could not be read is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChipReport {
    /// `chip`.
    pub kind: &'static str,
    pub path: String,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub bands: Option<u16>,
    pub dtype: Option<String>,
    pub epsg: Option<u16>,
    /// min x, min y, max x, max y in the CRS.
    pub bbox: Option<[f64; 4]>,
    /// Degrees, WGS84, of the centre.
    pub lat: Option<f64>,
    pub lon: Option<f64>,
    /// YYYY-MM-DD.
    pub date: Option<String>,
    /// What the encoder gets, under the settings.
    pub latlon: Option<[f32; 2]>,
    pub timestep: Option<[f32; 3]>,
    pub source_url: String,
    /// Raw units, over finite pixels; null for a band without any.
    pub band_mean: Option<Vec<Option<f64>>>,
    /// Population standard deviation.
    pub band_std: Option<Vec<Option<f64>>>,
    /// Label pixels before the cloud rule.
    pub water: Option<u64>,
    pub land: Option<u64>,
    pub ignored: Option<u64>,
    /// Pixels under cloud or shadow.
    pub cloud: Option<u64>,
    /// Values of all bands that are not finite.
    pub nonfinite: Option<u64>,
    /// Values that look like another unit.
    pub warnings: Vec<String>,
    /// The pixels decode.
    pub readable: bool,
    /// It can be embedded and probed.
    pub usable: bool,
    /// A reason code.
    pub reason: Option<Reason>,
    /// With what to do.
    pub message: Option<String>,
}

/// Reads one cube with its labels and says what it is.
pub fn inspect_chip(path: &Path, settings: &config::Probe) -> ChipReport {
    let chip = cube(path, &path.display().to_string());
    let wanted = Wanted { water: true, clouds: true };
    let (look, header) = match chip.contents(wanted) {
        Ok(contents) => look_at_cube(&chip, contents, wanted),
        Err(problem) => (Look { problems: vec![problem], ..Look::default() }, None),
    };
    let readable = !look.planes.is_empty();
    let statistics = readable.then(|| CUBE.map(|band| statistics(look.plane(band).unwrap_or_default())));
    let each = |of: fn(&Statistics) -> Option<f64>| statistics.as_ref().map(|s| s.iter().map(of).collect());
    let [water, land, ignored] = match look.water.as_deref().map(labels::count) {
        Some(counts) => counts.map(Some),
        None => [None; 3],
    };
    // No cloud label means clear everywhere; one that cannot be read means nothing.
    let no_cloud_file = !chip.files[2].path.exists();
    let cloud = look.clouds.as_deref().map(|c| c.iter().filter(|v| **v != 0).count() as u64);
    let unlisted = (!is_cube(&path.file_name().unwrap_or_default().to_string_lossy())).then(|| {
        ChipError::new(Reason::Name, format!("`{}`: a data set would not list this file", path.display()))
            .with_hint("name chips `<stem>_rtc.tif`, labels `<stem>_rtc_LabelWater.tif`")
    });
    let problem = look.problems.first().cloned().or(unlisted).map(Failure::from);
    let header = header.as_ref();
    ChipReport {
        kind: "chip",
        path: path.display().to_string(),
        width: header.map(|h| h.width),
        height: header.map(|h| h.height),
        bands: header.map(|h| h.bands),
        dtype: header.map(|h| h.dtype.clone()),
        epsg: header.and_then(|h| h.georef.epsg),
        bbox: header.and_then(|h| h.georef.bbox),
        lat: look.place.map(|p| p.lat),
        lon: look.place.map(|p| p.lon),
        date: look.date.map(|d| d.to_string()),
        latlon: look.place.map(|p| encode_place(&p, settings.latlon)),
        timestep: look.date.map(encode_date),
        source_url: chip.source,
        band_mean: each(|s| s.mean),
        band_std: each(|s| s.std),
        water,
        land,
        ignored,
        cloud: cloud.or_else(|| (no_cloud_file && readable).then_some(0)),
        nonfinite: readable.then_some(look.nonfinite),
        warnings: look.warnings.into_iter().map(|w| Failure::from(w).text()).collect(),
        readable,
        usable: problem.is_none(),
        reason: problem.as_ref().map(|p| p.reason),
        message: problem.map(|p| p.text()),
    }
}

impl fmt::Display for ChipReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "chip       {}", self.path)?;
        if let (Some(w), Some(h), Some(bands), Some(dtype)) = (self.width, self.height, self.bands, &self.dtype) {
            writeln!(f, "size       {w} x {h} pixels, {bands} bands of {dtype}")?;
        }
        if let (Some(epsg), Some([a, b, c, d])) = (self.epsg, self.bbox) {
            writeln!(f, "extent     {a} {b} {c} {d} (EPSG:{epsg})")?;
        }
        if let (Some(lat), Some(lon)) = (self.lat, self.lon) {
            writeln!(f, "centre     {lat:.6}, {lon:.6} (latitude, longitude)")?;
        }
        writeln!(f, "date       {}", or_dash(self.date.as_ref()))?;
        if let (Some(latlon), Some(time)) = (self.latlon, self.timestep) {
            writeln!(f, "encoded    latlon {latlon:.4?}, timestep {time:.4?}")?;
        }
        if let (Some(mean), Some(std)) = (&self.band_mean, &self.band_std) {
            for ((name, mean), std) in CUBE.iter().zip(mean).zip(std) {
                let (mean, std) = (mean.map(|v| format!("{v:.4}")), std.map(|v| format!("{v:.4}")));
                writeln!(f, "  {name:<8} mean {:>12}  std {:>12}", or_dash(mean), or_dash(std))?;
            }
        }
        let [water, land, ignored] = [self.water, self.land, self.ignored].map(or_dash);
        let (cloud, nonfinite) = (or_dash(self.cloud), or_dash(self.nonfinite));
        writeln!(f, "labels     {water} water, {land} land, {ignored} ignored; {cloud} under cloud or shadow")?;
        writeln!(f, "not finite {nonfinite}")?;
        for warning in &self.warnings {
            writeln!(f, "warning    {warning}")?;
        }
        verdict(f, self.reason, self.message.as_deref())
    }
}
