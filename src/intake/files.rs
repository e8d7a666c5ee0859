//! Which files there are, by their names and times alone; their content is never opened here.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::{domain::Epoch, store::Identity};

/// How deep below a watched directory files are looked for.
const MAX_DEPTH: usize = 8;

/// A checkpoint file in a watched directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Absolute, after symlinks.
    pub path: PathBuf,
    /// The folder it was found in, relative to the watched directory; empty at its top.
    pub folder: PathBuf,
    pub identity: Identity,
}

/// Whether a file of that name is taken for a checkpoint.
pub fn is_checkpoint_name(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
    let known = path
        .extension()
        .is_some_and(|e| ["ckpt", "pt", "pth", "safetensors"].iter().any(|k| e.eq_ignore_ascii_case(k)));
    known && !hidden
}

/// What tells this version of a file from another.
pub fn identity_of(path: &Path) -> io::Result<Identity> {
    let meta = fs::metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    // Device and inode numbers use all 64 bits on some file systems; only equality matters.
    Ok(Identity {
        device: meta.dev().cast_signed(),
        inode: meta.ino().cast_signed(),
        size: meta.size().cast_signed(),
        mtime_ns: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
        ctime_ns: meta.ctime().saturating_mul(1_000_000_000).saturating_add(meta.ctime_nsec()),
    })
}

/// All checkpoint files below `dir`, in the order of the training as far as names and times tell it; a file that
/// several links lead to is listed once. What cannot be read now (a dangling link, a folder just removed) is left out.
pub fn list(dir: &Path) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut open = vec![(dir.to_path_buf(), PathBuf::new(), 0)];
    while let Some((folder, relative, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if depth < MAX_DEPTH {
                    open.push((entry.path(), relative.join(entry.file_name()), depth + 1));
                }
                continue;
            }
            let path = entry.path();
            if !is_checkpoint_name(&path) {
                continue;
            }
            let (Ok(path), Ok(identity)) = (path.canonicalize(), identity_of(&path)) else { continue };
            found.push(Found { path, folder: relative.clone(), identity });
        }
    }
    found.sort_by_cached_key(|f| (training_order(&f.path, f.identity.mtime_ns), f.folder.components().count()));
    let mut seen = std::collections::HashSet::new();
    found.retain(|f| seen.insert(f.path.clone()));
    found
}

/// Sorts files of one scan as the trainer wrote them: by the epoch in the name, then by time.
pub fn training_order(path: &Path, mtime_ns: i64) -> (Option<Epoch>, i64, PathBuf) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (Epoch::from_file_name(&name), mtime_ns, path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(is_checkpoint_name(Path::new("/x/last.ckpt")));
        assert!(is_checkpoint_name(Path::new("a.SafeTensors")));
        assert!(!is_checkpoint_name(Path::new(".tmp-1.ckpt")));
        assert!(!is_checkpoint_name(Path::new("events.out.tfevents")));
    }

    #[test]
    fn listing_follows_links_once_and_sorts_by_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("runA")).unwrap();
        for name in ["mae_epoch-10_x.ckpt", "mae_epoch-09_x.ckpt", "runA/epoch=2.ckpt", "notes.txt"] {
            fs::write(at(name), name).unwrap();
        }
        std::os::unix::fs::symlink("mae_epoch-10_x.ckpt", at("last.ckpt")).unwrap();
        std::os::unix::fs::symlink("gone.ckpt", at("dangling.ckpt")).unwrap();
        let found = list(dir.path());
        let names: Vec<_> = found.iter().map(|f| f.path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names, ["epoch=2.ckpt", "mae_epoch-09_x.ckpt", "mae_epoch-10_x.ckpt"]);
        assert_eq!(found[0].folder, Path::new("runA"));
    }
}
