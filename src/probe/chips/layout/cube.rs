//! The 13-band cube: `<data>/<event>/<stem>.tif` with `<stem>_LabelWater.tif` and `<stem>_LabelCloud.tif` beside it.

use std::{collections::HashSet, fs, os::unix::fs::MetadataExt, path::Path};

use chrono::NaiveDate;

use crate::{
    domain::{Band, LayoutName, Reason},
    probe::chips::{ChipError, labels::NoData, tiff::Header},
};

use super::{
    ChipFile, Contents, Facts, Found, Layout, Listing, Look, Role, Wanted,
    assemble::{Rules, assemble, level_of},
    bands,
    look::keep,
};

/// How deep folders may be nested below the data folder.
const DEPTH: usize = 16;

/// The bands of a cube, in its order.
pub const CUBE: [Band; 13] = [
    Band::B02,
    Band::B03,
    Band::B04,
    Band::B05,
    Band::B06,
    Band::B07,
    Band::B08,
    Band::B8A,
    Band::B11,
    Band::B12,
    Band::Vh,
    Band::Vv,
    Band::Dem,
];

/// The files are in the one unit already, and 0 is a value.
const RULES: Rules = Rules { bands: bands_of, convert: |_| (), no_cloud_data: NoData::Refused, gsd: None };

#[derive(Debug)]
pub struct Cube;

impl Layout for Cube {
    fn name(&self) -> LayoutName {
        LayoutName::Cube
    }

    fn recognises(&self, root: &Path) -> bool {
        let mut any = false;
        let walked = walk(root, "", DEPTH, &mut HashSet::new(), &mut |_, _| {
            any = true;
            false
        });
        // What cannot be read is told when it is listed.
        any || walked.is_err()
    }

    fn list(&self, root: &Path) -> Result<Listing, ChipError> {
        let mut chips = Vec::new();
        walk(root, "", DEPTH, &mut HashSet::new(), &mut |path, name| {
            chips.push(cube(path, name));
            true
        })?;
        if chips.is_empty() {
            return Err(ChipError::new(Reason::NoChips, format!("no chips found in `{}`", root.display()))
                .with_hint("chips lie in `<folder>/<event>/<stem>_rtc.tif`"));
        }
        chips.sort_by(|a, b| a.path.cmp(&b.path).then_with(|| a.files[0].path.cmp(&b.files[0].path)));
        Ok(Listing { chips, ..Listing::default() })
    }

    fn look(&self, chip: &Found, contents: Contents, wanted: Wanted) -> Look {
        look_at_cube(chip, contents, wanted).0
    }
}

/// The cube at `path` with its labels beside it; `name` is how messages call it.
pub fn cube(path: &Path, name: &str) -> Found {
    let source = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let label = |suffix: &str, role| {
        let mut file = path.file_stem().unwrap_or_default().to_owned();
        file.push(suffix);
        let name = name.strip_suffix(".tif").map_or_else(|| name.to_owned(), |stem| format!("{stem}{suffix}"));
        ChipFile { path: path.with_file_name(file), name, role, optional: true }
    };
    Found {
        id: name.to_owned(),
        path: name.to_owned(),
        event: None,
        held_out: false,
        crop: None,
        files: vec![
            ChipFile { path: path.to_owned(), name: name.to_owned(), role: Role::Bands, optional: false },
            label("_LabelWater.tif", Role::Water),
            label("_LabelCloud.tif", Role::Clouds),
        ],
        facts: Facts { hour: hour(&source), level: level_of(&source), ..Facts::default() },
        source,
    }
}

/// One cube, and what its tags say.
pub fn look_at_cube(chip: &Found, contents: Contents, wanted: Wanted) -> (Look, Option<Header>) {
    let (mut look, header) = assemble(chip, contents, wanted, &RULES);
    if let Some(header) = &header {
        let date = date(&chip.source, header).map_err(|e| e.about(&chip.files[0].name));
        look.date = keep(date, &mut look.problems);
    }
    (look, header)
}

fn bands_of(_: &ChipFile, header: &Header) -> Result<Vec<Band>, ChipError> {
    if usize::from(header.bands) != CUBE.len() {
        let message = format!("is no cube: expected {} bands, found {}", CUBE.len(), header.bands);
        return Err(ChipError::new(Reason::Bands, message));
    }
    // Only a full set of names moves bands: a name that is none of these is a remark, and the order counts.
    Ok(bands::in_file(header, &CUBE).unwrap_or(CUBE.to_vec()))
}

/// Calls `each` with the path and the name relative to the data folder of every cube, until it returns false.
fn walk(
    folder: &Path,
    relative: &str,
    depth: usize,
    seen: &mut HashSet<(u64, u64)>,
    each: &mut dyn FnMut(&Path, &str) -> bool,
) -> Result<bool, ChipError> {
    let unreadable = |e: std::io::Error| ChipError::new(Reason::Unreadable, format!("`{}`: {e}", folder.display()));
    let identity = fs::metadata(folder).map_err(unreadable)?;
    // A link may lead back up.
    if depth == 0 || !seen.insert((identity.dev(), identity.ino())) {
        return Ok(true);
    }
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let below = if relative.is_empty() { name.clone() } else { format!("{relative}/{name}") };
        let go_on = if path.is_dir() {
            walk(&path, &below, depth - 1, seen, each)?
        } else {
            !is_cube(&name) || each(&path, &below)
        };
        if !go_on {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a listing takes a file of that name for a chip.
pub fn is_cube(name: &str) -> bool {
    name.strip_suffix(".tif").is_some_and(|stem| !stem.ends_with("_LabelWater") && !stem.ends_with("_LabelCloud"))
}

/// Sentinel-1's stop time, `YYYYMMDDTHHMMSS`: the fourth field from the end of a stem, counted at `_`.
fn stop_time(stem: &str) -> Option<&str> {
    stem.rsplit('_').nth(3)
}

/// The hour of a stem's stop time. `000000` stands for a time that is not known.
fn hour(stem: &str) -> Option<u32> {
    hour_of(stop_time(stem)?)
}

/// The hour of `YYYYMMDDTHHMMSS`; `None` for `000000`, which stands for a time that is not known.
pub fn hour_of(time: &str) -> Option<u32> {
    let clock = time.get(8..)?.strip_prefix('T').filter(|c| c.len() == 6 && c.bytes().all(|b| b.is_ascii_digit()))?;
    (clock != "000000").then(|| clock[..2].parse().ok()).flatten().filter(|hour| *hour < 24)
}

/// The date of a chip: for `claytile_*` its metadata item `date`, else the first eight characters of the fourth field
/// from the end of its stem, counted at `_`, which is Sentinel-1's stop time.
fn date(stem: &str, header: &Header) -> Result<NaiveDate, ChipError> {
    let wrong = |message: String| ChipError::new(Reason::Date, message);
    if stem.starts_with("claytile_") {
        let text = header.date.as_deref().ok_or_else(|| wrong("has no metadata item `date`".to_owned()))?;
        let day = text.get(..10).unwrap_or(text);
        return NaiveDate::parse_from_str(day, "%Y-%m-%d")
            .map_err(|_| wrong(format!("has a metadata item `date` that is not a date: `{text}`")));
    }
    let rule = "the fourth field from the end of a stem starts with the date, `YYYYMMDD`";
    let field = stop_time(stem).ok_or_else(|| {
        let fields = stem.split('_').count();
        wrong(format!("has a name of too few fields ({fields}) to hold a date")).with_hint(rule)
    })?;
    day_of(field).ok_or_else(|| {
        let digits = field.get(..8).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
        wrong(format!("has no date in its name: `{}` is not one", digits.unwrap_or(field))).with_hint(rule)
    })
}

/// The day of `YYYYMMDD...`.
pub fn day_of(time: &str) -> Option<NaiveDate> {
    let digits = time.get(..8).filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
    NaiveDate::parse_from_str(digits, "%Y%m%d").ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(date: Option<&str>) -> Header {
        Header {
            width: 64,
            height: 64,
            bands: 13,
            dtype: "float32".to_owned(),
            georef: Default::default(),
            nodata: None,
            date: date.map(str::to_owned),
            names: vec![None; 13],
        }
    }

    #[test]
    fn dates_from_names_and_metadata() {
        let of = |stem: &str| date(stem, &header(Some("2020-06-01"))).map(|d| d.to_string()).map_err(|e| e.message);
        let sentinel = "S2A_x_S1B_IW_GRDH_1SDV_20201020T164222_20201021T164247_023899_02D6C4_rtc";
        assert_eq!(of(sentinel).unwrap(), "2020-10-21");
        assert_eq!(of("claytile_33UXP_20200702_0000").unwrap(), "2020-06-01");
        assert!(of("chip_rtc").unwrap_err().contains("too few fields"));
        assert!(of("a_20160231T000000_1_2_rtc").unwrap_err().contains("`20160231`"));
        assert!(of("a_stop_1_2_rtc").unwrap_err().contains("`stop`"));
        assert!(of("a_ééééé_1_2_rtc").is_err());
        assert_eq!(date("claytile_a", &header(None)).unwrap_err().reason, Reason::Date);
        let clock = |time: &str| hour(&format!("a_{time}_1_2_rtc"));
        assert_eq!(hour(sentinel), Some(16));
        assert_eq!(clock("20160813T000015"), Some(0));
        assert_eq!([clock("20160813T000000"), clock("20160813"), clock("stop"), clock("20160813T250000")], [None; 4]);
    }

    #[test]
    fn labels_lie_beside() {
        let chip = cube(Path::new("/d/e/a.b_rtc.tif"), "e/a.b_rtc.tif");
        assert_eq!(chip.files[1].path, Path::new("/d/e/a.b_rtc_LabelWater.tif"));
        assert_eq!(chip.files[2].name, "e/a.b_rtc_LabelCloud.tif");
        assert_eq!(chip.source, "a.b_rtc");
    }

    #[test]
    fn names_move_bands_only_where_all_are_there() {
        let file = &cube(Path::new("a_rtc.tif"), "a_rtc.tif").files[0];
        let mut swapped = header(None);
        swapped.names = CUBE.iter().map(|b| Some(b.as_str().to_owned())).collect();
        swapped.names.swap(10, 11);
        assert_eq!(bands_of(file, &swapped).unwrap()[10..12], [Band::Vv, Band::Vh]);
        swapped.names[12] = Some("elevation".to_owned());
        assert_eq!(bands_of(file, &swapped).unwrap(), CUBE);
        swapped.bands = 12;
        assert!(bands_of(file, &swapped).unwrap_err().message.contains("expected 13 bands, found 12"));
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
        let listing = Cube.list(root.path()).unwrap();
        let paths: Vec<&str> = listing.chips.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["deep/er ö/a_rtc.tif", "deep/er ö/b_rtc.tif"]);
        assert!(Cube.recognises(root.path()));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Cube.list(empty.path()).unwrap_err().reason, Reason::NoChips);
        assert!(!Cube.recognises(empty.path()));
    }
}
