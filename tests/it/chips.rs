//! Chips: every odd and broken file gets its outcome, every golden number is met, the cache spares decoding.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use chrono::NaiveDate;
use clay_probe::{
    config::{Clouds, Config, Latlon, Probe, Split},
    domain::Reason,
    probe::{
        chips::{self, Dataset, encode, inspect_chip, inspect_dir},
        encoder::clay_v0,
    },
};
use safetensors::SafeTensors;
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flood")
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample")
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn settings(data: &Path) -> Probe {
    Probe { data: data.to_owned(), ..Config::load(None, &[]).unwrap().probe }
}

fn open(settings: &Probe, cache: &Path) -> Result<Dataset, chips::ChipError> {
    Dataset::open(settings, cache, &mut |_| {})
}

/// Equal within `relative` of the expected value, or within as much absolutely below 1e-3; null is null.
fn close(found: &Value, expected: &Value, relative: f64) -> Result<(), String> {
    match (found.as_f64(), expected.as_f64()) {
        (Some(f), Some(e)) if (f - e).abs() <= relative * e.abs().max(1e-3) => Ok(()),
        (None, None) if found.is_null() && expected.is_null() => Ok(()),
        _ => Err(format!("{found} instead of {expected}")),
    }
}

/// Compares a report with a golden entry; the list of what differs.
fn differences(report: &Value, golden: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check =
        |what: String, result: Result<(), String>| wrong.extend(result.err().map(|e| format!("{what}: {e}")));
    let same = |a: &Value, b: &Value| if a == b { Ok(()) } else { Err(format!("{a} instead of {b}")) };
    check("height".into(), same(&report["height"], &golden["shape"][1]));
    check("width".into(), same(&report["width"], &golden["shape"][2]));
    check("epsg".into(), same(&report["epsg"], &golden["epsg"]));
    for place in ["lat", "lon"] {
        let off = (report[place].as_f64().unwrap_or(f64::NAN) - golden[place].as_f64().unwrap()).abs();
        let result = if off <= 1e-6 { Ok(()) } else { Err(format!("{} instead of {}", report[place], golden[place])) };
        check(place.into(), result);
    }
    let date = report["date"].as_str().unwrap_or_default().replace('-', "");
    check("date".into(), same(&date.into(), &golden["date"]));
    for key in ["band_mean", "band_std"] {
        for band in 0..13 {
            check(format!("{key} {band}"), close(&report[key][band], &golden[key][band], 1e-6));
        }
    }
    let nonfinite: u64 = golden["band_nonfinite"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).sum();
    check("nonfinite".into(), same(&report["nonfinite"], &nonfinite.into()));
    let cloud = golden["cloud"]["1"].as_u64().unwrap() + golden["cloud"]["2"].as_u64().unwrap();
    check("cloud".into(), same(&report["cloud"], &cloud.into()));
    wrong
}

fn labels_differ(report: &Value, golden: &Value) -> Vec<String> {
    let pairs = [("water", "1"), ("land", "0"), ("ignored", "255")];
    let differs = |(key, value): &(&str, &str)| report[*key] != golden["water"][*value];
    pairs
        .iter()
        .filter(|p| differs(p))
        .map(|(key, v)| format!("{key}: {} instead of {}", report[*key], golden["water"][*v]))
        .collect()
}

/// What each refused case says: its reason code, and what its message must name besides the file.
fn refusals() -> BTreeMap<&'static str, (&'static str, &'static [&'static str])> {
    BTreeMap::from([
        ("label-size-mismatch", ("label-size", &["64x64", "48x48", "LabelWater"][..])),
        ("label-georef-shift", ("label-extent", &["576010", "576650", "EPSG:32646"][..])),
        ("wrong-extension", ("name", &["_rtc.tif"][..])),
        ("bands-12", ("bands", &["expected 13", "found 12"][..])),
        ("bands-14", ("bands", &["expected 13", "found 14"][..])),
        ("crs-none", ("no-crs", &["latitude"][..])),
        ("label-missing", ("label-missing", &["_LabelWater.tif"][..])),
        ("label-unknown-value", ("label-value", &["7", "15 pixels"][..])),
        ("truncated", ("truncated", &["cut off"][..])),
        ("truncated-header", ("truncated", &["200"][..])),
        ("zero-byte", ("empty", &["0 bytes"][..])),
        ("not-a-tiff", ("not-a-tiff", &["TIFF"][..])),
        ("tiled-partial", ("size", &["72x72"][..])),
        ("size-100x100", ("size", &["100x100"][..])),
        ("size-64x96", ("size", &["96x64"][..])),
        ("size-16x16", ("size", &["16x16", "32"][..])),
        ("zstd", ("compression", &["ZSTD"][..])),
        ("date-not-a-date", ("date", &["`stop`"][..])),
        ("date-impossible", ("date", &["20160231"][..])),
        ("stem-too-short", ("date", &["too few fields"][..])),
        ("real-usa-430764-optical-only", ("label-missing", &["_LabelWater.tif"][..])),
    ])
}

#[test]
fn every_odd_or_broken_chip_gets_its_outcome() {
    let expected = json(&fixtures().join("edge/expected.json"));
    let refusals = refusals();
    let mut wrong = Vec::new();
    let mut accepted = 0;
    let cases = expected["cases"].as_array().unwrap();
    for case in cases {
        let name = case["case"].as_str().unwrap();
        let path = fixtures().join(case["file"].as_str().unwrap());
        let report = inspect_chip(&path, &settings(&sample()));
        let shown = report.to_string();
        let report = serde_json::to_value(&report).unwrap();
        let mut note = |what: String| wrong.push(format!("{name}: {what}"));
        let message = report["message"].as_str().unwrap_or_default();
        match refusals.get(name) {
            Some((reason, words)) => {
                if report["reason"] != *reason || report["usable"] != false {
                    note(format!("reason {} instead of {reason}: {message}", report["reason"]));
                }
                let stem = path.file_stem().unwrap().to_str().unwrap();
                for word in words.iter().chain([&stem]).filter(|word| !message.contains(**word)) {
                    note(format!("`{word}` is not in: {message}"));
                }
                if !shown.contains(message) {
                    note("the printed form does not say why".to_owned());
                }
            }
            None if report["usable"] == true => accepted += 1,
            None => note(format!("refused: {message}")),
        }
        // A refused chip still shows its statistics where its pixels can be read.
        let golden = &case["golden"];
        if !golden.is_null() && name != "zstd" {
            differences(&report, golden).into_iter().for_each(&mut note);
            if name != "label-unknown-value" {
                let counts = golden.clone();
                // In 16 bits and signed, -1 is no-data: 16 pixels that the golden counts leave out.
                let counts = if name == "label-int16-minus1" {
                    let mut counts = counts;
                    counts["water"]["255"] = 16.into();
                    counts
                } else {
                    counts
                };
                labels_differ(&report, &counts).into_iter().for_each(&mut note);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_eq!(accepted + refusals.len(), cases.len());
}

#[test]
fn a_folder_says_what_would_be_read() {
    let report = inspect_dir(&fixtures().join("edge"), &settings(&sample()), false);
    // A file that is not named as a chip is not listed at all.
    assert_eq!(report.refused.len() + 1, refusals().len());
    assert_eq!(report.chips, report.usable + report.refused.len() as u64);
    assert_eq!(report.reason, None);
    let strict = Probe { strict: true, ..settings(&sample()) };
    assert_eq!(inspect_dir(&fixtures().join("edge"), &strict, false).reason, Some(Reason::Refused));

    let none = inspect_dir(&fixtures().join("edge/wrong-extension"), &settings(&sample()), false);
    assert_eq!(none.reason, Some(Reason::NoChips));
    assert!(none.message.unwrap().contains("no chips found in `"));

    let real = inspect_dir(&sample(), &settings(&sample()), false);
    assert_eq!((real.chips, real.usable, real.held_out, real.refused.len()), (8, 6, 2, 0));
    assert_eq!(real.events.len(), 4);
}

/// Every golden chip below `root`, whose sets lie as `real/`, `sar-only/` or under another name.
fn golden_set(set: &str, root: &Path) {
    let golden = json(&fixtures().join("golden.json"));
    let mut seen = 0;
    for chip in golden["chips"].as_array().unwrap() {
        let Some(path) = chip["file"].as_str().unwrap().strip_prefix(set) else { continue };
        let path = root.join(path.trim_start_matches('/'));
        let report = serde_json::to_value(inspect_chip(&path, &settings(root))).unwrap();
        let mut wrong = differences(&report, chip);
        wrong.extend(labels_differ(&report, chip));
        for (i, key) in ["0", "1", "2", "3"].iter().zip(0..4) {
            if (report["bbox"][key].as_f64().unwrap() - chip["bounds"][key].as_f64().unwrap()).abs() > 1e-6 {
                wrong.push(format!("bbox {i}: {} instead of {}", report["bbox"], chip["bounds"]));
            }
        }
        assert!(wrong.is_empty(), "{}:\n{}", path.display(), wrong.join("\n"));
        seen += 1;
    }
    assert_eq!(seen, 8);
}

#[test]
fn golden_numbers_of_the_sample() {
    golden_set("real", &sample());
}

#[test]
#[ignore = "reads $CLAY_PROBE_SHARED"]
fn shared_golden_numbers_of_the_radar_only_set() {
    golden_set("sar-only", &crate::shared::shared("flood/sar-only"));
}

#[test]
fn single_pixels_of_the_sample() {
    let cache = tempfile::tempdir().unwrap();
    let golden = json(&fixtures().join("golden.json"));
    let set = open(&settings(&sample()), cache.path()).unwrap();
    let mut seen = 0;
    for chip in golden["chips"].as_array().unwrap() {
        let path = chip["file"].as_str().unwrap().trim_start_matches("real/");
        let Some(i) = set.chips().iter().position(|c| c.path == path) else { continue };
        let side = set.chips()[i].side as usize;
        for spot in chip["spot"].as_array().unwrap() {
            let at = spot["row"].as_u64().unwrap() as usize * side + spot["col"].as_u64().unwrap() as usize;
            for band in 0..13 {
                let raw = spot["values"][band].as_f64().unwrap() as f32;
                let found = set.raw(i).planes[band * side * side + at];
                assert!((found - raw).abs() <= 1e-6 * raw.abs(), "{path} band {band}: {found} instead of {raw}");
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn dates_and_places_as_the_original_encodes_them() {
    let golden = json(&fixtures().join("clay/encodings.json"));
    let mut worst = 0f32;
    let mut compare = |found: &[f32], expected: &Value| {
        for (found, expected) in found.iter().zip(expected.as_array().unwrap()) {
            worst = worst.max((found - expected.as_f64().unwrap() as f32).abs());
        }
    };
    let (dates, places) = (golden["timestep"].as_array().unwrap(), golden["latlon"].as_array().unwrap());
    for entry in dates {
        let date: NaiveDate = entry["date"].as_str().unwrap().parse().unwrap();
        compare(&encode::encode_date(date), &entry["float32"]);
    }
    for entry in places {
        let degrees = |key: &str| entry[key].as_f64().unwrap();
        compare(&encode::encode_latlon(degrees("lat"), degrees("lon")), &entry["float32"]);
    }
    println!("{} dates, {} places, largest difference {worst:e}", dates.len(), places.len());
    assert!(dates.len() > 5 && places.len() > 5);
    assert!(worst <= 2.4e-7, "an f32 of about 3 is 2.4e-7 from its neighbour, this is off by {worst:e}");
}

fn tensor(golden: &SafeTensors, name: &str) -> Vec<f64> {
    let view = golden.tensor(name).unwrap();
    match view.dtype() {
        safetensors::Dtype::F32 => {
            view.data().as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
        }
        safetensors::Dtype::F64 => view.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        other => panic!("{name} is {other:?}"),
    }
}

fn largest(found: impl IntoIterator<Item = f64>, expected: &[f64]) -> f64 {
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max)
}

#[test]
fn flood_chips_as_the_original_loader_prepares_them() {
    let bytes = fs::read(fixtures().join("clay/flood_chips/expected.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&bytes).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let wgs84 =
        Probe { clouds: Clouds::ClayV0, split: Split::Random, ..settings(&fixtures().join("clay/flood_chips")) };
    let benchmark = Probe { latlon: Latlon::ClayV0Benchmark, ..wgs84.clone() };
    let set = open(&benchmark, cache.path()).unwrap();
    let placed = open(&wgs84, cache.path()).unwrap();
    assert_eq!(placed.summary().decoded, 0, "the location mode does not change the cache");
    assert_eq!(set.chips().len(), 2);
    for (i, chip) in set.chips().iter().enumerate() {
        let expected = |key: &str| tensor(&golden, &format!("{i}.{key}"));
        let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
        let pixels = largest(wide(&clay_v0::pixels(&set.raw(i), benchmark.clouds)), &expected("pixels"));
        println!("{}: largest difference of pixels {pixels:e}", chip.source_url);
        assert!(pixels <= 1e-6);
        assert_eq!(largest(set.labels(i).iter().map(|l| f64::from(*l)), &expected("labels")), 0.0);
        assert!(largest(wide(&chip.timestep), &expected("timestep")) <= 2.4e-7);
        assert!(largest(wide(&chip.latlon), &expected("latlon")) <= 1e-6);
        assert_eq!(largest(chip.bbox, &expected("bbox")), 0.0);
        assert!(largest([chip.lon, chip.lat], &expected("true_lonlat")) <= 1e-6);
        assert!(largest(wide(&placed.chips()[i].latlon), &expected("true_latlon_encoding")) <= 1e-6);
    }
}
