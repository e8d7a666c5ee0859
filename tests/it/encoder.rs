//! The encoders against what the original Clay code gave: every tensor of every golden file.

mod features;
mod made;
mod offset;
mod speed;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use clay_probe::{
    config::{Clouds, Latlon},
    domain::EncoderFacts,
    probe::{
        device,
        embed::embed_tensors,
        encoder::{
            Encoder, InputPlan,
            clay_v0::{ClayV0, to_grid},
            clay_v1::ClayV1,
        },
        weights::{Options, open},
    },
};

use crate::shared::{checkpoint_in, shared};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clay/golden");

/// The intermediate results of a pass by name.
type Seen = HashMap<String, Tensor>;

fn plan() -> InputPlan {
    InputPlan::fixed(Clouds::Ignore, Latlon::Wgs84)
}

fn clay_v0(path: &Path) -> ClayV0 {
    let mut file = open(path, &Options::default()).unwrap();
    let facts = file.encoder().clone();
    ClayV0::load(&facts, &plan(), &mut file, &Device::Cpu).unwrap()
}

/// The tensors of a v1 file's encoder by their names without prefix.
fn clay_v1_tensors(path: &Path) -> Seen {
    let named: Vec<(String, Tensor)> = if path.extension().is_some_and(|e| e == "safetensors") {
        candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect()
    } else {
        candle_core::pickle::read_all_with_key(path, Some("state_dict")).unwrap()
    };
    let plain = |(name, tensor): (String, Tensor)| Some((name.strip_prefix("model.encoder.")?.to_owned(), tensor));
    named.into_iter().filter_map(plain).collect()
}

/// The facts of a v1 encoder with heads of 64, as its shapes tell them.
fn clay_v1_facts(tensors: &Seen) -> EncoderFacts {
    let rows = |name: &str| tensors[name].dim(0).unwrap();
    let depth = (0..).take_while(|i| tensors.contains_key(&format!("transformer.layers.{i}.0.norm.bias"))).count();
    let heads = rows("transformer.layers.0.0.to_qkv.weight") / 192;
    made::clay_v1_facts(rows("transformer.norm.weight"), depth, heads, 64, rows("transformer.layers.0.1.net.1.weight"))
}

/// Largest absolute difference; both are f32 of one shape.
fn difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// Holds what was seen against all that a golden file has besides its inputs; how many tensors that are.
fn compare(io: &Path, golden: &Seen, seen: &Seen, inputs: &[&str], bound: fn(&str) -> f32) -> usize {
    let mut names: Vec<&String> = golden.keys().filter(|k| !inputs.contains(&k.as_str())).collect();
    names.sort();
    let mut worst = (0f32, "");
    for name in &names {
        assert_eq!(golden[*name].dtype(), DType::F32);
        let got = difference(&seen[*name], &golden[*name]);
        assert!(got <= bound(name), "{}: `{name}` differs by {got:e}", io.display());
        if got > worst.0 {
            worst = (got, name);
        }
    }
    println!("{}: largest difference {:e} in `{}`", io.display(), worst.0, worst.1);
    names.len()
}

/// All golden files of these folders.
fn goldens(root: &Path, folders: &[&str]) -> Vec<PathBuf> {
    let files = |folder: &&str| std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    folders.iter().flat_map(files).filter(|path| name(path).starts_with("io_")).collect()
}

/// Runs one golden file of Clay v0.
fn compare_v0(io: &Path) {
    let golden = candle_core::safetensors::load(io, &Device::Cpu).unwrap();
    let encoder = clay_v0(&checkpoint_in(io.parent().unwrap()));
    let mut seen = Seen::new();
    let tokens = encoder
        .forward_traced(&golden["pixels"], &golden["latlon"], &golden["time"], &mut |name, tensor| {
            seen.insert(name.to_owned(), tensor.clone());
            Ok(())
        })
        .unwrap();
    seen.insert("decoder_input".into(), to_grid(&tokens).unwrap());
    seen.insert("tokens".into(), tokens);
    // f32 against f64 alone differs by 4e-6 to 6.5e-6 in the blocks.
    let bound = |name: &str| match name {
        "pos_encoding" | "band_encoding" => 1e-6,
        _ => 1e-5,
    };
    let compared = compare(io, &golden, &seen, &["pixels", "latlon", "time"], bound);
    assert_eq!(compared, 7 + 2 * encoder.facts().depth, "{}", io.display());
}

/// Runs one golden file of Clay v1 through the checkpoint at `weights`.
fn compare_v1(io: &Path, weights: &Path, bound: fn(&str) -> f32) {
    let mut tensors = clay_v1_tensors(weights);
    let encoder = ClayV1::load(&clay_v1_facts(&tensors), &plan(), &mut tensors, &Device::Cpu).unwrap();
    compare_v1_with(io, &encoder, bound);
}

fn compare_v1_with(io: &Path, encoder: &ClayV1, bound: fn(&str) -> f32) {
    let golden = candle_core::safetensors::load(io, &Device::Cpu).unwrap();
    let mut seen = Seen::new();
    let numbers = |name: &str| golden[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (waves, gsd) = (numbers("waves"), numbers("gsd")[0].into());
    encoder
        .forward_traced(&golden["pixels"], &golden["time"], &golden["latlon"], &waves, gsd, &mut |name, tensor| {
            seen.insert(name.to_owned(), tensor.clone());
            Ok(())
        })
        .unwrap();
    compare(io, &golden, &seen, &["pixels", "time", "latlon", "waves", "gsd"], bound);
}

#[test]
fn every_tensor_of_every_golden() {
    let files = goldens(Path::new(GOLDEN), &["d16h2-newtorch", "d24h3-full"]);
    assert_eq!(files.iter().map(|io| compare_v0(io)).count(), 3);
}

#[test]
fn every_tensor_of_clay_v1() {
    let files = goldens(Path::new(GOLDEN), &["v1-d32"]);
    let weights = checkpoint_in(&Path::new(GOLDEN).join("v1-d32"));
    assert_eq!(files.iter().map(|io| compare_v1(io, &weights, |_| 2e-5)).count(), 2);
}

#[test]
fn heads_of_48() {
    // The tiny size, with weights by a formula: see `golden/v1-tiny/make.py`.
    let facts = made::clay_v1_facts(192, 6, 4, 48, 384);
    let mut source = made::Made::clay_v1(&facts);
    let encoder = ClayV1::load(&facts, &plan(), &mut source, &Device::Cpu).unwrap();
    let io = Path::new(GOLDEN).join("v1-tiny/io_sentinel2_32.safetensors");
    compare_v1_with(&io, &encoder, |_| 1e-5);
    let golden = candle_core::safetensors::load(&io, &Device::Cpu).unwrap();
    assert_eq!(difference(&golden["pixels"], &made::tensor(1000, &[1, 10, 32, 32], 2.0)), 0.0, "the formula");
}

#[test]
fn given_tensors_are_checked() {
    let facts = made::clay_v1_facts(32, 1, 1, 64, 32);
    let encoder = ClayV1::load(&facts, &plan(), &mut made::Made::clay_v1(&facts), &Device::Cpu).unwrap();
    let io = Path::new(GOLDEN).join("v1-d32/io_sentinel1_40.safetensors");
    let golden = candle_core::safetensors::load(io, &Device::Cpu).unwrap();
    let embedded = encoder.embed(&golden).unwrap();
    assert_eq!((embedded.tokens.dims(), embedded.decoder_input.dims()), (&[2, 26, 32][..], &[2, 32, 5, 5][..]));
    let values = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let map = embedded.decoder_input.get(1).unwrap();
    let cell = values(map.narrow(1, 3, 1).unwrap().narrow(2, 2, 1).unwrap());
    let token = values(embedded.tokens.get(1).unwrap().get(1 + 3 * 5 + 2).unwrap());
    assert_eq!(cell, token, "row 3, column 2");
    let refused = |name: &str, tensor: Option<Tensor>, says: &str| {
        let mut tensors = golden.clone();
        tensors.remove(name);
        tensors.extend(tensor.map(|tensor| (name.to_owned(), tensor)));
        let error = encoder.embed(&tensors).unwrap_err().to_string();
        assert!(error.contains(says), "{name}: {error}");
    };
    let of = |values: &[f32]| Some(Tensor::new(values, &Device::Cpu).unwrap());
    for name in ["pixels", "time", "latlon", "waves", "gsd"] {
        refused(name, None, &format!("no tensor `{name}`"));
    }
    refused("waves", of(&[3.5]), "[B, 1, S, S]");
    refused("waves", of(&[3.5, f32::NAN]), "`waves`");
    refused("gsd", of(&[10.0, 20.0]), "one number");
    refused("gsd", of(&[0.0]), "above 0");
    refused("time", of(&[0.0; 8]), "`time` must be [2, 4]");
    refused("pixels", Some(golden["pixels"].narrow(3, 0, 32).unwrap()), "40x32");
}

/// Embeds a golden file, its images as often as said, and holds what is written against its `tokens`.
fn embed_file(encoder: &dyn Encoder, io: &Path, times: usize, inputs: &[&str]) {
    let golden = candle_core::safetensors::load(io, &Device::Cpu).unwrap();
    let repeated = |t: &Tensor| Tensor::cat(&vec![t; times], 0).unwrap();
    // A file with all that a golden has: what is not asked for is ignored.
    let mut given = golden.clone();
    given.extend(inputs.iter().map(|&name| (name.to_owned(), repeated(&golden[name]))));
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("in.safetensors"), folder.path().join("out.safetensors"));
    candle_core::safetensors::save(&given, &file).unwrap();
    let pool = device::pool(2).unwrap();
    let mut done = Vec::new();
    let count = embed_tensors(encoder, &file, &pool, &out, &mut |progress| done.push(progress.done)).unwrap();
    let written = candle_core::safetensors::load(&out, &Device::Cpu).unwrap();
    assert!(difference(&written["tokens"], &repeated(&golden["tokens"])) <= 2e-5);
    let images = written["tokens"].dim(0).unwrap();
    assert_eq!((count, done.last()), (images as u64, Some(&(images as u64))));
    assert_eq!(done.len(), images.div_ceil(encoder.chips_per_pass(golden["pixels"].dim(3).unwrap())));
    let map = written["decoder_input"].dims4().unwrap();
    assert_eq!((map.0, written.len()), (images, 2));

    given.remove("latlon");
    candle_core::safetensors::save(&given, &file).unwrap();
    let error = embed_tensors(encoder, &file, &pool, &out, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("in.safetensors`: there is no tensor `latlon`"), "{error}");
}

#[test]
fn files_of_tensors_are_embedded() {
    let root = Path::new(GOLDEN);
    let v0 = clay_v0(&checkpoint_in(&root.join("d16h2-newtorch")));
    embed_file(&v0, &root.join("d16h2-newtorch/io_64.safetensors"), 35, &["pixels", "latlon", "time"]);
    let mut tensors = clay_v1_tensors(&checkpoint_in(&root.join("v1-d32")));
    let v1 = ClayV1::load(&clay_v1_facts(&tensors), &plan(), &mut tensors, &Device::Cpu).unwrap();
    embed_file(&v1, &root.join("v1-d32/io_sentinel1_40.safetensors"), 9, &["pixels", "latlon", "time"]);
}

#[test]
#[ignore = "reads $CLAY_PROBE_SHARED"]
fn shared_every_tensor_of_the_larger_goldens() {
    // One head without an output projection, also at 224 px; and three layers.
    let files = goldens(&shared("clay/golden"), &["d64h1", "d128h2"]);
    assert_eq!(files.iter().map(|io| compare_v0(io)).count(), 4);
}

#[test]
#[ignore = "reads $CLAY_PROBE_SHARED"]
fn shared_every_tensor_of_the_larger_goldens_of_clay_v1() {
    let root = shared("clay/golden");
    // Tolerances of the goldens' README.
    let bound = |name: &str| match name {
        "waves_sincos" => 1e-6,
        "waves_fc" | "hyper_in" | "hyper_out" | "raw_weights" | "raw_bias" => 1e-5,
        "tokens" => 2e-5,
        _ => 5e-5,
    };
    let files = goldens(&root, &["v1-d64-full"]);
    let weights = checkpoint_in(&root.join("v1-d64-full"));
    assert_eq!(files.iter().map(|io| compare_v1(io, &weights, bound)).count(), 3);
    // The same weights in a safetensors file.
    let weights = root.join("v1-same/clay_v1.5_d32.safetensors");
    assert_eq!(goldens(&root, &["v1-d32"]).iter().map(|io| compare_v1(io, &weights, |_| 2e-5)).count(), 2);
}
