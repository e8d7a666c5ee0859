//! Data sets: the cache spares decoding and is never trusted blindly, folds, held-out rows, pictures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clay_probe::{
    config::{Clouds, Config, Probe, Split},
    domain::Reason,
    probe::chips::{ChipError, Dataset, draw_chips},
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn edge(case: &str) -> PathBuf {
    root().join("tests/fixtures/flood/edge").join(case)
}

fn settings(data: &Path) -> Probe {
    Probe { data: data.to_owned(), ..Config::load(None, &[]).unwrap().probe }
}

fn random(data: &Path) -> Probe {
    Probe { split: Split::Random, ..settings(data) }
}

fn open(settings: &Probe, cache: &Path) -> Result<Dataset, ChipError> {
    Dataset::open(settings, cache, &mut |_| {})
}

/// The error of a data set that must not open.
fn refused(settings: &Probe) -> ChipError {
    let cache = tempfile::tempdir().unwrap();
    open(settings, cache.path()).err().expect("it must be refused")
}

/// A copy of some folders in which tests may change things.
fn copy(folders: &[PathBuf]) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for folder in folders {
        let target = to.path().join(folder.file_name().unwrap());
        fs::create_dir(&target).unwrap();
        for file in fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, target.join(file.file_name().unwrap())).unwrap();
        }
    }
    to
}

fn only_file(folder: &Path) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

fn all(set: &Dataset) -> Vec<(Vec<f32>, Vec<u8>)> {
    (0..set.chips().len()).map(|i| (set.pixels(i).to_vec(), set.labels(i).to_vec())).collect()
}

#[test]
fn the_second_open_decodes_nothing() {
    let data = copy(&[edge("strips-deflate-predictor3"), edge("cloud-label-1-2"), edge("bands-12")]);
    let cache = tempfile::tempdir().unwrap();
    let first = open(&random(data.path()), cache.path()).unwrap();
    assert_eq!(first.summary().decoded, 9);
    let second = open(&random(data.path()), cache.path()).unwrap();
    assert_eq!(second.summary().decoded, 0);
    assert_eq!((first.chips(), first.summary().refused.clone()), (second.chips(), second.summary().refused.clone()));
    assert_eq!(first.summary().digest, second.summary().digest);
    assert!(all(&first) == all(&second));

    // Touched and not changed: read again, not decoded again.
    let chip = data.path().join(&first.chips()[0].path);
    let bytes = fs::read(&chip).unwrap();
    fs::write(&chip, &bytes).unwrap();
    let touched = open(&random(data.path()), cache.path()).unwrap();
    assert_eq!((touched.summary().decoded, touched.summary().digest), (0, first.summary().digest));
    assert!(all(&touched) == all(&first));

    // A label that goes away is noticed, and so is a chip that comes.
    let label = data.path().join("bands-12").read_dir().unwrap().map(|e| e.unwrap().path());
    label.filter(|p| p.to_string_lossy().contains("LabelCloud")).for_each(|p| fs::remove_file(p).unwrap());
    let less = open(&random(data.path()), cache.path()).unwrap();
    assert_eq!(less.summary().decoded, 2);
    fs::rename(data.path().join("bands-12"), cache.path().join("away")).unwrap();
    let gone = open(&random(data.path()), cache.path()).unwrap();
    assert_eq!((gone.summary().decoded, gone.summary().refused.len()), (0, 0));
    assert!(all(&gone) == all(&first));
}

#[test]
fn a_torn_or_foreign_cache_is_made_anew() {
    let cache = tempfile::tempdir().unwrap();
    let settings = random(&edge("mixed-sizes"));
    let first = open(&settings, cache.path()).unwrap();
    let file = only_file(cache.path());
    let whole = fs::read(&file).unwrap();
    let sides: Vec<u32> = first.chips().iter().map(|c| c.side).collect();
    assert_eq!(sides, [64, 96], "chips of two sizes stand side by side");
    for bytes in [whole[..whole.len() / 2].to_vec(), b"something else".to_vec(), Vec::new(), vec![0; whole.len()]] {
        // As a crash would leave it; the map of `first` keeps its own file.
        fs::remove_file(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        let again = open(&settings, cache.path()).unwrap();
        assert_eq!(again.summary().decoded, 6);
        assert!(all(&again) == all(&first));
    }
}

#[test]
fn contents_decide_the_digest_and_not_the_place() {
    let [cache, other_cache] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [here, there] = [(); 2].map(|()| copy(&[edge("mixed-sizes"), edge("sar-inf")]));
    let digest = |data: &Path, cache: &Path| open(&random(data), cache).unwrap().summary().digest;
    assert_eq!(digest(here.path(), cache.path()), digest(there.path(), other_cache.path()));
    fs::rename(there.path().join("sar-inf"), there.path().join("other")).unwrap();
    assert_ne!(digest(here.path(), cache.path()), digest(there.path(), other_cache.path()));
    let seeded = Probe { split_seed: 7, folds: 3, ..random(here.path()) };
    assert_ne!(digest(here.path(), cache.path()), open(&seeded, cache.path()).unwrap().summary().digest);
}

#[test]
fn the_sample_in_folds_of_events() {
    let cache = tempfile::tempdir().unwrap();
    let mut steps = Vec::new();
    let set = Dataset::open(&settings(&root().join("data/sample")), cache.path(), &mut |p| steps.push(p)).unwrap();
    let summary = set.summary();
    assert_eq!((summary.chips, summary.held_out, summary.decoded), (6, 2, 18));
    assert_eq!(summary.water + summary.land + summary.ignored, 6 * 224 * 224);
    assert!(summary.refused.is_empty());
    assert_eq!(steps.last().map(|p| (p.done, p.total)), Some((6, 6)));
    let of = |event: &str| {
        let splits: Vec<&str> = set.chips().iter().filter(|c| c.event == event).map(|c| c.split.as_str()).collect();
        assert!(splits.windows(2).all(|pair| pair[0] == pair[1]));
        splits[0].to_owned()
    };
    // Two events have water: two folds. By water: India, Chile, Canada, Tanzania.
    assert_eq!(set.folds().len(), 2);
    assert_eq!((of("sen1floods11-india-2016"), of("terramesh-tanzania-dry")), ("fold 0".into(), "fold 0".into()));
    assert_eq!((of("terramesh-araucania-chile"), of("terramesh-canada-snow")), ("fold 1".into(), "fold 1".into()));
    for fold in set.folds() {
        assert!(fold.train.iter().all(|i| !fold.val.contains(i)));
        assert_eq!(fold.train.len() + fold.val.len(), 6);
    }
    let list = Probe { split: Split::List, ..settings(&root().join("data/sample")) };
    let listed = open(&list, cache.path()).unwrap();
    assert_eq!((listed.summary().decoded, listed.folds().len()), (0, 1));
    assert_eq!((listed.folds()[0].train.len(), listed.folds()[0].val.len()), (5, 1));
    assert_eq!(listed.chips()[listed.folds()[0].val[0]].event, "terramesh-araucania-chile");
}

#[test]
fn rows_marked_test_are_never_opened() {
    let data = copy(&[edge("mixed-sizes"), edge("strips-deflate-predictor3")]);
    let held = "strips-deflate-predictor3";
    let chip = |folder: &str| {
        let files = fs::read_dir(data.path().join(folder)).unwrap().map(|e| e.unwrap().path());
        files
            .filter(|p| p.to_string_lossy().ends_with("_rtc.tif"))
            .map(|p| p.strip_prefix(data.path()).unwrap().display().to_string())
            .collect::<Vec<_>>()
    };
    let held_out = chip(held).remove(0);
    fs::write(data.path().join("manifest.csv"), format!("file,split\n{held_out},test\ngone_rtc.tif,train\n")).unwrap();
    // It would be refused, were it opened.
    fs::write(data.path().join(&held_out), "no TIFF").unwrap();
    let cache = tempfile::tempdir().unwrap();
    let set = open(&random(data.path()), cache.path()).unwrap();
    assert_eq!((set.summary().chips, set.summary().held_out, set.summary().decoded), (2, 1, 6));
    let refused: Vec<(&str, &str)> =
        set.summary().refused.iter().map(|r| (r.path.as_str(), r.reason.as_str())).collect();
    assert_eq!(refused, [("gone_rtc.tif", "missing")]);
}

#[test]
fn what_cannot_be_used_is_listed_or_refused() {
    let cache = tempfile::tempdir().unwrap();
    let data = root().join("tests/fixtures/flood/edge");
    let set = open(&random(&data), cache.path()).unwrap();
    assert_eq!((set.summary().chips, set.summary().refused.len()), (30, 20));
    assert!(set.summary().refused.iter().all(|r| r.message.contains(&r.path.replace(".tif", ""))));
    assert!((0..set.chips().len()).all(|i| set.pixels(i).iter().all(|v| v.is_finite())));
    assert!(set.chips().iter().any(|c| c.event == "unicode-and-space in name" && c.source_url.contains("inundación")));
    assert_eq!(open(&random(&data), cache.path()).unwrap().summary().decoded, 0);

    let strict = refused(&Probe { strict: true, ..random(&data) });
    assert_eq!(strict.reason, Reason::Refused);
    assert!(strict.message.contains("20 chips") && strict.message.contains("found 12"), "{strict}");
    let none = refused(&random(&edge("wrong-extension")));
    assert!(none.message.starts_with("no chips found in `"), "{none}");
    let unusable = refused(&random(&edge("bands-12")));
    assert!(unusable.reason == Reason::NoChips && unusable.message.contains("found 12"), "{unusable}");
    assert_eq!(refused(&random(&edge("not there"))).reason, Reason::NoData);
    let one_event = refused(&settings(&edge("mixed-sizes")));
    assert!(one_event.hint.as_ref().unwrap().contains("probe.split = \"random\""), "{one_event}");
}

#[test]
fn clouds_by_either_rule() {
    let cache = tempfile::tempdir().unwrap();
    let data = copy(&[edge("cloud-label-1-2"), edge("cloud-label-missing")]);
    let ignore = open(&random(data.path()), cache.path()).unwrap();
    let clay = open(&Probe { clouds: Clouds::ClayV0, ..random(data.path()) }, cache.path()).unwrap();
    assert_eq!((clay.summary().decoded, ignore.chips()[0].ignored, clay.chips()[0].ignored), (5, 680, 0));
    let zero = clay_probe::probe::chips::encode::normalise(12, 0.0);
    let dem = |set: &Dataset| set.pixels(0)[12 * 4096..].iter().filter(|v| **v == zero).count();
    assert!(dem(&clay) >= 680);
    assert_eq!(ignore.pixels(1), clay.pixels(1), "without a cloud label all is clear");
    assert_eq!(ignore.chips()[1].ignored, 0);
}

#[test]
fn embedding_needs_no_labels() {
    let cache = tempfile::tempdir().unwrap();
    let data = copy(&[edge("label-missing"), edge("real-usa-430764-optical-only")]);
    let set = Dataset::open_unlabelled(&settings(data.path()), cache.path(), &mut |_| {}).unwrap();
    assert_eq!((set.summary().chips, set.summary().decoded, set.folds().len()), (2, 2, 0));
    assert_eq!((set.summary().water, set.summary().land), (0, 0));
    assert!(set.pixels(1).iter().all(|v| v.is_finite()));
    assert_eq!(set.chips()[1].nonfinite, 2 * 96 * 96);
    assert_eq!(
        Dataset::open_unlabelled(&settings(data.path()), cache.path(), &mut |_| {}).unwrap().summary().decoded,
        0
    );
    let sample = Dataset::open_unlabelled(&settings(&root().join("data/sample")), cache.path(), &mut |_| {}).unwrap();
    assert_eq!(sample.chips().len(), 8);
}

#[test]
fn pictures_of_every_chip() {
    let [cache, pictures] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let set = open(&random(&edge("mixed-sizes")), cache.path()).unwrap();
    draw_chips(&set, pictures.path()).unwrap();
    for chip in set.chips() {
        let mut contents = Vec::new();
        for layer in ["rgb", "sar", "label"] {
            let path = pictures.path().join(&chip.event).join(format!("{}.{layer}.png", chip.source_url));
            let mut reader =
                png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
            let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut bytes).unwrap();
            assert_eq!((info.width, info.height), (chip.side, chip.side));
            assert!(bytes.iter().any(|b| *b != bytes[0]), "{layer} has contrast");
            contents.push(bytes);
        }
        assert!(contents[0] != contents[1] && contents[1] != contents[2]);
    }
}
