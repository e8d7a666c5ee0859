//! Folders of a person's own.

use std::path::PathBuf;

/// Where decoded chips are kept: `$XDG_CACHE_HOME/clay-probe`, else `~/.cache/clay-probe`, else the temporary folder.
pub fn cache_folder() -> PathBuf {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("clay-probe")
}
