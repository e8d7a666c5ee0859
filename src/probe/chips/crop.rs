//! Crops: with `probe.crop` each chip is cut into squares on reading, and every square is a chip of its own.

use std::{fs::File, io::BufReader};

use tiff::decoder::Decoder;

use super::{
    ChipError,
    layout::{Found, Look, Role, look::keep},
};
use crate::domain::Reason;

/// One square of a chip's grid of squares, which begins at the upper left; what is left over at the right and below is
/// not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crop {
    pub row: u32,
    pub column: u32,
    /// Pixels.
    pub side: u32,
}

/// The crops of `side` pixels of each chip, called `<path>#<row>,<column>`, sorted by path. Only headers are read. A chip
/// whose header cannot be read stays whole, to be refused by what reads it; one that is smaller than a crop is refused.
pub fn crops(chips: Vec<Found>, side: u32) -> Vec<Found> {
    let mut all: Vec<Found> = chips.into_iter().flat_map(|chip| crops_of(chip, side)).collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

fn crops_of(chip: Found, side: u32) -> Vec<Found> {
    let Some((width, height)) = size(&chip) else { return vec![chip] };
    if width.min(height) < side {
        let message = format!("`{}` is {width}x{height} pixels, smaller than a crop of {side}", chip.path);
        let problem = ChipError::new(Reason::Size, message).with_hint("lower `probe.crop`");
        return vec![Found { facts: super::layout::Facts { problem: Some(problem), ..chip.facts }, ..chip }];
    }
    let places = (0..height / side).flat_map(|row| (0..width / side).map(move |column| (row, column)));
    let crop = |(row, column)| Found {
        id: format!("{}#{row},{column}", chip.id),
        path: format!("{}#{row},{column}", chip.path),
        crop: Some(Crop { row, column, side }),
        ..chip.clone()
    };
    places.map(crop).collect()
}

/// Width and height of a chip's first file of bands.
fn size(chip: &Found) -> Option<(u32, u32)> {
    let file = chip.files.iter().find(|file| file.role == Role::Bands)?;
    let mut decoder = Decoder::new(BufReader::new(File::open(&file.path).ok()?)).ok()?;
    decoder.dimensions().ok()
}

impl Look {
    /// What was read of a chip, of one of its crops alone; what is wrong with the chip is wrong with each. Rows run from
    /// north to south.
    pub fn cut(&self, crop: Crop) -> Self {
        let (width, height, side) = (self.width as usize, self.height as usize, crop.side as usize);
        let (top, left) = (crop.row as usize * side, crop.column as usize * side);
        fn rows<T: Copy>(plane: &[T], width: usize, (top, left): (usize, usize), side: usize) -> Vec<T> {
            let row = |row: &[T]| row[left..left + side].to_vec();
            plane.chunks_exact(width).skip(top).take(side).flat_map(row).collect()
        }
        let cut = |plane: &Vec<u8>| rows(plane, width, (top, left), side);
        let planes = self.planes.chunks_exact((width * height).max(1));
        let planes: Vec<f32> = planes.flat_map(|plane| rows(plane, width, (top, left), side)).collect();
        let mut problems = self.problems.clone();
        let part = |at: usize, of: usize| (at as f64 / of as f64, (at + side) as f64 / of as f64);
        let place = self.place.map(|place| place.part(part(left, width), part(top, height)));
        Self {
            width: crop.side,
            height: crop.side,
            nonfinite: planes.iter().filter(|v| !v.is_finite()).count() as u64,
            planes,
            place: place.and_then(|place| keep(place, &mut problems)),
            water: self.water.as_ref().map(cut),
            clouds: self.clouds.as_ref().map(cut),
            problems,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Band, probe::chips::Place};

    #[test]
    fn a_crop_is_cut_from_everything_and_lies_where_its_pixels_do() {
        let pixels: Vec<u8> = (0..16).collect();
        let plane: Vec<f32> = pixels.iter().map(|&v| if v == 6 { f32::NAN } else { f32::from(v) }).collect();
        let place = Place { epsg: 32646, bbox: [300_000.0, 2_900_000.0, 300_040.0, 2_900_040.0], lat: 0.0, lon: 0.0 };
        let whole = Look {
            width: 4,
            height: 4,
            bands: vec![Band::Vv, Band::Vh],
            planes: [plane.clone(), plane].concat(),
            place: Some(place),
            water: Some(pixels),
            ..Look::default()
        };
        let cut = whole.cut(Crop { row: 0, column: 1, side: 2 });
        assert_eq!((cut.width, cut.water.clone(), cut.nonfinite), (2, Some(vec![2, 3, 6, 7]), 2));
        assert_eq!(cut.planes[..2], [2.0, 3.0]);
        assert_eq!(cut.planes.len(), 8);
        let place = cut.place.unwrap();
        assert_eq!(place.bbox, [300_020.0, 2_900_020.0, 300_040.0, 2_900_040.0]);
        assert!((place.lat - 26.2).abs() < 0.2 && (place.lon - 91.0).abs() < 0.2, "{place:?}");
    }
}
