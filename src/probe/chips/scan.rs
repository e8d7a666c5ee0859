//! Which chips a folder holds, and what its `manifest.csv` says of them.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::domain::{Reason, Refusal};

use super::{ChipError, chip::Files};

/// How deep folders may be nested below the data folder.
const DEPTH: usize = 16;

/// A chip that was found.
#[derive(Clone, Debug)]
pub struct Found {
    pub files: Files,
    /// Relative to the data folder, with `/`.
    pub path: String,
    /// Its folder, relative to the data folder; for a chip right in the data folder, that folder's own name.
    pub event: String,
}

/// All chips below `root`, sorted by path: files named `*.tif` that are not labels.
///
/// # Errors
/// `no-data` where there is no such folder, `no-chips`, `unreadable`.
pub fn scan(root: &Path) -> Result<Vec<Found>, ChipError> {
    if !root.is_dir() {
        return Err(ChipError::new(Reason::NoData, format!("`{}` is not a folder", root.display()))
            .with_hint("set `probe.data` to the data set's folder"));
    }
    let own = fs::canonicalize(root).ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
    let mut found = Vec::new();
    walk(root, "", &own.unwrap_or_default(), DEPTH, &mut HashSet::new(), &mut found)?;
    if found.is_empty() {
        return Err(ChipError::new(Reason::NoChips, format!("no chips found in `{}`", root.display()))
            .with_hint("chips lie in `<folder>/<event>/<stem>_rtc.tif`"));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| a.files.paths[0].cmp(&b.files.paths[0])));
    Ok(found)
}

fn walk(
    folder: &Path,
    relative: &str,
    own: &str,
    depth: usize,
    seen: &mut HashSet<(u64, u64)>,
    found: &mut Vec<Found>,
) -> Result<(), ChipError> {
    let unreadable = |e: std::io::Error| ChipError::new(Reason::Unreadable, format!("`{}`: {e}", folder.display()));
    let identity = fs::metadata(folder).map_err(unreadable)?;
    // A link may lead back up.
    if depth == 0 || !seen.insert((identity.dev(), identity.ino())) {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let below = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
        if path.is_dir() {
            walk(&path, &below, own, depth - 1, seen, found)?;
        } else if is_chip(&name) {
            let event = if relative.is_empty() { own } else { relative }.to_owned();
            found.push(Found { files: Files::beside(&path, below.clone()), path: below, event });
        }
    }
    Ok(())
}

/// Whether a scan takes a file of that name for a chip.
pub fn is_chip(name: &str) -> bool {
    name.strip_suffix(".tif").is_some_and(|stem| !stem.ends_with("_LabelWater") && !stem.ends_with("_LabelCloud"))
}

/// The `split` column of `manifest.csv` by `file`; empty where there is no such file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Path relative to the data folder -> what its column `split` says.
    pub split: BTreeMap<String, String>,
}

impl Manifest {
    /// Reads `<root>/manifest.csv`.
    ///
    /// # Errors
    /// `manifest`: it has no column `file`, or a row is too short.
    pub fn read(root: &Path) -> Result<Self, ChipError> {
        let path = root.join("manifest.csv");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => {
                return Err(ChipError::new(Reason::Manifest, format!("`{}` cannot be read: {e}", path.display())));
            }
        };
        Self::parse(&text).map_err(|why| ChipError::new(Reason::Manifest, format!("`{}` {why}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
        let columns = lines.next().map(|(_, line)| fields(line)).unwrap_or_default();
        let column = |name: &str| columns.iter().position(|c| c.trim() == name);
        let file = column("file").ok_or("has no column `file`")?;
        let Some(split) = column("split") else {
            return Ok(Self::default());
        };
        let mut rows = BTreeMap::new();
        for (number, line) in lines {
            let row = fields(line);
            let (Some(file), Some(split)) = (row.get(file), row.get(split)) else {
                return Err(format!("has too few fields in line {}", number + 1));
            };
            let file = file.trim().trim_start_matches("./").to_owned();
            if rows.insert(file.clone(), split.trim().to_owned()).is_some() {
                return Err(format!("names `{file}` twice"));
            }
        }
        Ok(Self { split: rows })
    }

    /// What it names and the folder lacks, rows marked `test` aside. `found` is sorted by path.
    pub fn missing(&self, found: &[Found]) -> Vec<Refusal> {
        let gone = |path: &&String| found.binary_search_by(|chip| chip.path.cmp(path)).is_err();
        let rows = self.split.iter().filter(|(_, side)| *side != "test").map(|(path, _)| path);
        let refusal = |path: &String| Refusal {
            path: path.clone(),
            reason: Reason::Missing,
            message: format!("`{path}` is in `manifest.csv` and not in the folder"),
        };
        rows.filter(gone).map(refusal).collect()
    }

    /// Never to be read.
    pub fn held_out(&self, path: &str) -> bool {
        self.split.get(path).is_some_and(|s| s == "test")
    }
}

/// The fields of one line of CSV; quotes as in RFC 4180, without line breaks inside them.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        // There is always a last field: it starts with one and only grows.
        let last = fields.len() - 1;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                fields[last].push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields[last].push(c),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests() {
        let text = "\u{feff}file,event,split\r\n\"a, \"\"b\"\".tif\",e,train\r\n./c.tif,e,test\r\n\r\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.split.get("a, \"b\".tif").map(String::as_str), Some("train"));
        assert!(manifest.held_out("c.tif") && !manifest.held_out("a"));
        assert!(Manifest::parse("event\nx\n").unwrap_err().contains("`file`"));
        assert!(Manifest::parse("file,split\na.tif\n").unwrap_err().contains("line 2"));
        assert!(Manifest::parse("file,split\na,train\na,test\n").unwrap_err().contains("twice"));
        assert!(Manifest::parse("file\na\n").unwrap().split.is_empty());
    }

    #[test]
    fn folders_and_links() {
        let root = tempfile::tempdir().unwrap();
        let event = root.path().join("deep/er ö");
        fs::create_dir_all(&event).unwrap();
        for name in ["b_rtc.tif", "a_rtc.tif", "a_rtc_LabelWater.tif", "a_rtc_LabelCloud.tif", "._a_rtc.tif", "c.tiff"]
        {
            fs::write(event.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(root.path(), event.join("up")).unwrap();
        let found = scan(root.path()).unwrap();
        let paths: Vec<&str> = found.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["deep/er ö/a_rtc.tif", "deep/er ö/b_rtc.tif"]);
        assert_eq!(found[0].event, "deep/er ö");
        assert_eq!(scan(&event).unwrap()[0].event, "er ö");
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(scan(empty.path()).unwrap_err().reason, Reason::NoChips);
        assert_eq!(scan(&empty.path().join("no")).unwrap_err().reason, Reason::NoData);
    }
}
