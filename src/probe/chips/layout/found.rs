//! What a layout lists: chips by their files, of which nothing was opened yet, and the events they are of.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use chrono::NaiveDate;

use crate::{
    domain::{Level, Reason},
    probe::chips::{ChipError, crop::Crop},
};

/// A chip that was found; nothing of it was opened.
#[derive(Clone, Debug)]
pub struct Found {
    /// `Ghana_53713`, `<uuid>/<position>`, or the cube's path.
    pub id: String,
    /// Unique in the data set, with `/`: the cube's file relative to the data folder; elsewhere the id. `manifest.csv`
    /// and the API call it so.
    pub path: String,
    /// What its image is called where it is from: the cube's stem, elsewhere the id.
    pub source: String,
    /// `None`: see [`events`].
    pub event: Option<String>,
    /// Never to be opened.
    pub held_out: bool,
    /// The part of it that this is; `None`: all.
    pub crop: Option<Crop>,
    pub files: Vec<ChipFile>,
    /// What is known of it from outside of its files, part of the chip's content.
    pub facts: Facts,
}

/// One file of a chip.
#[derive(Clone, Debug)]
pub struct ChipFile {
    pub path: PathBuf,
    /// As messages call it: relative to the data folder.
    pub name: String,
    pub role: Role,
    /// A chip is whole without it.
    pub optional: bool,
}

/// What a file of a chip holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Bands.
    Bands,
    /// The water label.
    Water,
    /// The cloud label.
    Clouds,
}

/// What a layout knows of a chip from names and from files about the whole set; its `Debug` text is part of the digest
/// of the chip's content.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub date: Option<NaiveDate>,
    /// Hour of the day (UTC) of the radar image.
    pub hour: Option<u32>,
    pub level: Option<Level>,
    /// Why the chip cannot be used, as far as that is known without opening it.
    pub problem: Option<ChipError>,
}

/// What the files of one chip hold, one entry per file; `None` where there is no such file, or it was not wanted.
pub type Contents = Vec<Option<Vec<u8>>>;

/// Which labels are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The water label; a chip without one is refused.
    pub water: bool,
    /// The cloud label, where there is one.
    pub clouds: bool,
}

impl Found {
    /// The path of the chip that it is a crop of, or is.
    pub fn whole(&self) -> &str {
        let cut = self.path.rsplit_once('#').filter(|_| self.crop.is_some());
        cut.map_or(&self.path, |(whole, _)| whole)
    }

    /// The bytes of the files that are wanted.
    ///
    /// # Errors
    /// `unreadable` with what the system said.
    pub fn contents(&self, wanted: Wanted) -> Result<Contents, ChipError> {
        let read = |file: &ChipFile| {
            let skipped = match file.role {
                Role::Bands => false,
                Role::Water => !wanted.water,
                Role::Clouds => !wanted.clouds,
            };
            if skipped {
                return Ok(None);
            }
            match fs::read(&file.path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(e) if file.optional && e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(ChipError::new(Reason::Unreadable, format!("`{}` cannot be read: {e}", file.name))),
            }
        };
        self.files.iter().map(read).collect()
    }
}

/// The event of each of `paths`, chips of one data set whose folder is called `own`: the first folder of the path that
/// has more than one value over the set; without one, the folder that all chips lie in.
pub fn events(paths: &[&str], own: &str) -> Vec<String> {
    let folders: Vec<Vec<&str>> = paths
        .iter()
        .map(|path| {
            let mut parts: Vec<&str> = path.split('/').collect();
            parts.pop();
            parts
        })
        .collect();
    let depth = folders.iter().map(Vec::len).max().unwrap_or(0);
    let varies = |i: &usize| folders.iter().any(|f| f.get(*i) != folders[0].get(*i));
    match (0..depth).find(varies) {
        Some(i) => folders.iter().map(|f| f.get(i).copied().unwrap_or(own).to_owned()).collect(),
        None => folders.iter().map(|f| f.last().copied().unwrap_or(own).to_owned()).collect(),
    }
}

/// The name of a data folder itself.
pub fn own_name(root: &Path) -> String {
    let own = fs::canonicalize(root).ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
    own.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_the_first_folder_that_varies() {
        let of = |paths: &[&str]| events(paths, "floods").join(" ");
        assert_eq!(of(&["a/x.tif", "b/y.tif"]), "a b");
        assert_eq!(of(&["all/a/1/x.tif", "all/a/2/y.tif", "all/b/1/x.tif"]), "a a b");
        assert_eq!(of(&["a/1/x.tif", "b/2/y.tif"]), "a b");
        assert_eq!(of(&["a/x.tif", "a/y.tif"]), "a a");
        assert_eq!(of(&["x.tif", "y.tif"]), "floods floods");
        assert_eq!(of(&["x.tif", "a/y.tif"]), "floods a");
        assert_eq!(of(&[]), "");
    }
}
