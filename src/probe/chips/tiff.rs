//! GeoTIFF files, read into memory and decoded to f32 bands.
//!
//! The `tiff` crate decodes strips and tiles, chunky and planar, deflate, LZW and none, predictors 1 to 3, classic and
//! big, either byte order. This file adds what a raster of measurements needs: values as they are stored, whatever
//! colours the file claims; a cut file told from a sound one; GDAL's no-data value and date.

use std::io::Cursor;

use tiff::{
    TiffError, TiffUnsupportedError,
    decoder::{Decoder, DecodingSampleType as Sample},
    tags::{PlanarConfiguration, Tag},
};

use crate::domain::Reason;

use super::{ChipError, georef::Georef};

/// The most bytes of a decoded raster; a chip of 13 bands and 2048x2048 pixels of f32 takes 218 MB.
const LIMIT: usize = 256 * 1024 * 1024;

/// What the tags of a raster say.
#[derive(Clone, Debug)]
pub struct Header {
    pub width: u32,
    pub height: u32,
    pub bands: u16,
    /// `float32`, `uint8`, ...
    pub dtype: String,
    /// Where it lies; what is wrong with that is told when a place is asked for.
    pub georef: Georef,
    /// GDAL's no-data value.
    pub nodata: Option<f64>,
    /// GDAL's metadata item `date`.
    pub date: Option<String>,
    /// GDAL's description of each band.
    pub names: Vec<Option<String>>,
}

impl Header {
    /// Signed integers and floats: in a label, -1 is no-data there.
    pub fn signed(&self) -> bool {
        !self.dtype.starts_with("uint")
    }
}

/// A TIFF whose tags were read and whose pixels were not.
pub struct Tiff {
    pub header: Header,
    decoder: Decoder<Cursor<Vec<u8>>>,
    sample: Sample,
    planar: bool,
    name: String,
}

impl Tiff {
    /// Reads the tags of the first image in `bytes`. `name` is for messages.
    ///
    /// # Errors
    /// `empty`, `not-a-tiff`, `truncated`, `unsupported`, `unreadable`.
    pub fn open(mut bytes: Vec<u8>, name: &str) -> Result<Self, ChipError> {
        if bytes.is_empty() {
            return Err(ChipError::new(Reason::Empty, format!("`{name}` has no content: it is 0 bytes long")));
        }
        as_grey(&mut bytes).ok_or_else(|| {
            ChipError::new(Reason::NotATiff, format!("`{name}` is not a TIFF: it has no TIFF header"))
        })?;
        let length = bytes.len() as u64;
        let wrong = |error| explain(error, name, length);
        let mut limits = tiff::decoder::Limits::default();
        limits.decoding_buffer_size = LIMIT;
        let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(wrong)?.with_limits(limits);
        let (width, height) = decoder.dimensions().map_err(wrong)?;
        let bands = decoder.find_tag_unsigned(Tag::SamplesPerPixel).map_err(wrong)?.unwrap_or(1u16);
        let layout = decoder.image_buffer_layout().map_err(wrong)?;
        let Some(sample) = layout.sample_type.filter(|s| dtype(*s).is_some()) else {
            let message = format!("`{name}` has samples of a kind that is not supported: {:?}", layout.sample_format);
            return Err(ChipError::new(Reason::Unsupported, message));
        };
        let planar = decoder.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).map_err(wrong)?
            == Some(PlanarConfiguration::Planar.to_u16());
        check_blocks(&mut decoder, layout.complete_len as u64, name, length)?;
        let georef = Georef::read(&mut decoder, width, height);
        let text = |decoder: &mut Decoder<_>, tag| decoder.get_tag_ascii_string(tag).ok();
        let nodata = text(&mut decoder, Tag::GdalNodata).and_then(|t| t.trim_matches(['\0', ' ']).parse().ok());
        let xml = text(&mut decoder, Tag::Unknown(42112)).unwrap_or_default();
        let date = metadata_item(&xml, "date");
        let names = band_names(&xml, bands);
        let dtype = dtype(sample).unwrap_or_default().to_owned();
        let header = Header { width, height, bands, dtype, georef, nodata, date, names };
        Ok(Self { header, decoder, sample, planar, name: name.to_owned() })
    }

    /// The pixels `[bands, height, width]`, row-major, as f32; no-data is NaN.
    ///
    /// # Errors
    /// `compression`, `truncated`, `too-large`, `unreadable`.
    pub fn pixels(mut self) -> Result<Vec<f32>, ChipError> {
        let length = self.decoder.inner().get_ref().len() as u64;
        let wrong = |error| explain(error, &self.name, length);
        let layout = self.decoder.image_buffer_layout().map_err(wrong)?;
        if layout.complete_len > LIMIT {
            return Err(explain(TiffError::LimitsExceeded, &self.name, length));
        }
        let mut bytes = vec![0u8; layout.complete_len];
        self.decoder.read_image_bytes(&mut bytes).map_err(wrong)?;
        let nodata = self.header.nodata;
        let values = floats(&bytes, self.sample, nodata);
        let bands = usize::from(self.header.bands);
        if self.planar || bands == 1 {
            return Ok(values);
        }
        let plane = values.len() / bands; // [h*w, bands] -> [bands, h*w]
        let mut pixels = vec![0.0; values.len()];
        for (i, texel) in values.chunks_exact(bands).enumerate() {
            for (band, value) in texel.iter().enumerate() {
                pixels[band * plane + i] = *value;
            }
        }
        Ok(pixels)
    }
}

/// The name of a sample type, if it is one that f32 can stand for.
fn dtype(sample: Sample) -> Option<&'static str> {
    Some(match sample {
        Sample::U8 => "uint8",
        Sample::U16 => "uint16",
        Sample::U32 => "uint32",
        Sample::I8 => "int8",
        Sample::I16 => "int16",
        Sample::I32 => "int32",
        Sample::F32 => "float32",
        Sample::F64 => "float64",
        _ => return None,
    })
}

/// Samples in native byte order as f32, no-data as NaN.
fn floats(bytes: &[u8], sample: Sample, nodata: Option<f64>) -> Vec<f32> {
    macro_rules! convert {
        ($t:ty) => {{
            let (parts, _) = bytes.as_chunks::<{ size_of::<$t>() }>();
            let value = |part: &[u8; size_of::<$t>()]| {
                let value = <$t>::from_ne_bytes(*part);
                if nodata.is_some_and(|n| n == value as f64) { f32::NAN } else { value as f32 }
            };
            parts.iter().map(value).collect()
        }};
    }
    match sample {
        Sample::U8 => convert!(u8),
        Sample::U16 => convert!(u16),
        Sample::U32 => convert!(u32),
        Sample::I8 => convert!(i8),
        Sample::I16 => convert!(i16),
        Sample::I32 => convert!(i32),
        Sample::F64 => convert!(f64),
        // `Tiff::open` lets no other type than these and f32 through.
        _ => convert!(f32),
    }
}

/// Refuses blocks that lie beyond the end of the file, that were never written, or that hold too little.
fn check_blocks(
    decoder: &mut Decoder<Cursor<Vec<u8>>>,
    decoded: u64,
    name: &str,
    length: u64,
) -> Result<(), ChipError> {
    let wrong = |error| explain(error, name, length);
    let mut either = |a, b| match decoder.find_tag_unsigned_vec::<u64>(a).map_err(wrong)? {
        Some(found) => Ok(found),
        None => Ok(decoder.find_tag_unsigned_vec::<u64>(b).map_err(wrong)?.unwrap_or_default()),
    };
    let offsets = either(Tag::StripOffsets, Tag::TileOffsets)?;
    let sizes = either(Tag::StripByteCounts, Tag::TileByteCounts)?;
    let end = offsets.iter().zip(&sizes).map(|(o, s)| o.saturating_add(*s)).max().unwrap_or(0);
    if end > length {
        let message = format!("`{name}` is cut off: its blocks reach to byte {end}, the file ends at byte {length}");
        return Err(ChipError::new(Reason::Truncated, message));
    }
    if sizes.contains(&0) || offsets.contains(&0) {
        let message = format!("`{name}` has blocks that were never written (a sparse file)");
        return Err(ChipError::new(Reason::Sparse, message).with_hint("rewrite it whole"));
    }
    let plain = decoder.find_tag_unsigned::<u16>(Tag::Compression).map_err(wrong)?.unwrap_or(1) == 1;
    let held = sizes.iter().fold(0u64, |sum, size| sum.saturating_add(*size));
    if plain && held < decoded {
        let message = format!("`{name}` is cut off: its blocks hold {held} bytes, {decoded} are needed");
        return Err(ChipError::new(Reason::Truncated, message));
    }
    Ok(())
}

/// The crate's error as ours.
fn explain(error: TiffError, name: &str, length: u64) -> ChipError {
    match error {
        TiffError::UnsupportedError(TiffUnsupportedError::UnsupportedCompressionMethod(method)) => {
            let message = format!("`{name}` is compressed with {method:?}, which is not supported");
            ChipError::new(Reason::Compression, message)
                .with_hint("rewrite it with deflate (`gdal_translate -co COMPRESS=DEFLATE`)")
        }
        TiffError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            ChipError::new(Reason::Truncated, format!("`{name}` is cut off: it ends at byte {length}"))
        }
        TiffError::LimitsExceeded => {
            ChipError::new(Reason::TooLarge, format!("`{name}` would take more than {LIMIT} bytes decoded"))
        }
        TiffError::UnsupportedError(e) => ChipError::new(Reason::Unsupported, format!("`{name}` cannot be read: {e}")),
        other => ChipError::new(Reason::Unreadable, format!("`{name}` cannot be read: {other}")),
    }
}

/// `<Item name="date" ...>2020-06-01</Item>` of GDAL's metadata.
fn metadata_item(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("name=\"{name}\""))?;
    let (_, rest) = rest.split_once('>')?;
    let (value, _) = rest.split_once('<')?;
    Some(value.trim().to_owned())
}

/// `<Item name="DESCRIPTION" sample="0" role="description">VV</Item>` of GDAL's metadata, for each of `bands`.
fn band_names(xml: &str, bands: u16) -> Vec<Option<String>> {
    let mut names = vec![None; usize::from(bands)];
    for item in xml.split("<Item").skip(1) {
        let Some((attributes, rest)) = item.split_once('>') else { continue };
        let Some((_, sample)) = attributes.split_once("sample=\"") else { continue };
        let sample = sample.split('"').next().and_then(|n| n.parse::<usize>().ok());
        let name = sample.filter(|_| attributes.contains("role=\"description\"")).and_then(|i| names.get_mut(i));
        if let Some(name) = name {
            *name = rest.split_once('<').map(|(text, _)| text.trim().to_owned()).filter(|text| !text.is_empty());
        }
    }
    names
}

/// Sets the photometric interpretation (tag 262) of the first image to grey, in memory.
///
/// The bands of a cube and the values of a label are numbers, not colours: for a file that calls itself RGB the
/// decoder would drop all bands but three, a palette it would refuse, and white-is-zero it would invert. `None`: no
/// TIFF header. Whatever else is wrong is left to the decoder.
fn as_grey(bytes: &mut [u8]) -> Option<()> {
    let little = match bytes.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let number = |bytes: &[u8], at: usize, size: usize| {
        let part = bytes.get(at..at.checked_add(size)?)?;
        let digit = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if little { part.iter().rev().fold(0, digit) } else { part.iter().fold(0, digit) })
    };
    let version = number(bytes, 2, 2)?;
    let (offset_at, offset_size, count_size, entry, value_at) = match version {
        42 => (4, 4, 2, 12, 8),
        43 => (8, 8, 8, 20, 12),
        _ => return None,
    };
    let mut patch = || {
        let ifd = usize::try_from(number(bytes, offset_at, offset_size)?).ok()?;
        let count = usize::try_from(number(bytes, ifd, count_size)?).ok()?;
        let first = ifd.checked_add(count_size)?;
        let found = (0..count.min(4096))
            .map_while(|i| first.checked_add(i * entry))
            .find(|at| number(bytes, *at, 2) == Some(262))?;
        let value = bytes.get_mut(found + value_at..found + value_at + 2)?;
        value.copy_from_slice(&if little { 1u16.to_le_bytes() } else { 1u16.to_be_bytes() });
        Some(())
    };
    patch();
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A 13-band strip-wise float TIFF written by the crate's own encoder.
    fn written(photometric: u16) -> Vec<u8> {
        use tiff::encoder::{TiffEncoder, colortype::Gray32Float};
        let mut bytes = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
        let mut image = encoder.new_image::<Gray32Float>(8, 4).unwrap();
        image.encoder().write_tag(Tag::PhotometricInterpretation, photometric).unwrap();
        let values: Vec<f32> = (0..32u8).map(f32::from).collect();
        image.write_data(&values).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn values_are_read_whatever_the_colours_are() {
        let expected: Vec<f32> = (0..32u8).map(f32::from).collect();
        for photometric in [0, 1, 3] {
            let tiff = Tiff::open(written(photometric), "a.tif").unwrap();
            assert_eq!((tiff.header.width, tiff.header.height, tiff.header.dtype.as_str()), (8, 4, "float32"));
            assert_eq!(tiff.pixels().unwrap(), expected, "photometric {photometric}");
        }
    }

    #[test]
    fn metadata_items() {
        let xml = r#"<GDALMetadata><Item name="other">1</Item><Item name="date">2020-06-01</Item></GDALMetadata>"#;
        assert_eq!(metadata_item(xml, "date").as_deref(), Some("2020-06-01"));
        assert_eq!(metadata_item(xml, "time"), None);
        let xml = r#"<Item name="DESCRIPTION" sample="1" role="description">VH</Item>
            <Item name="DESCRIPTION" sample="9" role="description">B9</Item><Item name="OFFSET" sample="0">3</Item>"#;
        assert_eq!(band_names(xml, 2), [None, Some("VH".to_owned())]);
    }

    #[test]
    fn no_data_is_nan() {
        let values = floats(&[1u8, 255, 0], Sample::U8, Some(255.0));
        assert_eq!((values[0], values[2]), (1.0, 0.0));
        assert!(values[1].is_nan());
    }

    /// A small sound file of each compressed layout: strips with predictor 3, tiles with LZW, band after band.
    fn fixtures() -> Vec<Vec<u8>> {
        let edge = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flood/edge");
        let chip = |case: &str| {
            let files = std::fs::read_dir(edge.join(case)).unwrap().map(|entry| entry.unwrap().path());
            std::fs::read(files.into_iter().find(|p| p.to_string_lossy().ends_with("_rtc.tif")).unwrap()).unwrap()
        };
        ["size-16x16", "tiled-lzw", "planar-separate-tiled", "predictor2-float", "bigtiff"].map(chip).into()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        // A damaged file gives an error or pixels, never a panic.
        #[test]
        fn damage_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), head in any::<bool>(), cut in 0usize..2000) {
            for mut bytes in fixtures().into_iter().chain([written(1)]) {
                let length = bytes.len();
                // Half of the damage goes to the tags, which lie at the front or, as the encoder writes, at the end.
                let place = at.index(if head { length.min(900) } else { length });
                bytes[place] = byte;
                bytes.truncate(length - if cut > 1000 { cut.min(length) } else { 0 });
                if let Ok(tiff) = Tiff::open(bytes, "a.tif") {
                    let header = &tiff.header;
                    let size = header.width as usize * header.height as usize * usize::from(header.bands);
                    if let Ok(pixels) = tiff.pixels() {
                        prop_assert_eq!(pixels.len(), size);
                    }
                }
            }
        }
    }
}
