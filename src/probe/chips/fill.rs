//! Brings a data set into its cache: what is there and unchanged stays, the rest is read and decoded.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::{
    ChipError,
    cache::{Cache, Counts, Entry, Outcome, Stat, Stored, Writer},
    labels::IGNORED,
    layout::{Contents, Found, Layout, Look, Wanted},
};
use crate::domain::{Band, Digest, Failure, Progress, Reason, Refusal, Stage};

/// Where the cache of a data folder lies: a file per folder and layout.
fn cache_file(data: &Path, layout: &dyn Layout, cache_folder: &Path) -> PathBuf {
    let data = std::fs::canonicalize(data).unwrap_or_else(|_| data.to_owned());
    let key = Digest::of(data.as_os_str().as_encoded_bytes()).short();
    cache_folder.join(format!("chips-{key}-{}.cache", layout.name()))
}

/// The cache of these chips, made where it is not there yet, and how many TIFF files were decoded for it.
///
/// It has an entry for each chip of `opened`. `closed` chips are not looked at; what the cache holds of them from
/// before stays, so that embedding all chips and probing without those held out share one cache.
///
/// # Errors
/// `cache`: it cannot be written.
pub fn fill(
    layout: &dyn Layout,
    data: &Path,
    cache_folder: &Path,
    opened: &[Found],
    closed: &[Found],
    progress: &mut dyn FnMut(Progress),
) -> Result<(Cache, u64), ChipError> {
    let file = cache_file(data, layout, cache_folder);
    let failed = |e: io::Error| {
        let message = format!("the cache of chips `{}` cannot be written: {e}", file.display());
        ChipError::new(Reason::Cache, message).with_hint(
            "is the disk full? under `serve` it lies in `store.dir`, on the command line below `XDG_CACHE_HOME`",
        )
    };
    let total = opened.len() as u64;
    let old = Cache::open(&file);
    let known: BTreeMap<&str, &Entry> =
        old.iter().flat_map(|cache| &cache.entries).map(|entry| (entry.path.as_str(), entry)).collect();
    let stats: Vec<Vec<Option<Stat>>> = opened.iter().map(stats).collect();
    let kept: Vec<&Entry> = closed
        .iter()
        .filter_map(|chip| {
            known.get(chip.path.as_str()).copied().filter(|entry| unchanged(entry, chip, &self::stats(chip)))
        })
        .collect();
    let same = |(chip, stats): (&Found, &Vec<Option<Stat>>)| {
        known.get(chip.path.as_str()).is_some_and(|entry| unchanged(entry, chip, stats))
    };
    let whole = known.len() == opened.len() + kept.len() && opened.iter().zip(&stats).all(same);
    if let (true, Some(_)) = (whole, &old) {
        progress(Progress { stage: Stage::Load, done: total, total });
        return Ok((old.ok_or_else(|| gone(&file))?, 0));
    }
    let mut writer = Writer::create(&file).map_err(failed)?;
    let mut entries = Vec::with_capacity(opened.len() + kept.len());
    let (mut decoded, mut last) = (0, None);
    for (i, (chip, stats)) in opened.iter().zip(stats).enumerate() {
        progress(Progress { stage: Stage::Load, done: i as u64, total });
        let before = known.get(chip.path.as_str()).copied().zip(old.as_ref());
        let entry = match before.filter(|(entry, _)| unchanged(entry, chip, &stats)) {
            Some((entry, old)) => copy(entry, old, &mut writer),
            None => read(layout, chip, stats, before, &mut writer, &mut decoded, &mut last),
        };
        entries.push(entry.map_err(failed)?);
    }
    if let Some(old) = &old {
        for entry in kept {
            entries.push(copy(entry, old, &mut writer).map_err(failed)?);
        }
    }
    writer.finish(&entries).map_err(failed)?;
    progress(Progress { stage: Stage::Load, done: total, total });
    Ok((Cache::open(&file).ok_or_else(|| gone(&file))?, decoded))
}

fn gone(file: &Path) -> ChipError {
    ChipError::new(Reason::Cache, format!("the cache of chips `{}` could not be read back", file.display()))
}

fn stats(chip: &Found) -> Vec<Option<Stat>> {
    chip.files.iter().map(|file| Stat::of(&file.path)).collect()
}

/// What the layout knows of a chip from outside of its files.
fn facts(chip: &Found) -> String {
    let roles: Vec<_> = chip.files.iter().map(|file| file.role).collect();
    format!("{:?} {roles:?} {:?}", chip.facts, chip.crop)
}

/// The files are as they were; one that could not be read is always tried again.
fn unchanged(entry: &Entry, chip: &Found, stats: &[Option<Stat>]) -> bool {
    let retry = matches!(entry.outcome, Outcome::Refused { reason: Reason::Unreadable, .. });
    entry.stats == *stats && entry.facts == facts(chip) && stats.iter().any(Option::is_some) && !retry
}

/// A chip of the old cache into the new one.
fn copy(entry: &Entry, old: &Cache, writer: &mut Writer) -> io::Result<Entry> {
    let mut entry = entry.clone();
    if let Outcome::Usable(stored) = &mut entry.outcome {
        stored.offset = writer.push(old.planes(stored), old.label(stored), old.clouds(stored))?;
    }
    Ok(entry)
}

/// A chip from its files into the new cache; not decoded where the old cache holds the same contents. Adds to `decoded`
/// how many TIFF files were decoded.
fn read(
    layout: &dyn Layout,
    chip: &Found,
    stats: Vec<Option<Stat>>,
    before: Option<(&Entry, &Cache)>,
    writer: &mut Writer,
    decoded: &mut u64,
    last: &mut Option<Last>,
) -> io::Result<Entry> {
    let (path, facts) = (chip.path.clone(), facts(chip));
    let all = Wanted { water: true, clouds: true };
    let contents = match chip.contents(all) {
        Ok(contents) => contents,
        Err(problem) => {
            let digests = vec![None; stats.len()];
            return Ok(Entry { path, facts, stats, digests, outcome: refuse(problem) });
        }
    };
    let digests: Vec<Option<Digest>> = contents.iter().map(|c| c.as_deref().map(Digest::of)).collect();
    if let Some((before, old)) = before.filter(|(before, _)| before.digests == digests && before.facts == facts) {
        return Ok(Entry { stats, ..copy(before, old, writer)? });
    }
    let outcome = outcome(layout, chip, contents, &digests, decoded, last, writer)?;
    Ok(Entry { path, facts, stats, digests, outcome })
}

/// Decodes a chip; one that only lacks a label that can be used is kept for embedding.
fn outcome(
    layout: &dyn Layout,
    chip: &Found,
    contents: Contents,
    digests: &[Option<Digest>],
    decoded: &mut u64,
    last: &mut Option<Last>,
    writer: &mut Writer,
) -> io::Result<Outcome> {
    let all = Wanted { water: true, clouds: true };
    let look = match (chip.crop, &*last) {
        (None, _) => layout.look(chip, contents, all),
        (Some(crop), Some(last)) if last.chip == chip.whole() && last.digests == digests => {
            Look { decoded: 0, ..last.look.cut(crop) }
        }
        (Some(crop), _) => {
            let look = layout.look(chip, contents, all);
            let cut = look.cut(crop);
            *last = Some(Last { chip: chip.whole().to_owned(), digests: digests.to_vec(), look });
            cut
        }
    };
    *decoded += look.decoded;
    let Some(problem) = look.problems.first() else { return store(chip, look, None, writer) };
    let without = Wanted { water: false, clouds: true };
    let Ok(contents) = chip.contents(without) else { return Ok(refuse(problem.clone())) };
    let unlabelled = layout.look(chip, contents, without);
    let unlabelled = chip.crop.map_or_else(|| unlabelled.clone(), |crop| unlabelled.cut(crop));
    if !unlabelled.problems.is_empty() {
        return Ok(refuse(problem.clone()));
    }
    let why = Failure::from(problem.clone());
    store(chip, unlabelled, Some((why.reason, why.text())), writer)
}

/// The chip that was decoded last: its next crop needs no decoding.
struct Last {
    chip: String,
    digests: Vec<Option<Digest>>,
    look: Look,
}

fn refuse(problem: ChipError) -> Outcome {
    let problem = Failure::from(problem);
    Outcome::Refused { reason: problem.reason, message: problem.text() }
}

/// Writes a chip without problems.
fn store(chip: &Found, look: Look, unlabelled: Option<(Reason, String)>, writer: &mut Writer) -> io::Result<Outcome> {
    let pixels = look.width as usize * look.height as usize;
    let whole = look.width == look.height && pixels > 0 && look.planes.len() == look.bands.len() * pixels;
    let (Some(place), Some(date), true) = (look.place, look.date, whole && !look.bands.is_empty()) else {
        // A look without problems has all of it; should it not, the chip is refused rather than half used.
        let message = format!("`{}` could not be read whole", chip.path);
        return Ok(Outcome::Refused { reason: Reason::Unreadable, message });
    };
    let label = look.water.unwrap_or_else(|| vec![IGNORED; pixels]);
    let warning = |warning: ChipError| {
        let warning = Failure::from(warning);
        Refusal { path: chip.path.clone(), reason: warning.reason, message: warning.text() }
    };
    let [min_x, min_y, max_x, max_y] = place.bbox;
    Ok(Outcome::Usable(Box::new(Stored {
        side: look.width,
        level: look.level,
        gsd: look.gsd.to_bits(),
        epsg: place.epsg,
        place: [min_x, min_y, max_x, max_y, place.lat, place.lon].map(f64::to_bits),
        date,
        hour: look.hour,
        unlabelled,
        counts: Counts::of(&label, look.clouds.as_deref()),
        nonfinite: look.nonfinite,
        pixels: digest(&look.bands, &look.planes),
        flat: look.planes.chunks_exact(pixels).all(|plane| plane.iter().all(|v| v.to_bits() == plane[0].to_bits())),
        water: Digest::of(&label),
        clouds: look.clouds.as_deref().map(Digest::of),
        warnings: look.warnings.into_iter().map(warning).collect(),
        offset: writer.push(&look.planes, &label, look.clouds.as_deref())?,
        bands: look.bands,
    })))
}

/// Over bands and values; every NaN is one, for how a value is missing tells nothing.
fn digest(bands: &[Band], planes: &[f32]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for band in bands {
        hasher.update(band.as_str().as_bytes());
        hasher.update(b"\n");
    }
    for part in planes.chunks(4096) {
        let bytes: Vec<u8> =
            part.iter().map(|v| if v.is_nan() { f32::NAN } else { *v }).flat_map(f32::to_le_bytes).collect();
        hasher.update(&bytes);
    }
    hasher.finalize().into()
}
