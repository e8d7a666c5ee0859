//! How a data set lies on disk: a layout lists chips, and reads one as bands by name in one unit.
//!
//! What differs between data sets (names, units, what stands for missing) ends here: everything behind it sees optical
//! reflectance x 10000, radar linear power, metres, and NaN.

mod assemble;
mod bands;
mod c2smsfloods;
mod cube;
mod sen1floods11;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use chrono::NaiveDate;

use crate::{
    config,
    domain::{Band, LayoutName, Level, Reason, Refusal},
};

use super::{ChipError, georef::Place};

pub use cube::{CUBE, cube, is_cube, look_at_cube};

/// A chip's side is a multiple of this many pixels: the largest patch of all families.
pub const SIDE: u32 = 32;

/// One layout of data sets on disk.
pub trait Layout: fmt::Debug + Send + Sync {
    fn name(&self) -> LayoutName;

    /// Whether the folder looks like it: by names only, nothing is decoded.
    fn recognises(&self, root: &Path) -> bool;

    /// All chips below `root`, sorted by path.
    ///
    /// # Errors
    /// `no-chips`, `unreadable`, and what is wrong with a file that is about the whole set (`split`, `metadata`).
    fn list(&self, root: &Path) -> Result<Listing, ChipError>;

    /// Decodes and checks one chip from the bytes of its files, collecting what is wrong instead of stopping at it.
    /// `contents` holds one entry per file of `chip.files`, in that order.
    fn look(&self, chip: &Found, contents: Contents, wanted: Wanted) -> Look;
}

/// All layouts, in the order in which `auto` tries them: a cube is any `.tif`, so it comes last.
const ALL: [&dyn Layout; 3] = [&sen1floods11::Sen1Floods11, &c2smsfloods::C2smsFloods, &cube::Cube];

/// The layout that is configured, or that `root` is recognised as.
///
/// # Errors
/// `no-data` where `root` is no folder, `no-chips` where it is none of the layouts, or not the one configured; the
/// message says what was looked for.
pub fn layout_of(root: &Path, configured: config::Layout) -> Result<&'static dyn Layout, ChipError> {
    if !root.is_dir() {
        return Err(ChipError::new(Reason::NoData, format!("`{}` is not a folder", root.display()))
            .with_hint("set `probe.data` to the data set's folder"));
    }
    let found = ALL.into_iter().find(|layout| match configured {
        config::Layout::Auto => layout.recognises(root),
        named => layout.name().as_str() == named.as_str(),
    });
    match found {
        Some(layout) if layout.recognises(root) => Ok(layout),
        Some(layout) => {
            let other = ALL.into_iter().find(|other| other.recognises(root));
            let seen = other.map_or(String::new(), |other| format!("; it looks like `{}`", other.name()));
            let message = format!("no chips found in `{}` in the layout `{}`{seen}", root.display(), layout.name());
            Err(ChipError::new(Reason::NoChips, message).with_hint(expected(layout.name())))
        }
        None => {
            let hints: Vec<String> = LayoutName::ALL.iter().map(|name| expected(*name)).collect();
            let message = format!("no chips found in `{}`: it has none of the known layouts", root.display());
            Err(ChipError::new(Reason::NoChips, message).with_hint(hints.join("; ")))
        }
    }
}

/// Where a layout has its chips.
fn expected(name: LayoutName) -> String {
    let where_ = match name {
        LayoutName::Cube => "chips lie in `<folder>/<event>/<stem>_rtc.tif`",
        LayoutName::Sen1Floods11 => "chips lie in `<folder>/data/flood_events/HandLabeled/{S1Hand,S2Hand,LabelHand}`",
        LayoutName::C2smsFloods => "chips lie in `<folder>/<event>/{s1,s2}/<granule>_<position>/<band>.tif`",
    };
    format!("{name}: {where_}")
}

/// What a layout finds below a folder.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    pub chips: Vec<Found>,
    /// What the folder tells to be there and cannot be used.
    pub refused: Vec<Refusal>,
    /// What is odd and harms nothing by itself.
    pub warnings: Vec<Refusal>,
    /// What people should know of the folder: its split files, its pairs.
    pub notes: Vec<String>,
}

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

/// All that could be read of one chip, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Pixels; 0 where no file of it has a header.
    pub width: u32,
    pub height: u32,
    /// `float32`, `int16`, ... of its first file.
    pub dtype: String,
    /// The bands that it has, in the order of `planes`.
    pub bands: Vec<Band>,
    /// `[bands, height, width]` in the one unit, NaN where missing; empty where not all could be decoded.
    pub planes: Vec<f32>,
    /// Values over all bands that are missing or not finite.
    pub nonfinite: u64,
    pub place: Option<Place>,
    pub date: Option<NaiveDate>,
    /// Hour of the day (UTC) of the radar image, where the layout tells it.
    pub hour: Option<u32>,
    /// Ground sampling distance in metres, as declared.
    pub gsd: f64,
    /// Of the optical bands; `None` without any, or where nothing tells it.
    pub level: Option<Level>,
    /// `[height, width]`: 1 water, 0 land, 255 ignored.
    pub water: Option<Vec<u8>>,
    /// `[height, width]`: 0 clear, 1 cloud, 2 shadow.
    pub clouds: Option<Vec<u8>>,
    /// Why it cannot be used; the first matters most.
    pub problems: Vec<ChipError>,
    /// Values that look like another unit (`unit`); they refuse the chip only under `probe.strict`.
    pub warnings: Vec<ChipError>,
    /// TIFF files that were decoded.
    pub decoded: u64,
}

impl Look {
    /// The plane `[height, width]` of a band; `None` where the chip lacks it.
    pub fn plane(&self, band: Band) -> Option<&[f32]> {
        let at = self.bands.iter().position(|&b| b == band)?;
        let size = self.width as usize * self.height as usize;
        self.planes.get(at * size..(at + 1) * size)
    }
}

impl Found {
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

/// Adds what is wrong to the problems.
fn keep<T>(result: Result<T, ChipError>, problems: &mut Vec<ChipError>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
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

    #[test]
    fn what_is_none_of_the_layouts_says_what_was_looked_for() {
        let root = tempfile::tempdir().unwrap();
        let none = layout_of(root.path(), config::Layout::Auto).unwrap_err();
        assert_eq!(none.reason, Reason::NoChips);
        let hint = none.hint.unwrap();
        assert!(["_rtc.tif", "HandLabeled", "{s1,s2}"].iter().all(|word| hint.contains(word)), "{hint}");
        fs::write(root.path().join("a_rtc.tif"), "").unwrap();
        assert_eq!(layout_of(root.path(), config::Layout::Auto).unwrap().name(), LayoutName::Cube);
        let other = layout_of(root.path(), config::Layout::Sen1Floods11).unwrap_err();
        assert!(other.message.ends_with("it looks like `cube`"), "{other}");
        let away = layout_of(&root.path().join("no"), config::Layout::Cube).unwrap_err();
        assert_eq!(away.reason, Reason::NoData);
    }
}
