//! Which encoder a file holds: families, generations, prefixes, and how little of a full file is read for it.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use clay_probe::{
    domain::{EncoderFacts, Epoch, Family, Generation, Reason, TensorCounts},
    probe::weights::{Options, inspect, open, pin},
};

use super::{
    baseline, fixture, refusal,
    torch_save::{Save, f32_bytes, int, text},
    written,
};
use crate::shared::{checkpoint_in, shared};

/// A small encoder of v1.5 as its trainer wrote it: weights only, hyper-parameters, two parts beside it.
pub fn v1() -> PathBuf {
    checkpoint_in(&fixture("golden/v1-d32"))
}

fn facts_of(path: &Path, options: &Options) -> EncoderFacts {
    open(path, options).unwrap_or_else(|e| panic!("{e}")).encoder().clone()
}

/// What is known of a file with these bytes, under that name.
fn facts(name: &str, bytes: &[u8]) -> EncoderFacts {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    facts_of(&path, &Options::default())
}

fn with_prefix(prefix: &str) -> Options {
    Options { prefix: prefix.to_owned(), ..Options::default() }
}

#[test]
fn a_file_of_v1_5_is_recognised() {
    let mut weights = open(&v1(), &Options::default()).unwrap();
    let e = weights.encoder().clone();
    assert_eq!((e.family, e.generation), (Family::ClayV1, Generation::V1_5));
    assert_eq!((e.dim, e.depth, e.heads, e.dim_head, e.mlp_dim, e.patch_size), (32, 2, 2, 64, 64, 8));
    assert_eq!((e.prefix.as_str(), e.told_by.as_str()), ("model.encoder.", "`hyper_parameters.dolls` is there"));
    assert_eq!(e.tensors, TensorCounts { loaded: 45, needed: 45, unused: 0, foreign: 4 });
    assert_eq!(e.metadata, None, "its trainer's file is not here");
    assert_eq!(weights.epoch().unwrap().0, Epoch(0));
    let names: Vec<String> = weights.tensors().keys().cloned().collect();
    let numbers: usize = names.iter().map(|name| weights.read_f32(name).unwrap().len()).sum();
    assert_eq!(numbers as u64, e.parameters);

    let report = inspect(&v1(), &Options::default());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["tensors"], serde_json::json!({"loaded": 45, "needed": 45, "unused": 0, "foreign": 4}));
    assert_eq!((&json["encoder"]["family"], &json["encoder"]["generation"]), (&"clay-v1".into(), &"1.5".into()));
    let told =
        "encoder: 45 of 45 tensors, 952 k parameters, 0 unused, 4 foreign (teacher, decoder, optimizer) not read";
    assert!(report.to_string().contains(told), "{report}");
}

#[test]
fn generations_are_told_by_what_is_beside_the_encoder() {
    let bare = Save::like(&v1());
    let told = |edit: &dyn Fn(&mut Save), name: &str| {
        let mut save = bare.clone();
        edit(&mut save);
        let e = facts(name, &save.bytes());
        assert_eq!(e.family, Family::ClayV1);
        (e.generation, e.told_by)
    };
    let (nothing, by) = told(&|_| {}, "last.ckpt");
    assert_eq!(nothing, Generation::V1_5);
    assert!(by.contains("nothing"), "{by}");
    let dolls = b"(J\x10\0\0\0l".to_vec();
    let old: &[(&str, Vec<u8>)] = &[("model_size", text("base")), ("mask_ratio", int(0))];
    let new: &[(&str, Vec<u8>)] = &[("model_size", text("base")), ("dolls", dolls)];
    // Stronger than the name.
    assert_eq!(told(&|s| s.hyper_parameters(old), "mae_v1.5.0_epoch-01.ckpt").0, Generation::V1_0);
    assert_eq!(told(&|s| s.hyper_parameters(new), "mae_v1.0.0_epoch-01.ckpt").0, Generation::V1_5);
    let teacher = |save: &mut Save| save.insert("model.proj.weight", &[768, 2], "FloatStorage", vec![0; 768 * 2 * 4]);
    assert_eq!(told(&teacher, "mae_v1.5.0_epoch-01.ckpt").0, Generation::V1_0);
    assert_eq!(told(&|_| {}, "mae_v1.0.0_epoch-01.ckpt").0, Generation::V1_0);
    assert_eq!(told(&|_| {}, "mae_v0.5.7_epoch-13_val-loss-0.3098.ckpt").0, Generation::V1_0);
    assert_eq!(told(&|_| {}, "clay-v1.5.ckpt").0, Generation::V1_5);
}

#[test]
fn a_safetensors_file_may_say_its_generation() {
    let said = |generation: &str| {
        let path = safetensors(&[("generation", generation)]);
        open(&path.0, &Options::default()).map(|weights| weights.encoder().clone())
    };
    let e = said("1.0").unwrap();
    assert_eq!((e.generation, e.told_by.as_str()), (Generation::V1_0, "`generation` in its metadata"));
    for wrong in ["0", "2"] {
        let refused = said(wrong).unwrap_err();
        assert_eq!(refused.reason, Reason::Metadata);
        assert!(refused.message.contains("Clay v1") && refused.message.contains(wrong), "{refused}");
    }
}

/// The small encoder of v1.5 as safetensors with that metadata, in a folder that goes with the second.
pub fn safetensors(metadata: &[(&str, &str)]) -> (PathBuf, tempfile::TempDir) {
    use safetensors::{Dtype, tensor::TensorView};

    let mut source = open(&v1(), &Options::default()).unwrap();
    let infos = source.tensors().clone();
    let data: Vec<_> = infos
        .into_iter()
        .map(|(name, info)| (name.clone(), info.shape, f32_bytes(&source.read_f32(&name).unwrap())))
        .collect();
    let views = data.iter().map(|(n, s, b)| (n.clone(), TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
    let metadata: HashMap<_, _> = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    fs::write(&path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
    (path, folder)
}

#[test]
fn a_finetuned_file_is_read_as_its_encoder() {
    let mut save = Save::like(&v1());
    for (name, shape) in [("conv1.weight", [8, 32, 3, 3]), ("conv_out.weight", [7, 4, 3, 3])] {
        let count = shape.iter().product::<usize>();
        save.insert(&format!("model.{name}"), &shape, "FloatStorage", vec![0; 4 * count]);
    }
    save.hyper_parameters(&[("num_classes", int(7)), ("ckpt_path", text("checkpoints/clay-v1.0.ckpt"))]);
    let e = facts("chesapeake-7class-segment_epoch-05_val-iou-0.8765.ckpt", &save.bytes());
    assert_eq!((e.prefix.as_str(), e.tensors.foreign), ("model.encoder.", 2));
    assert_eq!(e.generation, Generation::V1_0, "{}", e.told_by);
}

#[test]
fn of_two_encoders_a_prefix_chooses() {
    let mut save = Save::like(&v1());
    let mut ema = Save::like(&v1());
    ema.storage("cls_token").2.as_mut().unwrap()[..4].copy_from_slice(&1f32.to_le_bytes());
    for (key, item) in ema.items.clone() {
        let super::torch_save::Item::Tensor(tensor) = item else { panic!("only tensors") };
        let bytes = ema.storages[tensor.storage].2.clone().unwrap();
        let shape: Vec<usize> = tensor.shape.iter().map(|&n| n as usize).collect();
        save.insert(&key.replace("model.encoder.", "ema_model.module.encoder."), &shape, "FloatStorage", bytes);
    }
    let (path, folder) = written(&save.bytes());
    let refused = open(&path, &Options::default()).err().unwrap();
    assert_eq!(refused.reason, Reason::SeveralEncoders);
    for word in ["`model.encoder.` (Clay v1)", "`ema_model.encoder.` (Clay v1)"] {
        assert!(refused.message.contains(word), "{refused}");
    }
    assert!(refused.hint.unwrap().contains("probe.prefix"));

    let chosen = |prefix: &str| {
        let pinned = pin(&path, &folder.path().join("pins"), &with_prefix(prefix)).unwrap();
        // The pin holds one encoder, whatever is chosen by now.
        let copy = open(&pinned.pin, &with_prefix(prefix)).unwrap();
        assert_eq!(copy.encoder(), &pinned.encoder);
        (pinned.weights_digest.to_string(), pinned.encoder)
    };
    let (main, main_facts) = chosen("model.encoder.");
    let (other, other_facts) = chosen("ema_model.module.encoder");
    assert_eq!((main_facts.tensors.foreign, other_facts.tensors.foreign), (45, 45));
    assert_eq!((main_facts.prefix.as_str(), other_facts.prefix.as_str()), ("model.encoder.", "ema_model.encoder."));
    assert_eq!(main, super::digest_of(&Save::like(&v1()).bytes()));
    assert_eq!(other, super::digest_of(&ema.bytes()));
    let refused = open(&path, &with_prefix("teacher.")).err().unwrap();
    assert_eq!(refused.reason, Reason::NoEncoder);
    assert!(refused.message.contains("`teacher.`") && refused.message.contains("`model.encoder.`"), "{refused}");
}

#[test]
fn one_family_in_the_clothes_of_another_is_refused_by_name() {
    let mut v0 = Save::like(&baseline());
    v0.insert("model.encoder.cls_token", &[1, 1, 16], "FloatStorage", f32_bytes(&[0.5; 16]));
    let (reason, message) = refusal(&v0.bytes());
    assert_eq!(reason, Reason::UnexpectedTensor);
    assert!(message.contains("Clay v0") && message.contains("`cls_token`"), "{message}");

    let mut both = Save::like(&v1());
    both.insert("model.encoder.latlon_embedding.weight", &[32, 2], "FloatStorage", f32_bytes(&[0.5; 64]));
    let (reason, message) = refusal(&both.bytes());
    assert_eq!(reason, Reason::UnexpectedTensor);
    assert!(message.contains("Clay v1") && message.contains("`latlon_embedding.weight`"), "{message}");

    // The transformer of v0 under the generator of v1.
    let mut mixed = Save::like(&v1());
    mixed.rename(|key| key.replace(".0.to_out.weight", ".0.to_out.0.weight").replace(".net.3.", ".net.4."));
    let (reason, message) = refusal(&mixed.bytes());
    assert_eq!(reason, Reason::MissingTensor);
    for name in ["Clay v1", "lacks `transformer.layers.0.0.to_out.weight`", "`transformer.layers.1.1.net.4.bias`"] {
        assert!(message.contains(name), "`{name}` is not in: {message}");
    }
}

/// Bytes that may be read beside the encoder's own: directory, pickle (also for the digest), and what a reader fetches
/// around each entry.
fn allowance(path: &Path, tensors: usize) -> u64 {
    let mut zip = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    let entries = zip.len() as u64;
    let name = zip.file_names().map(|name| name.unwrap().into_owned()).find(|name| name.ends_with("data.pkl")).unwrap();
    let pickle = zip.by_name(&name).unwrap().size();
    (1 << 18) + 250 * entries + 2 * pickle + tensors as u64 * 1_500
}

/// Reads all of the encoder, and compares the bytes read with what that takes.
fn reads_the_encoder_only(path: &Path) -> (u64, u64) {
    let mut weights = open(path, &Options::default()).unwrap();
    weights.weights_digest().unwrap();
    weights.file_digest().unwrap();
    let (own, read) = (4 * weights.encoder().parameters, weights.bytes_read());
    let most = own + allowance(path, weights.tensors().len());
    let size = fs::metadata(path).unwrap().len();
    println!("{}: {read} of {size} bytes read, {own} are the encoder's", path.display());
    assert!((own..=most).contains(&read), "{read} bytes read, {own} of the encoder, at most {most}");
    (read, size)
}

#[test]
fn teacher_decoder_and_optimizer_are_never_read() {
    // NaN, so that whoever looks at them notices too; and first in the file, as in a trainer's.
    let mut save = Save { top: "archive", ..Save::default() };
    let nan = vec![f32::NAN; 1 << 20];
    save.insert("model.teacher.blocks.0.mlp.fc1.weight", &[1024, 1024], "FloatStorage", f32_bytes(&nan));
    save.insert("model.teacher.cls_token", &[1, 1, 1024], "FloatStorage", f32_bytes(&nan[..1024]));
    save.insert("model.proj.weight", &[1024, 32], "FloatStorage", f32_bytes(&nan[..1024 * 32]));
    let own = Save::like(&v1());
    for (key, item) in own.items.clone() {
        let super::torch_save::Item::Tensor(tensor) = item else { panic!("only tensors") };
        let bytes = own.storages[tensor.storage].2.clone().unwrap();
        save.insert(&key, &tensor.shape.iter().map(|&n| n as usize).collect::<Vec<_>>(), "FloatStorage", bytes);
    }
    let name = "model.decoder.embed_to_pixels.weight_generator.fc_weight.weight";
    save.insert(name, &[1024, 128], "FloatStorage", f32_bytes(&nan[..1024 * 128]));
    save.insert_moments(&nan);
    let (path, folder) = written(&save.bytes());
    let (read, size) = reads_the_encoder_only(&path);
    assert!(size - read > 8_000_000, "{read} of {size}");
    let e = facts_of(&path, &Options::default());
    assert_eq!((e.tensors.foreign, e.generation), (4, Generation::V1_5), "{}", e.told_by);
    let report = inspect(&path, &Options::default());
    assert!(report.usable && report.bytes_read < size - 8_000_000, "{report}");
    let pinned = pin(&path, &folder.path().join("pins"), &Options::default()).unwrap();
    assert_eq!(pinned.weights_digest.to_string(), super::digest_of(&own.bytes()));
}

#[test]
#[ignore = "reads $CLAY_PROBE_SHARED"]
fn shared_a_full_file_of_a_trainer_is_read_for_its_encoder_only() {
    let full = checkpoint_in(&shared("clay/golden/v1-d64-full"));
    let (read, size) = reads_the_encoder_only(&full);
    assert!(size - read > 1_500_000, "{read} of {size}");
    let weights = open(&full, &Options::default()).unwrap();
    let e = weights.encoder();
    assert_eq!((e.family, e.generation), (Family::ClayV1, Generation::V1_5));
    assert_eq!((e.dim, e.depth, e.heads, e.dim_head, e.mlp_dim), (64, 3, 2, 64, 128));
    assert_eq!(e.tensors, TensorCounts { loaded: 55, needed: 55, unused: 0, foreign: 42 });
    assert_eq!(weights.epoch().unwrap().0, Epoch(7));
}

#[test]
#[ignore = "reads $CLAY_PROBE_SHARED"]
fn shared_equal_weights_have_one_digest_in_both_containers() {
    let same = shared("clay/golden/v1-same/clay_v1.5_d32.safetensors");
    let mut same = open(&same, &Options::default()).unwrap();
    assert_eq!(same.encoder().generation, Generation::V1_5);
    assert_eq!(same.encoder().told_by, "`v1.5` is in the name `clay_v1.5_d32.safetensors`");
    let mut first = open(&v1(), &Options::default()).unwrap();
    assert_eq!(same.weights_digest().unwrap(), first.weights_digest().unwrap());
}
