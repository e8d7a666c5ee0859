//! One chip as its layout tells it, in the one unit, before any family's preparation.

use chrono::NaiveDate;

use super::Place;
use crate::domain::Band;

/// A chip's raw values: what an encoder's family prepares its inputs from.
#[derive(Clone, Copy, Debug)]
pub struct RawChip<'a> {
    /// Relative to the data folder, for messages.
    pub path: &'a str,
    /// The bands that it has, in the order of `planes`.
    pub bands: &'a [Band],
    /// `[bands, side, side]`: optical reflectance x 10000, radar linear power, metres. NaN where missing.
    pub planes: &'a [f32],
    /// Side in pixels.
    pub side: usize,
    pub date: NaiveDate,
    /// Hour of the day (UTC) of the radar image, where the layout tells it.
    pub hour: Option<u32>,
    pub place: Place,
    /// Ground sampling distance in metres, as declared.
    pub gsd: f64,
    /// `[side, side]`: 0 clear, 1 cloud, 2 shadow.
    pub clouds: Option<&'a [u8]>,
}

impl RawChip<'_> {
    /// The plane `[side, side]` of a band; `None` where the chip lacks it.
    pub fn plane(&self, band: Band) -> Option<&[f32]> {
        let at = self.bands.iter().position(|&b| b == band)?;
        self.planes.chunks_exact(self.side * self.side).nth(at)
    }
}
