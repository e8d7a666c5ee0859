//! Sen1Floods11 v1.1, hand-labelled part: `data/flood_events/HandLabeled/{S1Hand,S2Hand,LabelHand}/<Event>_<id>_<Layer>.tif`.
//!
//! Radar is dB (no data: NaN); optical is Level-1C of 13 bands x 10000 (no data: 0). The grid is in degrees, so that the 10 m
//! are a declaration. Dates come from the set's metadata, by location. The published split files are read for what they
//! say and not obeyed, for their test side shares events with their training side; Bolivia alone is held out.

mod metadata;
mod splits;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    domain::{Band, LayoutName, Level, Reason},
    probe::chips::{ChipError, labels::NoData, tiff::Header},
};

use super::{
    ChipFile, Contents, Facts, Found, Layout, Listing, Look, Role, Wanted,
    assemble::{Rules, assemble, each, linear, zero_is_missing},
    bands::in_file,
};
use metadata::Metadata;

const HAND_LABELED: &str = "data/flood_events/HandLabeled";

/// The event that the authors kept apart from all others.
const HELD_OUT: &str = "Bolivia";

/// The layers, as folders and as the ends of names.
const RADAR: &str = "S1Hand";
const OPTICAL: &str = "S2Hand";
const LABEL: &str = "LabelHand";

/// The order of bands that the authors document.
const RADAR_BANDS: [Band; 2] = [Band::Vv, Band::Vh];
const OPTICAL_BANDS: [Band; 13] = [
    Band::B01,
    Band::B02,
    Band::B03,
    Band::B04,
    Band::B05,
    Band::B06,
    Band::B07,
    Band::B08,
    Band::B8A,
    Band::B09,
    Band::B10,
    Band::B11,
    Band::B12,
];

const RULES: Rules = Rules { bands: bands_of, convert, no_cloud_data: NoData::Refused, gsd: Some(10.0) };

#[derive(Debug)]
pub struct Sen1Floods11;

impl Layout for Sen1Floods11 {
    fn name(&self) -> LayoutName {
        LayoutName::Sen1Floods11
    }

    fn recognises(&self, root: &Path) -> bool {
        base(root).is_some()
    }

    fn list(&self, root: &Path) -> Result<Listing, ChipError> {
        let none = || ChipError::new(Reason::NoChips, format!("no chips found in `{}`", root.display()));
        let (base, above) = base(root).ok_or_else(none)?;
        let layers = [RADAR, OPTICAL, LABEL].map(|layer| ids(&base.join(HAND_LABELED), layer));
        let [radar, optical, labels] = layers;
        let (radar, optical, labels) = (radar?, optical?, labels?);
        let metadata = Metadata::read(&base)?;
        let splits = splits::Splits::read(&base)?;
        let mut listing = Listing::default();
        for id in radar.iter().chain(&optical).collect::<BTreeSet<_>>() {
            let file = |layer: &str, role, optional| {
                let name = format!("{HAND_LABELED}/{layer}/{id}_{layer}.tif");
                ChipFile { path: base.join(&name), name: format!("{above}{name}"), role, optional }
            };
            let mut files = Vec::new();
            files.extend(radar.contains(id).then(|| file(RADAR, Role::Bands, false)));
            files.extend(optical.contains(id).then(|| file(OPTICAL, Role::Bands, false)));
            files.push(file(LABEL, Role::Water, true));
            let event = event_of(id);
            let (date, problem) = match metadata.date(event) {
                Ok(date) => (Some(date), None),
                Err(problem) => (None, Some(problem.about(id))),
            };
            listing.chips.push(Found {
                id: id.clone(),
                path: id.clone(),
                source: id.clone(),
                event: Some(event.to_owned()),
                held_out: event == HELD_OUT || splits.holds_out(id),
                crop: None,
                files,
                facts: Facts { date, hour: None, level: optical.contains(id).then_some(Level::L1c), problem },
            });
        }
        for id in labels.iter().filter(|id| !radar.contains(*id) && !optical.contains(*id)) {
            let message = format!("`{id}` has a label and no image: `{id}_{RADAR}.tif` is not there");
            let error = ChipError::new(Reason::BandMissing, message);
            listing.refused.push(error.refusal(id));
        }
        splits.tell(&mut listing);
        Ok(listing)
    }

    fn look(&self, chip: &Found, contents: Contents, wanted: Wanted) -> Look {
        assemble(chip, contents, wanted, &RULES).0
    }
}

/// The folder that holds `data`, and what stands before it in names: the data folder or its `v1.1`.
fn base(root: &Path) -> Option<(PathBuf, &'static str)> {
    [(root.to_owned(), ""), (root.join("v1.1"), "v1.1/")]
        .into_iter()
        .find(|(base, _)| [RADAR, OPTICAL].iter().any(|layer| base.join(HAND_LABELED).join(layer).is_dir()))
}

/// The ids that a layer has files of; none where it has no folder.
fn ids(hand_labeled: &Path, layer: &str) -> Result<BTreeSet<String>, ChipError> {
    let folder = hand_labeled.join(layer);
    let unreadable = |e: std::io::Error| ChipError::new(Reason::Unreadable, format!("`{}`: {e}", folder.display()));
    let mut ids = BTreeSet::new();
    if !folder.is_dir() {
        return Ok(ids);
    }
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        ids.extend(id_of(&name, layer).filter(|_| !name.starts_with('.')).map(str::to_owned));
    }
    Ok(ids)
}

/// The id in a file's name: `Ghana_53713` of `Ghana_53713_S1Hand.tif`.
fn id_of<'a>(file: &'a str, layer: &str) -> Option<&'a str> {
    file.strip_suffix(".tif")?.strip_suffix(layer)?.strip_suffix('_').filter(|id| !id.is_empty())
}

/// The event of an id: what stands before its number.
fn event_of(id: &str) -> &str {
    id.rsplit_once('_').map_or(id, |(event, _)| event)
}

fn bands_of(file: &ChipFile, header: &Header) -> Result<Vec<Band>, ChipError> {
    let is_radar = file.name.ends_with(&format!("_{RADAR}.tif"));
    if !is_radar {
        return in_file(header, &OPTICAL_BANDS);
    }
    let bands = in_file(header, &RADAR_BANDS)?;
    if bands.len() != RADAR_BANDS.len() {
        let message = format!("has too few bands: expected {} (VV, VH), found {}", RADAR_BANDS.len(), bands.len());
        return Err(ChipError::new(Reason::Bands, message));
    }
    Ok(bands)
}

fn convert(look: &mut Look) {
    each(look, Band::is_radar, linear);
    each(look, Band::is_optical, zero_is_missing);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(id_of("Sri-Lanka_101973_S1Hand.tif", RADAR), Some("Sri-Lanka_101973"));
        assert_eq!(id_of("Ghana_1_S1Hand.tif", OPTICAL), None);
        assert_eq!(id_of("_S1Hand.tif", RADAR), None);
        assert_eq!(event_of("Sri-Lanka_101973"), "Sri-Lanka");
    }
}
