//! One chip from its files: each decoded, all of one size at one place, in one unit.

use crate::{
    domain::{Band, Level, Reason},
    probe::chips::{
        ChipError, georef,
        labels::{self, NoData},
        tiff::{Header, Tiff},
        units,
    },
};

use super::{
    ChipFile, Contents, Facts, Found, Role, SIDE, Wanted,
    look::{Look, keep},
};

/// What a layout says of its files.
pub struct Rules {
    /// The bands of a file, in its order; the message goes behind the file's name.
    pub bands: fn(&ChipFile, &Header) -> Result<Vec<Band>, ChipError>,
    /// Brings the planes to the one unit and sets what is missing to NaN.
    pub convert: fn(&mut Look),
    /// What 255 in a cloud label means.
    pub no_cloud_data: NoData,
    /// Metres, where the layout declares it; else the width of a pixel tells it.
    pub gsd: Option<f64>,
}

/// Decodes the files of a chip and puts them together. Also returns the header of its first file of bands.
pub fn assemble(chip: &Found, contents: Contents, wanted: Wanted, rules: &Rules) -> (Look, Option<Header>) {
    let Facts { date, hour, level, problem } = chip.facts.clone();
    let mut look = Look { date, hour, problems: problem.into_iter().collect(), ..Look::default() };
    let mut first: Option<(Header, &str)> = None;
    let mut sources: Vec<(Band, &str)> = Vec::new();
    let mut whole = true;
    let mut labels = Vec::new();
    for (file, bytes) in chip.files.iter().zip(contents) {
        if file.role != Role::Bands {
            labels.push((file, bytes));
            continue;
        }
        let Some(bytes) = bytes else { continue };
        look.decoded += 1;
        let read = read_bands(file, bytes, &mut first, rules);
        whole &= read.is_ok();
        if let Some((bands, planes)) = keep(read, &mut look.problems) {
            sources.extend(bands.iter().map(|band| (*band, file.name.as_str())));
            look.bands.extend(bands);
            look.planes.extend(planes);
        }
    }
    let Some((header, name)) = first else { return (look, None) };
    (look.width, look.height, look.dtype) = (header.width, header.height, header.dtype.clone());
    if !whole {
        // Half of a chip is none: no statistics are shown of it.
        (look.bands, look.planes) = (Vec::new(), Vec::new());
    }
    look.place = keep(header.georef.place(name), &mut look.problems);
    look.gsd = rules.gsd.or_else(|| header.georef.metres()).unwrap_or(DECLARED);
    look.level = level.filter(|_| look.bands.iter().any(|b| b.is_optical()));
    keep(size(&header).map_err(|e| e.about(name)), &mut look.problems);
    for (file, bytes) in labels {
        if file.role == Role::Water && bytes.is_none() && wanted.water {
            let message = format!("`{}` has no water label: `{}` is not there", chip.path, file.name);
            look.problems.push(ChipError::new(Reason::LabelMissing, message));
        } else if let Some(bytes) = bytes {
            read_label(&mut look, file, bytes, (&header, name), rules.no_cloud_data);
        }
    }
    (rules.convert)(&mut look);
    look.planes.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = f32::NAN);
    look.nonfinite = look.planes.iter().filter(|v| !v.is_finite()).count() as u64;
    look.warnings = units::compare(&look, &|band| {
        sources.iter().find(|(b, _)| *b == band).map_or(&chip.path[..], |(_, file)| file).to_owned()
    });
    (look, Some(header))
}

/// Metres: the ground sampling distance of every layout that is read.
const DECLARED: f64 = 10.0;

/// One file's bands and their planes `[bands, h, w]`, on the grid of the first file.
fn read_bands<'a>(
    file: &'a ChipFile,
    bytes: Vec<u8>,
    first: &mut Option<(Header, &'a str)>,
    rules: &Rules,
) -> Result<(Vec<Band>, Vec<f32>), ChipError> {
    let tiff = Tiff::open(bytes, &file.name)?;
    match first {
        None => *first = Some((tiff.header.clone(), file.name.as_str())),
        Some((header, name)) => same_grid((&tiff.header, &file.name), (header, name))?,
    }
    let bands = (rules.bands)(file, &tiff.header).map_err(|e| e.about(&file.name))?;
    Ok((bands, tiff.pixels()?))
}

/// Two files of one chip have one size and one place; nothing is padded or resampled.
fn same_grid((a, a_name): (&Header, &str), (b, b_name): (&Header, &str)) -> Result<(), ChipError> {
    if (a.width, a.height) != (b.width, b.height) {
        let message = format!("`{a_name}` is {}x{} pixels, `{b_name}` is {}x{}", a.width, a.height, b.width, b.height);
        return Err(ChipError::new(Reason::SizeMismatch, message).with_hint("resample one of them to the other's grid"));
    }
    if georef::same_place(&a.georef, &b.georef) {
        return Ok(());
    }
    let message = format!("`{a_name}` covers {}, `{b_name}` covers {}", a.georef.extent(), b.georef.extent());
    Err(ChipError::new(Reason::Georef, message))
}

fn read_label(
    look: &mut Look,
    file: &ChipFile,
    bytes: Vec<u8>,
    (header, name): (&Header, &str),
    no_cloud_data: NoData,
) {
    look.decoded += 1;
    if file.role == Role::Water {
        look.water = keep(labels::water(bytes, &file.name, header, name), &mut look.problems);
    } else {
        look.clouds = keep(labels::cloud(bytes, &file.name, header, name, no_cloud_data), &mut look.problems);
    }
}

/// A chip can be embedded when it is square and its side a multiple of [`SIDE`].
fn size(header: &Header) -> Result<(), ChipError> {
    let (w, h) = (header.width, header.height);
    if w == h && w.is_multiple_of(SIDE) {
        return Ok(());
    }
    Err(ChipError::new(Reason::Size, format!("is {w}x{h} pixels; a chip is square and its side a multiple of {SIDE}")))
}

/// The level that a Sentinel-2 product name tells.
pub fn level_of(product: &str) -> Option<Level> {
    match (product.contains("MSIL1C"), product.contains("MSIL2A")) {
        (true, false) => Some(Level::L1c),
        (false, true) => Some(Level::L2a),
        _ => None,
    }
}

/// dB to linear power.
pub fn linear(db: f32) -> f32 {
    // In f64: the values are compared with figures that were made so.
    10f64.powf(f64::from(db) / 10.0) as f32
}

/// Changes the planes of some bands value by value.
pub fn each(look: &mut Look, which: fn(Band) -> bool, change: impl Fn(f32) -> f32) {
    let size = look.width as usize * look.height as usize;
    for (band, plane) in look.bands.iter().zip(look.planes.chunks_exact_mut(size.max(1))) {
        if which(*band) {
            plane.iter_mut().for_each(|value| *value = change(*value));
        }
    }
}

/// An optical value where 0 is no data.
pub fn zero_is_missing(value: f32) -> f32 {
    if value == 0.0 { f32::NAN } else { value }
}
