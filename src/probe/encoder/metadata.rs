//! Clay's `metadata.yaml`: wavelengths, means and deviations of each sensor's bands, read within bounds.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::domain::{Band, Input, InputMetadata, InputStatistics, Reason};

/// More than any such file has (Clay's own: 6 kB).
const MAX_BYTES: u64 = 1_000_000;

/// Why a file of statistics cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// It is not there, is no plain file, or is too large.
    #[error("`{path}`, a file of input statistics, cannot be read: {source}", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// It says something else than statistics of the inputs.
    #[error("`{path}`, a file of input statistics, {what}", path = path.display())]
    Content { path: PathBuf, what: String },
}

impl MetadataError {
    pub fn reason(&self) -> Reason {
        Reason::Metadata
    }

    /// What to do.
    pub fn hint(&self) -> &'static str {
        "it has to be like Clay's `configs/metadata.yaml`: per sensor `gsd` and `bands.mean`, `.std`, `.wavelength`"
    }
}

/// Reads a `metadata.yaml`: what it says of `sentinel-2-l2a` and `sentinel-1-rtc`; other sensors are passed over.
///
/// Each number is taken by the name of its band below `bands.*` (upstream reads these, and not `band_order`).
///
/// # Errors
/// Not a plain file of at most 1 MB, not YAML, none of the two sensors, a band without a number, or a number that cannot
/// be; the message names file and key.
pub fn read(path: &Path) -> Result<InputMetadata, MetadataError> {
    let text = bounded(path).map_err(|source| MetadataError::Unreadable { path: path.to_owned(), source })?;
    let content = |what: String| MetadataError::Content { path: path.to_owned(), what };
    // Sensors that are not ours may hold anything, so their content is not typed.
    let sensors: BTreeMap<String, Json> = serde_saphyr::from_str(&text)
        .map_err(|e| content(format!("is no such YAML: {}", first_line(&e.to_string()))))?;
    let mut inputs = BTreeMap::new();
    for &input in Input::ALL {
        if let Some(sensor) = sensors.get(input.as_str()) {
            let sensor = Sensor::deserialize(sensor).map_err(|e| content(format!("has a bad `{input}`: {e}")))?;
            inputs.insert(
                input,
                sensor.statistics(input).map_err(|what| content(format!("has no good `{input}`: {what}")))?,
            );
        }
    }
    if inputs.is_empty() {
        let names: Vec<&str> = Input::ALL.iter().map(|input| input.as_str()).collect();
        return Err(content(format!("has none of `{}`", names.join("`, `"))));
    }
    Ok(InputMetadata { source: format!("`{}`", path.display()), inputs })
}

/// The form in a safetensors file's `statistics`: the JSON of [`InputMetadata::inputs`], that is
/// `{"sentinel-1-rtc": {"wavelengths": [3.5, 4.0], "mean": [..], "std": [..], "gsd": 10.0}}`, bands in the order of
/// [`Input::bands`]. In words what is wrong with it, otherwise.
pub fn from_json(text: &str) -> Result<BTreeMap<Input, InputStatistics>, String> {
    let inputs: BTreeMap<Input, InputStatistics> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if inputs.is_empty() {
        return Err("it is empty".to_owned());
    }
    for (&input, statistics) in &inputs {
        check(input, statistics).map_err(|what| format!("`{input}`: {what}"))?;
    }
    Ok(inputs)
}

/// The file's text; never waits for a pipe, never reads more than [`MAX_BYTES`].
fn bounded(path: &Path) -> std::io::Result<String> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("it is no plain file"));
    }
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        return Err(std::io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(text)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[derive(Deserialize)]
struct Sensor {
    gsd: f64,
    bands: Bands,
}

#[derive(Deserialize)]
struct Bands {
    mean: BTreeMap<String, f32>,
    std: BTreeMap<String, f32>,
    wavelength: BTreeMap<String, f32>,
}

impl Sensor {
    fn statistics(&self, input: Input) -> Result<InputStatistics, String> {
        let of = |key: &str, values: &BTreeMap<String, f32>| -> Result<Vec<f32>, String> {
            let value = |&band: &Band| {
                let name = name_of(band);
                values.get(name).copied().ok_or_else(|| format!("`bands.{key}` has no `{name}`"))
            };
            input.bands().iter().map(value).collect()
        };
        let statistics = InputStatistics {
            wavelengths: of("wavelength", &self.bands.wavelength)?,
            mean: of("mean", &self.bands.mean)?,
            std: of("std", &self.bands.std)?,
            gsd: self.gsd,
        };
        check(input, &statistics).map(|()| statistics)
    }
}

/// What a band is called in Clay's file.
fn name_of(band: Band) -> &'static str {
    match band {
        Band::B02 => "blue",
        Band::B03 => "green",
        Band::B04 => "red",
        Band::B05 => "rededge1",
        Band::B06 => "rededge2",
        Band::B07 => "rededge3",
        Band::B08 => "nir",
        Band::B8A => "nir08",
        Band::B11 => "swir16",
        Band::B12 => "swir22",
        Band::Vv => "vv",
        Band::Vh => "vh",
        // Of no input of Clay v1.
        other => other.as_str(),
    }
}

/// One number per band, all finite; wavelengths, deviations and ground sampling distance positive.
fn check(input: Input, statistics: &InputStatistics) -> Result<(), String> {
    let InputStatistics { wavelengths, mean, std, gsd } = statistics;
    for (key, values, positive) in [("wavelength", wavelengths, true), ("mean", mean, false), ("std", std, true)] {
        if values.len() != input.bands().len() {
            return Err(format!("`{key}` has {} numbers for {} bands", values.len(), input.bands().len()));
        }
        for (&band, &value) in input.bands().iter().zip(values) {
            if !value.is_finite() || (positive && value <= 0.0) {
                return Err(format!("`{key}` of `{}` is {value}", name_of(band)));
            }
        }
    }
    if gsd.is_finite() && *gsd > 0.0 { Ok(()) } else { Err(format!("`gsd` is {gsd}")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Generation, probe::encoder::clay_v1::built_in};

    /// Clay's own file in its own form, in part: two sensors that are ours and one that is not.
    const CLAYS: &str = "
sentinel-2-l2a:
  band_order: [red, blue]   # not what is read
  rgb_indices: [2, 1, 0]
  gsd: 10
  bands:
    mean: {blue: 1105., green: 1355., red: 1552., nir: 2743., rededge1: 1887., rededge2: 2422., rededge3: 2630.,
           nir08: 2785., swir16: 2388., swir22: 1835.}
    std:
      blue: 1809.
      green: 1757.
      red: 1888.
      rededge1: 1870.
      rededge2: 1732.
      rededge3: 1697.
      nir: 1742.
      nir08: 1648.
      swir16: 1470.
      swir22: 1379.
    wavelength: {blue: 0.493, green: 0.56, red: 0.665, rededge1: 0.704, rededge2: 0.74, rededge3: 0.783, nir: 0.842,
                 nir08: 0.865, swir16: 1.61, swir22: 2.19}
sentinel-1-rtc:
  band_order: [vv, vh]
  gsd: 10
  bands:
    mean: {vv: -12.113, vh: -18.673}
    std: {vv: 8.314, vh: 8.017}
    wavelength: {vv: 3.5, vh: 4.0}
modis:
  gsd: [whatever]
";

    fn read_text(text: &str) -> Result<InputMetadata, MetadataError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.yaml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn clays_file_is_what_is_built_in() {
        let read = read_text(CLAYS).unwrap();
        assert_eq!(read.inputs, built_in(Generation::V1_5).inputs, "by name, whatever the order");
        assert_eq!(from_json(&serde_json::to_string(&read.inputs).unwrap()).unwrap(), read.inputs);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, words) in [
            ("vv: -12.113, ", "", vec!["`sentinel-1-rtc`", "`bands.mean` has no `vv`"]),
            ("vv: 8.314", "vv: 0", vec!["`sentinel-1-rtc`", "`std` of `vv` is 0"]),
            ("vv: 8.314", "vv: much", vec!["`sentinel-1-rtc`", "much"]),
            ("vv: -12.113", "vv: .nan", vec!["metadata.yaml"]),
            ("  gsd: 10\n  bands:\n    mean: {vv", "  gsd: -1\n  bands:\n    mean: {vv", vec!["`gsd` is -1"]),
            ("  gsd: 10\n  bands:\n    mean: {vv", "  bands:\n    mean: {vv", vec!["`sentinel-1-rtc`", "gsd"]),
            ("sentinel-", "landsat-", vec!["has none of `sentinel-2-l2a`, `sentinel-1-rtc`"]),
            ("mean: {vv", "mean: {{vv", vec!["is no such YAML"]),
        ] {
            assert!(CLAYS.contains(from));
            let error = read_text(&CLAYS.replace(from, to)).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("metadata.yaml") && error.reason() == Reason::Metadata, "{message}");
            words.iter().for_each(|word| assert!(message.contains(word), "`{word}` is not in: {message}"));
        }
        assert!(matches!(read(Path::new("/")), Err(MetadataError::Unreadable { .. })));
        let large = format!("{CLAYS}#{}", "x".repeat(1_000_000));
        assert!(read_text(&large).unwrap_err().to_string().contains("1000000 bytes"));
    }

    #[test]
    fn aliases_that_multiply_are_bounded() {
        let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, of) in
            [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e"), ("g", "f"), ("h", "g"), ("i", "h")]
        {
            bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(", "));
        }
        assert!(read_text(&bomb).is_err());
    }
}
