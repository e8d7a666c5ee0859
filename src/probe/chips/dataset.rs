//! A data set: listed by its layout, decoded into the cache where it is not there yet, split.

use std::{collections::BTreeMap, path::Path};

use super::{
    ChipError, RawChip,
    cache::{Cache, Entry, Outcome, Stored},
    crop::crops,
    fill::fill,
    labels::{IGNORED, LAND},
    layout::{self, Found, Layout, Listing, events, layout_of},
    leak,
    manifest::{Listed, Manifest},
    record::{assignment, content, digest, record, summary},
    split::{Fold, Member, split},
};
use crate::{
    config::{self, Clouds},
    domain::{ChipRecord, DatasetSummary, Digest, Progress, Reason, Refusal},
};

/// A data set, decoded, in a cache file of ours that is memory-mapped.
pub struct Dataset {
    cache: Cache,
    summary: DatasetSummary,
    chips: Vec<ChipRecord>,
    stored: Vec<Stored>,
    folds: Vec<Fold>,
    clouds: Clouds,
    labelled: bool,
}

impl Dataset {
    /// Lists `settings.data`, decodes what the cache in `cache_folder` lacks, maps it, and splits it. Chips that
    /// `manifest.csv` marks `test`, or the layout holds out, are never opened.
    ///
    /// # Errors
    /// `no-data`, `no-chips` (also where none is usable), `manifest`, `split`, `split-leak`, `cache`, and with
    /// `settings.strict` `refused` when a chip cannot be used or its values look like another unit.
    pub fn open(
        settings: &config::Probe,
        cache_folder: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, ChipError> {
        let data = &settings.data;
        let layout = layout_of(data, settings.layout)?;
        let mut listing = layout.list(data)?;
        let manifest = Manifest::read(data)?;
        let held_out = |chip: &Found| chip.held_out || manifest.holds_out(chip);
        let unknown =
            |chip: &Found| manifest.row(chip).is_some_and(|row| matches!(row.listed, Some(Listed::Unknown(_))));
        let is_closed = |chip: &Found| held_out(chip) || unknown(chip);
        let whole = std::mem::take(&mut listing.chips);
        let (mut closed, mut opened): (Vec<Found>, Vec<Found>) = whole.into_iter().partition(is_closed);
        if settings.crop > 0 {
            let crops = crops(opened, settings.crop);
            let (more, rest): (Vec<Found>, Vec<Found>) = crops.into_iter().partition(is_closed);
            closed.extend(more);
            opened = rest;
        }
        let found = [closed.as_slice(), &opened].concat();
        listing.refused.extend(manifest.missing(&found)?);
        listing.refused.extend(manifest.unknown(&found));
        let (cache, decoded) = fill(layout, data, cache_folder, &opened, &closed, progress)?;
        let mut set = Self::of(cache, layout, listing, &opened, &manifest, settings, true)?;
        set.summary.decoded = decoded;
        set.summary.held_out = closed.iter().filter(|chip| held_out(chip)).count() as u64;
        set.split(&opened, &manifest, settings)?;
        Ok(set)
    }

    /// As [`Dataset::open`], for embedding alone: all chips, with or without a label, held out or not; no split and no
    /// manifest. Labels are all ignored.
    pub fn open_unlabelled(
        settings: &config::Probe,
        cache_folder: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, ChipError> {
        let layout = layout_of(&settings.data, settings.layout)?;
        let mut listing = layout.list(&settings.data)?;
        let mut found = std::mem::take(&mut listing.chips);
        if settings.crop > 0 {
            found = crops(found, settings.crop);
        }
        let (cache, decoded) = fill(layout, &settings.data, cache_folder, &found, &[], progress)?;
        let mut set = Self::of(cache, layout, listing, &found, &Manifest::default(), settings, false)?;
        set.summary.decoded = decoded;
        Ok(set)
    }

    pub fn summary(&self) -> &DatasetSummary {
        &self.summary
    }

    /// Usable chips sorted by path.
    pub fn chips(&self) -> &[ChipRecord] {
        &self.chips
    }

    /// The folds of the configured split; none for an unlabelled set.
    pub fn folds(&self) -> &[Fold] {
        &self.folds
    }

    /// The raw values of chip `i`, with its clouds.
    pub fn raw(&self, i: usize) -> RawChip<'_> {
        let stored = &self.stored[i];
        RawChip {
            path: &self.chips[i].path,
            bands: &stored.bands,
            planes: self.cache.planes(stored),
            side: stored.side as usize,
            date: stored.date,
            hour: stored.hour,
            place: stored.place(),
            gsd: f64::from_bits(stored.gsd),
            clouds: self.cache.clouds(stored),
        }
    }

    /// Labels of chip `i` after the cloud rule, `[side, side]`: 1 water, 0 land, 255 ignored. Under cloud or shadow all
    /// is ignored, or, as Clay v0 did, land.
    pub fn labels(&self, i: usize) -> Vec<u8> {
        let stored = &self.stored[i];
        let mut labels = self.cache.label(stored).to_vec();
        if !self.labelled {
            labels.fill(IGNORED);
        } else if let Some(clouds) = self.cache.clouds(stored) {
            let under = if self.clouds == Clouds::ClayV0 { LAND } else { IGNORED };
            labels.iter_mut().zip(clouds).filter(|(_, cloud)| **cloud != 0).for_each(|(label, _)| *label = under);
        }
        labels
    }

    /// The digest of all that the features of chip `i` can depend on besides weights and preparation: its values,
    /// clouds, date, hour, place and ground sampling distance; neither its label nor its path.
    pub fn content(&self, i: usize) -> Digest {
        content(&self.stored[i])
    }

    /// The records of a cache that holds the `opened` chips, without a split.
    fn of(
        cache: Cache,
        layout: &dyn Layout,
        mut listing: Listing,
        opened: &[Found],
        manifest: &Manifest,
        settings: &config::Probe,
        labelled: bool,
    ) -> Result<Self, ChipError> {
        let data = &settings.data;
        let paths: Vec<&str> = opened.iter().map(|chip| chip.path.as_str()).collect();
        let derived = events(&paths, &layout::own_name(data));
        let (mut chips, mut stored) = (Vec::new(), Vec::new());
        let entries: BTreeMap<&str, &Entry> = cache.entries.iter().map(|entry| (entry.path.as_str(), entry)).collect();
        for (chip, derived) in opened.iter().zip(derived) {
            let entry = entries
                .get(chip.path.as_str())
                .ok_or_else(|| ChipError::new(Reason::Cache, format!("the cache of chips lacks `{}`", chip.path)))?;
            let refused = match &entry.outcome {
                Outcome::Refused { reason, message } => Some((*reason, message.clone())),
                Outcome::Usable(usable) => usable.unlabelled.clone().filter(|_| labelled),
            };
            if let Some((reason, message)) = refused {
                listing.refused.push(Refusal { path: chip.path.clone(), reason, message });
            } else if let Outcome::Usable(usable) = &entry.outcome {
                let told = manifest.row(chip).and_then(|row| row.event.clone()).or_else(|| chip.event.clone());
                let mut record = record(chip, usable, told.unwrap_or(derived), settings);
                if !labelled {
                    (record.water, record.land) = (0, 0);
                    record.ignored = u64::from(record.side).pow(2);
                }
                listing.warnings.extend(usable.warnings.iter().cloned());
                chips.push(record);
                stored.push((**usable).clone());
            }
        }
        listing.refused.sort_by(|a, b| a.path.cmp(&b.path));
        if chips.is_empty() {
            return Err(no_chips(data, opened.is_empty(), &listing.refused));
        }
        refuse_strictly(settings, &listing)?;
        let mut summary = summary(layout.name(), &chips, &stored, listing);
        summary.digest = digest(&chips, &stored);
        Ok(Self { cache, summary, chips, stored, folds: Vec::new(), clouds: settings.clouds, labelled })
    }

    /// Splits the chips, and looks for what lies on both sides.
    fn split(&mut self, opened: &[Found], manifest: &Manifest, settings: &config::Probe) -> Result<(), ChipError> {
        let row = |chip: &ChipRecord| {
            let at = opened.binary_search_by(|found| found.path.cmp(&chip.path)).ok()?;
            manifest.row(&opened[at])
        };
        let member = |chip| {
            let ChipRecord { path, event, water, land, .. }: &ChipRecord = chip;
            let row = row(chip);
            let listed = row.and_then(|row| row.listed.as_ref());
            let fold = row.and_then(|row| row.fold.as_deref());
            Member { path, event, water: *water, land: *land, listed, fold }
        };
        let members: Vec<Member> = self.chips.iter().map(member).collect();
        let (folds, sides) = split(&members, manifest.has_folds, settings)?;
        for (chip, side) in self.chips.iter_mut().zip(sides) {
            chip.split = side;
        }
        let pixels = |stored: &Stored| (!stored.flat).then_some(stored.pixels);
        leak::copies(&self.chips, &self.stored.iter().map(pixels).collect::<Vec<_>>())?;
        self.summary.warnings.extend(leak::overlaps(&self.chips));
        self.summary.notes.extend(leak::torn_events(&self.chips));
        self.summary.assignment = assignment(&self.chips);
        self.folds = folds;
        Ok(())
    }
}

fn no_chips(data: &Path, nothing_opened: bool, refused: &[Refusal]) -> ChipError {
    let data = data.display();
    let message = match (nothing_opened, refused.first()) {
        (true, _) => format!("no chips found in `{data}` besides those that are held out or left out"),
        (false, first) => format!(
            "no usable chips found in `{data}`: {} refused, the first: {}",
            refused.len(),
            first.map(|r| r.message.as_str()).unwrap_or_default()
        ),
    };
    ChipError::new(Reason::NoChips, message)
}

/// Under `strict` no chip may be left out, and no value may look like another unit.
fn refuse_strictly(settings: &config::Probe, listing: &Listing) -> Result<(), ChipError> {
    let units = listing.warnings.iter().filter(|warning| warning.reason == Reason::Unit);
    let refused: Vec<String> =
        listing.refused.iter().chain(units).map(|r| format!("{} ({})", r.message, r.reason)).collect();
    if !settings.strict || refused.is_empty() {
        return Ok(());
    }
    let message = format!("{} chips cannot be used: {}", refused.len(), refused.join("; "));
    Err(ChipError::new(Reason::Refused, message).with_hint("`probe.strict = false` goes on without them"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn strict_refuses_another_unit_and_no_shared_ground() {
        let settings = config::Probe { strict: true, ..Config::load(None, &[]).unwrap().probe };
        let of = |reason| {
            let warnings = vec![Refusal { path: "a".to_owned(), reason, message: "`a` looks odd".to_owned() }];
            refuse_strictly(&settings, &Listing { warnings, ..Listing::default() })
        };
        assert!(of(Reason::SplitLeak).is_ok());
        let error = of(Reason::Unit).unwrap_err();
        assert!(error.reason == Reason::Refused && error.message.contains("`a` looks odd (unit)"), "{error}");
    }
}
