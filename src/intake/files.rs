//! Which files there are, by their names and times alone; their content is never opened here.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::domain::{Epoch, Identity};

/// How deep below a watched directory files are looked for.
const MAX_DEPTH: usize = 8;

/// A checkpoint file in a watched directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Absolute, after symlinks.
    pub path: PathBuf,
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
    identity(&fs::metadata(path)?).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file"))
}

/// `None`: not a file.
fn identity(meta: &fs::Metadata) -> Option<Identity> {
    let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
    meta.is_file().then(|| Identity {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
    })
}

/// A path as text, by which it is kept; one that is not UTF-8 is written with `\xNN`, and cannot be read back.
pub fn text_of(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => path.as_os_str().as_encoded_bytes().escape_ascii().to_string(),
    }
}

/// All checkpoint files below `dir`, in the order of the training as far as names and times tell it; a file that
/// several links lead to is listed once. What cannot be read now (a dangling link, a folder just removed) is left out.
pub fn list(dir: &Path) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    let mut open = vec![(dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf()), 0)];
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if depth < MAX_DEPTH {
                    open.push((entry.path(), depth + 1));
                }
                continue;
            }
            if !is_checkpoint_name(Path::new(&entry.file_name())) {
                continue;
            }
            // Of a plain file one look relative to its open folder is enough; only links are followed by their path.
            let path = entry.path();
            let seen = if kind.is_symlink() {
                path.canonicalize().and_then(|path| Ok((identity_of(&path)?, path)))
            } else {
                entry.metadata().and_then(|meta| Ok((identity(&meta).ok_or(io::ErrorKind::InvalidInput)?, path)))
            };
            found.extend(seen.into_iter().map(|(identity, path)| Found { path, identity }));
        }
    }
    found.sort_by_cached_key(|f| training_order(&f.path, f.identity.mtime_ns));
    found.dedup_by(|a, b| a.path == b.path);
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
        assert!(found[0].path.ends_with("runA/epoch=2.ckpt") && found[0].identity.size == 17);
    }

    #[test]
    fn names_that_are_not_utf8_are_kept_apart() {
        use std::os::unix::ffi::OsStrExt;
        let text = |bytes: &[u8]| text_of(Path::new(std::ffi::OsStr::from_bytes(bytes)));
        assert_eq!(text("\u{e9}.ckpt".as_bytes()), "\u{e9}.ckpt");
        assert_eq!(text(b"a\xff.ckpt"), r"a\xff.ckpt");
        assert_ne!(text(b"a\xff.ckpt"), text(b"a\xfe.ckpt"));
    }
}
