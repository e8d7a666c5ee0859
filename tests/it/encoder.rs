//! The encoder against what the original Clay v0 code gave: every tensor of every golden file.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use clay_probe::probe::{
    checkpoint::{Checkpoint, Options},
    encoder,
};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clay/golden");

/// The only checkpoint of a golden folder.
fn checkpoint(folder: &str) -> PathBuf {
    let dir = Path::new(GOLDEN).join(folder);
    let mut files = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|e| e == "ckpt")).unwrap()
}

fn load(path: &Path) -> encoder::Encoder {
    let mut file = Checkpoint::open(path, &Options::default()).unwrap();
    let shape = file.encoder().clone();
    encoder::Encoder::load(&shape, &mut file, &Device::Cpu).unwrap()
}

/// Largest absolute difference; both are f32 of one shape.
fn difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// The bound of the goldens' README: f32 against f64 alone differs by 4e-6 to 6.5e-6.
fn bound(name: &str) -> f32 {
    match name {
        "pos_encoding" | "band_encoding" => 1e-6,
        "patches" | "encoded_patches" | "sequence" => 2e-5,
        _ => 5e-5,
    }
}

/// Runs one golden file and compares all that it holds.
fn compare(folder: &str, io: &Path) {
    let golden = candle_core::safetensors::load(io, &Device::Cpu).unwrap();
    let encoder = load(&checkpoint(folder));
    let mut seen = HashMap::new();
    let tokens = encoder
        .forward_traced(&golden["pixels"], &golden["latlon"], &golden["time"], &mut |name, tensor| {
            seen.insert(name.to_owned(), tensor.clone());
            Ok(())
        })
        .unwrap();
    seen.insert("decoder_input".into(), encoder::to_grid(&tokens).unwrap());
    seen.insert("tokens".into(), tokens);
    let mut names: Vec<&String> =
        golden.keys().filter(|k| !["pixels", "latlon", "time"].contains(&k.as_str())).collect();
    names.sort();
    assert_eq!(names.len(), 7 + 2 * encoder.shape().depth, "{folder}: {names:?}");
    let mut worst = (0f32, "");
    for name in names {
        assert_eq!(golden[name].dtype(), DType::F32);
        let got = difference(&seen[name], &golden[name]);
        assert!(got <= bound(name), "{folder}/{}: `{name}` differs by {got:e}", io.display());
        if got > worst.0 {
            worst = (got, name);
        }
    }
    println!("{folder}/{}: largest difference {:e} in `{}`", io.file_name().unwrap().display(), worst.0, worst.1);
}

#[test]
fn every_tensor_of_every_golden() {
    let mut compared = 0;
    for folder in ["d16h2-newtorch", "d24h3-full", "d64h1", "d128h2"] {
        for entry in std::fs::read_dir(Path::new(GOLDEN).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "safetensors") {
                compare(folder, &path);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 6);
}

#[test]
fn the_224_px_golden() {
    let Some(shared) = std::env::var_os("CLAY_PROBE_SHARED") else {
        println!("skipped: set CLAY_PROBE_SHARED to the folder that holds clay/golden/d64h1/io_224.safetensors");
        return;
    };
    compare("d64h1", &Path::new(&shared).join("clay/golden/d64h1/io_224.safetensors"));
}
