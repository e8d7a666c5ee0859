//! Whether what a head is scored on was seen in its training under another name: copies of a chip, and ground that two
//! chips share.

use std::collections::{BTreeMap, BTreeSet};

use super::{ChipError, georef::to_wgs84};
use crate::domain::{ChipRecord, Digest, Reason, Refusal};

/// How many pairs a message names.
const NAMED: usize = 3;
/// What neighbours may share by rounding: pixels on each axis within one CRS; between two, whose boxes are turned
/// against each other, this part of the smaller one.
const PIXELS: f64 = 1.5;
const PART: f64 = 0.1;

/// Refuses equal pixels on both sides of a split. `pixels`, one per chip: the digest of all its planes; `None` for a
/// chip without any contrast, which tells nothing.
///
/// # Errors
/// `split-leak`, naming both.
pub fn copies(chips: &[ChipRecord], pixels: &[Option<Digest>]) -> Result<(), ChipError> {
    let mut alike: BTreeMap<Digest, Vec<&ChipRecord>> = BTreeMap::new();
    for (chip, digest) in chips.iter().zip(pixels) {
        if let Some(digest) = digest {
            alike.entry(*digest).or_default().push(chip);
        }
    }
    let mut pairs = Vec::new();
    for group in alike.values() {
        // One pair per group is enough to find the others.
        let other = group.iter().find(|chip| chip.split != group[0].split);
        pairs.extend(other.map(|other| (group[0], *other)));
    }
    pairs.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    let Some(_) = pairs.first() else { return Ok(()) };
    let named: Vec<String> = pairs
        .iter()
        .take(NAMED)
        .map(|(a, b)| format!("`{}` ({}) and `{}` ({})", a.path, a.split, b.path, b.split))
        .collect();
    let more = match pairs.len() - named.len() {
        0 => String::new(),
        more => format!(", and {more} more pairs"),
    };
    let message = format!("the same pixels lie on both sides of the split: {}{more}", named.join(", "));
    Err(ChipError::new(Reason::SplitLeak, message)
        .with_hint("remove the copies, or give them one `event` or `fold` in `manifest.csv`"))
}

/// Warns of each chip whose ground is also that of a chip on the other side of the split.
pub fn overlaps(chips: &[ChipRecord]) -> Vec<Refusal> {
    let one_crs = chips.iter().all(|chip| chip.epsg == chips[0].epsg);
    let around = |chip: &ChipRecord| (!one_crs).then(|| in_degrees(chip.epsg, chip.bbox)).flatten();
    let degrees: Vec<Option<[f64; 4]>> = chips.iter().map(around).collect();
    let mut warnings = Vec::new();
    for (i, chip) in chips.iter().enumerate() {
        let share = |j: &usize| {
            let other = &chips[*j];
            match (degrees[i], degrees[*j]) {
                _ if chip.split == other.split => false,
                _ if chip.epsg == other.epsg => share_pixels(chip, other),
                (Some(a), Some(b)) => share_part(a, b),
                _ => false,
            }
        };
        let mut others = (i + 1..chips.len()).filter(share);
        let Some(first) = others.next() else { continue };
        let more = match others.count() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let message = format!(
            "`{}` ({}) covers ground of `{}` ({}){more}",
            chip.path, chip.split, chips[first].path, chips[first].split
        );
        warnings.push(Refusal { path: chip.path.clone(), reason: Reason::SplitLeak, message });
    }
    warnings
}

/// Tells of events of which chips lie on both sides, as only a split by hand or by chance makes them.
pub fn torn_events(chips: &[ChipRecord]) -> Option<String> {
    let mut sides: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for chip in chips {
        sides.entry(&chip.event).or_default().insert(&chip.split);
    }
    let torn: Vec<String> =
        sides.into_iter().filter(|(_, sides)| sides.len() > 1).map(|(event, _)| format!("`{event}`")).collect();
    let shown = torn.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match torn.len() {
        0 => None,
        n if n > NAMED => Some(format!("{n} events have chips on both sides of the split: {shown}, ...")),
        _ => Some(format!("events with chips on both sides of the split: {shown}")),
    }
}

/// Width and height of what two boxes share; not positive where it is nothing.
fn shared(a: [f64; 4], b: [f64; 4]) -> [f64; 2] {
    [0, 1].map(|axis| a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis]))
}

fn share_pixels(a: &ChipRecord, b: &ChipRecord) -> bool {
    let pixel = |axis: usize| (a.bbox[axis + 2] - a.bbox[axis]) / f64::from(a.side.max(1));
    let [width, height] = shared(a.bbox, b.bbox);
    width > PIXELS * pixel(0) && height > PIXELS * pixel(1)
}

fn share_part(a: [f64; 4], b: [f64; 4]) -> bool {
    let area = |b: [f64; 4]| (b[2] - b[0]) * (b[3] - b[1]);
    let [width, height] = shared(a, b).map(|length| length.max(0.0));
    width * height > PART * area(a).min(area(b))
}

/// The box in degrees, longitude before latitude, around a box of a CRS.
fn in_degrees(epsg: u32, [min_x, min_y, max_x, max_y]: [f64; 4]) -> Option<[f64; 4]> {
    let epsg = u16::try_from(epsg).ok()?;
    let mut around = [f64::INFINITY, f64::INFINITY, -f64::INFINITY, -f64::INFINITY];
    for (x, y) in [(min_x, min_y), (min_x, max_y), (max_x, min_y), (max_x, max_y)] {
        let (lat, lon) = to_wgs84(epsg, x, y).ok()?;
        around = [around[0].min(lon), around[1].min(lat), around[2].max(lon), around[3].max(lat)];
    }
    Some(around)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chip of 64 pixels of 10 m whose lower left corner lies at (x, y).
    fn chip(path: &str, split: &str, epsg: u32, x: f64, y: f64) -> ChipRecord {
        ChipRecord {
            path: path.to_owned(),
            id: path.to_owned(),
            event: "e".to_owned(),
            split: split.to_owned(),
            side: 64,
            bbox: [x, y, x + 640.0, y + 640.0],
            epsg,
            lat: 0.0,
            lon: 0.0,
            gsd: 10.0,
            level: None,
            date: "2020-01-01".to_owned(),
            source_url: path.to_owned(),
            latlon: [0.0; 2],
            timestep: [0.0; 3],
            water: 0,
            land: 0,
            ignored: 0,
            nonfinite: 0,
        }
    }

    #[test]
    fn copies_on_both_sides_are_named() {
        let at = |path, split| chip(path, split, 32633, 0.0, 0.0);
        let digest = |text: &str| Some(Digest::of(text.as_bytes()));
        let chips = [at("a", "fold 0"), at("b", "fold 0"), at("c", "fold 1"), at("d", "fold 1")];
        let error = copies(&chips, &[digest("x"), digest("x"), digest("x"), digest("y")]).unwrap_err();
        assert_eq!(error.reason, Reason::SplitLeak);
        assert!(error.message.contains("`a` (fold 0) and `c` (fold 1)"), "{error}");
        assert!(copies(&chips, &[digest("x"), digest("x"), digest("y"), digest("y")]).is_ok());
        assert!(copies(&chips, &[None; 4]).is_ok());
    }

    #[test]
    fn shared_ground_is_warned_of() {
        let chips = [
            chip("a", "train", 32631, 500_000.0, 5_000_000.0),
            chip("beside", "val", 32631, 500_640.0, 5_000_000.0),
            chip("by a pixel", "val", 32631, 500_630.0, 5_000_000.0),
            chip("over", "val", 32631, 500_600.0, 5_000_600.0),
            chip("same side", "train", 32631, 500_100.0, 5_000_100.0),
            chip("far", "val", 32632, 500_000.0, 5_000_000.0),
        ];
        let warnings = overlaps(&chips[..4]);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].message.contains("`a` (train) covers ground of `over` (val)"), "{}", warnings[0].message);
        assert_eq!(overlaps(&chips).len(), 4, "`a`, and all three that `same side` reaches into");
        // The same ground in degrees.
        let [west, south, east, north] = in_degrees(32631, chips[0].bbox).unwrap();
        let degrees = ChipRecord { bbox: [west, south, east, north], ..chip("degrees", "val", 4326, 0.0, 0.0) };
        let warnings = overlaps(&[chips[0].clone(), degrees.clone(), chips[5].clone()]);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].message.contains("`degrees`"));
    }
}
