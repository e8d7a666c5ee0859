//! How a data set lies on disk: a layout lists chips, and reads one as bands by name in one unit.
//!
//! What differs between data sets (names, units, what stands for missing) ends here: everything behind it sees optical
//! reflectance x 10000, radar linear power, metres, and NaN.

mod assemble;
mod bands;
mod c2smsfloods;
mod cube;
mod found; // what is listed
pub mod look; // what is read of a chip
mod sen1floods11;

use std::{fmt, path::Path};

use crate::{
    config,
    domain::{LayoutName, Reason, Refusal},
};

use super::ChipError;

pub use cube::{CUBE, cube, is_cube, look_at_cube};
pub use found::{ChipFile, Contents, Facts, Found, Role, Wanted, events, own_name};
pub use look::Look;

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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

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
