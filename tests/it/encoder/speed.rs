//! Seconds a chip of the released sizes; ignored, for it only prints.

use std::time::Instant;

use candle_core::Device;
use chrono::NaiveDate;
use clay_probe::{
    config::{Clouds, Latlon},
    domain::{Band, EncoderFacts, Family, Generation, Input},
    probe::{
        chips::{Place, RawChip},
        encoder::{self, InputPlan, clay_v1},
    },
};

use super::made::{Made, clay_v1_facts, values};

/// Encodes a chip of all bands four times; the fastest pass and the peak memory.
fn time(what: &str, facts: &EncoderFacts, mut source: Made, plan: &InputPlan, side: usize) {
    let started = Instant::now();
    let encoder = encoder::load(facts, plan, &mut source, &Device::Cpu).unwrap();
    let loaded = started.elapsed().as_secs_f64();
    let planes = values(1, 13 * side * side, 1000.0, 1500.0);
    let place = Place { epsg: 32633, bbox: [0.0, 0.0, 640.0, 640.0], lat: 48.5, lon: 15.2 };
    let (date, bands) = (NaiveDate::default(), &Band::ALL[..13]);
    let chip = RawChip { path: "a", bands, planes: &planes, side, date, hour: None, place, gsd: 10.0, clouds: None };
    let seconds = (0..4).map(|_| {
        let started = Instant::now();
        encoder.features(&[chip]).unwrap();
        started.elapsed().as_secs_f64()
    });
    let mut seconds: Vec<f64> = seconds.collect();
    seconds.sort_by(f64::total_cmp);
    let peak = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = peak.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!("{what} {side} px: {:.3} s a chip (all {seconds:.3?}), loaded in {loaded:.1} s, {peak}", seconds[0]);
}

#[test]
#[ignore = "prints seconds a chip"]
fn speed_of_clay_v0_small() {
    let facts = EncoderFacts {
        family: Family::ClayV0,
        generation: Generation::V0,
        patch_size: 32,
        ..clay_v1_facts(768, 12, 12, 64, 3072)
    };
    time("clay v0 small", &facts, Made::clay_v0(&facts), &InputPlan::fixed(Clouds::Ignore, Latlon::Wgs84), 224);
}

#[test]
#[ignore = "prints seconds a chip"]
fn speed_of_clay_v1_large() {
    let facts = clay_v1_facts(1024, 24, 16, 64, 4096);
    let inputs = vec![Input::Sentinel2L2a];
    let metadata = clay_v1::built_in(Generation::V1_5);
    let plan = InputPlan { inputs, metadata, clouds: Clouds::Ignore, latlon: Latlon::Wgs84 };
    time("clay v1.5 large", &facts, Made::clay_v1(&facts), &plan, 256);
}
