//! The features of a data set's chips: each chip encoded once, and kept on disk by content.
//!
//! `<caches>/embeddings/<weights>-<preparation>/<chip>.f32`: another head, another seed, a retry or a run that was
//! killed finds there what was encoded before, and encodes the rest alone. All three names are digests, so nothing that
//! lies there can be out of date.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use candle_core::{Device, Tensor};
use tempfile::NamedTempFile;

use super::{
    ProbeError,
    chips::{Dataset, RawChip},
    encoder::Encoder,
    seed::in_batches,
};
use crate::domain::{Digest, Progress, Stage};

// B chips, h×w patches of a chip, C channels of its features.

/// The last digit is the version: raise it when the same content would be written in another way. The byte order of the
/// machine is part of it, for floats are written as they are in memory.
const MAGIC: [u8; 16] = if cfg!(target_endian = "little") { *b"clay-probe feat1" } else { *b"clay-probe FEAT1" };
/// Magic, rows, channels, blake3 of the values.
const HEAD: usize = 16 + 8 + 8 + 32;

/// The features of every chip of a data set.
pub struct Features {
    /// `[h*w, C]` row by row, in the order of the data set's chips, on the device.
    pub chips: Vec<Tensor>,
    /// Chips that went through the encoder in this call; the others were kept from before.
    pub encoded: u64,
}

/// Gives every chip's features: those that are kept are read, the others are encoded and kept, chip by chip.
///
/// `load` is called only where a chip has to be encoded.
///
/// # Errors
/// `not-finite` where an embedding is not finite; that of `load`; that of the encoder.
pub fn features(
    dataset: &Dataset,
    cache: &mut FeatureCache,
    device: &Device,
    pool: &rayon::ThreadPool,
    load: impl FnOnce() -> Result<Box<dyn Encoder>, ProbeError>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Features, ProbeError> {
    let total = dataset.chips().len();
    let mut chips: Vec<Option<Tensor>> = Vec::with_capacity(total);
    for i in 0..total {
        let kept = cache.read(dataset.content(i));
        chips.push(kept.map(|(values, shape)| Tensor::from_vec(values, shape, device)).transpose()?);
    }
    let rest: Vec<usize> = (0..total).filter(|&i| chips[i].is_none()).collect();
    let mut tell = |done: usize| progress(Progress { stage: Stage::Embed, done: done as u64, total: total as u64 });
    tell(total - rest.len());
    if !rest.is_empty() {
        let encoder = load()?;
        let sides: Vec<u32> = dataset.chips().iter().map(|chip| chip.side).collect();
        let mut done = total - rest.len();
        for batch in passes(&rest, &sides, |side| encoder.chips_per_pass(side)) {
            let raw: Vec<RawChip> = batch.iter().map(|&i| dataset.raw(i)).collect();
            let encoded = pool.install(|| encoder.features(&raw))?; // [B, h*w, C]
            for (row, &i) in batch.iter().enumerate() {
                let rows = encoded.get(row)?; // [h*w, C]
                let values: Vec<f32> = rows.flatten_all()?.to_vec1()?;
                if values.iter().any(|v| !v.is_finite()) {
                    let path = &dataset.chips()[i].path;
                    return Err(ProbeError::NotFinite(format!("the embedding of `{path}` is not finite")));
                }
                cache.keep(dataset.content(i), rows.dims2()?, &values);
                // A copy of its own: a view would hold the whole pass.
                chips[i] = Some(Tensor::from_vec(values, rows.dims2()?, device)?);
            }
            done += batch.len();
            tell(done);
        }
    }
    Ok(Features { chips: chips.into_iter().flatten().collect(), encoded: rest.len() as u64 })
}

/// Chips in passes of one size each.
fn passes(chips: &[usize], sides: &[u32], per_pass: impl Fn(usize) -> usize) -> Vec<Vec<usize>> {
    let mut sizes: Vec<u32> = chips.iter().map(|&i| sides[i]).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let of_size = |side: u32| {
        let chips: Vec<usize> = chips.iter().copied().filter(|&i| sides[i] == side).collect();
        in_batches(&chips, sides, per_pass(side as usize))
    };
    sizes.into_iter().flat_map(of_size).collect()
}

/// What is kept of one encoder under one preparation.
#[derive(Debug)]
pub struct FeatureCache {
    /// All that is kept, of any encoder.
    all: PathBuf,
    own: PathBuf,
    /// The most bytes that all may take.
    most: u64,
    /// What all take; counted when something is first written.
    taken: Option<u64>,
}

impl FeatureCache {
    /// In the folder `caches`, which need not be there yet.
    pub fn new(caches: &Path, weights: Digest, preparation: Digest, most: u64) -> Self {
        let all = caches.join("embeddings");
        let own = all.join(format!("{weights}-{preparation}"));
        Self { all, own, most, taken: None }
    }

    fn file(&self, chip: Digest) -> PathBuf {
        self.own.join(format!("{chip}.f32"))
    }

    /// Values and shape `[h*w, C]` of a chip; `None` for what is not there, torn, or of another version.
    fn read(&self, chip: Digest) -> Option<(Vec<f32>, (usize, usize))> {
        let bytes = fs::read(self.file(chip)).ok()?;
        let (head, data) = bytes.split_at_checked(HEAD)?;
        let number = |at: usize| usize::try_from(u64::from_ne_bytes(head.get(at..at + 8)?.try_into().ok()?)).ok();
        let (rows, channels) = (number(16)?, number(24)?);
        let size = rows.checked_mul(channels)?.checked_mul(size_of::<f32>())?;
        let sound = head.starts_with(&MAGIC) && data.len() == size && head[32..] == *blake3::hash(data).as_bytes();
        let value = |b: &[u8]| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
        sound.then(|| (data.chunks_exact(4).map(value).collect(), (rows, channels)))
    }

    /// Keeps a chip's features where there is room for them. Without room, or on a disk that fails, they are encoded
    /// again the next time: no probe fails for it.
    fn keep(&mut self, chip: Digest, shape: (usize, usize), values: &[f32]) {
        let size = (HEAD + size_of_val(values)) as u64;
        if !self.make_room(size) {
            return;
        }
        match self.write(chip, shape, values) {
            Ok(()) => self.taken = self.taken.map(|taken| taken + size),
            Err(error) => {
                tracing::warn!(%error, folder = %self.own.display(), "features are not kept, and will be encoded again");
                self.most = 0;
            }
        }
    }

    fn write(&self, chip: Digest, (rows, channels): (usize, usize), values: &[f32]) -> io::Result<()> {
        fs::create_dir_all(&self.own)?;
        let data: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
        // Renamed into place when whole: a worker may be killed at any time.
        let mut file = NamedTempFile::with_prefix_in(".part-", &self.own)?;
        file.write_all(&MAGIC)?;
        file.write_all(&(rows as u64).to_ne_bytes())?;
        file.write_all(&(channels as u64).to_ne_bytes())?;
        file.write_all(blake3::hash(&data).as_bytes())?;
        file.write_all(&data)?;
        file.persist(self.file(chip)).map(drop).map_err(|e| e.error)
    }

    /// Whether so many more bytes fit, once the oldest features of other encoders have gone.
    fn make_room(&mut self, size: u64) -> bool {
        if self.most < size {
            return false;
        }
        let taken = match self.taken {
            Some(taken) => taken,
            None => files_below(&self.all).iter().map(|file| file.size).sum(),
        };
        let mut over = (taken + size).saturating_sub(self.most);
        let mut gone = 0;
        if over > 0 {
            let mut others = files_below(&self.all);
            others.retain(|file| !file.path.starts_with(&self.own));
            others.sort_by_key(|file| file.changed);
            for file in others {
                if over == 0 {
                    break;
                }
                if fs::remove_file(&file.path).is_ok() {
                    over = over.saturating_sub(file.size);
                    gone += file.size;
                }
            }
        }
        self.taken = Some(taken.saturating_sub(gone));
        over == 0
    }
}

struct Kept {
    path: PathBuf,
    size: u64,
    changed: SystemTime,
}

/// The files two levels down; what cannot be looked at is not counted.
fn files_below(folder: &Path) -> Vec<Kept> {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let kept = |path: PathBuf| {
        let meta = File::open(&path).and_then(|file| file.metadata()).ok()?;
        meta.is_file().then(|| Kept {
            size: meta.len(),
            changed: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            path,
        })
    };
    entries(folder).flat_map(|below| entries(&below).collect::<Vec<_>>()).filter_map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(i: u8) -> Digest {
        Digest::of(&[i])
    }

    #[test]
    fn what_is_kept_is_read_and_what_is_torn_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut cache = FeatureCache::new(dir.path(), digest(0), digest(1), u64::MAX);
        assert!(cache.read(digest(2)).is_none());
        let values = [1.5f32, -2.0, f32::MIN_POSITIVE, 0.0, 5.0, 6.0];
        cache.keep(digest(2), (3, 2), &values);
        assert_eq!(cache.read(digest(2)).unwrap(), (values.to_vec(), (3, 2)));
        let other = FeatureCache::new(dir.path(), digest(0), digest(9), u64::MAX);
        assert!(other.read(digest(2)).is_none(), "another preparation");
        let whole = fs::read(cache.file(digest(2))).unwrap();
        for (at, bytes) in [(0, &whole[..HEAD]), (1, &whole[..whole.len() - 1]), (2, &[])] {
            fs::write(cache.file(digest(2)), bytes).unwrap();
            assert!(cache.read(digest(2)).is_none(), "{at}");
        }
        for at in [15, 16, 40, HEAD + 3] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(cache.file(digest(2)), bytes).unwrap();
            assert!(cache.read(digest(2)).is_none(), "byte {at}");
        }
        assert_eq!(fs::read_dir(&cache.own).unwrap().count(), 1, "nothing half written is left");
    }

    #[test]
    fn the_oldest_of_other_encoders_go_first_and_what_does_not_fit_is_not_kept() {
        let dir = tempfile::tempdir().unwrap();
        let size = (HEAD + 4 * 4) as u64;
        let values = [0.0; 4];
        let mut old = FeatureCache::new(dir.path(), digest(0), digest(1), u64::MAX);
        old.keep(digest(2), (2, 2), &values);
        let past = SystemTime::now() - std::time::Duration::from_secs(60);
        File::open(old.file(digest(2))).unwrap().set_modified(past).unwrap();
        old.keep(digest(3), (2, 2), &values);
        let mut new = FeatureCache::new(dir.path(), digest(8), digest(1), 2 * size);
        new.keep(digest(4), (2, 2), &values);
        assert!(old.read(digest(2)).is_none() && old.read(digest(3)).is_some(), "the oldest went");
        new.keep(digest(5), (2, 2), &values);
        new.keep(digest(6), (2, 2), &values);
        assert!(old.read(digest(3)).is_none());
        let own: Vec<bool> = (4..7).map(|i| new.read(digest(i)).is_some()).collect();
        assert_eq!(own, [true, true, false], "its own stay");
        FeatureCache::new(dir.path(), digest(7), digest(1), size - 1).keep(digest(4), (2, 2), &values);
        assert!(new.read(digest(4)).is_some());
    }

    #[test]
    fn passes_hold_one_size() {
        let sides = [224, 64, 512, 64];
        assert_eq!(passes(&[0, 1, 2, 3], &sides, |side| 1024 / side), [vec![1, 3], vec![0], vec![2]]);
        let sizes: Vec<usize> = passes(&(0..20).collect::<Vec<_>>(), &[224; 20], |_| 6).iter().map(Vec::len).collect();
        assert_eq!(sizes, [6, 6, 6, 2]);
    }
}
