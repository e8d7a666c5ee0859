//! What a layout reads of one chip: bands by name in one unit, labels, place, date, and what is wrong with it.

use chrono::NaiveDate;

use crate::{
    domain::{Band, Level},
    probe::chips::{ChipError, georef::Place},
};

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

/// Adds what is wrong to the problems.
pub fn keep<T>(result: Result<T, ChipError>, problems: &mut Vec<ChipError>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}
