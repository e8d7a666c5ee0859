//! What an encoder's inputs are normalised by: where it is told, which teller comes first, and that a pin keeps it.

use std::{fs, path::Path};

use clay_probe::{
    domain::{Fault, Generation, Input, InputMetadata, Reason},
    probe::weights::{Options, open, pin},
};
use serde_json::json;

use super::{
    families::{safetensors, v1},
    torch_save::{Save, text},
};

/// A `metadata.yaml` like Clay's, for radar alone.
fn yaml(vv_mean: f32) -> String {
    format!(
        "sentinel-1-rtc:\n  band_order: [vv, vh]\n  rgb_indices: [0, 1, 0]\n  gsd: 10\n  bands:\n    mean: {{vv: {vv_mean}, \
         vh: -18.673}}\n    std: {{vv: 8.314, vh: 8.017}}\n    wavelength: {{vv: 3.5, vh: 4.0}}\n"
    )
}

fn vv_mean(metadata: &InputMetadata) -> f32 {
    metadata.inputs[&Input::Sentinel1Rtc].mean[0]
}

fn metadata_of(path: &Path, options: &Options) -> Option<InputMetadata> {
    open(path, options).unwrap_or_else(|e| panic!("{e}")).encoder().metadata.clone()
}

fn given(path: &Path) -> Options {
    Options { metadata: Some(path.to_owned()), ..Options::default() }
}

#[test]
fn the_trainers_own_file_is_read_where_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoints = folder.path().join("checkpoints/v1.5.0");
    fs::create_dir_all(&checkpoints).unwrap();
    let checkpoint = checkpoints.join("last.ckpt");
    fs::copy(v1(), &checkpoint).unwrap(); // its `metadata_path` is `configs/metadata.yaml`
    let none = Options::default();
    assert_eq!(metadata_of(&checkpoint, &none), None);

    let configs = folder.path().join("configs");
    fs::create_dir(&configs).unwrap();
    let file = configs.join("metadata.yaml");
    for useless in ["", "{", "- a\n- list", "modis: {gsd: 500}", &"#".repeat(2_000_000)] {
        fs::write(&file, useless).unwrap();
        assert_eq!(metadata_of(&checkpoint, &none), None, "never an error");
    }
    fs::write(&file, yaml(-11.0)).unwrap();
    let found = metadata_of(&checkpoint, &none).unwrap();
    assert_eq!((vv_mean(&found), found.inputs.len()), (-11.0, 1));
    assert!(found.source.contains("configs/metadata.yaml"), "{}", found.source);

    // One that is given comes first, and has to be good.
    let other = folder.path().join("given.yaml");
    fs::write(&other, yaml(0.12)).unwrap();
    let linear = metadata_of(&checkpoint, &given(&other)).unwrap();
    assert!(linear.inputs[&Input::Sentinel1Rtc].is_linear_power());
    assert_ne!(linear.digest(), found.digest());
    fs::write(&other, yaml(0.12).replace("vh: 8.017", "vv2: 8.017")).unwrap();
    let refused = open(&checkpoint, &given(&other)).err().unwrap();
    assert_eq!((refused.reason, refused.fault), (Reason::Metadata, Fault::Final));
    for word in ["given.yaml", "sentinel-1-rtc", "bands.std", "`vh`"] {
        assert!(refused.message.contains(word), "`{word}` is not in: {refused}");
    }
    let refused = open(&checkpoint, &given(&folder.path().join("gone.yaml"))).err().unwrap();
    assert_eq!((refused.reason, refused.fault), (Reason::Metadata, Fault::Passing));
}

#[test]
fn a_safetensors_file_may_hold_its_statistics() {
    let statistics =
        json!({"sentinel-1-rtc": {"wavelengths": [3.5, 4.0], "mean": [-10.0, -17.0], "std": [8.0, 7.0], "gsd": 10.0}});
    let (path, _folder) = safetensors(&[("statistics", &statistics.to_string()), ("generation", "1.5")]);
    let found = metadata_of(&path, &Options::default()).unwrap();
    assert_eq!(serde_json::to_value(&found.inputs).unwrap(), statistics);
    for wrong in ["{}", "[]", "text", &statistics.to_string().replace("-17.0]", "-17.0, 1.0]")] {
        let (path, _folder) = safetensors(&[("statistics", wrong)]);
        let refused = open(&path, &Options::default()).err().unwrap();
        assert_eq!(refused.reason, Reason::Metadata, "{refused}");
        assert!(refused.message.contains("`statistics`"), "{refused}");
    }
}

#[test]
fn a_pin_opens_to_the_facts_of_the_trainers_file() {
    let folder = tempfile::tempdir().unwrap();
    let pins = folder.path().join("pins");
    let mut old = Save::like(&v1());
    old.hyper_parameters(&[("mask_ratio", text("0.75")), ("metadata_path", text("configs/metadata.yaml"))]);
    let checkpoint = folder.path().join("mae_v1.5.0_epoch-03.ckpt");
    fs::write(&checkpoint, old.bytes()).unwrap();
    fs::create_dir(folder.path().join("configs")).unwrap();
    fs::write(folder.path().join("configs/metadata.yaml"), yaml(-11.0)).unwrap();

    let pinned = pin(&checkpoint, &pins, &Options::default()).unwrap();
    fs::remove_dir_all(folder.path().join("configs")).unwrap();
    let copy = open(&pinned.pin, &Options::default()).unwrap();
    assert_eq!(copy.encoder(), &pinned.encoder);
    assert_eq!((copy.encoder().generation, copy.encoder().prefix.as_str()), (Generation::V1_0, "model.encoder."));
    assert_eq!(vv_mean(copy.encoder().metadata.as_ref().unwrap()), -11.0);

    // The same weights under other statistics are the same pin, which then tells these.
    let other = folder.path().join("given.yaml");
    fs::write(&other, yaml(0.12)).unwrap();
    let again = pin(&checkpoint, &pins, &given(&other)).unwrap();
    assert_eq!(again.pin, pinned.pin);
    assert_eq!(open(&again.pin, &Options::default()).unwrap().encoder(), &again.encoder);
    assert_ne!(again.encoder, pinned.encoder);
}

#[test]
fn v0_takes_no_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("given.yaml");
    fs::write(&other, yaml(0.12)).unwrap();
    assert_eq!(metadata_of(&super::baseline(), &given(&other)), None, "they are part of the family");
}
