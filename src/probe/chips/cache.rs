//! Decoded chips in one file of ours, memory-mapped.
//!
//! ```text
//! head (64 bytes: magic) | per chip: planes f32 [bands, side, side], label u8 [side, side], clouds u8 | index, JSON | tail
//! tail: magic, offset and length of the index, its blake3
//! ```
//!
//! It is written once, front to back, to a file that is renamed into place when it is on the disk, and never changed.
//! What is torn, foreign, or of another version is not opened, and the caller makes a new one.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use chrono::NaiveDate;
use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{
    georef::Place,
    labels::{LAND, WATER},
};
use crate::{
    config::Clouds,
    domain::{Band, Digest, Level, Reason, Refusal},
};

/// The last digit is the version: raise it when the same files would give other bytes. The byte order of the machine
/// is part of it, for floats are written as they are in memory.
const MAGIC: [u8; 16] = if cfg!(target_endian = "little") { *b"clay-probe chip2" } else { *b"clay-probe CHIP2" };
const HEAD: usize = 64;
const TAIL: usize = 16 + 8 + 8 + 32;

/// What tells that a file was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    pub size: u64,
    pub mtime_ns: i128,
    pub device: u64,
    pub inode: u64,
}

impl Stat {
    /// `None` where there is no such file.
    pub fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        let mtime_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        Some(Self { size: meta.size(), mtime_ns, device: meta.dev(), inode: meta.ino() })
    }
}

/// One chip of the index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Relative to the data folder.
    pub path: String,
    /// What the layout knew of it from outside of its files.
    pub facts: String,
    /// Of its files, in the layout's order.
    pub stats: Vec<Option<Stat>>,
    /// Of their contents.
    pub digests: Vec<Option<Digest>>,
    pub outcome: Outcome,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Usable(Box<Stored>),
    Refused { reason: Reason, message: String },
}

/// A chip whose bands can be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub side: u32,
    /// In the order of the planes.
    pub bands: Vec<Band>,
    pub level: Option<Level>,
    /// Bits of metres.
    pub gsd: u64,
    pub epsg: u16,
    /// The bits of min x, min y, max x, max y, latitude, longitude: text would round them.
    pub place: [u64; 6],
    pub date: NaiveDate,
    pub hour: Option<u32>,
    /// Why its label cannot be used; the chip can be embedded nonetheless.
    pub unlabelled: Option<(Reason, String)>,
    pub counts: Counts,
    /// Values over bands that are missing or not finite.
    pub nonfinite: u64,
    /// Over bands and planes.
    pub pixels: Digest,
    /// Every plane is one value: it tells nothing.
    pub flat: bool,
    /// Over the label.
    pub water: Digest,
    /// Over the clouds; `None` where there is no cloud label, and none is kept.
    pub clouds: Option<Digest>,
    /// What looks wrong and keeps it from nothing.
    pub warnings: Vec<Refusal>,
    /// Where its planes start in the file.
    pub offset: u64,
}

/// Labelled pixels before the cloud rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Water, land, ignored: under clear sky.
    pub clear: [u64; 3],
    /// The same under cloud or shadow.
    pub cloudy: [u64; 3],
}

impl Counts {
    /// Counts a label `[side, side]`; without clouds all is clear.
    pub fn of(labels: &[u8], clouds: Option<&[u8]>) -> Self {
        let mut counts = Self::default();
        for (i, label) in labels.iter().enumerate() {
            let sky = if clouds.is_some_and(|c| c[i] != 0) { &mut counts.cloudy } else { &mut counts.clear };
            let class = match *label {
                WATER => 0,
                LAND => 1,
                _ => 2,
            };
            sky[class] += 1;
        }
        counts
    }

    /// Water, land and ignored pixels after the cloud rule.
    pub fn after(&self, rule: Clouds) -> [u64; 3] {
        let ([water, land, ignored], cloudy) = (self.clear, self.cloudy.iter().sum::<u64>());
        match rule {
            Clouds::Ignore => [water, land, ignored + cloudy],
            Clouds::ClayV0 => [water, land + cloudy, ignored],
        }
    }
}

impl Stored {
    fn pixel_bytes(&self) -> usize {
        self.bands.len() * self.label_bytes() * size_of::<f32>()
    }

    fn label_bytes(&self) -> usize {
        self.side as usize * self.side as usize
    }

    fn bytes(&self) -> usize {
        self.pixel_bytes() + self.label_bytes() * if self.clouds.is_some() { 2 } else { 1 }
    }

    /// Where it lies on Earth.
    pub fn place(&self) -> Place {
        let [min_x, min_y, max_x, max_y, lat, lon] = self.place.map(f64::from_bits);
        Place { epsg: self.epsg, bbox: [min_x, min_y, max_x, max_y], lat, lon }
    }
}

/// An opened cache.
pub struct Cache {
    map: Mmap,
    pub entries: Vec<Entry>,
}

impl Cache {
    /// Opens a cache whose magic, lengths and index digest are right; `None` for anything else.
    pub fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        // SAFETY: a cache file is ours: it is renamed into place when whole and never written again, only replaced.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        let (head, tail) = (map.get(..HEAD)?, map.get(map.len().checked_sub(TAIL).filter(|at| *at >= HEAD)?..)?);
        if head[..16] != MAGIC || tail[..16] != MAGIC {
            return None;
        }
        let number = |at: usize| Some(u64::from_ne_bytes(tail.get(at..at + 8)?.try_into().ok()?));
        let (start, length) = (usize::try_from(number(16)?).ok()?, usize::try_from(number(24)?).ok()?);
        if start.checked_add(length)? != map.len() - TAIL {
            return None;
        }
        let index = map.get(start..start + length)?;
        if blake3::hash(index).as_bytes()[..] != tail[32..] {
            return None;
        }
        let entries: Vec<Entry> = serde_json::from_slice(index).ok()?;
        let inside = |stored: &Stored| {
            stored.offset.is_multiple_of(64)
                && stored.offset.checked_add(stored.bytes() as u64).is_some_and(|end| end <= start as u64)
        };
        let sound = |entry: &Entry| !matches!(&entry.outcome, Outcome::Usable(stored) if !inside(stored));
        entries.iter().all(sound).then_some(Self { map, entries })
    }

    /// The planes `[bands, side, side]` of a chip of this cache.
    pub fn planes(&self, stored: &Stored) -> &[f32] {
        let start = stored.offset as usize;
        let bytes = &self.map[start..start + stored.pixel_bytes()];
        // SAFETY: any bits are an f32; the map starts at a page, `open` checked that the offset is a multiple of 64,
        // so nothing is cut off before or after.
        let (_, planes, _) = unsafe { bytes.align_to::<f32>() };
        planes
    }

    /// The label `[side, side]` of a chip of this cache, before the cloud rule.
    pub fn label(&self, stored: &Stored) -> &[u8] {
        let start = stored.offset as usize + stored.pixel_bytes();
        &self.map[start..start + stored.label_bytes()]
    }

    /// The clouds `[side, side]` of a chip of this cache.
    pub fn clouds(&self, stored: &Stored) -> Option<&[u8]> {
        stored.clouds?;
        let start = stored.offset as usize + stored.pixel_bytes() + stored.label_bytes();
        Some(&self.map[start..start + stored.label_bytes()])
    }
}

/// A cache being written: chips one by one, so that only one is in memory.
pub struct Writer {
    file: BufWriter<NamedTempFile>,
    at: u64,
    target: PathBuf,
}

impl Writer {
    /// Starts a new cache beside `target`, which stays as it is until [`Writer::finish`].
    pub fn create(target: &Path) -> io::Result<Self> {
        let folder = target.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut file = BufWriter::with_capacity(1 << 20, NamedTempFile::with_prefix_in(".chips-", folder)?);
        let mut head = [0; HEAD];
        head[..16].copy_from_slice(&MAGIC);
        file.write_all(&head)?;
        Ok(Self { file, at: HEAD as u64, target: target.to_owned() })
    }

    /// Writes one chip; returns where it lies.
    pub fn push(&mut self, planes: &[f32], label: &[u8], clouds: Option<&[u8]>) -> io::Result<u64> {
        let offset = self.at;
        for part in planes.chunks(4096) {
            let bytes: Vec<u8> = part.iter().flat_map(|v| v.to_ne_bytes()).collect();
            self.file.write_all(&bytes)?;
        }
        let clouds = clouds.unwrap_or_default();
        self.file.write_all(label)?;
        self.file.write_all(clouds)?;
        let end = offset + (size_of_val(planes) + label.len() + clouds.len()) as u64;
        self.at = end.next_multiple_of(64);
        self.file.write_all(&[0; 64][..(self.at - end) as usize])?;
        Ok(offset)
    }

    /// Writes the index, brings all to the disk, and puts the file into place.
    pub fn finish(mut self, entries: &[Entry]) -> io::Result<()> {
        let index = serde_json::to_vec(entries)?;
        self.file.write_all(&index)?;
        self.file.write_all(&MAGIC)?;
        self.file.write_all(&self.at.to_ne_bytes())?;
        self.file.write_all(&(index.len() as u64).to_ne_bytes())?;
        self.file.write_all(blake3::hash(&index).as_bytes())?;
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(&self.target).map_err(|e| e.error)?;
        File::open(self.target.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(offset: u64, clouds: bool) -> Stored {
        Stored {
            side: 32,
            bands: vec![Band::Vv, Band::Vh],
            level: Some(Level::L1c),
            gsd: 10f64.to_bits(),
            epsg: 32633,
            place: [0.1f64.to_bits(); 6],
            date: NaiveDate::from_ymd_opt(2020, 1, 1).unwrap(),
            hour: Some(3),
            unlabelled: None,
            counts: Counts { clear: [1, 2, 3], cloudy: [4, 5, 6] },
            nonfinite: 4,
            pixels: Digest::of(b"pixels"),
            flat: false,
            water: Digest::of(b"water"),
            clouds: clouds.then(|| Digest::of(b"clouds")),
            warnings: Vec::new(),
            offset,
        }
    }

    fn write(target: &Path) -> Vec<Entry> {
        let mut writer = Writer::create(target).unwrap();
        let entries: Vec<Entry> = (0..3u8)
            .map(|i| {
                let clouds = [i + 10; 1024];
                let clouds = (i != 1).then_some(&clouds[..]);
                let offset = writer.push(&vec![f32::from(i) + 0.5; 2 * 1024], &[i; 1024], clouds).unwrap();
                let outcome = Outcome::Usable(Box::new(stored(offset, i != 1)));
                Entry { path: format!("{i}"), facts: String::new(), stats: vec![None], digests: vec![None], outcome }
            })
            .collect();
        writer.finish(&entries).unwrap();
        entries
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("sub/chips.cache");
        let entries = write(&target);
        let cache = Cache::open(&target).unwrap();
        assert_eq!(cache.entries, entries);
        for (i, entry) in (0u8..).zip(&cache.entries) {
            let Outcome::Usable(stored) = &entry.outcome else { panic!("it is usable") };
            assert!(cache.planes(stored).iter().all(|v| *v == f32::from(i) + 0.5));
            assert_eq!(cache.planes(stored).len(), 2 * 1024);
            assert_eq!(cache.label(stored), [i; 1024]);
            assert_eq!(cache.clouds(stored), (i != 1).then_some(&[i + 10; 1024][..]));
        }
        assert_eq!(fs::read_dir(target.parent().unwrap()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn counts_by_either_rule() {
        let counts = Counts::of(&[1, 1, 0, 255, 1, 0, 0, 255], Some(&[0, 0, 0, 0, 1, 2, 1, 2]));
        assert_eq!((counts.clear, counts.cloudy), ([2, 1, 1], [1, 2, 1]));
        assert_eq!((counts.after(Clouds::Ignore), counts.after(Clouds::ClayV0)), ([2, 1, 5], [2, 5, 1]));
        assert_eq!(Counts::of(&[1, 0, 255], None).after(Clouds::ClayV0), [1, 1, 1]);
    }

    #[test]
    fn torn_and_foreign_files_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("chips.cache");
        write(&target);
        let whole = fs::read(&target).unwrap();
        let mut other_magic = whole.clone();
        other_magic[15] = b'0';
        let mut other_index = whole.clone();
        let at = whole.len() - TAIL - 5;
        other_index[at] ^= 1;
        let mut other_length = whole.clone();
        other_length[whole.len() - TAIL + 24] ^= 1;
        let cut = whole[..whole.len() - 1].to_vec();
        let grown = [whole.clone(), vec![0]].concat();
        for bytes in [other_magic, other_index, other_length, cut, grown, Vec::new(), b"not a cache".to_vec()] {
            fs::write(&target, bytes).unwrap();
            assert!(Cache::open(&target).is_none());
        }
        fs::write(&target, whole).unwrap();
        assert!(Cache::open(&target).is_some());
        assert!(Cache::open(&folder.path().join("none")).is_none());
    }
}
