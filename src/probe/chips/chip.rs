//! One chip with its labels: what can be read of it, and everything that is wrong with it.

use std::{
    io,
    path::{Path, PathBuf},
};

use chrono::NaiveDate;

use crate::domain::Reason;

use super::{
    ChipError,
    encode::BANDS,
    georef::Place,
    labels,
    tiff::{Header, Tiff},
};

/// Pixels of a patch's side; a chip's side must be a multiple of it.
pub const PATCH: u32 = crate::probe::encoder::PATCH as u32;

/// The files of one chip.
#[derive(Clone, Debug)]
pub struct Files {
    /// The cube, the water label, the cloud label.
    pub paths: [PathBuf; 3],
    /// How messages call the cube.
    pub name: String,
}

/// What the files of one chip hold; `None` where there is no such file, or it was not asked for.
pub type Contents = [Option<Vec<u8>>; 3];

/// Which labels are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The water label; a chip without one is refused.
    pub water: bool,
    /// The cloud label, where there is one.
    pub cloud: bool,
}

/// All that could be read of one chip, raw, and what is wrong with it.
#[derive(Debug, Default)]
pub struct Look {
    pub header: Option<Header>,
    /// `[13, height, width]`, raw units.
    pub pixels: Option<Vec<f32>>,
    pub place: Option<Place>,
    pub date: Option<NaiveDate>,
    /// `[height, width]`: 1, 0, 255.
    pub water: Option<Vec<u8>>,
    /// `[height, width]`: 0, 1, 2.
    pub cloud: Option<Vec<u8>>,
    /// Why it cannot be used; the first matters most.
    pub problems: Vec<ChipError>,
    /// TIFF files that were decoded.
    pub decoded: u64,
}

impl Files {
    /// The files of the chip at `path`: its labels lie beside it.
    pub fn beside(path: &Path, name: impl Into<String>) -> Self {
        let label = |suffix: &str| {
            let mut file = path.file_stem().unwrap_or_default().to_owned();
            file.push(suffix);
            path.with_file_name(file)
        };
        Self { paths: [path.to_owned(), label("_LabelWater.tif"), label("_LabelCloud.tif")], name: name.into() }
    }

    /// The chip's file name without `.tif`.
    pub fn stem(&self) -> String {
        self.paths[0].file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// How messages call file `i`: as the cube is called, with the label's own file name.
    fn name_of(&self, i: usize) -> String {
        match self.name.strip_suffix(".tif") {
            Some(stem) if i > 0 => format!("{stem}_Label{}.tif", ["", "Water", "Cloud"][i]),
            _ => self.name.clone(),
        }
    }

    /// The bytes of the files that are wanted.
    ///
    /// # Errors
    /// `unreadable` with what the system said.
    pub fn contents(&self, wanted: Wanted) -> Result<Contents, ChipError> {
        let read = |i: usize, wanted: bool| {
            if !wanted {
                return Ok(None);
            }
            match std::fs::read(&self.paths[i]) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(e) if i > 0 && e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(ChipError::new(Reason::Unreadable, format!("`{}` cannot be read: {e}", self.name_of(i)))),
            }
        };
        Ok([read(0, true)?, read(1, wanted.water)?, read(2, wanted.cloud)?])
    }

    /// Decodes and checks all that is there, and collects what is wrong instead of stopping at it.
    pub fn look(&self, [chip, water, cloud]: Contents, wanted: Wanted) -> Look {
        let mut look = Look { decoded: 1, ..Look::default() };
        let tiff = match Tiff::open(chip.unwrap_or_default(), &self.name) {
            Ok(tiff) => tiff,
            Err(problem) => return Look { problems: vec![problem], ..look },
        };
        let header = tiff.header.clone();
        if usize::from(header.bands) == BANDS {
            look.pixels = keep(tiff.pixels(), &mut look.problems);
        } else {
            let message = format!("`{}`: expected {BANDS} bands, found {}", self.name, header.bands);
            look.problems.push(ChipError::new(Reason::Bands, message));
        }
        look.place = keep(header.georef.place(&self.name), &mut look.problems);
        look.date = keep(date(&self.stem(), &header).map_err(|e| e.about(&self.name)), &mut look.problems);
        keep(size(&header).map_err(|e| e.about(&self.name)), &mut look.problems);
        if let Some(bytes) = water {
            look.decoded += 1;
            look.water = keep(labels::water(bytes, &self.name_of(1), &header, &self.name), &mut look.problems);
        } else if wanted.water {
            let message = format!("`{}` has no water label: `{}` is not there", self.name, self.name_of(1));
            look.problems.push(ChipError::new(Reason::LabelMissing, message));
        }
        if let Some(bytes) = cloud {
            look.decoded += 1;
            look.cloud = keep(labels::cloud(bytes, &self.name_of(2), &header, &self.name), &mut look.problems);
        }
        look.header = Some(header);
        look
    }
}

fn keep<T>(result: Result<T, ChipError>, problems: &mut Vec<ChipError>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// A chip can be embedded when it is square and its side a multiple of the patch.
fn size(header: &Header) -> Result<(), ChipError> {
    let (w, h) = (header.width, header.height);
    if w == h && w.is_multiple_of(PATCH) {
        return Ok(());
    }
    Err(ChipError::new(Reason::Size, format!("is {w}x{h} pixels; a chip is square and its side a multiple of {PATCH}")))
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
    let fields: Vec<&str> = stem.split('_').collect();
    let field = fields.len().checked_sub(4).and_then(|i| fields.get(i)).ok_or_else(|| {
        wrong(format!("has a name of too few fields ({}) to hold a date", fields.len())).with_hint(rule)
    })?;
    let digits = field.get(..8).filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|d| NaiveDate::parse_from_str(d, "%Y%m%d").ok()).ok_or_else(|| {
        wrong(format!("has no date in its name: `{}` is not one", digits.unwrap_or(field))).with_hint(rule)
    })
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
        }
    }

    #[test]
    fn dates_from_names_and_metadata() {
        let of = |stem: &str| date(stem, &header(Some("2020-06-01"))).map(|d| d.to_string()).map_err(|e| e.message);
        assert_eq!(
            of("S2A_x_S1B_IW_GRDH_1SDV_20201020T164222_20201021T164247_023899_02D6C4_rtc").unwrap(),
            "2020-10-21"
        );
        assert_eq!(of("claytile_33UXP_20200702_0000").unwrap(), "2020-06-01");
        assert!(of("chip_rtc").unwrap_err().contains("too few fields"));
        assert!(of("a_20160231T000000_1_2_rtc").unwrap_err().contains("`20160231`"));
        assert!(of("a_stop_1_2_rtc").unwrap_err().contains("`stop`"));
        assert!(of("a_ééééé_1_2_rtc").is_err());
        assert_eq!(date("claytile_a", &header(None)).unwrap_err().reason, Reason::Date);
    }

    #[test]
    fn labels_lie_beside() {
        let files = Files::beside(Path::new("/d/e/a.b_rtc.tif"), "e/a.b_rtc.tif");
        assert_eq!(files.paths[1], Path::new("/d/e/a.b_rtc_LabelWater.tif"));
        assert_eq!(files.name_of(2), "e/a.b_rtc_LabelCloud.tif");
        assert_eq!(files.stem(), "a.b_rtc");
    }
}
