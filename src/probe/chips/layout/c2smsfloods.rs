//! Raw C2S-MS: `<event>/s1/<granule>_<position>/{VV,VH,LabelWater}.tif` and `<event>/s2/<granule>_<position>/{B1, ...,
//! LabelCloud}.tif`, a file per band.
//!
//! Radar is dB and 0.0 in both polarisations is missing; optical is reflectance x 10000 and 0 is missing. The label is the
//! one of the radar's folder, which was drawn by hand; the optical folder's is another and is not used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    domain::{Band, LayoutName, Reason, Refusal},
    probe::chips::{ChipError, labels::NoData, tiff::Header},
};

use super::{
    CUBE, ChipFile, Contents, Facts, Found, Layout, Listing, Look, Role, Wanted,
    assemble::{Rules, assemble, each, level_of, linear, zero_is_missing},
    bands::band_of,
    cube::{day_of, hour_of},
};

/// Fields of a granule's name, counted at `_` from 0, that hold the time.
const S1_START: usize = 4;
const S2_TIME: usize = 2;

const RULES: Rules = Rules { bands: bands_of, convert, no_cloud_data: NoData::Cloud, gsd: None };

#[derive(Debug)]
pub struct C2smsFloods;

/// One side of a chip: the folder of one sensor.
struct Side {
    folder: PathBuf,
    /// Relative to the data folder.
    name: String,
    /// The folder's name without the position.
    granule: String,
}

impl Layout for C2smsFloods {
    fn name(&self) -> LayoutName {
        LayoutName::C2smsFloods
    }

    fn recognises(&self, root: &Path) -> bool {
        base(root).is_some()
    }

    fn list(&self, root: &Path) -> Result<Listing, ChipError> {
        let mut listing = Listing::default();
        let none = || ChipError::new(Reason::NoChips, format!("no chips found in `{}`", root.display()));
        let (base, above) = base(root).ok_or_else(none)?;
        let (mut optical, mut radar) = (0, 0);
        for event in names(&base)? {
            let side = |sensor: &str| sides(&base.join(&event).join(sensor), &format!("{above}{event}/{sensor}"));
            let (s1, s2) = (side("s1")?, side("s2")?);
            let both = !s1.is_empty() && !s2.is_empty();
            let positions: BTreeSet<&String> = s1.keys().chain(s2.keys()).collect();
            for position in positions {
                let of = |sides: &'_ BTreeMap<String, Vec<Side>>| sides.get(position).map_or(0, Vec::len);
                let chip = chip(&base.join(&event), &event, position, [s1.get(position), s2.get(position)])?;
                (radar, optical) = (radar + usize::from(of(&s1) > 0), optical + usize::from(of(&s2) > 0));
                if both && (of(&s1) == 0 || of(&s2) == 0) {
                    listing.warnings.push(unpaired(&chip, s1.get(position).or(s2.get(position))));
                }
                listing.chips.push(chip);
            }
        }
        listing.chips.sort_by(|a, b| a.path.cmp(&b.path));
        listing.notes.push(format!(
            "{} positions: {radar} with radar, {optical} with optical bands; the label is the radar's, the one of the \
             optical folder is not used",
            listing.chips.len()
        ));
        Ok(listing)
    }

    fn look(&self, chip: &Found, contents: Contents, wanted: Wanted) -> Look {
        assemble(chip, contents, wanted, &RULES).0
    }
}

/// The folder that holds the events, and what stands before their names: the data folder or its `chips`.
fn base(root: &Path) -> Option<(PathBuf, &'static str)> {
    [(root.to_owned(), ""), (root.join("chips"), "chips/")].into_iter().find(|(base, _)| {
        names(base).unwrap_or_default().iter().any(|event| {
            ["s1", "s2"].iter().any(|sensor| {
                let folder = base.join(event).join(sensor);
                let mut chips = names(&folder).unwrap_or_default().into_iter().map(|chip| folder.join(chip));
                chips.any(|chip| names(&chip).unwrap_or_default().iter().any(|file| band_file(file).is_some()))
            })
        })
    })
}

/// What lies in a folder, sorted, without hidden files; nothing where there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>, ChipError> {
    let unreadable = |e: std::io::Error| ChipError::new(Reason::Unreadable, format!("`{}`: {e}", folder.display()));
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let mut names: Vec<String> = entries.iter().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    Ok(names)
}

/// The band that a file holds.
fn band_file(file: &str) -> Option<Band> {
    file.strip_suffix(".tif").and_then(band_of).filter(|band| *band != Band::Dem)
}

/// The chips of one sensor by position, the last `_` field of a folder's name.
fn sides(folder: &Path, name: &str) -> Result<BTreeMap<String, Vec<Side>>, ChipError> {
    let mut sides: BTreeMap<String, Vec<Side>> = BTreeMap::new();
    for chip in names(folder)? {
        let path = folder.join(&chip);
        if let Some((granule, position)) = chip.rsplit_once('_').filter(|_| path.is_dir()) {
            let side = Side { folder: path, name: format!("{name}/{chip}"), granule: granule.to_owned() };
            sides.entry(position.to_owned()).or_default().push(side);
        }
    }
    Ok(sides)
}

/// The chip of an event, whose folder is `event_folder`, at a position.
fn chip(
    event_folder: &Path,
    event: &str,
    position: &str,
    [s1, s2]: [Option<&Vec<Side>>; 2],
) -> Result<Found, ChipError> {
    let id = format!("{event}/{position}");
    let mut files = Vec::new();
    let mut facts = Facts::default();
    for sides in [s1, s2].into_iter().flatten() {
        if let [one, other, ..] = sides.as_slice() {
            let message = format!("`{id}` has two folders of one sensor: `{}` and `{}`", one.name, other.name);
            facts.problem.get_or_insert(ChipError::new(Reason::Ambiguous, message).with_hint("remove one of them"));
        }
    }
    let radar = s1.and_then(|sides| sides.first());
    let optical = s2.and_then(|sides| sides.first());
    if facts.problem.is_none() {
        for (side, needed) in [(radar, &CUBE[10..12]), (optical, &CUBE[..10])] {
            let Some(side) = side else { continue };
            files.extend(band_files(side, needed, &mut facts.problem)?);
        }
        let label = |folder: &Path, name: &str, file: &str, role| ChipFile {
            path: folder.join(file),
            name: format!("{name}/{file}"),
            role,
            optional: true,
        };
        // Also where there is no radar: its absence is told by the file's name, and the optical label is never used.
        files.push(match radar {
            Some(side) => label(&side.folder, &side.name, "LabelWater.tif", Role::Water),
            None => label(&event_folder.join("s1"), &format!("{event}/s1/*_{position}"), "LabelWater.tif", Role::Water),
        });
        files.extend(optical.map(|side| label(&side.folder, &side.name, "LabelCloud.tif", Role::Clouds)));
    }
    let time = radar.map(|side| (side, S1_START)).or(optical.map(|side| (side, S2_TIME)));
    if let Some((side, field)) = time {
        let time = side.granule.split('_').nth(field).unwrap_or_default();
        (facts.date, facts.hour) = (day_of(time), hour_of(time));
        if facts.date.is_none() {
            let message = format!("`{}` has no date in its name: `{time}` is not one", side.name);
            facts.problem.get_or_insert(ChipError::new(Reason::Date, message));
        }
    }
    facts.level = optical.and_then(|side| level_of(&side.granule));
    Ok(Found {
        path: id.clone(),
        source: id.clone(),
        id,
        event: Some(event.to_owned()),
        held_out: false,
        crop: None,
        files,
        facts,
    })
}

/// The band files of a folder in the order of bands; a needed one that is absent, or is there twice, is a problem.
fn band_files(side: &Side, needed: &[Band], problem: &mut Option<ChipError>) -> Result<Vec<ChipFile>, ChipError> {
    let mut files: BTreeMap<Band, String> = BTreeMap::new();
    for file in names(&side.folder)? {
        let Some(band) = band_file(&file).filter(|b| b.is_radar() == needed[0].is_radar()) else { continue };
        if let Some(other) = files.insert(band, file.clone()) {
            let message = format!("`{0}/{other}` and `{0}/{file}` are both {band}", side.name);
            problem.get_or_insert(ChipError::new(Reason::Ambiguous, message));
        }
    }
    if let Some(absent) = needed.iter().find(|band| !files.contains_key(band)) {
        let file = absent.as_str().replacen("B0", "B", 1);
        let message = format!("`{}/{file}.tif` is not there", side.name);
        problem.get_or_insert(ChipError::new(Reason::BandMissing, message));
    }
    let file = |name: String| ChipFile {
        path: side.folder.join(&name),
        name: format!("{}/{name}", side.name),
        role: Role::Bands,
        optional: false,
    };
    Ok(files.into_values().map(file).collect())
}

fn unpaired(chip: &Found, sides: Option<&Vec<Side>>) -> Refusal {
    let only = sides.and_then(|sides| sides.first()).map(|side| side.name.clone()).unwrap_or_default();
    let message = format!("`{}` has one sensor only, `{only}`: its event has no other at that position", chip.id);
    Refusal { path: chip.path.clone(), reason: Reason::Unpaired, message }
}

fn bands_of(file: &ChipFile, header: &Header) -> Result<Vec<Band>, ChipError> {
    if header.bands != 1 {
        let message = format!("has {} bands; a file holds one", header.bands);
        return Err(ChipError::new(Reason::Bands, message));
    }
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    Ok(band_file(&name).into_iter().collect())
}

fn convert(look: &mut Look) {
    let size = look.width as usize * look.height as usize;
    let at = |band| look.bands.iter().position(|b| *b == band).filter(|_| !look.planes.is_empty());
    if let (Some(vv), Some(vh)) = (at(Band::Vv), at(Band::Vh)) {
        for i in 0..size {
            let (vv, vh) = (vv * size + i, vh * size + i);
            // As linear power it would be 1, brighter than a city.
            if look.planes[vv] == 0.0 && look.planes[vh] == 0.0 {
                (look.planes[vv], look.planes[vh]) = (f32::NAN, f32::NAN);
            }
        }
    }
    each(look, Band::is_radar, linear);
    each(look, Band::is_optical, zero_is_missing);
}
