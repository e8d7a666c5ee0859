//! Where posted paths may lie, and what they are called here.

use std::path::{Component, Path, PathBuf};

use crate::{
    config,
    domain::RunName,
    error::{Error, Result},
};

/// Watched directories, roots and the path map, made absolute once.
#[derive(Clone, Debug)]
pub struct Roots {
    dirs: Vec<PathBuf>,
    roots: Vec<PathBuf>,
    /// Longest prefix first.
    map: Vec<(PathBuf, PathBuf)>,
}

impl Roots {
    /// From the configuration; a directory that is not there yet is taken as it is written.
    pub fn new(config: &config::Intake) -> Result<Self> {
        let absolute = |path: &PathBuf| std::path::absolute(path).map_err(Error::io(path));
        let dirs = config.dirs.iter().map(absolute).collect::<Result<Vec<_>>>()?;
        let roots = config.roots.iter().map(absolute).collect::<Result<Vec<_>>>()?;
        let mut map: Vec<_> = config.path_map.iter().map(|(from, to)| (PathBuf::from(from), to.clone())).collect();
        map.sort_by_key(|(from, _)| std::cmp::Reverse(from.components().count()));
        Ok(Self { roots: if roots.is_empty() { dirs.clone() } else { roots }, dirs, map })
    }

    /// The watched directories.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The file a posted path means here: mapped, looked up below the roots when relative, after symlinks, under a root.
    ///
    /// # Errors
    /// [`Error::OutsideRoots`], and [`Error::Invalid`] for a path with `..`.
    pub fn resolve(&self, posted: &str) -> Result<PathBuf> {
        let path = Path::new(posted);
        if posted.is_empty() || posted.contains('\0') || path.components().any(|c| c == Component::ParentDir) {
            return Err(Error::invalid(format!("`path` is `{posted}`: give a path without `..`")));
        }
        let mapped = self
            .map
            .iter()
            .find_map(|(from, to)| path.strip_prefix(from).ok().map(|rest| to.join(rest)))
            .unwrap_or_else(|| path.to_path_buf());
        let candidates =
            if mapped.is_absolute() { vec![mapped] } else { self.roots.iter().map(|r| r.join(&mapped)).collect() };
        let there = candidates.iter().find(|c| c.exists()).or(candidates.first());
        let real = after_symlinks(there.ok_or_else(|| self.outside(Path::new(posted)))?);
        let inside = self.roots.iter().any(|root| real.starts_with(after_symlinks(root)));
        if inside { Ok(real) } else { Err(self.outside(&real)) }
    }

    /// The run of a file that was posted without one, or found: its folder relative to the watched directory.
    pub fn run_of(&self, path: &Path) -> RunName {
        let folder = path.parent().unwrap_or(path);
        let below = |dir: &PathBuf| folder.strip_prefix(after_symlinks(dir)).ok().map(Path::to_path_buf);
        let relative = self.dirs.iter().chain(&self.roots).filter_map(below).min_by_key(|r| r.components().count());
        relative.and_then(|r| run_of_folder(&r)).unwrap_or_else(RunName::default_run)
    }

    fn outside(&self, path: &Path) -> Error {
        let roots = self.roots.iter().map(|r| format!("`{}`", r.display())).collect::<Vec<_>>().join(", ");
        Error::OutsideRoots { path: path.to_path_buf(), roots }
    }
}

/// The run named by a folder below a watched directory; characters that no run may have become `_`.
fn run_of_folder(relative: &Path) -> Option<RunName> {
    let name: String = relative
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_alphanumeric() || "_-./ ".contains(c) { c } else { '_' })
        .take(128)
        .collect();
    name.replace("..", "_").parse().ok()
}

/// A path after symlinks, as far as it exists.
fn after_symlinks(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    // A dangling link leads somewhere too: follow it by hand, so that it cannot lead out of the roots.
    if let Ok(target) = std::fs::read_link(path) {
        let folder = path.parent().unwrap_or(Path::new("/"));
        return lexical(&after_symlinks(folder).join(target));
    }
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => after_symlinks(folder).join(name),
        _ => path.to_path_buf(),
    }
}

/// Removes `.` and `..` by the text alone.
fn lexical(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn roots(dir: &Path, map: &[(&str, PathBuf)]) -> Roots {
        let mut config = crate::config::Config::load(None, &[]).unwrap().intake;
        config.dirs = vec![dir.to_path_buf()];
        config.path_map = map.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        Roots::new(&config).unwrap()
    }

    #[test]
    fn inside_and_outside() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().canonicalize().unwrap().join("ckpt");
        fs::create_dir_all(root.join("runA/v1")).unwrap();
        fs::write(root.join("runA/v1/a.ckpt"), "x").unwrap();
        fs::write(outer.path().join("secret.ckpt"), "x").unwrap();
        std::os::unix::fs::symlink("../secret.ckpt", root.join("link.ckpt")).unwrap();
        std::os::unix::fs::symlink("../not-yet.ckpt", root.join("dangling.ckpt")).unwrap();
        let p = roots(&root, &[("/trainer", root.clone()), ("/trainer/deep", root.join("runA"))]);
        let file = root.join("runA/v1/a.ckpt");
        assert_eq!(p.resolve(file.to_str().unwrap()).unwrap(), file);
        assert_eq!(p.resolve("runA/v1/a.ckpt").unwrap(), file);
        assert_eq!(p.resolve("/trainer/deep/v1/a.ckpt").unwrap(), file);
        assert_eq!(p.resolve("later.ckpt").unwrap(), root.join("later.ckpt"));
        for bad in ["/etc/passwd", "link.ckpt", "dangling.ckpt"] {
            assert!(matches!(p.resolve(bad), Err(Error::OutsideRoots { .. })), "{bad}");
        }
        for bad in ["../secret.ckpt", ""] {
            assert!(matches!(p.resolve(bad), Err(Error::Invalid(_))), "{bad}");
        }
        assert_eq!(p.run_of(&file).as_str(), "runA/v1");
        assert_eq!(p.run_of(&root.join("x.ckpt")).as_str(), "default");
    }
}
