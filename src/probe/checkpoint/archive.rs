//! The ZIP around a checkpoint: its directory, and entries read with their CRC checked.

use std::{
    collections::{BTreeMap, HashSet},
    io::{BufReader, Read},
    ops::Range,
};

use zip::{CompressionMethod, ZipArchive};

use super::{
    error::{CheckpointError, Result},
    file::TrainerFile,
};
use crate::domain::Reason;

/// More entries than any checkpoint has (a full one of the large model: about 1,500).
const MAX_ENTRIES: u64 = 100_000;
/// More than any `data.pkl` needs (a full checkpoint of the large model: about 300 kB).
const MAX_PICKLE: u64 = 32 << 20;
/// How much of an entry is read at once.
const CHUNK: usize = 1 << 20;
/// How much is fetched at once around the heads of entries: little, as their neighbours are often not ours to read.
const AROUND: usize = 1 << 9;

/// One entry of the directory.
#[derive(Clone, Debug)]
struct Entry {
    index: usize,
    size: u64,
    crc: u32,
}

/// A checkpoint's ZIP archive, over one descriptor.
pub(in crate::probe) struct Archive {
    file: TrainerFile,
    zip: ZipArchive<BufReader<TrainerFile>>,
    /// `archive/`, or the stem of the file with a slash.
    top: String,
    entries: BTreeMap<String, Entry>,
    /// Entries whose CRC was found right, with the position of their first byte: read directly from then on.
    proven: BTreeMap<usize, u64>,
    chunk: Vec<u8>,
}

impl Archive {
    /// Reads the directory; a damaged one is `truncated`, one without `data.pkl` is `not-a-checkpoint`.
    pub fn open(file: TrainerFile) -> Result<Self> {
        let path = file.path().to_owned();
        let torn = |what: &str| {
            let what = format!("is not a whole ZIP archive: {what}");
            CheckpointError::later(Reason::Truncated, &path, what).half_written()
        };
        let refuse = |what: String| CheckpointError::refuse(Reason::NotACheckpoint, &path, what);
        let declared = declared_entries(&file)?.ok_or_else(|| torn("it has no end record"))?;
        if declared > MAX_ENTRIES {
            return Err(refuse(format!("declares {declared} ZIP entries; a checkpoint has at most {MAX_ENTRIES}")));
        }
        let zip = ZipArchive::new(BufReader::with_capacity(AROUND, file.clone())).map_err(|e| torn(&e.to_string()))?;
        if zip.has_duplicate_names() {
            return Err(refuse("holds two ZIP entries of the same name".into()));
        }
        let mut entries = BTreeMap::new();
        let mut named = HashSet::new();
        for index in 0..zip.len() {
            let entry = zip.by_index_data(index).map_err(|e| torn(&e.to_string()))?;
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
                let what = format!("holds the compressed or encrypted ZIP entry `{}`", name.escape_debug());
                return Err(refuse(what).with_hint("PyTorch stores entries as they are"));
            }
            if entry.compressed_size() != entry.size() || entry.size() > file.size() {
                return Err(torn(&format!("entry `{}` is larger than the file", name.escape_debug())));
            }
            if !named.insert(name.clone()) {
                return Err(refuse(format!("holds two ZIP entries `{}`", name.escape_debug())));
            }
            entries.insert(name, Entry { index, size: entry.size(), crc: entry.crc32() });
        }
        let mut tops = entries.keys().filter_map(|name| name.strip_suffix("data.pkl")).filter(|t| t.ends_with('/'));
        let Some(top) = tops.next().map(str::to_owned) else {
            return Err(refuse("is a ZIP archive without `data.pkl`: nothing that `torch.save` wrote".into()));
        };
        if tops.next().is_some() {
            return Err(refuse("is a ZIP archive with more than one `data.pkl`".into()));
        }
        Ok(Self { file, zip, top, entries, proven: BTreeMap::new(), chunk: Vec::new() })
    }

    pub fn file(&self) -> &TrainerFile {
        &self.file
    }

    /// The pickle, whole, CRC checked.
    pub fn pickle(&mut self) -> Result<Vec<u8>> {
        let size = self.size("data.pkl").unwrap_or(0);
        if size > MAX_PICKLE {
            let what = format!("has a `data.pkl` of {size} bytes; at most {MAX_PICKLE} are read");
            return Err(CheckpointError::refuse(Reason::BadPickle, self.file.path(), what));
        }
        let mut bytes = Vec::new();
        self.read("data.pkl", 0..size, &mut bytes)?;
        Ok(bytes)
    }

    /// Bytes of the entry `name` below the top folder.
    pub fn size(&self, name: &str) -> Option<u64> {
        Some(self.entries.get(&format!("{}{name}", self.top))?.size)
    }

    /// Whether the optional entry `byteorder` says big-endian.
    pub fn is_big_endian(&mut self) -> Result<bool> {
        let mut text = Vec::new();
        match self.size("byteorder") {
            Some(size @ 1..=16) => self.read("byteorder", 0..size, &mut text)?,
            _ => return Ok(false),
        }
        Ok(text.starts_with(b"big"))
    }

    /// Replaces `into` by the bytes `range` of an entry. The first read of an entry goes through all of it, for
    /// its CRC; the range lies within the entry, whose size is at most the file's.
    pub fn read(&mut self, name: &str, range: Range<u64>, into: &mut Vec<u8>) -> Result<()> {
        into.clear();
        let entry = self.entries.get(&format!("{}{name}", self.top)).cloned();
        let Some(entry) = entry.filter(|e| range.start <= range.end && range.end <= e.size) else {
            let what = format!("lacks bytes of the ZIP entry `{}`", name.escape_debug());
            return Err(CheckpointError::later(Reason::Truncated, self.file.path(), what));
        };
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        if let Some(start) = self.proven.get(&entry.index) {
            into.resize(len, 0);
            return self.file.read_exact_at(into, start + range.start);
        }
        into.reserve_exact(len);
        let start = self.read_whole(&entry, name, &range, into)?;
        self.proven.insert(entry.index, start);
        Ok(())
    }

    /// Reads an entry to its end, keeping `range`; returns where its data starts in the file.
    fn read_whole(&mut self, entry: &Entry, name: &str, range: &Range<u64>, into: &mut Vec<u8>) -> Result<u64> {
        let path = self.file.path();
        let broken = |e: &dyn std::fmt::Display| {
            let what = format!("has a damaged ZIP entry `{}`: {e}", name.escape_debug());
            CheckpointError::later(Reason::Truncated, path, what)
        };
        self.chunk.resize(CHUNK, 0);
        let mut reader = self.zip.by_index(entry.index).map_err(|e| broken(&e))?;
        let start = reader.data_start().ok_or_else(|| broken(&"it has no data"))?;
        let mut at = 0;
        loop {
            let read = match reader.read(&mut self.chunk) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                // The reader checks the CRC where the entry ends.
                Err(e) if e.kind() == std::io::ErrorKind::InvalidData && at == entry.size => {
                    let what =
                        format!("has wrong bytes: the CRC of its ZIP entry `{}` does not match", name.escape_debug());
                    return Err(CheckpointError::later(Reason::Checksum, path, what));
                }
                Err(e) if e.kind() == std::io::ErrorKind::InvalidData => return Err(broken(&"it ends too early")),
                Err(e) => return Err(CheckpointError::io(path, &e)),
            };
            let (from, to) = (range.start.max(at), range.end.min(at + read as u64));
            if from < to {
                into.extend_from_slice(&self.chunk[(from - at) as usize..(to - at) as usize]);
            }
            at += read as u64;
        }
        if at == entry.size { Ok(start) } else { Err(broken(&"it ends too early")) }
    }

    /// blake3 of the file's size, its directory (names, sizes, CRCs) and the pickle.
    pub fn digest(&mut self) -> Result<blake3::Hash> {
        let pickle = self.pickle()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"clay-probe file zip 1");
        hasher.update(&self.file.size().to_le_bytes());
        for (name, entry) in &self.entries {
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hasher.update(&entry.size.to_le_bytes());
            hasher.update(&entry.crc.to_le_bytes());
        }
        hasher.update(&pickle);
        Ok(hasher.finalize())
    }
}

/// The largest number of entries that an end record in the file's tail declares; none without an end record.
///
/// Looked at before the `zip` crate, which sets memory aside for as many entries as are declared.
fn declared_entries(file: &TrainerFile) -> Result<Option<u64>> {
    const RECORD: usize = 22; // the end record without its comment
    const LOCATOR: usize = 20; // of the ZIP64 end record, right before it
    let len = file.size().min((RECORD + LOCATOR + usize::from(u16::MAX)) as u64);
    let mut tail = vec![0; len as usize];
    file.read_exact_at(&mut tail, file.size() - len)?;
    let mut most = None;
    for at in (0..(tail.len() + 1).saturating_sub(RECORD)).filter(|&at| tail[at..].starts_with(b"PK\x05\x06")) {
        most = most.max(Some(u64::from(u16::from_le_bytes([tail[at + 10], tail[at + 11]]))));
        let locator = at.checked_sub(LOCATOR).map(|from| &tail[from..at]);
        if let Some(&[b'P', b'K', 6, 7, _, _, _, _, a, b, c, d, e, f, g, h, ..]) = locator {
            let place = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
            if place.checked_add(40).is_none_or(|end| end > file.size()) {
                return Ok(None);
            }
            let mut record = [0; 40];
            file.read_exact_at(&mut record, place)?;
            let [b'P', b'K', 6, 6, .., a, b, c, d, e, f, g, h] = record else { return Ok(None) };
            most = most.max(Some(u64::from_le_bytes([a, b, c, d, e, f, g, h])));
        }
    }
    Ok(most)
}
