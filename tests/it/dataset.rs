//! Data sets: the cache spares decoding and is never trusted blindly, folds, clouds, pictures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clay_probe::{
    config::{Clouds, Config, Latlon, Probe, Split},
    domain::{ChipRecord, Reason},
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

/// The one chip of an edge case.
fn edge_chip(case: &str) -> PathBuf {
    let files = fs::read_dir(edge(case)).unwrap().map(|e| e.unwrap().path());
    files.into_iter().find(|p| p.to_string_lossy().ends_with("_rtc.tif")).unwrap()
}

fn edge_label(case: &str) -> PathBuf {
    let chip = edge_chip(case);
    chip.with_file_name(format!("{}_LabelWater.tif", chip.file_stem().unwrap().display()))
}

/// The path of the chip of an edge case below a copy.
fn path_in(case: &str) -> String {
    format!("{case}/{}", edge_chip(case).file_name().unwrap().display())
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

/// Bits of the planes, labels, clouds of a chip.
type Values = (Vec<u32>, Vec<u8>, Option<Vec<u8>>);

/// The values of every chip.
fn all(set: &Dataset) -> Vec<Values> {
    let of = |i| {
        let raw = set.raw(i);
        (raw.planes.iter().map(|v| v.to_bits()).collect(), set.labels(i), raw.clouds.map(<[u8]>::to_vec))
    };
    (0..set.chips().len()).map(of).collect()
}

#[test]
fn the_second_open_decodes_nothing() {
    let data = copy(&[edge("strips-deflate-predictor3"), edge("label-no-water"), edge("bands-12")]);
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
fn one_changed_chip_decodes_one() {
    let data = copy(&[edge("sar-inf"), edge("sar-some-nan"), edge("label-no-water")]);
    let cache = tempfile::tempdir().unwrap();
    let first = open(&random(data.path()), cache.path()).unwrap();
    let contents = |set: &Dataset| (0..3).map(|i| set.content(i)).collect::<Vec<_>>();
    let chip = &first.chips()[1];
    let path = data.path().join(&chip.path);
    let label = path.with_file_name(format!("{}_LabelWater.tif", chip.source_url));
    // Another label: the chip is decoded again, its features stay.
    fs::copy(edge_label("label-all-ignored"), &label).unwrap();
    let labelled = open(&random(data.path()), cache.path()).unwrap();
    assert_eq!((labelled.summary().decoded, labelled.chips()[1].land), (3, 0));
    assert_eq!(contents(&labelled), contents(&first));
    assert_ne!(labelled.summary().digest, first.summary().digest);
    // Other pixels.
    fs::copy(edge_chip("strips-deflate-predictor3"), &path).unwrap();
    let changed = open(&random(data.path()), cache.path()).unwrap();
    assert_eq!(changed.summary().decoded, 3);
    let (before, after) = (contents(&labelled), contents(&changed));
    assert_eq!([0, 1, 2].map(|i| before[i] == after[i]), [true, false, true]);
    assert!(all(&changed)[0] == all(&first)[0] && all(&changed)[2] == all(&first)[2]);
}

#[test]
fn one_cache_for_all_settings_that_only_come_after_it() {
    let cache = tempfile::tempdir().unwrap();
    let sample = settings(&root().join("data/sample"));
    let all = Dataset::open_unlabelled(&sample, cache.path(), &mut |_| {}).unwrap();
    assert_eq!((all.summary().chips, all.summary().decoded), (8, 24));
    for (clouds, latlon) in [(Clouds::Ignore, Latlon::None), (Clouds::ClayV0, Latlon::Wgs84)] {
        let set = open(&Probe { clouds, latlon, ..sample.clone() }, cache.path()).unwrap();
        assert_eq!((set.summary().chips, set.summary().held_out, set.summary().decoded), (6, 2, 0));
    }
    // A chip that changed is decoded, and what is held of those held out is not given up for it.
    let copied = copy(&[edge("sar-inf"), edge("sar-some-nan"), edge("label-no-water")]);
    let held = path_in("sar-inf");
    fs::write(copied.path().join("manifest.csv"), format!("file,split\n{held},test\n")).unwrap();
    Dataset::open_unlabelled(&settings(copied.path()), cache.path(), &mut |_| {}).unwrap();
    let chip = copied.path().join(path_in("sar-some-nan"));
    fs::copy(edge_chip("strips-deflate-predictor3"), chip).unwrap();
    assert_eq!(open(&random(copied.path()), cache.path()).unwrap().summary().decoded, 3);
    assert_eq!(
        Dataset::open_unlabelled(&settings(copied.path()), cache.path(), &mut |_| {}).unwrap().summary().decoded,
        0
    );
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
    let seeded = open(&seeded, cache.path()).unwrap();
    let unseeded = open(&random(here.path()), cache.path()).unwrap();
    assert_eq!(unseeded.summary().digest, seeded.summary().digest, "how it is split is another key");
    assert_ne!(unseeded.summary().assignment, seeded.summary().assignment);
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

/// All edge cases, with two folds so that chips of equal pixels lie in one.
fn edges() -> (tempfile::TempDir, Probe) {
    let cases = fs::read_dir(root().join("tests/fixtures/flood/edge")).unwrap().map(|e| e.unwrap().path());
    let data = copy(&cases.filter(|path| path.is_dir()).collect::<Vec<_>>());
    let cache = tempfile::tempdir().unwrap();
    let all = Dataset::open_unlabelled(&settings(data.path()), cache.path(), &mut |_| {}).unwrap();
    let fold = |path: &str| if path.starts_with("real-ghana-53713") { "dry" } else { "other" };
    let rows: String = all.chips().iter().map(|c| format!("\"{}\",{}\n", c.path, fold(&c.path))).collect();
    fs::write(data.path().join("manifest.csv"), format!("file,fold\n{rows}")).unwrap();
    let settings = settings(data.path());
    (data, settings)
}

#[test]
fn what_cannot_be_used_is_listed_or_refused() {
    let cache = tempfile::tempdir().unwrap();
    let (_data, settings) = edges();
    let set = open(&settings, cache.path()).unwrap();
    assert_eq!((set.summary().chips, set.summary().refused.len()), (30, 20));
    assert!(set.summary().refused.iter().all(|r| r.message.contains(&r.path.replace(".tif", ""))));
    assert!(set.chips().iter().any(|c| c.event == "unicode-and-space in name" && c.source_url.contains("inundación")));
    assert_eq!(open(&settings, cache.path()).unwrap().summary().decoded, 0);
    let nonfinite = |event: &str| set.chips().iter().find(|c| c.event == event).unwrap().nonfinite;
    assert_eq!(nonfinite("sar-all-nan"), 2 * 64 * 64, "values over bands are counted, not pixels");
    let sum: u64 = set.chips().iter().map(|c| c.nonfinite).sum();
    assert_eq!(set.summary().nonfinite, sum);

    let strict = refused(&Probe { strict: true, ..settings });
    assert_eq!(strict.reason, Reason::Refused);
    assert!(strict.message.contains("20 chips") && strict.message.contains("found 12"), "{strict}");
    let none = refused(&random(&edge("wrong-extension")));
    assert!(none.message.starts_with("no chips found in `"), "{none}");
    let unusable = refused(&random(&edge("bands-12")));
    assert!(unusable.reason == Reason::NoChips && unusable.message.contains("found 12"), "{unusable}");
    assert_eq!(refused(&random(&edge("not there"))).reason, Reason::NoData);
    let one_event = refused(&self::settings(&edge("mixed-sizes")));
    assert!(one_event.hint.as_ref().unwrap().contains("probe.split = \"random\""), "{one_event}");
}

#[test]
fn clouds_by_either_rule() {
    let cache = tempfile::tempdir().unwrap();
    let data = copy(&[edge("cloud-label-1-2"), edge("sar-inf")]);
    let ignore = open(&random(data.path()), cache.path()).unwrap();
    let clay = open(&Probe { clouds: Clouds::ClayV0, ..random(data.path()) }, cache.path()).unwrap();
    assert_eq!((clay.summary().decoded, ignore.chips()[0].ignored, clay.chips()[0].ignored), (0, 680, 0));
    assert_eq!(ignore.chips()[1].ignored, 0);
    let raw = ignore.raw(0);
    let clouds = raw.clouds.unwrap();
    assert_eq!(clouds.iter().filter(|c| **c != 0).count(), 680);
    for (set, under) in [(&ignore, 255), (&clay, 0)] {
        let labels = set.labels(0);
        assert!(labels.iter().zip(clouds).all(|(label, cloud)| *cloud == 0 || *label == under));
        let counted = [1, 0, 255].map(|class| labels.iter().filter(|label| **label == class).count() as u64);
        let chip = &set.chips()[0];
        assert_eq!(counted, [chip.water, chip.land, chip.ignored]);
    }
    assert_eq!(ignore.raw(0).planes, clay.raw(0).planes, "the rule comes after the cache");
    assert_eq!(ignore.content(0), clay.content(0));
}

#[test]
fn embedding_needs_no_labels() {
    let cache = tempfile::tempdir().unwrap();
    let data = copy(&[edge("label-missing"), edge("real-usa-430764-optical-only"), edge("sar-inf")]);
    let set = Dataset::open_unlabelled(&settings(data.path()), cache.path(), &mut |_| {}).unwrap();
    assert_eq!((set.summary().chips, set.summary().decoded, set.folds().len()), (3, 7, 0));
    assert_eq!((set.summary().water, set.summary().land, set.summary().ignored), (0, 0, 64 * 64 * 2 + 96 * 96));
    assert!(set.labels(2).iter().all(|label| *label == 255));
    assert_eq!(set.chips()[1].nonfinite, 2 * 96 * 96);
    let again = Dataset::open_unlabelled(&settings(data.path()), cache.path(), &mut |_| {}).unwrap();
    assert_eq!(again.summary().decoded, 0);
    // Probing from the same cache still refuses what has no label.
    let error = open(&random(data.path()), cache.path()).err().unwrap();
    assert!(error.message.contains("there is only 1"), "{error}");
}

#[test]
fn pictures_of_every_chip() {
    let [cache, pictures] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let set = open(&random(&edge("mixed-sizes")), cache.path()).unwrap();
    draw_chips(&set, pictures.path()).unwrap();
    for chip in set.chips() {
        let mut contents = Vec::new();
        for layer in ["rgb", "sar", "label"] {
            let path = pictures.path().join(ChipRecord::picture(&chip.path, layer));
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
