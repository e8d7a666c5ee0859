//! Pictures of chips: colours, radar, label, prediction.

use std::{
    fs,
    io::{self, BufWriter},
    path::Path,
};

use super::{
    ChipError, RawChip,
    dataset::Dataset,
    labels::{LAND, WATER},
};
use crate::domain::{Band, ChipRecord, Reason};

type Rgb = [u8; 3];

const BLUE: Rgb = [38, 110, 196];
const TAN: Rgb = [214, 196, 154];
const GREY: Rgb = [128, 128, 128];
/// Land taken for water, and water taken for land.
const RED: Rgb = [208, 60, 48];
const ORANGE: Rgb = [242, 156, 31];

/// Writes the layers `rgb`, `sar` and `label` of every chip, each where [`ChipRecord::picture`] has it below `dir`; what
/// is there is replaced.
///
/// # Errors
/// `picture`, naming the file that could not be written.
pub fn draw_chips(dataset: &Dataset, dir: &Path) -> Result<(), ChipError> {
    for (i, chip) in dataset.chips().iter().enumerate() {
        let (side, raw) = (chip.side as usize, dataset.raw(i));
        let path = |layer| dir.join(ChipRecord::picture(&chip.path, layer));
        write_png(&path("rgb"), side, &rgb(&raw))?;
        write_png(&path("sar"), side, &sar(&raw))?;
        let label: Vec<Rgb> = dataset.labels(i).iter().map(|l| label_colour(*l)).collect();
        write_png(&path("label"), side, &label)?;
    }
    Ok(())
}

/// Writes a prediction against its label: water found is blue, land taken for water red, water taken for land orange,
/// land found tan, and what has no label grey. `labels` and `probability` are `[side, side]`; a pixel is water where
/// its probability is greater than `threshold`.
///
/// # Errors
/// `picture`, naming the file, also when the lengths do not fit.
pub fn draw_prediction(
    path: &Path,
    side: usize,
    labels: &[u8],
    probability: &[f32],
    threshold: f32,
) -> Result<(), ChipError> {
    let colour = |(label, p): (&u8, &f32)| match (*label, *p > threshold) {
        (WATER, true) => BLUE,
        (WATER, false) => ORANGE,
        (LAND, true) => RED,
        (LAND, false) => TAN,
        _ => GREY,
    };
    let picture: Vec<Rgb> = labels.iter().zip(probability).map(colour).collect();
    write_png(path, side, &picture)
}

fn label_colour(label: u8) -> Rgb {
    match label {
        WATER => BLUE,
        LAND => TAN,
        _ => GREY,
    }
}

/// B04, B03, B02, each stretched between its 2nd and 98th percentile; black where the chip lacks them.
fn rgb(chip: &RawChip) -> Vec<Rgb> {
    join([Band::B04, Band::B03, Band::B02].map(|band| stretch(&values(chip, band))))
}

/// VV, VH and VV/VH in dB, each stretched; black where the chip lacks them.
fn sar(chip: &RawChip) -> Vec<Rgb> {
    let decibel = |v: f32| 10.0 * v.max(1e-6).log10();
    let [vv, vh] = [Band::Vv, Band::Vh].map(|band| values(chip, band).into_iter().map(decibel).collect::<Vec<f32>>());
    let ratio: Vec<f32> = vv.iter().zip(&vh).map(|(vv, vh)| vv - vh).collect();
    join([stretch(&vv), stretch(&vh), stretch(&ratio)])
}

/// One band with 0 for what is missing.
fn values(chip: &RawChip, band: Band) -> Vec<f32> {
    let finite = |v: &f32| if v.is_finite() { *v } else { 0.0 };
    chip.plane(band).map_or(vec![0.0; chip.side * chip.side], |plane| plane.iter().map(finite).collect())
}

/// Values to 0..=255 between their 2nd and 98th percentile; a band without contrast is black.
fn stretch(values: &[f32]) -> Vec<u8> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = |share: f64| sorted.get((share * sorted.len().saturating_sub(1) as f64) as usize).copied().unwrap_or(0.0);
    let (low, high) = (at(0.02), at(0.98));
    let range = high - low;
    let scaled = |v: &f32| if range > 0.0 { (255.0 * (v - low) / range).round().clamp(0.0, 255.0) as u8 } else { 0 };
    values.iter().map(scaled).collect()
}

fn join([r, g, b]: [Vec<u8>; 3]) -> Vec<Rgb> {
    r.into_iter().zip(g).zip(b).map(|((r, g), b)| [r, g, b]).collect()
}

fn write_png(path: &Path, side: usize, picture: &[Rgb]) -> Result<(), ChipError> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        // Renamed into place, for it may be served while it is drawn anew.
        let file = tempfile::NamedTempFile::with_prefix_in(".picture-", folder)?;
        let length = u32::try_from(side).map_err(io::Error::other)?;
        let mut encoder = png::Encoder::new(BufWriter::new(file.as_file()), length, length);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(io::Error::other)?;
        writer.write_image_data(picture.as_flattened()).map_err(io::Error::other)?;
        writer.finish().map_err(io::Error::other)?;
        file.persist(path).map(drop).map_err(|e| e.error)
    };
    write().map_err(|e| ChipError::new(Reason::Picture, format!("`{}` cannot be written: {e}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> (u32, Vec<u8>) {
        let mut reader = png::Decoder::new(io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        (info.width, bytes)
    }

    #[test]
    fn a_prediction_in_five_colours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e/a.prediction.png");
        let labels = [1, 1, 0, 0, 255, 255, 0, 0, 0];
        let probability = [0.9, 0.5, 0.6, 0.1, 0.9, 0.1, 0.0, 0.0, 0.0];
        draw_prediction(&path, 3, &labels, &probability, 0.5).unwrap();
        let (width, bytes) = read(&path);
        assert_eq!(width, 3);
        assert_eq!(bytes[..15], [BLUE, ORANGE, RED, TAN, GREY].concat());
        let error = draw_prediction(&path, 4, &labels, &probability, 0.5).unwrap_err();
        assert!(error.message.contains("a.prediction.png"), "{error}");
    }

    #[test]
    fn stretching() {
        let values: Vec<f32> = (0..101u8).map(f32::from).collect();
        let bytes = stretch(&values);
        assert_eq!((bytes[0], bytes[2], bytes[50], bytes[98], bytes[100]), (0, 0, 128, 255, 255));
        assert_eq!(stretch(&[5.0; 4]), [0; 4]);
        assert!(stretch(&[]).is_empty());
    }
}
