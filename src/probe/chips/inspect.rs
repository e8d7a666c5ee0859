//! What a chip or a folder of chips is, what would be read of it, or exactly why it is refused.

use std::{fmt, path::Path};

use serde::Serialize;

use crate::{
    config,
    domain::{Failure, Reason, Refusal},
};

use super::{
    ChipError,
    chip::{Files, Look, Wanted},
    encode::{NAMES, encode_date, encode_place},
    labels,
    scan::{Manifest, is_chip, scan},
};

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
    /// The pixels decode.
    pub readable: bool,
    /// It can be embedded and probed.
    pub usable: bool,
    /// A reason code.
    pub reason: Option<Reason>,
    /// With what to do.
    pub message: Option<String>,
}

/// `inspect DIR`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatasetReport {
    /// `dataset`.
    pub kind: &'static str,
    pub path: String,
    /// Chips found, also those that are refused or held out.
    pub chips: u64,
    pub usable: u64,
    /// Of the usable chips.
    pub events: Vec<String>,
    pub refused: Vec<Refusal>,
    /// Chips that `manifest.csv` marks `test`; they are not opened.
    pub held_out: u64,
    /// Why the folder as a whole cannot be used.
    pub reason: Option<Reason>,
    pub message: Option<String>,
}

/// Reads one chip with its labels and says what it is.
pub fn inspect_chip(path: &Path, settings: &config::Probe) -> ChipReport {
    let files = Files::beside(path, path.display().to_string());
    let wanted = Wanted { water: true, cloud: true };
    let look = match files.contents(wanted) {
        Ok(contents) => files.look(contents, wanted),
        Err(problem) => Look { problems: vec![problem], ..Look::default() },
    };
    let header = look.header.as_ref();
    let statistics = look.pixels.as_deref().map(|pixels| {
        let plane = pixels.len() / NAMES.len();
        pixels.chunks_exact(plane).map(statistics).collect::<Vec<_>>()
    });
    let each = |of: fn(&Statistics) -> Option<f64>| statistics.as_ref().map(|s| s.iter().map(of).collect());
    let [water, land, ignored] = match look.water.as_deref().map(labels::count) {
        Some(counts) => counts.map(Some),
        None => [None; 3],
    };
    // No cloud label means clear everywhere; one that cannot be read means nothing.
    let no_cloud_file = !files.paths[2].exists();
    let cloud = look.cloud.as_deref().map(|c| c.iter().filter(|v| **v != 0).count() as u64);
    let unlisted = (!is_chip(&path.file_name().unwrap_or_default().to_string_lossy())).then(|| {
        ChipError::new(Reason::Name, format!("`{}`: a data set would not list this file", path.display()))
            .with_hint("name chips `<stem>_rtc.tif`, labels `<stem>_rtc_LabelWater.tif`")
    });
    let problem = look.problems.first().cloned().or(unlisted).map(Failure::from);
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
        source_url: files.stem(),
        band_mean: each(|s| s.mean),
        band_std: each(|s| s.std),
        water,
        land,
        ignored,
        cloud: cloud.or_else(|| (no_cloud_file && look.pixels.is_some()).then_some(0)),
        nonfinite: statistics.as_ref().map(|s| s.iter().map(|band| band.nonfinite).sum()),
        readable: look.pixels.is_some(),
        usable: problem.is_none(),
        reason: problem.as_ref().map(|p| p.reason),
        message: problem.map(|p| p.text()),
    }
}

/// Reads every chip below a folder, one after the other, and says which would be used. Writes nothing.
pub fn inspect_dir(path: &Path, settings: &config::Probe) -> DatasetReport {
    let mut report = DatasetReport {
        kind: "dataset",
        path: path.display().to_string(),
        chips: 0,
        usable: 0,
        events: Vec::new(),
        refused: Vec::new(),
        held_out: 0,
        reason: None,
        message: None,
    };
    if let Err(problem) = look_through(path, settings, &mut report).map_err(Failure::from) {
        (report.reason, report.message) = (Some(problem.reason), Some(problem.text()));
    }
    report
}

fn look_through(path: &Path, settings: &config::Probe, report: &mut DatasetReport) -> Result<(), ChipError> {
    let found = scan(path)?;
    let manifest = Manifest::read(path)?;
    report.chips = found.len() as u64;
    let wanted = Wanted { water: true, cloud: true };
    for chip in &found {
        if manifest.held_out(&chip.path) {
            report.held_out += 1;
            continue;
        }
        let problem = match chip.files.contents(wanted) {
            Ok(contents) => chip.files.look(contents, wanted).problems.into_iter().next(),
            Err(problem) => Some(problem),
        };
        match problem.map(Failure::from) {
            Some(problem) => {
                let (path, message) = (chip.path.clone(), problem.text());
                report.refused.push(Refusal { path, reason: problem.reason, message });
            }
            None => {
                report.usable += 1;
                report.events.push(chip.event.clone());
            }
        }
    }
    report.refused.extend(manifest.missing(&found));
    report.events.sort();
    report.events.dedup();
    if report.usable == 0 {
        return Err(ChipError::new(Reason::NoChips, format!("no usable chips found in `{}`", path.display())));
    }
    if settings.strict && !report.refused.is_empty() {
        let message = format!("{} chips cannot be used and `probe.strict` is set", report.refused.len());
        return Err(ChipError::new(Reason::Refused, message));
    }
    Ok(())
}

/// Of the finite values of one band, in f64.
struct Statistics {
    mean: Option<f64>,
    std: Option<f64>,
    nonfinite: u64,
}

fn statistics(values: &[f32]) -> Statistics {
    let finite = || values.iter().filter(|v| v.is_finite()).map(|v| f64::from(*v));
    let n = finite().count();
    let mean = (n > 0).then(|| finite().sum::<f64>() / n as f64);
    // Two passes: the differences to the mean lose nothing to rounding.
    let std = mean.map(|mean| (finite().map(|v| (v - mean).powi(2)).sum::<f64>() / n as f64).sqrt());
    Statistics { mean, std, nonfinite: (values.len() - n) as u64 }
}

/// A value, or a dash where there is none.
fn or_dash<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or("-".to_owned(), |v| v.to_string())
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
            for ((name, mean), std) in NAMES.iter().zip(mean).zip(std) {
                let (mean, std) = (mean.map(|v| format!("{v:.4}")), std.map(|v| format!("{v:.4}")));
                writeln!(f, "  {name:<8} mean {:>12}  std {:>12}", or_dash(mean), or_dash(std))?;
            }
        }
        let [water, land, ignored] = [self.water, self.land, self.ignored].map(or_dash);
        let (cloud, nonfinite) = (or_dash(self.cloud), or_dash(self.nonfinite));
        writeln!(f, "labels     {water} water, {land} land, {ignored} ignored; {cloud} under cloud or shadow")?;
        writeln!(f, "not finite {nonfinite}")?;
        verdict(f, self.reason, self.message.as_deref())
    }
}

impl fmt::Display for DatasetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "data set   {}", self.path)?;
        let (refused, held_out) = (self.refused.len(), self.held_out);
        writeln!(f, "chips      {}: {} usable, {refused} refused, {held_out} held out", self.chips, self.usable)?;
        writeln!(f, "events     {}", self.events.join(", "))?;
        for refusal in &self.refused {
            writeln!(f, "  {}: {}", refusal.reason, refusal.message)?;
        }
        verdict(f, self.reason, self.message.as_deref())
    }
}

fn verdict(f: &mut fmt::Formatter<'_>, reason: Option<Reason>, message: Option<&str>) -> fmt::Result {
    match (reason, message) {
        (Some(reason), Some(message)) => write!(f, "refused    {reason}: {message}"),
        _ => write!(f, "usable     yes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_skip_what_is_not_finite() {
        let s = statistics(&[1.0, 3.0, f32::NAN, f32::INFINITY]);
        assert_eq!((s.mean, s.std, s.nonfinite), (Some(2.0), Some(1.0), 2));
        let none = statistics(&[f32::NAN]);
        assert_eq!((none.mean, none.std, none.nonfinite), (None, None, 1));
    }
}
