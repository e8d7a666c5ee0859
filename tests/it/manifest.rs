//! `manifest.csv`: what is held out is never opened, what is odd is named; folds, events, and leaks between them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clay_probe::{
    config::{Config, Probe, Split},
    domain::{Digest, Reason},
    probe::chips::{ChipError, Dataset, draw_chips},
};

/// Chips of 64 pixels, all of other pixels, at one place.
const CASES: [&str; 4] = ["label-all-water", "sar-inf", "sar-some-nan", "strips-deflate-predictor3"];

/// A data folder of some edge cases that a test may change.
struct Data {
    folder: tempfile::TempDir,
    cache: tempfile::TempDir,
}

impl Data {
    fn of(cases: &[&str]) -> Self {
        let [folder, cache] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        for case in cases {
            copy(case, &folder.path().join(case));
        }
        Self { folder, cache }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn manifest(&self, text: &str) {
        fs::write(self.path().join("manifest.csv"), text).unwrap();
    }

    /// The path of the chip that lies in a folder, below the data folder.
    fn chip(&self, folder: &str) -> String {
        let files = fs::read_dir(self.path().join(folder)).unwrap().map(|e| e.unwrap().file_name());
        let name = files.map(|name| name.into_string().unwrap()).find(|name| name.ends_with("_rtc.tif")).unwrap();
        format!("{folder}/{name}")
    }

    fn open_with(&self, split: Split, strict: bool) -> Result<Dataset, ChipError> {
        let defaults = Config::load(None, &[]).unwrap().probe;
        let settings = Probe { data: self.path().to_owned(), split, strict, ..defaults };
        Dataset::open(&settings, self.cache.path(), &mut |_| {})
    }

    fn open(&self, split: Split) -> Dataset {
        self.open_with(split, false).unwrap()
    }

    fn refused(&self, split: Split) -> ChipError {
        self.open_with(split, false).err().expect("it must be refused")
    }
}

fn copy(case: &str, to: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flood/edge").join(case);
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn keys(set: &Dataset) -> (Digest, Digest) {
    (set.summary().digest, set.summary().assignment)
}

#[test]
fn rows_marked_test_in_any_way_are_never_opened() {
    let data = Data::of(&CASES);
    let [water, inf, ..] = CASES.map(|case| data.chip(case));
    for word in ["test", "Test", " TEST "] {
        data.manifest(&format!("file,Split\r\n{water},{word}\r\n./{inf},{word}\r\ngone_rtc.tif,train\r\n"));
        // It would be refused, were it opened.
        fs::write(data.path().join(&water), "no TIFF").unwrap();
        let set = data.open(Split::Random);
        assert_eq!((set.summary().chips, set.summary().held_out), (2, 2), "{word}");
        assert!(set.chips().iter().all(|chip| chip.path != inf));
        let refused: Vec<(&str, Reason)> = set.summary().refused.iter().map(|r| (r.path.as_str(), r.reason)).collect();
        assert_eq!(refused, [("gone_rtc.tif", Reason::Missing)]);
    }
}

#[test]
fn a_test_row_that_matches_no_chip_refuses_the_data_set() {
    let data = Data::of(&CASES);
    data.manifest(&format!("file,split\n{},train\nsar-inf.tif,test\n", data.chip("sar-some-nan")));
    let error = data.refused(Split::Random);
    assert_eq!(error.reason, Reason::Manifest);
    assert!(error.message.contains("`sar-inf.tif` as `test` in line 3") && error.hint.is_some(), "{error}");
}

#[test]
fn a_split_of_another_word_is_left_out_and_named() {
    let data = Data::of(&CASES);
    data.manifest(&format!("file,split\n{},holdout\n{},\n", data.chip("sar-inf"), data.chip("sar-some-nan")));
    let set = data.open(Split::Random);
    assert_eq!((set.summary().chips, set.summary().held_out), (3, 0));
    let [refusal] = &set.summary().refused[..] else { panic!("{:?}", set.summary().refused) };
    assert_eq!((&refusal.path, refusal.reason), (&data.chip("sar-inf"), Reason::UnknownSplit));
    assert!(refusal.message.contains("`holdout` in line 2"), "{}", refusal.message);
    assert_eq!(data.open_with(Split::Random, true).err().unwrap().reason, Reason::Refused);
}

#[test]
fn a_copy_in_another_fold_refuses_and_shared_ground_warns() {
    let data = Data::of(&CASES[1..]);
    let set = data.open(Split::EventFolds);
    assert!(!set.summary().warnings.is_empty());
    for warning in &set.summary().warnings {
        assert!(warning.reason == Reason::SplitLeak && warning.message.contains("covers ground of"), "{warning:?}");
    }
    // The same pixels, written another way, under another event's name.
    copy("tiled-lzw", &data.path().join("another"));
    let names = [data.chip("another"), data.chip("strips-deflate-predictor3")];
    let folds = |of: [u8; 2]| {
        let rest = CASES[1..3].iter().map(|case| format!("{},{}\n", data.chip(case), of[0]));
        let rows: String = names.iter().zip(of).map(|(name, fold)| format!("{name},{fold}\n")).chain(rest).collect();
        data.manifest(&format!("file,fold\n{rows}"));
    };
    folds([0, 1]);
    let error = data.refused(Split::EventFolds);
    assert_eq!(error.reason, Reason::SplitLeak);
    assert!(names.iter().all(|name| error.message.contains(name.as_str())), "{error}");
    // In one fold they are seen by one side only. (Somebody has to be in the other.)
    let rows: String = names.iter().map(|name| format!("{name},1\n")).collect();
    let rest: String = CASES[1..3].iter().map(|case| format!("{},0\n", data.chip(case))).collect();
    data.manifest(&format!("file,fold\n{rows}{rest}"));
    assert_eq!(data.open(Split::EventFolds).folds()[1].val.len(), 2);
}

#[test]
fn an_edited_fold_is_another_assignment_of_the_same_data_set() {
    let data = Data::of(&CASES);
    let folds = |of: [&str; 4]| {
        let rows: String = CASES.iter().zip(of).map(|(case, fold)| format!("{},{fold}\n", data.chip(case))).collect();
        data.manifest(&format!("file,fold\n{rows}"));
        data.open(Split::EventFolds)
    };
    let first = folds(["0", "0", "1", "1"]);
    let splits: Vec<&str> = first.chips().iter().map(|chip| chip.split.as_str()).collect();
    assert_eq!(splits, ["fold 0", "fold 0", "fold 1", "fold 1"]);
    let edited = folds(["0", "1", "1", "1"]);
    assert_eq!(keys(&first).0, keys(&edited).0);
    assert_ne!(keys(&first).1, keys(&edited).1);
    assert_eq!(edited.summary().decoded, 0);
    assert_eq!(keys(&folds(["a", "a", "b", "b"])), keys(&first), "other names of the same folds");
    // A moved folder is neither.
    let moved = Data::of(&CASES);
    fs::copy(data.path().join("manifest.csv"), moved.path().join("manifest.csv")).unwrap();
    assert_eq!(keys(&moved.open(Split::EventFolds)), keys(&first));
    let lacking = data.chip("sar-inf");
    data.manifest(&format!("file,fold\n{},0\n{},1\n", data.chip(CASES[0]), data.chip(CASES[2])));
    assert!(data.refused(Split::EventFolds).message.contains(&lacking));
}

#[test]
fn an_edited_split_is_another_assignment() {
    let data = Data::of(&CASES);
    let list = |of: [&str; 4]| {
        let rows: String = CASES.iter().zip(of).map(|(case, side)| format!("{},{side}\n", data.chip(case))).collect();
        data.manifest(&format!("file,split\n{rows}"));
        data.open(Split::List)
    };
    let (first, edited) = (list(["train", "Val", "val", "train"]), list(["train", "train", "val", "train"]));
    assert_eq!((first.folds()[0].val.len(), edited.folds()[0].val.len()), (2, 1));
    assert_eq!(keys(&first).0, keys(&edited).0);
    assert_ne!(keys(&first).1, keys(&edited).1);
}

#[test]
fn events_of_the_manifest_and_of_folders() {
    let data = Data::of(&[]);
    for (case, folder) in CASES.iter().zip(["set/a/x", "set/a/y", "set/b/x", "set/b/x/y"]) {
        copy(case, &data.path().join(folder));
    }
    let events = |set: &Dataset| set.chips().iter().map(|chip| chip.event.clone()).collect::<Vec<_>>();
    let set = data.open(Split::EventFolds);
    assert_eq!(
        (events(&set), set.summary().events.clone()),
        (vec!["a".into(), "a".into(), "b".into(), "b".into()], vec!["a".into(), "b".into()])
    );
    // What the manifest says counts, whatever it says: pictures stay below their folder.
    data.manifest(&format!("file,event\n{},../../out\n", data.chip("set/b/x")));
    let set = data.open(Split::EventFolds);
    assert_eq!(events(&set), ["a", "a", "../../out", "b"]);
    let pictures = tempfile::tempdir().unwrap();
    draw_chips(&set, &pictures.path().join("deep/er")).unwrap();
    let written: Vec<PathBuf> = fs::read_dir(pictures.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(written, [pictures.path().join("deep")]);
}
