//! A data set: scanned, decoded into the cache where it is not there yet, split.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use chrono::NaiveDate;

use crate::{
    config::{self, Clouds},
    domain::{Band, ChipRecord, DatasetSummary, Digest, Failure, LayoutName, Progress, Reason, Refusal, Stage},
};

use super::{
    ChipError,
    cache::{Cache, Entry, Outcome, Stat, Stored, Writer},
    chip::{Look, Wanted},
    encode::{BANDS, encode_date, encode_place},
    georef::Place,
    labels::{self, IGNORED},
    scan::{Found, Manifest, scan},
    split::{Fold, Member, split},
};

/// A data set, decoded, in a cache file of ours that is memory-mapped.
pub struct Dataset {
    cache: Cache,
    summary: DatasetSummary,
    chips: Vec<ChipRecord>,
    stored: Vec<Stored>,
    folds: Vec<Fold>,
}

impl Dataset {
    /// Scans `settings.data`, decodes what the cache in `cache_folder` lacks, maps it. Rows that `manifest.csv` marks
    /// `test` are never opened.
    ///
    /// # Errors
    /// `no-data`, `no-chips` (also where none is usable), `manifest`, `split`, `cache`, and with `settings.strict`
    /// `refused` when a chip cannot be used.
    pub fn open(
        settings: &config::Probe,
        cache_folder: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, ChipError> {
        let wanted = Wanted { water: true, cloud: true };
        let manifest = Manifest::read(&settings.data)?;
        let mut found = scan(&settings.data)?;
        found.retain(|chip| !manifest.held_out(&chip.path));
        let (cache, decoded) = decoded(&found, settings, cache_folder, wanted, progress)?;
        let mut dataset = Self::of(cache, &found, settings, decoded)?;
        dataset.note_missing(&manifest, &found);
        if settings.strict && !dataset.summary.refused.is_empty() {
            return Err(refused(&dataset.summary.refused));
        }
        let members: Vec<Member> = dataset.chips.iter().map(|chip| member(chip, &manifest)).collect();
        let (folds, sides) = split(&members, settings)?;
        for (chip, side) in dataset.chips.iter_mut().zip(sides) {
            chip.split = side;
        }
        dataset.folds = folds;
        dataset.summary.assignment = assignment(&dataset.chips);
        dataset.summary.digest = digest(&dataset.chips, &dataset.cache.entries);
        Ok(dataset)
    }

    /// As [`Dataset::open`], for embedding alone: all chips, with or without a label, no split and no manifest. Labels
    /// are all ignored.
    pub fn open_unlabelled(
        settings: &config::Probe,
        cache_folder: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, ChipError> {
        let wanted = Wanted { water: false, cloud: settings.clouds == Clouds::ClayV0 };
        let found = scan(&settings.data)?;
        let (cache, decoded) = decoded(&found, settings, cache_folder, wanted, progress)?;
        let mut dataset = Self::of(cache, &found, settings, decoded)?;
        if settings.strict && !dataset.summary.refused.is_empty() {
            return Err(refused(&dataset.summary.refused));
        }
        dataset.summary.digest = digest(&dataset.chips, &dataset.cache.entries);
        Ok(dataset)
    }

    pub fn summary(&self) -> &DatasetSummary {
        &self.summary
    }

    /// Usable chips sorted by path.
    pub fn chips(&self) -> &[ChipRecord] {
        &self.chips
    }

    /// Normalised pixels of chip `i`, `[13, side, side]`.
    pub fn pixels(&self, i: usize) -> &[f32] {
        self.cache.pixels(&self.stored[i])
    }

    /// Labels of chip `i` after the cloud rule, `[side, side]`: 1 water, 0 land, 255 ignored.
    pub fn labels(&self, i: usize) -> &[u8] {
        self.cache.labels(&self.stored[i])
    }

    /// The folds of the configured split; none for an unlabelled set.
    pub fn folds(&self) -> &[Fold] {
        &self.folds
    }

    /// The records of a cache that holds `found`, without split and digest.
    fn of(cache: Cache, found: &[Found], settings: &config::Probe, decoded: u64) -> Result<Self, ChipError> {
        let (mut chips, mut stored, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, chip) in cache.entries.iter().zip(found) {
            match &entry.outcome {
                Outcome::Usable(s) => {
                    chips.push(record(chip, s, settings)?);
                    stored.push(s.clone());
                }
                Outcome::Refused { reason, message } => {
                    let (path, reason, message) = (entry.path.clone(), *reason, message.clone());
                    refused.push(Refusal { path, reason, message });
                }
            }
        }
        if chips.is_empty() && found.is_empty() {
            let message = format!("no chips found in `{}` besides those marked `test`", settings.data.display());
            return Err(ChipError::new(Reason::NoChips, message));
        }
        if chips.is_empty() {
            let first = refused.first().map(|r| r.message.clone()).unwrap_or_default();
            let message = format!(
                "no usable chips found in `{}`: {} refused, the first: {first}",
                settings.data.display(),
                refused.len()
            );
            return Err(ChipError::new(Reason::NoChips, message));
        }
        let mut events: Vec<String> = chips.iter().map(|c| c.event.clone()).collect();
        events.sort();
        events.dedup();
        let sum = |of: fn(&ChipRecord) -> u64| chips.iter().map(of).sum();
        let summary = DatasetSummary {
            digest: Digest::of(b""),
            assignment: Digest::of(b""),
            layout: LayoutName::Cube,
            levels: Vec::new(),
            bands: CUBE.to_vec(),
            partial: Vec::new(),
            chips: chips.len() as u64,
            events,
            water: sum(|c| c.water),
            land: sum(|c| c.land),
            ignored: sum(|c| c.ignored),
            nonfinite: sum(|c| c.nonfinite),
            refused,
            held_out: 0,
            decoded,
        };
        Ok(Self { cache, summary, chips, stored, folds: Vec::new() })
    }

    /// Counts what is held out, and refuses what the manifest names and the folder lacks.
    fn note_missing(&mut self, manifest: &Manifest, found: &[Found]) {
        self.summary.held_out = manifest.split.values().filter(|s| *s == "test").count() as u64;
        self.summary.refused.extend(manifest.missing(found));
        self.summary.refused.sort_by(|a, b| a.path.cmp(&b.path));
    }
}

fn member<'a>(chip: &'a ChipRecord, manifest: &'a Manifest) -> Member<'a> {
    let listed = manifest.split.get(&chip.path).map(String::as_str);
    Member { path: &chip.path, event: &chip.event, water: chip.water, land: chip.land, listed }
}

fn refused(refusals: &[Refusal]) -> ChipError {
    let list: Vec<String> = refusals.iter().map(|r| format!("{} ({})", r.message, r.reason)).collect();
    let message = format!("{} chips cannot be used: {}", refusals.len(), list.join("; "));
    ChipError::new(Reason::Refused, message).with_hint("`probe.strict = false` goes on without them")
}

/// The bands of a cube, in its order.
const CUBE: [Band; BANDS] = [
    Band::B02,
    Band::B03,
    Band::B04,
    Band::B05,
    Band::B06,
    Band::B07,
    Band::B08,
    Band::B8A,
    Band::B11,
    Band::B12,
    Band::Vh,
    Band::Vv,
    Band::Dem,
];

/// Over path and split of the usable chips.
fn assignment(chips: &[ChipRecord]) -> Digest {
    let lines: Vec<String> = chips.iter().map(|chip| format!("{}\n{}", chip.path, chip.split)).collect();
    Digest::of(lines.join("\n").as_bytes())
}

/// Over path, contents and split of the usable chips, in the order of their paths.
fn digest(chips: &[ChipRecord], entries: &[Entry]) -> Digest {
    let digests: BTreeMap<&str, &Entry> = entries.iter().map(|e| (e.path.as_str(), e)).collect();
    let mut hasher = blake3::Hasher::new();
    for chip in chips {
        let contents = digests.get(chip.path.as_str()).map(|e| e.digests).unwrap_or_default();
        let [cube, water, cloud] = contents.map(|d| d.map_or("-".to_owned(), |d| d.to_string()));
        // Lengths keep two different lists from giving the same bytes.
        for part in [chip.path.as_str(), &cube, &water, &cloud, &chip.split] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().into()
}

fn record(chip: &Found, stored: &Stored, settings: &config::Probe) -> Result<ChipRecord, ChipError> {
    let [min_x, min_y, max_x, max_y, lat, lon] = stored.place.map(f64::from_bits);
    let place = Place { epsg: stored.epsg, bbox: [min_x, min_y, max_x, max_y], lat, lon };
    let date: NaiveDate = stored.date.parse().map_err(|_| {
        ChipError::new(Reason::Cache, format!("the cache holds no date for `{}`", chip.path)).with_hint("delete it")
    })?;
    Ok(ChipRecord {
        path: chip.path.clone(),
        event: chip.event.clone(),
        split: String::new(),
        side: stored.side,
        bbox: place.bbox,
        epsg: u32::from(stored.epsg),
        lat,
        lon,
        date: stored.date.clone(),
        source_url: chip.files.stem(),
        latlon: encode_place(&place, settings.latlon),
        timestep: encode_date(date),
        water: stored.water,
        land: stored.land,
        ignored: stored.ignored,
        nonfinite: stored.nonfinite,
    })
}

/// Where the cache of a data folder lies: a file per folder and per setting that changes the bytes.
fn cache_file(settings: &config::Probe, cache_folder: &Path, wanted: Wanted) -> PathBuf {
    let data = std::fs::canonicalize(&settings.data).unwrap_or_else(|_| settings.data.clone());
    let key = Digest::of(data.as_os_str().as_encoded_bytes()).short();
    let rule = match settings.clouds {
        Clouds::Ignore => "ignore",
        Clouds::ClayV0 => "clay_v0",
    };
    cache_folder.join(format!("chips-{key}-{rule}{}.cache", if wanted.water { "" } else { "-unlabelled" }))
}

/// The cache of exactly these chips, made where it is not there yet, and how many TIFF files were decoded for it.
fn decoded(
    found: &[Found],
    settings: &config::Probe,
    cache_folder: &Path,
    wanted: Wanted,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Cache, u64), ChipError> {
    let file = cache_file(settings, cache_folder, wanted);
    let failed = |e: std::io::Error| {
        let message = format!("the cache of chips `{}` cannot be written: {e}", file.display());
        ChipError::new(Reason::Cache, message).with_hint(
            "is the disk full? under `serve` it lies in `store.dir`, on the command line below `XDG_CACHE_HOME`",
        )
    };
    let stats: Vec<[Option<Stat>; 3]> = found.iter().map(|chip| stats(chip, wanted)).collect();
    let total = found.len() as u64;
    let old = Cache::open(&file);
    if let Some(cache) = &old
        && cache.entries.len() == found.len()
        && cache.entries.iter().zip(found).zip(&stats).all(|((e, chip), s)| unchanged(e, chip, s))
    {
        progress(Progress { stage: Stage::Load, done: total, total });
        return Ok((old.ok_or_else(|| gone(&file))?, 0));
    }
    let known: BTreeMap<&str, &Entry> =
        old.iter().flat_map(|cache| &cache.entries).map(|entry| (entry.path.as_str(), entry)).collect();
    let mut writer = Writer::create(&file).map_err(failed)?;
    let mut entries = Vec::with_capacity(found.len());
    let mut decoded = 0;
    for (i, (chip, stats)) in found.iter().zip(&stats).enumerate() {
        progress(Progress { stage: Stage::Load, done: i as u64, total });
        let before = known.get(chip.path.as_str()).copied();
        let entry = match (before.filter(|entry| unchanged(entry, chip, stats)), &old) {
            (Some(entry), Some(old)) => copy(entry, old, &mut writer).map_err(failed)?,
            _ => {
                let (entry, files) =
                    read(chip, stats, before.zip(old.as_ref()), settings, wanted, &mut writer).map_err(failed)?;
                decoded += files;
                entry
            }
        };
        entries.push(entry);
    }
    writer.finish(&entries).map_err(failed)?;
    progress(Progress { stage: Stage::Load, done: total, total });
    Ok((Cache::open(&file).ok_or_else(|| gone(&file))?, decoded))
}

fn gone(file: &Path) -> ChipError {
    ChipError::new(Reason::Cache, format!("the cache of chips `{}` could not be read back", file.display()))
}

fn stats(chip: &Found, wanted: Wanted) -> [Option<Stat>; 3] {
    let of = |i: usize, wanted: bool| wanted.then(|| Stat::of(&chip.files.paths[i])).flatten();
    [of(0, true), of(1, wanted.water), of(2, wanted.cloud)]
}

/// The files are as they were; one that could not be read is always tried again.
fn unchanged(entry: &Entry, chip: &Found, stats: &[Option<Stat>; 3]) -> bool {
    let retry = matches!(entry.outcome, Outcome::Refused { reason: Reason::Unreadable, .. });
    entry.path == chip.path && entry.stats == *stats && stats[0].is_some() && !retry
}

/// A chip of the old cache into the new one.
fn copy(entry: &Entry, old: &Cache, writer: &mut Writer) -> std::io::Result<Entry> {
    let mut entry = entry.clone();
    if let Outcome::Usable(stored) = &mut entry.outcome {
        stored.offset = writer.push(old.pixels(stored), old.labels(stored))?;
    }
    Ok(entry)
}

/// A chip from its files into the new cache; not decoded where the old cache holds the same contents. Returns also
/// how many TIFF files were decoded.
fn read(
    chip: &Found,
    stats: &[Option<Stat>; 3],
    before: Option<(&Entry, &Cache)>,
    settings: &config::Probe,
    wanted: Wanted,
    writer: &mut Writer,
) -> std::io::Result<(Entry, u64)> {
    let entry = |digests, outcome| Entry { path: chip.path.clone(), stats: *stats, digests, outcome };
    let refuse = |problem: ChipError| {
        let problem = Failure::from(problem);
        Outcome::Refused { reason: problem.reason, message: problem.text() }
    };
    let contents = match chip.files.contents(wanted) {
        Ok(contents) => contents,
        Err(problem) => return Ok((entry([None; 3], refuse(problem)), 0)),
    };
    let digests = contents.each_ref().map(|c| c.as_deref().map(Digest::of));
    if let Some((before, old)) = before.filter(|(before, _)| before.digests == digests) {
        return Ok((Entry { stats: *stats, ..copy(before, old, writer)? }, 0));
    }
    let mut look = chip.files.look(contents, wanted);
    let files = look.decoded;
    let outcome = match look.problems.is_empty() {
        true => store(&mut look, settings.clouds, writer)?,
        false => refuse(look.problems.remove(0)),
    };
    Ok((entry(digests, outcome), files))
}

/// Prepares a chip without problems and writes it.
fn store(look: &mut Look, clouds: Clouds, writer: &mut Writer) -> std::io::Result<Outcome> {
    let (Some(header), Some(pixels), Some(place), Some(date)) = (&look.header, &mut look.pixels, look.place, look.date)
    else {
        // A look without problems has all four; should it not, the chip is refused rather than half used.
        let message = "the chip could not be read whole".to_owned();
        return Ok(Outcome::Refused { reason: Reason::Unreadable, message });
    };
    let labelled = look.water.is_some();
    let labels = look.water.get_or_insert_with(|| vec![IGNORED; pixels.len() / BANDS]);
    let nonfinite = labels::prepare(pixels, labels, look.cloud.as_deref(), clouds);
    if !labelled {
        labels.fill(IGNORED); // the cloud rule may have made land of it
    }
    let [water, land, ignored] = labels::count(labels);
    let [min_x, min_y, max_x, max_y] = place.bbox;
    Ok(Outcome::Usable(Stored {
        side: header.width,
        epsg: place.epsg,
        place: [min_x, min_y, max_x, max_y, place.lat, place.lon].map(f64::to_bits),
        date: date.to_string(),
        water,
        land,
        ignored,
        nonfinite,
        offset: writer.push(pixels, labels)?,
    }))
}
