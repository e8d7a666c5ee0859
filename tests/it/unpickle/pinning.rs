//! Pins: our copy of an encoder, and files that change while they are read.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use clay_probe::{
    domain::{Epoch, Fault, Format, Reason, ValueSource},
    probe::weights::{Options, open, pin},
};

use super::{
    baseline, fixture,
    torch_save::{Save, f32_bytes},
    written,
};

fn names_in(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_pin_is_the_encoder_again() {
    let folder = tempfile::tempdir().unwrap();
    let pins = folder.path().join("deep/pins");
    let full = fixture("golden/d24h3-full/mae_epoch-01_val-loss-1.00.ckpt");
    let pinned = pin(&full, &pins, &Options::default()).unwrap();
    assert_eq!(names_in(&pins), [format!("{}.safetensors", pinned.weights_digest)], "and no temporary file");
    assert_eq!(fs::metadata(&pinned.pin).unwrap().len(), pinned.pin_bytes);
    assert!(pinned.pin_bytes < fs::metadata(&full).unwrap().len() / 3, "no optimizer, no decoder");
    assert_eq!((pinned.format, pinned.epoch), (Format::Lightning, Some((Epoch(1), ValueSource::File))));

    let mut source = open(&full, &Options::default()).unwrap();
    let mut copy = open(&pinned.pin, &Options::default()).unwrap();
    assert_eq!((copy.format(), copy.epoch()), (Format::Safetensors, Some((Epoch(1), ValueSource::Metadata))));
    assert_eq!(copy.global_step().unwrap().0, source.global_step().unwrap().0);
    assert_eq!(copy.encoder(), source.encoder());
    assert_eq!(copy.about()["file_digest"], pinned.file_digest.to_string());
    assert_eq!(source.file_digest().unwrap(), pinned.file_digest);
    assert_eq!(copy.weights_digest().unwrap(), pinned.weights_digest);
    for name in source.tensors().clone().keys() {
        assert_eq!(source.read_f32(name).unwrap(), copy.read_f32(name).unwrap(), "{name}");
    }
    // Another reader of the format agrees.
    let bytes = fs::read(&pinned.pin).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = theirs.tensor("transformer.norm.weight").unwrap();
    assert_eq!(view.data(), f32_bytes(&source.read_f32("transformer.norm.weight").unwrap()));

    // Again: the same pin, untouched. And a pin of the pin is the pin.
    let before = fs::metadata(&pinned.pin).unwrap().modified().unwrap();
    assert_eq!(pin(&full, &pins, &Options::default()).unwrap(), pinned);
    assert_eq!(pin(&pinned.pin, &pins, &Options::default()).unwrap().weights_digest, pinned.weights_digest);
    assert_eq!(fs::metadata(&pinned.pin).unwrap().modified().unwrap(), before);
    assert_eq!(names_in(&pins).len(), 1);
}

#[test]
fn a_refused_file_leaves_no_pin() {
    let mut save = Save::like(&baseline());
    let bytes = save.storage("time_embedding.bias").2.as_mut().unwrap();
    bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let (path, folder) = written(&save.bytes());
    let pins = folder.path().join("pins");
    let refused = pin(&path, &pins, &Options::default()).unwrap_err();
    assert_eq!((refused.reason, refused.fault), (Reason::NonFinite, Fault::Final));
    assert!(refused.message.contains("`time_embedding.bias` (1 value)"), "{refused}");
    assert_eq!(names_in(&pins), Vec::<String>::new());
}

#[test]
fn storages_that_are_not_the_encoders_are_not_read() {
    // Their bytes are absent, which nothing but reading them would show.
    let mut save = Save::like(&baseline());
    save.insert("model.decoder.mask_patch", &[4], "FloatStorage", f32_bytes(&[0.5; 4]));
    save.storages.last_mut().unwrap().2 = None;
    let (path, folder) = written(&save.bytes());
    pin(&path, &folder.path().join("pins"), &Options::default()).unwrap();
}

#[test]
fn a_file_that_is_rewritten_in_place_is_tried_again() {
    let (path, folder) = written(&Save::like(&baseline()).bytes());
    let pins = folder.path().join("pins");
    let stop = AtomicBool::new(false);
    let mut changed = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use std::os::unix::fs::FileExt;
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let first = [b'P'];
            while !stop.load(Ordering::Relaxed) {
                // The same byte again: only the times tell.
                file.write_all_at(&first, 0).unwrap();
            }
        });
        for _ in 0..50 {
            match pin(&path, &pins, &Options::default()) {
                Err(e) => {
                    assert_eq!((e.reason, e.fault), (Reason::Changed, Fault::Passing), "{e}");
                    changed += 1;
                }
                // The clock of the file system is coarser than a pin is fast.
                Ok(_) => continue,
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(changed > 0, "no rewriting was noticed");
    // Once it has settled, it is taken.
    pin(&path, &pins, &Options::default()).unwrap();
}

#[test]
fn a_rewrite_to_other_content_never_gives_a_wrong_pin() {
    let a = Save::like(&baseline()).bytes();
    let mut other = Save::like(&baseline());
    other.storage("time_embedding.bias").2 = Some(f32_bytes(&[0.25; 16]));
    let b = other.bytes();
    let sound: Vec<String> = [&a, &b].map(|bytes| super::digest_of(bytes)).to_vec();
    let (path, folder) = written(&a);
    let pins = folder.path().join("pins");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                // As a trainer does: created with 0 bytes, grows in place.
                fs::write(&path, &b).unwrap();
                fs::write(&path, &a).unwrap();
            }
        });
        for _ in 0..100 {
            match pin(&path, &pins, &Options::default()) {
                Ok(pinned) => assert!(sound.contains(&pinned.weights_digest.to_string())),
                Err(e) => assert_eq!(e.fault, Fault::Passing, "{e}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
