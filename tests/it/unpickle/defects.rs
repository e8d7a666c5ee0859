//! Every defective file of `fixtures/clay/bad/expected.json`, rebuilt from the sound one by the edit its README names.

use std::{collections::BTreeMap, fs, path::Path};

use clay_probe::{
    domain::Reason,
    probe::weights::{Options, inspect},
};

use super::{
    baseline, fixture, refusal,
    torch_save::{Item, Save, call, f32_bytes, text, zip},
};
use crate::shared::shared;

/// The bytes of the defective file of that name.
fn rebuilt(name: &str) -> Vec<u8> {
    let sound = fs::read(baseline()).unwrap();
    let mut save = Save::like(&baseline());
    let largest = "patch_embedding.rededge.proj.weight"; // [16, 4, 32, 32]
    match name {
        "empty.ckpt" => return Vec::new(),
        "truncated-half.ckpt" => return sound[..sound.len() / 2].to_vec(),
        "truncated-tail.ckpt" => return sound[..sound.len() - 40].to_vec(),
        "not-a-zip.ckpt" => return b"<!DOCTYPE html><html><body>404 Not Found</body></html>".to_vec(),
        "legacy-format.ckpt" => {
            let magic = [0x80, 2, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
            return [&magic[..], b"\x80\x02M\xe9\x03.", &save.pickle()].concat();
        }
        "zip-no-data-pkl.ckpt" => return zip("archive", BTreeMap::from([("version".into(), b"3\n".to_vec())]), false),
        "garbage-pickle.ckpt" => return save.with_pickle(b"\x80\x02}(X\x0a\0\0\0state_dict\xff\xff\xff\xff."),
        "list-top-level.ckpt" => return save.with_pickle(b"\x80\x02](K\x01K\x02e."),
        "no-state-dict.ckpt" => save.without_state_dict = true,
        "empty-state-dict.ckpt" => save.items.clear(),
        "other-network.ckpt" => {
            save.items.clear();
            save.insert("features.0.weight", &[8, 3, 3, 3], "FloatStorage", f32_bytes(&[0.5; 216]));
            save.insert("features.0.bias", &[8], "FloatStorage", f32_bytes(&[0.5; 8]));
        }
        "v1-keys.ckpt" => {
            save = Save::like(&super::families::v1());
            save.remove("weight_generator.encoder.layers.0.linear");
        }
        "hostile-os-system.ckpt" => {
            let harm = call("posix", "system", &[text("true")]);
            save.extra.extend([text("callbacks"), b"}".to_vec(), text("x"), harm, b"s".to_vec()].concat());
        }
        "hostile-eval-state-dict.ckpt" => save.state_dict = Some(call("__builtin__", "eval", &[text("{}")])),
        "missing-storage.ckpt" => save.storage(largest).2 = None,
        "short-storage.ckpt" => {
            let bytes = save.storage(largest).2.as_mut().unwrap();
            bytes.truncate(bytes.len() / 2);
        }
        "bit-flip.ckpt" => {
            let mut bytes = sound;
            let at = bytes.len() / 2; // in a tensor
            bytes[at] ^= 0x10;
            return bytes;
        }
        "missing-tensor.ckpt" => save.remove("transformer.layers.1.1.net.4.bias"),
        "missing-band-group.ckpt" => save.remove("patch_embedding.dem"),
        "layer-gap.ckpt" => save.rename(|key| key.replace("layers.1.", "layers.3.")),
        "wrong-shape.ckpt" => {
            save.insert("model.encoder.time_embedding.weight", &[16, 4], "FloatStorage", f32_bytes(&[0.5; 64]));
        }
        "patch-16.ckpt" => {
            for (group, bands) in [("rgb", 3), ("rededge", 4), ("nir", 1), ("swir", 2), ("sar", 2), ("dem", 1)] {
                let key = format!("model.encoder.patch_embedding.{group}.proj.weight");
                let values = vec![0.5; 16 * bands * 256];
                save.insert(&key, &[16, bands, 16, 16], "FloatStorage", f32_bytes(&values));
            }
        }
        "head-width-48.ckpt" => {
            for layer in 0..2 {
                let key = format!("model.encoder.transformer.layers.{layer}.0");
                let qkv = f32_bytes(&vec![0.5; 288 * 16]);
                save.insert(&format!("{key}.to_qkv.weight"), &[288, 16], "FloatStorage", qkv);
                let out = f32_bytes(&vec![0.5; 16 * 96]);
                save.insert(&format!("{key}.to_out.0.weight"), &[16, 96], "FloatStorage", out);
            }
        }
        "integer-tensor.ckpt" => {
            save.insert("model.encoder.transformer.norm.weight", &[16], "LongStorage", vec![1; 128]);
        }
        "non-tensor-value.ckpt" => save.set("model.encoder.latlon_embedding.weight", Item::Text("weights")),
        "duplicate-key.ckpt" => {
            let key = "module.model.encoder.latlon_embedding.weight";
            save.insert(key, &[16, 2], "FloatStorage", f32_bytes(&[0.5; 32]));
        }
        "nan-weight.ckpt" => poison(&mut save, "transformer.layers.1.0.to_qkv.weight", f32::NAN),
        "inf-weight.ckpt" => poison(&mut save, "patch_embedding.sar.proj.weight", f32::INFINITY),
        other => panic!("no way to rebuild `{other}`"),
    }
    save.bytes()
}

fn poison(save: &mut Save, name: &str, value: f32) {
    let bytes = save.storage(name).2.as_mut().unwrap();
    bytes[40..44].copy_from_slice(&value.to_le_bytes());
}

fn expected(folder: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
    serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap()
}

/// What a message must name, beside the file.
fn named(file: &str) -> &'static [&'static str] {
    match file {
        "hostile-os-system.ckpt" => &["posix.system"],
        "hostile-eval-state-dict.ckpt" => &["builtins.eval"],
        "v1-keys.ckpt" => &["Clay v1", "weight_generator.encoder.layers.0.linear1.weight", "layers.0.linear2.bias"],
        "missing-tensor.ckpt" => &["transformer.layers.1.1.net.4.bias"],
        "missing-band-group.ckpt" => &["patch_embedding.dem.proj.weight", "band group `dem`"],
        "layer-gap.ckpt" => &["transformer.layers.1.*", "transformer.layers.2.*"],
        "wrong-shape.ckpt" => &["time_embedding.weight", "[16, 4]", "[16, 3]"],
        "patch-16.ckpt" => &["patch_embedding.rgb.proj.weight", "[16, 3, 32, 32]"],
        "head-width-48.ckpt" => &["to_qkv.weight", "64"],
        "integer-tensor.ckpt" => &["transformer.norm.weight", "i64"],
        "non-tensor-value.ckpt" => &["latlon_embedding.weight", "a string"],
        "duplicate-key.ckpt" => &["latlon_embedding.weight", "module."],
        "nan-weight.ckpt" => &["transformer.layers.1.0.to_qkv.weight"],
        "inf-weight.ckpt" => &["patch_embedding.sar.proj.weight"],
        "missing-storage.ckpt" | "short-storage.ckpt" => &["patch_embedding.rededge.proj.weight"],
        _ => &[],
    }
}

#[test]
fn each_defect_is_refused_by_name() {
    for (file, outcome) in expected(&fixture("bad")) {
        let Some(reason) = outcome.get("reason") else { continue };
        let (found, message) = refusal(&rebuilt(&file));
        assert_eq!(found.as_str(), reason, "{file}: {message}");
        assert!(message.contains("epoch-01.ckpt"), "{file}: {message}");
        for name in named(&file) {
            assert!(message.contains(name), "{file}: `{name}` is not in: {message}");
        }
    }
}

#[test]
#[ignore = "reads $CLAY_PROBE_SHARED"]
fn shared_defective_files_are_refused_by_name() {
    let folder = shared("clay/bad");
    for (file, outcome) in expected(&folder) {
        let report = inspect(&folder.join(&file), &Options::default());
        // Since Clay v1 is read, a file with a few of its names lacks the others; the shared list is older.
        let reason = outcome.get("reason").map(|reason| if reason == "clay-v1" { "missing-tensor" } else { reason });
        assert_eq!(report.reason.map(Reason::as_str), reason, "{file}: {report}");
        for name in named(&file) {
            let message = report.message.clone().unwrap_or_default();
            // The largest tensor of the originals is another one.
            assert!(message.contains(name) || file.contains("-storage"), "{file}: `{name}` is not in: {message}");
        }
        eprintln!("{report}");
    }
}

#[test]
fn what_may_be_half_written_is_tried_again() {
    for (file, again) in [
        ("empty.ckpt", true),
        ("truncated-half.ckpt", true),
        ("truncated-tail.ckpt", true),
        ("bit-flip.ckpt", true),
        ("not-a-zip.ckpt", false),
        ("hostile-os-system.ckpt", false),
        ("nan-weight.ckpt", false),
    ] {
        let (path, _folder) = super::written(&rebuilt(file));
        assert_eq!(inspect(&path, &Options::default()).retry, again, "{file}");
    }
    let folder = tempfile::tempdir().unwrap();
    let dangling = folder.path().join("last.ckpt");
    std::os::unix::fs::symlink("gone.ckpt", &dangling).unwrap();
    for (path, reason, again) in
        [(dangling.as_path(), Reason::Missing, true), (folder.path(), Reason::Unreadable, false)]
    {
        let report = inspect(path, &Options::default());
        assert_eq!((report.reason, report.retry), (Some(reason), again));
    }
}

#[test]
fn every_cut_of_a_file_is_refused_and_tried_again() {
    let sound = fs::read(baseline()).unwrap();
    for len in [1, 2, 3, 4, 30, 5_000, sound.len() - 1_000, sound.len() - 22, sound.len() - 1] {
        let (path, _folder) = super::written(&sound[..len]);
        let report = inspect(&path, &Options::default());
        assert_eq!((report.reason, report.retry), (Some(Reason::Truncated), true), "{len} bytes: {report}");
    }
}

#[test]
fn all_problems_are_told_together() {
    let mut save = Save::like(&baseline());
    save.remove("time_embedding.bias");
    save.insert("model.encoder.transformer.norm.weight", &[16], "LongStorage", vec![1; 128]);
    save.insert("model.encoder.head.weight", &[1], "FloatStorage", f32_bytes(&[0.5]));
    poison(&mut save, "patch_embedding.sar.proj.weight", f32::NAN);
    let (reason, message) = refusal(&save.bytes());
    assert_eq!(reason, Reason::MissingTensor);
    for name in ["time_embedding.bias", "transformer.norm.weight", "head.weight", "patch_embedding.sar.proj.weight"] {
        assert!(message.contains(name), "`{name}` is not in: {message}");
    }
}

#[test]
fn impossible_numbers_are_refused() {
    let name = "time_embedding.bias"; // [16]
    let broken = |edit: &dyn Fn(&mut Save)| {
        let mut save = Save::like(&baseline());
        edit(&mut save);
        refusal(&save.bytes()).0
    };
    assert_eq!(broken(&|s| s.tensor(name).offset = 1), Reason::BadPickle, "beyond the storage");
    assert_eq!(broken(&|s| s.tensor(name).offset = -1), Reason::BadPickle);
    assert_eq!(broken(&|s| s.tensor(name).stride = vec![i64::MAX]), Reason::BadPickle);
    assert_eq!(broken(&|s| s.tensor(name).shape = vec![i64::MAX]), Reason::BadPickle);
    assert_eq!(broken(&|s| s.storage(name).1 = i64::MAX), Reason::Truncated, "more elements than the entry has");
}
