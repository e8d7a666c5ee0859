//! What is told of a data set and its chips, and the digests of it.

use super::{
    cache::Stored,
    encode::{encode_date, encode_place},
    layout::{Found, Listing},
};
use crate::{
    config,
    domain::{Band, ChipRecord, DatasetSummary, Digest, LayoutName, Level},
};

/// The record of a usable chip; its side of the split is told later.
pub fn record(chip: &Found, stored: &Stored, event: String, settings: &config::Probe) -> ChipRecord {
    let place = stored.place();
    let [water, land, ignored] = stored.counts.after(settings.clouds);
    ChipRecord {
        path: chip.path.clone(),
        id: chip.id.clone(),
        event,
        split: String::new(),
        side: stored.side,
        bbox: place.bbox,
        epsg: u32::from(place.epsg),
        lat: place.lat,
        lon: place.lon,
        gsd: f64::from_bits(stored.gsd),
        level: stored.level,
        date: stored.date.to_string(),
        source_url: chip.source.clone(),
        latlon: encode_place(&place, settings.latlon),
        timestep: encode_date(stored.date),
        water,
        land,
        ignored,
        nonfinite: stored.nonfinite,
    }
}

/// The summary of a data set without its digests.
pub fn summary(layout: LayoutName, chips: &[ChipRecord], stored: &[Stored], listing: Listing) -> DatasetSummary {
    let mut events: Vec<String> = chips.iter().map(|chip| chip.event.clone()).collect();
    events.sort();
    events.dedup();
    let having = |band: &Band| stored.iter().filter(|chip| chip.bands.contains(band)).count();
    let bands = |wanted: &dyn Fn(usize) -> bool| -> Vec<Band> {
        Band::ALL.iter().copied().filter(|band| wanted(having(band))).collect()
    };
    let optical = stored.iter().filter(|chip| chip.bands.iter().any(|band| band.is_optical()));
    let mut levels: Vec<Level> = optical.filter_map(|chip| chip.level).collect();
    levels.sort();
    levels.dedup();
    let sum = |of: fn(&ChipRecord) -> u64| chips.iter().map(of).sum();
    DatasetSummary {
        digest: Digest::of(b""),
        assignment: Digest::of(b""),
        layout,
        levels,
        bands: bands(&|n| n == stored.len()),
        partial: bands(&|n| n > 0 && n < stored.len()),
        chips: chips.len() as u64,
        events,
        water: sum(|c| c.water),
        land: sum(|c| c.land),
        ignored: sum(|c| c.ignored),
        nonfinite: sum(|c| c.nonfinite),
        refused: listing.refused,
        warnings: listing.warnings,
        notes: listing.notes,
        held_out: 0,
        decoded: 0,
    }
}

/// Over all that a chip's features can depend on.
pub fn content(stored: &Stored) -> Digest {
    let clouds = stored.clouds.map_or("-".to_owned(), |digest| digest.to_string());
    let (date, place) = (stored.date.to_string(), format!("{} {:x?}", stored.epsg, stored.place));
    let hour = stored.hour.map_or("-".to_owned(), |hour| hour.to_string());
    of_parts([stored.pixels.to_string(), clouds, date, hour, place, format!("{:x}", stored.gsd)])
}

/// Over paths, contents and labels of the usable chips, in the order of their paths; not over their split.
pub fn digest(chips: &[ChipRecord], stored: &[Stored]) -> Digest {
    let of = |(chip, stored): (&ChipRecord, &Stored)| {
        [chip.path.clone(), content(stored).to_string(), stored.water.to_string()]
    };
    of_parts(chips.iter().zip(stored).flat_map(of))
}

/// Over path and fold, or side, of the usable chips.
pub fn assignment(chips: &[ChipRecord]) -> Digest {
    of_parts(chips.iter().flat_map(|chip| [chip.path.clone(), chip.split.clone()]))
}

/// Lengths keep two different lists from giving the same bytes.
fn of_parts(parts: impl IntoIterator<Item = String>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}
