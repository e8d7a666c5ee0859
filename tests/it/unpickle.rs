//! Checkpoints: what is read of sound files, and the refusal that each defective one gets.

mod defects;
mod families;
mod hostile;
mod pinning;
mod statistics;
pub mod torch_save;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clay_probe::{
    domain::{Epoch, Family, Format, Generation, Reason, ValueSource},
    probe::weights::{Options, inspect, open, pin},
};
use half::{bf16, f16};
use torch_save::{Save, f32_bytes};

use crate::shared::{checkpoint_in, shared};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clay").join(name)
}

fn baseline() -> PathBuf {
    fixture("bad/ok-baseline.ckpt")
}

/// A file in a folder of its own, which goes with the second.
fn written(bytes: &[u8]) -> (PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epoch-01.ckpt");
    fs::write(&path, bytes).unwrap();
    (path, folder)
}

/// Reason and message of the refusal of a file with these bytes.
fn refusal(bytes: &[u8]) -> (Reason, String) {
    let (path, _folder) = written(bytes);
    let report = inspect(&path, &Options::default());
    assert!(!report.usable, "not refused: {report}");
    (report.reason.unwrap(), report.message.unwrap())
}

/// The weights digest of a file with these bytes, which is sound.
fn digest_of(bytes: &[u8]) -> String {
    let (path, _folder) = written(bytes);
    let report = inspect(&path, &Options::default());
    assert!(report.usable, "refused: {report}");
    report.weights_digest.unwrap().to_string()
}

/// Opens golden checkpoints: folder, D, depth, H, M, number of tensors.
fn open_with_their_sizes(golden: &Path, expected: &[(&str, usize, usize, usize, usize, usize)]) {
    for &(folder, dim, depth, heads, mlp, tensors) in expected {
        let path = checkpoint_in(&golden.join(folder));
        let mut checkpoint = open(&path, &Options::default()).unwrap();
        let e = checkpoint.encoder();
        assert_eq!((e.dim, e.depth, e.heads, e.mlp_dim, e.dim_head), (dim, depth, heads, mlp, 64), "{path:?}");
        assert_eq!((e.family, e.generation, e.patch_size), (Family::ClayV0, Generation::V0, 32));
        assert_eq!((e.tensors.loaded, e.tensors.needed, e.tensors.unused), (tensors as u64, tensors as u64, 0));
        assert_eq!((e.prefix.as_str(), &e.metadata), ("model.encoder.", &None));
        assert_eq!(checkpoint.tensors().len(), tensors);
        assert_eq!(checkpoint.format(), Format::Lightning);
        assert_eq!(checkpoint.epoch(), Some((Epoch(1), ValueSource::File)));
        assert!(checkpoint.global_step().is_some_and(|(step, source)| step > 0 && source == ValueSource::File));
        assert_eq!(checkpoint.dtype(), "f32");
        assert_eq!(checkpoint.about()["hyper_parameters"]["model_size"], "tiny");
        assert!(checkpoint.about()["lightning_version"].as_str().unwrap().starts_with("2."));
        let names: Vec<String> = checkpoint.tensors().keys().cloned().collect();
        let numbers: usize = names.iter().map(|name| checkpoint.read_f32(name).unwrap().len()).sum();
        assert_eq!(numbers as u64, checkpoint.encoder().parameters);
        checkpoint.weights_digest().unwrap();
    }
}

#[test]
fn golden_checkpoints_open_with_their_sizes() {
    let expected = [("d16h2-newtorch", 16, 2, 2, 32, 52), ("d24h3-full", 24, 2, 3, 48, 52)];
    open_with_their_sizes(&fixture("golden"), &expected);
}

#[test]
#[ignore = "reads $CLAY_PROBE_SHARED"]
fn shared_golden_checkpoints_open_with_their_sizes() {
    open_with_their_sizes(&shared("clay/golden"), &[("d64h1", 64, 2, 1, 128, 48), ("d128h2", 128, 3, 2, 256, 63)]);
}

#[test]
fn a_report_tells_what_the_file_is() {
    let report = inspect(&baseline(), &Options::default());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["kind"], "checkpoint");
    assert_eq!(json["format"], "lightning");
    assert_eq!((&json["epoch"], &json["global_step"]), (&1.into(), &4.into()));
    assert_eq!((&json["encoder"]["family"], &json["encoder"]["generation"]), (&"clay-v0".into(), &"0".into()));
    assert_eq!(json["tensors"], serde_json::json!({"loaded": 52, "needed": 52, "unused": 0, "foreign": 0}));
    assert_eq!(json["encoder"]["parameters"], report.encoder.as_ref().unwrap().parameters);
    assert_eq!((&json["usable"], &json["reason"]), (&true.into(), &serde_json::Value::Null));
    let text = report.to_string();
    for word in ["Lightning", "2.1.4", "width 16", "depth 2", "f32", "usable", "encoder: 52 of 52 tensors, "] {
        assert!(text.contains(word), "`{word}` is not in {text}");
    }
}

#[test]
fn a_rebuilt_baseline_has_the_same_weights() {
    let original = open(&baseline(), &Options::default()).unwrap().weights_digest().unwrap().to_string();
    assert_eq!(digest_of(&Save::like(&baseline()).bytes()), original);
}

#[test]
fn prefixes_wrappers_and_formats_do_not_change_the_weights() {
    let sound = Save::like(&baseline());
    let digest = digest_of(&sound.bytes());
    let renamed = |to: &dyn Fn(&str) -> String| {
        let mut save = sound.clone();
        save.rename(to);
        digest_of(&save.bytes())
    };
    assert_eq!(renamed(&|k| format!("module.{k}")), digest);
    assert_eq!(renamed(&|k| format!("_orig_mod.{k}")), digest);
    assert_eq!(renamed(&|k| k.replace("model.encoder", "model._orig_mod.encoder")), digest);
    assert_eq!(renamed(&|k| k.replace("model.encoder", "encoder")), digest, "the inner module");
    assert_eq!(renamed(&|k| k.replace("model.encoder.", "")), digest, "the encoder alone");

    // A state dict written straight to a path: its stem is the top folder.
    let bare = Save { bare: true, top: "weights", ..sound.clone() };
    let (path, _folder) = written(&bare.bytes());
    let report = inspect(&path, &Options::default());
    assert_eq!((report.format, report.epoch, report.usable), (Some(Format::Torch), None, true), "{report}");
    assert_eq!(report.weights_digest.unwrap().to_string(), digest);

    // Stray fixed encodings and the decoder are not looked at.
    let mut more = sound.clone();
    more.insert("model.encoder.pos_encoding", &[2], "FloatStorage", f32_bytes(&[f32::NAN; 2]));
    more.insert("model.decoder.mask_patch", &[2], "FloatStorage", f32_bytes(&[f32::NAN; 2]));
    more.storage("pos_encoding").2 = None;
    assert_eq!(digest_of(&more.bytes()), digest);
}

#[test]
fn views_of_a_storage_are_respected() {
    let name = "transformer.layers.0.1.net.1.weight"; // [32, 16]
    let mut save = Save::like(&baseline());
    let digest = digest_of(&save.bytes());
    // The same tensor stored transposed, after five other elements, in a storage shared with another tensor.
    let bytes = save.storage(name).2.clone().unwrap();
    let row = |i: usize, j: usize| &bytes[4 * (16 * i + j)..][..4];
    let norm = save.storage("transformer.norm.bias").2.clone().unwrap(); // [16]
    let transposed = (0..16).flat_map(|j| (0..32).flat_map(move |i| row(i, j).to_vec())).collect::<Vec<u8>>();
    let shared = [norm, transposed].concat();
    let number = save.storages.len();
    save.storages.push(("FloatStorage", 16 + 512, Some(shared)));
    save.tensor("transformer.norm.bias").storage = number;
    let tensor = save.tensor(name);
    (tensor.storage, tensor.offset, tensor.stride) = (number, 16, vec![1, 32]);
    assert_eq!(digest_of(&save.bytes()), digest);
}

#[test]
fn halves_are_read_as_f32_and_kept_as_they_are() {
    let mut save = Save::like(&baseline());
    for (class, dtype, of) in [
        ("HalfStorage", "f16", &(|v: f32| f16::from_f32(v).to_le_bytes()) as &dyn Fn(f32) -> [u8; 2]),
        ("BFloat16Storage", "bf16", &|v: f32| bf16::from_f32(v).to_le_bytes()),
    ] {
        save.insert("model.encoder.time_embedding.bias", &[16], class, [1.5f32; 16].into_iter().flat_map(of).collect());
        let (path, folder) = written(&save.bytes());
        let mut checkpoint = open(&path, &Options::default()).unwrap();
        assert_eq!(checkpoint.read_f32("time_embedding.bias").unwrap(), [1.5; 16]);
        assert_eq!(checkpoint.tensors()["time_embedding.bias"].dtype, dtype);
        assert_eq!(checkpoint.dtype(), "mixed");
        let pinned = pin(&path, &folder.path().join("pins"), &Options::default()).unwrap();
        let mut copy = open(&pinned.pin, &Options::default()).unwrap();
        assert_eq!(copy.tensors()["time_embedding.bias"].dtype, dtype);
        assert_eq!(copy.weights_digest().unwrap(), pinned.weights_digest);
    }
}

#[test]
fn zip64_entries_are_read() {
    let save = Save::like(&baseline());
    let storages = save.storages.iter().enumerate();
    let mut entries: std::collections::BTreeMap<_, _> =
        storages.map(|(n, (_, _, bytes))| (format!("data/{n}"), bytes.clone().unwrap())).collect();
    entries.insert("data.pkl".into(), save.pickle());
    assert_eq!(digest_of(&torch_save::zip("archive", entries, true)), digest_of(&save.bytes()));
}

/// `CLAY_PROBE_VARIANTS=DIR`: files `GROUP-*.*`, by whatever wrote them, hold the same weights per group. `.ci/run`
/// lets PyTorch write them (`tests/save_variants.py`).
#[test]
#[ignore = "reads $CLAY_PROBE_VARIANTS"]
fn variants_of_one_model_are_one_model() {
    let folder = std::env::var_os("CLAY_PROBE_VARIANTS").expect("`CLAY_PROBE_VARIANTS` is a folder of checkpoints");
    let mut groups = std::collections::BTreeMap::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let report = inspect(&path, &Options::default());
        eprintln!("{report}");
        assert!(report.usable, "{report}");
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let group = name.split('-').next().unwrap().to_owned();
        let first = *groups.entry(group).or_insert(report.weights_digest);
        assert_eq!(first, report.weights_digest, "{name}");
    }
}

/// `CLAY_PROBE_VARIANTS=DIR`, the largest file of it: pinning a model of Clay's size, 380 MB, takes little memory.
#[test]
#[ignore = "reads $CLAY_PROBE_VARIANTS"]
fn variants_of_full_size_are_pinned_within_little_memory() {
    let folder = std::env::var_os("CLAY_PROBE_VARIANTS").expect("`CLAY_PROBE_VARIANTS` is a folder of checkpoints");
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let path = files.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let rss_anon = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|l| l.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let folder = tempfile::tempdir().unwrap();
    let (started, pins) = (std::time::Instant::now(), folder.path().to_owned());
    let worker = std::thread::spawn(move || pin(&path, &pins, &Options::default()).unwrap());
    let mut peak = 0;
    while !worker.is_finished() {
        peak = peak.max(rss_anon());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let pinned = worker.join().unwrap();
    eprintln!("{} parameters in {:?}, peak RssAnon {peak} MB", pinned.encoder.parameters, started.elapsed());
    assert!(peak < 100, "{peak} MB");
    let mut copy = open(&pinned.pin, &Options::default()).unwrap();
    assert_eq!(copy.weights_digest().unwrap(), pinned.weights_digest);
}
