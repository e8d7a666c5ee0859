//! Layouts: every fixture as its golden numbers say, every odd or broken folder its outcome.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use clay_probe::{
    config::{Config, Probe},
    domain::{Band, LayoutName, Reason},
    probe::chips::{
        inspect_dir,
        layout::{Wanted, layout_of},
    },
};
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flood/layouts")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn settings() -> Probe {
    Config::load(None, &[]).unwrap().probe
}

/// `inspect DIR --chips --json`.
fn inspect(root: &Path) -> Value {
    serde_json::to_value(inspect_dir(root, &settings(), true)).unwrap()
}

/// The largest differences seen: of means, of deviations, of single pixels (relative), of places (degrees).
#[derive(Debug, Default)]
struct Worst {
    mean: f64,
    std: f64,
    spot: f64,
    degrees: f64,
}

/// Adds what differs between an item of `inspect DIR` and a golden entry.
fn compare(item: &Value, golden: &Value, worst: &mut Worst, wrong: &mut Vec<String>) {
    let id = &golden["id"];
    let mut same = |what: &str, a: &Value, b: &Value| {
        if a != b {
            wrong.push(format!("{id} {what}: {a} instead of {b}"));
        }
    };
    for key in ["id", "layout", "event", "epsg", "gsd", "level", "shape", "bands_missing"] {
        same(key, &item[key], &golden[key]);
    }
    same("date", &item["date"].as_str().unwrap_or_default().replace('-', "").into(), &golden["date"]);
    if golden["label"]["other"] == 0 {
        let mut label = golden["label"].clone();
        label.as_object_mut().unwrap().remove("other");
        same("label", &item["label"], &label);
    }
    let names = |value: &Value| value["bands"].as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    same("bands", &json!(names(item)), &json!(names(golden)));
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let mut off = |what: String, difference: f64, bound: f64, worst: &mut f64| {
        *worst = worst.max(difference);
        if difference.is_nan() || difference > bound {
            wrong.push(format!("{id} {what} is off by {difference:e}"));
        }
    };
    for key in ["lat", "lon"] {
        off(key.into(), (number(&item[key]) - number(&golden[key])).abs(), 1e-6, &mut worst.degrees);
    }
    for (name, band) in golden["bands"].as_object().unwrap() {
        let found = &item["bands"][name];
        let relative = |key: &str| (number(&found[key]) / number(&band[key]) - 1.0).abs();
        off(format!("mean of {name}"), relative("mean"), 1e-5, &mut worst.mean);
        off(format!("std of {name}"), relative("std"), 1e-4, &mut worst.std);
        off(format!("missing of {name}"), (number(&found["missing"]) - number(&band["missing"])).abs(), 0.0, &mut 0.0);
    }
}

/// Adds which single pixels differ from a golden entry.
fn spots(root: &Path, golden: &Value, worst: &mut Worst, wrong: &mut Vec<String>) {
    let layout = layout_of(root, settings().layout).unwrap();
    let listing = layout.list(root).unwrap();
    let chip = listing.chips.iter().find(|chip| golden["id"] == *chip.id).unwrap();
    let wanted = Wanted { water: true, clouds: true };
    let look = layout.look(chip, chip.contents(wanted).unwrap(), wanted);
    for spot in golden["spot"].as_array().unwrap() {
        let at = |key: &str| spot[key].as_u64().unwrap() as usize;
        for (name, expected) in spot["values"].as_object().unwrap() {
            let plane = look.plane(name.parse::<Band>().unwrap()).unwrap();
            let found = f64::from(plane[at("row") * look.width as usize + at("col")]);
            let difference = match expected.as_f64() {
                Some(expected) => (found / expected - 1.0).abs(),
                None if found.is_nan() => 0.0,
                None => f64::INFINITY,
            };
            worst.spot = worst.spot.max(difference);
            if difference.is_nan() || difference > 1e-5 {
                wrong.push(format!("{} {name} at {spot}: {found} instead of {expected}", golden["id"]));
            }
        }
    }
}

/// What a case comes to.
enum Outcome {
    /// Its golden values, or those of another case.
    Golden(Option<&'static str>),
    /// Loaded, and warned of with this reason and these words.
    Warned(&'static str, &'static [&'static str]),
    /// The chip is refused with this reason and these words.
    Refused(&'static str, &'static [&'static str]),
    /// The whole folder is.
    Failed(&'static str, &'static [&'static str]),
}
use Outcome::{Failed, Golden, Refused, Warned};

fn outcomes() -> BTreeMap<&'static str, Outcome> {
    BTreeMap::from([
        ("reference", Golden(None)),
        ("s1-s2-size", Refused("size-mismatch", &["India_900498_S1Hand.tif", "32x32", "24x24"])),
        ("label-all-ignored", Golden(None)),
        ("split-absent-chip", Golden(None)),
        ("s2-uint16", Golden(None)),
        ("s1-linear", Warned("unit", &["India_900498_S1Hand.tif", "looks like linear power, not dB"])),
        ("s2-reflectance", Warned("unit", &["India_900498_S2Hand.tif", "reflectance of 0 to 1"])),
        ("s2-offset-1000", Warned("unit", &["India_900498_S2Hand.tif", "offset of 1000", "below 1004"])),
        ("s2-12-named", Golden(None)),
        ("s2-12-unnamed", Refused("bands", &["India_900498_S2Hand.tif", "expected 13, found 12"])),
        ("s2-13-unnamed", Golden(None)),
        ("s2-reversed-named", Golden(None)),
        ("s1-vh-first", Golden(None)),
        ("s1-one-band", Refused("bands", &["India_900498_S1Hand.tif", "expected 2", "found 1"])),
        ("metadata-absent", Refused("date", &["India_900498", "Sen1Floods11_Metadata.geojson"])),
        ("metadata-no-event", Refused("date", &["Sen1Floods11_Metadata.geojson", "no location `India`"])),
        ("metadata-truncated", Failed("metadata", &["Sen1Floods11_Metadata.geojson"])),
        ("non-ascii", Golden(None)),
        ("split-crlf", Golden(None)),
        ("split-bom-blank", Golden(None)),
        ("split-no-final-newline", Golden(None)),
        ("split-twice", Golden(None)),
        ("split-none", Golden(None)),
        ("split-bad-row", Failed("split", &["flood_train_data.csv", "line 2"])),
        ("s2-only", Refused("label-missing", &["USA_430764_LabelHand.tif"])),
        ("label-missing", Refused("label-missing", &["India_900498_LabelHand.tif"])),
        ("label-value-2", Refused("label-value", &["India_900498_LabelHand.tif", "value 2", "25 pixels"])),
        ("label-uint8-255", Golden(None)),
        ("s1-nan", Golden(None)),
        ("s2-zero", Golden(None)),
        ("s2-shift", Refused("georef-mismatch", &["India_900498_S1Hand.tif", "India_900498_S2Hand.tif", "EPSG:4326"])),
        ("no-crs", Refused("no-crs", &["India_900498_S1Hand.tif"])),
        ("chunky-strips", Golden(None)),
        ("s2-truncated", Refused("truncated", &["India_900498_S2Hand.tif"])),
        ("c2s-reference", Golden(None)),
        ("c2s-native-sizes", Refused("size-mismatch", &["B1.tif", "8x8", "32x32"])),
        ("c2s-s1-zero", Golden(None)),
        ("c2s-unpaired", Warned("unpaired", &["00272-00136", "one sensor only"])),
        ("c2s-b11-missing", Refused("band-missing", &["B11.tif"])),
        ("c2s-b01-names", Golden(Some("c2s-reference"))),
        ("c2s-l2a", Golden(None)),
        ("c2s-no-cloud", Golden(None)),
        ("c2s-two-s1", Refused("ambiguous", &["013B0C_A2C4_00272-00104", "013B0C_0B11_00272-00104"])),
        ("c2s-s2-only", Refused("label-missing", &["s1/*_00272-00104/LabelWater.tif"])),
        ("c2s-label-s2-only", Refused("label-missing", &["013B0C_A2C4_00272-00104/LabelWater.tif"])),
    ])
}

/// Whether one of `refusals` has the reason and all words.
fn says(refusals: &Value, reason: &str, words: &[&str]) -> bool {
    refusals.as_array().unwrap().iter().any(|refusal| {
        let message = refusal["message"].as_str().unwrap();
        refusal["reason"] == reason && words.iter().all(|word| message.contains(word))
    })
}

#[test]
fn every_odd_or_broken_folder_gets_its_outcome() {
    let expected = read(&fixtures().join("edge/expected.json"));
    let cases = expected["cases"].as_array().unwrap();
    let golden: BTreeMap<&str, &Value> = cases.iter().map(|c| (c["case"].as_str().unwrap(), &c["golden"])).collect();
    let outcomes = outcomes();
    let (mut wrong, mut worst) = (Vec::new(), Worst::default());
    for case in cases {
        let name = case["case"].as_str().unwrap();
        let root = fixtures().join(case["root"].as_str().unwrap());
        let report = inspect(&root);
        let shown = inspect_dir(&root, &settings(), false).to_string();
        let mut note = |what: String| wrong.push(format!("{name}: {what}\n{shown}"));
        if report["layout"] != case["layout"] {
            note(format!("taken for {}", report["layout"]));
        }
        match &outcomes[name] {
            Golden(twin) => {
                if report["usable"] != 1 || report["reason"] != Value::Null {
                    note("is not usable".to_owned());
                }
                let golden = golden[twin.unwrap_or(name)];
                compare(&report["items"][0], golden, &mut worst, &mut wrong);
                spots(&root, golden, &mut worst, &mut wrong);
            }
            Warned(reason, words) if !says(&report["warnings"], reason, words) || report["usable"] != 1 => {
                note("is not warned of".to_owned());
            }
            Refused(reason, words) if !says(&report["refused"], reason, words) || report["usable"] != 0 => {
                note("is not refused so".to_owned());
            }
            Failed(reason, words) => {
                let message = report["message"].as_str().unwrap_or_default();
                if report["reason"] != *reason || words.iter().any(|word| !message.contains(word)) {
                    note("does not fail so".to_owned());
                }
            }
            Warned(..) | Refused(..) => {}
        }
        let units = says(&report["warnings"], "unit", &[]);
        if units != matches!(outcomes[name], Warned("unit", _)) {
            wrong.push(format!("{name}: warned of a unit: {units}\n{shown}"));
        }
    }
    println!("{} cases, {worst:?}", cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cases.len(), outcomes.len());
}

#[test]
fn what_the_split_files_say_is_told_and_not_obeyed() {
    let report = |case: &str| inspect(&fixtures().join(format!("edge/{case}/v1.1")));
    let absent = report("split-absent-chip");
    assert!(says(&absent["refused"], "chip-missing", &["Bolivia_103757", "flood_train_data.csv"]), "{absent}");
    assert!(says(&absent["refused"], "chip-missing", &["Bolivia_23014"]));
    assert_eq!((&absent["chips"], &absent["usable"]), (&json!(1), &json!(1)));
    let twice = report("split-twice");
    assert!(says(&twice["warnings"], "split-leak", &["India_900498", "test and train"]), "{twice}");
    assert!(twice["notes"][0].as_str().unwrap().contains("train 1, valid 0, test 1, bolivia 0"), "{twice}");
    assert!(twice["notes"][1].as_str().unwrap().contains("India"));
    assert!(report("split-none")["notes"][0].as_str().unwrap().contains("splits/flood_handlabeled"));
}

/// The reference case below a folder of its own.
fn copy(case: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("cp")
        .arg("-r")
        .arg(fixtures().join("edge").join(case))
        .arg(folder.path().join("set"))
        .status()
        .unwrap();
    assert!(status.success());
    let root = folder.path().join("set");
    (folder, root)
}

#[test]
fn bolivia_is_held_out_and_never_opened() {
    let (_folder, root) = copy("reference/v1.1");
    let hand = root.join("data/flood_events/HandLabeled");
    for layer in ["S1Hand", "S2Hand", "LabelHand"] {
        fs::write(hand.join(format!("{layer}/Bolivia_1_{layer}.tif")), "not a TIFF").unwrap();
        let spain = fs::read(hand.join(format!("{layer}/India_900498_{layer}.tif"))).unwrap();
        fs::write(hand.join(format!("{layer}/India_2_{layer}.tif")), spain).unwrap();
    }
    fs::write(root.join("splits/flood_handlabeled/flood_bolivia_data.csv"), "India_2_S1Hand.tif,India_2_LabelHand.tif")
        .unwrap();
    let report = inspect(&root);
    assert_eq!((&report["chips"], &report["usable"], &report["held_out"]), (&json!(3), &json!(1), &json!(2)));
    assert_eq!(report["refused"], json!([]));
    assert_eq!(report["events"], json!([{"event": "India", "chips": 1}]));
}

#[test]
fn half_chips_are_said_by_name_and_never_joined() {
    let report = inspect(&fixtures().join("edge/c2s-unpaired/chips"));
    for position in ["00272-00104", "00272-00136"] {
        assert!(says(&report["warnings"], "unpaired", &[position]), "{report}");
    }
    let item = |i: usize| report["items"][i]["bands"].as_object().unwrap().len();
    assert_eq!((item(0), item(1)), (2, 13));
    assert!(says(&report["refused"], "label-missing", &["00272-00136"]));
}

#[test]
fn strict_refuses_a_wrong_unit() {
    let root = fixtures().join("edge/s1-linear/v1.1");
    let strict = Probe { strict: true, ..settings() };
    assert_eq!(inspect_dir(&root, &strict, false).reason, Some(Reason::Refused));
    assert_eq!(inspect_dir(&root, &settings(), false).reason, None);
    assert_eq!(inspect_dir(&fixtures().join("edge/reference/v1.1"), &strict, false).reason, None);
}

#[test]
fn a_set_is_recognised_from_its_folder_and_from_the_one_above() {
    let of = |path: &str| layout_of(&fixtures().join("edge").join(path), settings().layout).unwrap().name();
    assert_eq!(of("reference/v1.1"), LayoutName::Sen1Floods11);
    assert_eq!(of("reference"), LayoutName::Sen1Floods11);
    assert_eq!(of("c2s-reference/chips"), LayoutName::C2smsFloods);
    assert_eq!(of("c2s-reference"), LayoutName::C2smsFloods);
    assert_eq!(of("../../edge"), LayoutName::Cube);
    let above = inspect(&fixtures().join("edge/reference"));
    assert_eq!((&above["usable"], &above["items"][0]["id"]), (&json!(1), &json!("India_900498")));
    let above = inspect(&fixtures().join("edge/c2s-reference"));
    let event = "0760ae9e-da7d-5a92-8a47-1256ba134b56";
    assert_eq!(above["events"], json!([{"event": event, "chips": 1}]));
}

#[test]
fn cubes_tell_level_and_hour_and_have_no_wrong_unit() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample");
    let report = inspect(&sample);
    assert_eq!((report["items"].as_array().unwrap().len(), &report["warnings"]), (6, &json!([])));
    let levels: Vec<&Value> = report["items"].as_array().unwrap().iter().map(|item| &item["level"]).collect();
    assert!(levels.contains(&&json!("L1C")) && levels.contains(&&json!("L2A")));
    let edge = inspect(&sample.join("../../tests/fixtures/flood/edge"));
    assert_eq!(edge["warnings"], json!([]), "none of them is in another unit");
    let layout = layout_of(&sample, settings().layout).unwrap();
    let hours: Vec<(String, Option<u32>)> =
        layout.list(&sample).unwrap().chips.into_iter().map(|c| (c.source, c.facts.hour)).collect();
    for (source, hour) in hours {
        // Sen1Floods11 gives only the day: its stems say `T000000`.
        assert_eq!(hour.is_none(), source.contains("MSIL1C"), "{source}");
    }
}

/// All golden chips of one root.
fn golden_root(layout: &str, root: &Path, chips: usize) {
    let golden = read(&crate::shared::shared("flood/layouts/golden.json"));
    let golden: Vec<&Value> = golden["chips"].as_array().unwrap().iter().filter(|c| c["layout"] == layout).collect();
    let report = inspect(root);
    let items = report["items"].as_array().unwrap();
    let (mut wrong, mut worst) = (Vec::new(), Worst::default());
    for chip in &golden {
        let item = items.iter().find(|item| item["id"] == chip["id"]).unwrap();
        compare(item, chip, &mut worst, &mut wrong);
        spots(root, chip, &mut worst, &mut wrong);
    }
    println!("{layout}: {} chips, {worst:?}", golden.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((golden.len(), items.len()), (chips, chips));
    assert_eq!((&report["warnings"], &report["refused"]), (&json!([]), &json!([])));
    assert_eq!(report["usable"], chips);
}

#[test]
#[ignore = "reads $CLAY_PROBE_SHARED"]
fn shared_layouts_sen1floods11_as_golden() {
    golden_root("sen1floods11", &crate::shared::shared("flood/layouts/sen1floods11/v1.1"), 5);
}

#[test]
#[ignore = "reads $CLAY_PROBE_SHARED"]
fn shared_layouts_c2smsfloods_as_golden() {
    golden_root("c2smsfloods", &crate::shared::shared("flood/layouts/c2smsfloods/chips"), 4);
}

#[test]
#[ignore = "reads $CLAY_PROBE_SHARED"]
fn shared_layouts_cubes_have_no_wrong_unit() {
    for set in ["real", "sar-only", "radar-events"] {
        let root = crate::shared::shared(&format!("flood/{set}"));
        let layout = layout_of(&root, settings().layout).unwrap();
        // All of them, also those that `manifest.csv` holds out.
        for chip in layout.list(&root).unwrap().chips {
            let wanted = Wanted { water: true, clouds: true };
            let look = layout.look(&chip, chip.contents(wanted).unwrap(), wanted);
            assert!(look.warnings.is_empty() && look.problems.is_empty(), "{}: {:?}", chip.path, look.warnings);
        }
    }
}
