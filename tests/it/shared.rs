//! What is too large for the repository: the folder `$CLAY_PROBE_SHARED`.
//!
//! A test that reads it is named `shared_…` and ignored with the reason `reads $CLAY_PROBE_SHARED`, so that it never
//! passes by skipping; `.ci/run` runs them where the variable is set: `cargo test -- --ignored shared_`.

use std::path::{Path, PathBuf};

/// A file or folder below the shared folder.
pub fn shared(path: &str) -> PathBuf {
    let folder = std::env::var_os("CLAY_PROBE_SHARED").expect("`CLAY_PROBE_SHARED` is set to the shared folder");
    Path::new(&folder).join(path)
}

/// The only checkpoint of a folder.
pub fn checkpoint_in(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    files.map(|file| file.unwrap().path()).find(|path| path.extension().is_some_and(|e| e == "ckpt")).unwrap()
}
