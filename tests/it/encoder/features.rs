//! Chips through the trait: what is prepared of raw values gives what the goldens' prepared tensors give.

use std::path::Path;

use candle_core::{Device, Tensor};
use chrono::NaiveDate;
use clay_probe::{
    config::{Clouds, Latlon},
    domain::{Band, Generation, Input, InputMetadata},
    probe::{
        chips::{
            Place, RawChip,
            encode::{encode_date, encode_place},
        },
        encoder::{
            Encoder, InputPlan,
            clay_v0::{self, to_grid},
            clay_v1::{ClayV1, built_in},
        },
    },
};

use super::{GOLDEN, clay_v0, clay_v1_facts, clay_v1_tensors, difference, made};
use crate::shared::checkpoint_in;

/// What a test's chip is made of.
struct Chip {
    bands: Vec<Band>,
    planes: Vec<f32>,
    side: usize,
    date: NaiveDate,
    hour: Option<u32>,
    place: Place,
}

impl Chip {
    fn raw(&self) -> RawChip<'_> {
        RawChip {
            path: "a.tif",
            bands: &self.bands,
            planes: &self.planes,
            side: self.side,
            date: self.date,
            hour: self.hour,
            place: self.place,
            gsd: 10.0,
            clouds: None,
        }
    }
}

fn date(y: i32, m: u32, d: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(y, m, d).unwrap()
}

fn place(lat: f64, lon: f64) -> Place {
    Place { epsg: 32633, bbox: [0.0, 0.0, 640.0, 640.0], lat, lon }
}

/// Plane c of image b as raw values by `back`.
fn planes(pixels: &Tensor, b: usize, back: impl Fn(usize, f32) -> f32) -> Vec<f32> {
    let image: Vec<Vec<f32>> = pixels.get(b).unwrap().flatten_from(1).unwrap().to_vec2().unwrap();
    image
        .into_iter()
        .enumerate()
        .flat_map(|(c, plane)| plane.into_iter().map(|v| back(c, v)).collect::<Vec<_>>())
        .collect()
}

/// `[B, n, D]` without its first token.
fn patches(tokens: &Tensor) -> Tensor {
    tokens.narrow(1, 1, tokens.dim(1).unwrap() - 1).unwrap()
}

fn golden(folder: &str, file: &str) -> super::Seen {
    candle_core::safetensors::load(Path::new(GOLDEN).join(folder).join(file), &Device::Cpu).unwrap()
}

fn clay_v1(inputs: &[Input], metadata: InputMetadata, latlon: Latlon) -> ClayV1 {
    let mut tensors = clay_v1_tensors(&checkpoint_in(&Path::new(GOLDEN).join("v1-d32")));
    let plan = InputPlan { inputs: inputs.to_vec(), metadata, clouds: Clouds::Ignore, latlon };
    ClayV1::load(&clay_v1_facts(&tensors), &plan, &mut tensors, &Device::Cpu).unwrap()
}

/// The two chips of `v1-d32` with both sensors, radar in linear power and in a layout's own order.
fn chips_of_v1(optical: &Tensor, radar: &Tensor) -> Vec<Chip> {
    let statistics = built_in(Generation::V1_5).inputs;
    let (s2, s1) = (&statistics[&Input::Sentinel2L2a], &statistics[&Input::Sentinel1Rtc]);
    // The times and places that the golden's codes stand for: ISO weeks 43 and 9, hours 10 and 0.
    let told = [(date(2020, 10, 20), 10, place(48.5, 15.2)), (date(2021, 3, 1), 0, place(-33.9, 151.2))];
    let chip = |(b, (date, hour, place)): (usize, (NaiveDate, u32, Place))| {
        let bands: Vec<Band> =
            Input::Sentinel1Rtc.bands().iter().chain(Input::Sentinel2L2a.bands()).rev().copied().collect();
        let power = |c: usize, v: f32| 10f32.powf((v * s1.std[c] + s1.mean[c]) / 10.0);
        let mut all = planes(radar, b, power);
        all.extend(planes(optical, b, |c, v| v * s2.std[c] + s2.mean[c]));
        let side = optical.dim(3).unwrap();
        let planes = all.chunks_exact(side * side).rev().flatten().copied().collect();
        Chip { bands, planes, side, date, hour: Some(hour), place }
    };
    told.into_iter().enumerate().map(chip).collect()
}

#[test]
fn raw_chips_give_the_goldens_of_clay_v1() {
    let (s2, s1) = (golden("v1-d32", "io_sentinel2_40.safetensors"), golden("v1-d32", "io_sentinel1_40.safetensors"));
    let chips = chips_of_v1(&s2["pixels"], &s1["pixels"]);
    let raw: Vec<RawChip> = chips.iter().map(Chip::raw).collect();
    let encoder = clay_v1(&[Input::Sentinel2L2a, Input::Sentinel1Rtc], built_in(Generation::V1_5), Latlon::Wgs84);
    assert_eq!((encoder.channels(), encoder.tokens(40)), (64, 26));
    let features = encoder.features(&raw).unwrap(); // [2, 25, 64]
    let want = Tensor::cat(&[patches(&s2["tokens"]), patches(&s1["tokens"])], 2).unwrap();
    let off = difference(&features, &want);
    println!("raw chips: largest difference {off:e}");
    assert!(off <= 5e-5, "{off:e}");
    // A quirk of v0's loader is none of v1's.
    let other = clay_v1(&[Input::Sentinel1Rtc], built_in(Generation::V1_5), Latlon::ClayV0Benchmark);
    assert!(difference(&other.features(&raw).unwrap(), &patches(&s1["tokens"])) <= 5e-5);
}

#[test]
fn time_place_and_ground_sampling_distance_of_clay_v1() {
    let (s2, s1) = (golden("v1-d32", "io_sentinel2_40.safetensors"), golden("v1-d32", "io_sentinel1_40.safetensors"));
    let chips = chips_of_v1(&s2["pixels"], &s1["pixels"]);
    let numbers = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let waves = numbers(&s2["waves"]);
    let none = clay_v1(&[Input::Sentinel2L2a], built_in(Generation::V1_5), Latlon::None);
    let zeros = Tensor::zeros((2, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let want = none.forward_traced(&s2["pixels"], &zeros, &zeros, &waves, 10.0, &mut |_, _| Ok(())).unwrap();
    let raw: Vec<RawChip> = chips.iter().map(Chip::raw).collect();
    assert!(difference(&none.features(&raw).unwrap(), &patches(&want)) <= 5e-5);

    // Chips of several distances in one pass are as each alone; the hour that nobody tells is noon.
    let mut raw = raw;
    raw[1].gsd = 20.0;
    raw[0].hour = None;
    let encoder = clay_v1(&[Input::Sentinel2L2a], built_in(Generation::V1_5), Latlon::Wgs84);
    let both = encoder.features(&raw).unwrap();
    raw[0].hour = Some(12);
    for i in 0..2 {
        let alone = encoder.features(&raw[i..=i]).unwrap();
        assert!(difference(&both.narrow(0, i, 1).unwrap(), &alone) <= 1e-5);
    }
    raw[1].gsd = 10.0;
    assert!(difference(&both, &encoder.features(&raw).unwrap()) > 1e-2);
}

#[test]
fn radar_of_clay_v1_0_is_linear_power_and_missing_bands_are_zeros() {
    let (s2, s1) = (golden("v1-d32", "io_sentinel2_40.safetensors"), golden("v1-d32", "io_sentinel1_40.safetensors"));
    let mut chips = chips_of_v1(&s2["pixels"], &s1["pixels"]);
    let metadata = built_in(Generation::V1_0);
    let radar = metadata.inputs[&Input::Sentinel1Rtc].clone();
    let encoder = clay_v1(&[Input::Sentinel1Rtc], metadata, Latlon::None);
    let standardised = |chip: &Chip, present: [bool; 2]| {
        let plane = |c: usize, band| {
            let raw = chip.raw();
            let plane = raw.plane(band).unwrap().iter();
            let value = |v: &f32| if present[c] { (v - radar.mean[c]) / radar.std[c] } else { 0.0 };
            plane.map(value).collect::<Vec<_>>()
        };
        let pixels = [plane(0, Band::Vv), plane(1, Band::Vh)].concat();
        Tensor::from_vec(pixels, (1, 2, 40, 40), &Device::Cpu).unwrap()
    };
    let zeros = Tensor::zeros((1, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let forward = |pixels: &Tensor| {
        patches(&encoder.forward_traced(pixels, &zeros, &zeros, &[3.5, 4.0], 10.0, &mut |_, _| Ok(())).unwrap())
    };
    let linear = forward(&standardised(&chips[0], [true, true]));
    assert!(difference(&encoder.features(&[chips[0].raw()]).unwrap(), &linear) <= 1e-5);

    let without_vh = forward(&standardised(&chips[0], [true, false]));
    let vh = chips[0].bands.iter().position(|&b| b == Band::Vh).unwrap();
    chips[0].planes[vh * 1600..(vh + 1) * 1600].fill(f32::NAN);
    assert!(difference(&encoder.features(&[chips[0].raw()]).unwrap(), &without_vh) <= 1e-5);
    chips[0].planes.drain(vh * 1600..(vh + 1) * 1600);
    chips[0].bands.remove(vh);
    assert!(difference(&encoder.features(&[chips[0].raw()]).unwrap(), &without_vh) <= 1e-5);
    assert!(difference(&linear, &without_vh) > 1e-3);
}

#[test]
fn an_input_without_metadata_is_refused() {
    let mut tensors = clay_v1_tensors(&checkpoint_in(&Path::new(GOLDEN).join("v1-d32")));
    let facts = clay_v1_facts(&tensors);
    let mut plan = InputPlan::fixed(Clouds::Ignore, Latlon::None);
    plan.inputs = vec![Input::Sentinel1Rtc];
    let error = ClayV1::load(&facts, &plan, &mut tensors, &Device::Cpu).err().unwrap();
    assert!(error.to_string().contains("`sentinel-1-rtc`"), "{error}");
    plan.metadata = built_in(Generation::V1_5);
    plan.metadata.inputs.get_mut(&Input::Sentinel1Rtc).unwrap().std.pop();
    let error = ClayV1::load(&facts, &plan, &mut tensors, &Device::Cpu).err().unwrap();
    assert!(error.to_string().contains("2 bands"), "{error}");
}

#[test]
fn raw_chips_give_the_goldens_of_clay_v0() {
    let golden = golden("d24h3-full", "io_64.safetensors");
    let encoder = clay_v0(&checkpoint_in(&Path::new(GOLDEN).join("d24h3-full")));
    let (date, place) = (date(2020, 10, 20), place(48.5, 15.2));
    // In reverse order; the elevation that is not there is 0 after normalisation.
    let pixels = golden["pixels"].narrow(0, 0, 1).unwrap();
    let bands: Vec<Band> = clay_v0::BANDS[..12].iter().rev().copied().collect();
    let values = planes(&pixels, 0, |c, v| v * clay_v0::STD[c] + clay_v0::MEAN[c]);
    let planes = values[..12 * 4096].chunks_exact(4096).rev().flatten().copied().collect();
    let chip = Chip { bands, planes, side: 64, date, hour: None, place };
    let without =
        Tensor::cat(&[pixels.narrow(1, 0, 12).unwrap(), pixels.narrow(1, 12, 1).unwrap().zeros_like().unwrap()], 1);
    let code = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let (latlon, time) = (code(&encode_place(&place, Latlon::Wgs84)), code(&encode_date(date)));
    let tokens = encoder.forward(&without.unwrap(), &latlon, &time).unwrap();
    let want = to_grid(&tokens).unwrap().flatten_from(2).unwrap().transpose(1, 2).unwrap(); // [1, L, G*D]
    let features = encoder.features(&[chip.raw()]).unwrap();
    assert_eq!((encoder.channels(), encoder.tokens(64)), (144, 26));
    let off = difference(&features, &want);
    println!("a raw chip: largest difference {off:e}");
    assert!(off <= 5e-5, "{off:e}");
    let error = encoder.features(&[RawChip { side: 40, planes: &chip.planes[..12 * 1600], ..chip.raw() }]).unwrap_err();
    assert!(error.to_string().contains("`a.tif` is 40 pixels wide"), "{error}");
}

#[test]
fn a_chip_alone_is_as_in_company() {
    // Chips come from a cache, so that any subset of them may be encoded: company must not change a bit. One layer of the
    // large size, and 3 x 4 images of 64 px.
    let facts = made::clay_v1_facts(1024, 1, 16, 64, 4096);
    let inputs = vec![Input::Sentinel2L2a];
    let plan =
        InputPlan { inputs, metadata: built_in(Generation::V1_5), clouds: Clouds::Ignore, latlon: Latlon::Wgs84 };
    let encoder = ClayV1::load(&facts, &plan, &mut made::Made::clay_v1(&facts), &Device::Cpu).unwrap();
    let chips: Vec<Chip> = (0..12)
        .map(|i| Chip {
            bands: Input::Sentinel2L2a.bands().to_vec(),
            planes: made::values(i, 10 * 64 * 64, 1000.0, 1500.0),
            side: 64,
            date: date(2020, 10, 20),
            hour: None,
            place: place(48.5, 15.2),
        })
        .collect();
    let raw: Vec<RawChip> = chips.iter().map(Chip::raw).collect();
    let all = encoder.features(&raw).unwrap();
    for (start, count) in [(0, 1), (3, 2), (11, 1), (4, 7)] {
        let some = encoder.features(&raw[start..start + count]).unwrap();
        assert_eq!(difference(&some, &all.narrow(0, start, count).unwrap()), 0.0, "{start} and {count}");
    }
}
