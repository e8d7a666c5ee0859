//! A whole probe, in processes of its own: what its report holds, and that threads change no number of it.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use clay_probe::domain::{ChipRecord, HeadName, Metric, ProbeReport, Seconds, head_folder};

const CHECKPOINT: &str = "tests/fixtures/clay/golden/d24h3-full/mae_epoch-01_val-loss-1.00.ckpt";

/// The report of a short probe of the sample data, run with so many threads and that `RAYON_NUM_THREADS`.
fn sample_probe(folder: &Path, threads: usize, rayon: Option<usize>) -> ProbeReport {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clay-probe"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["probe", CHECKPOINT, "--data", "data/sample", "--json"]);
    command.args(["--device", "cpu", "--seeds", "0,1", "--fit-steps", "4", "--threads", &threads.to_string()]);
    command.arg("--pictures").arg(folder.join("pictures")).env("XDG_CACHE_HOME", folder);
    match rayon {
        Some(threads) => command.env("RAYON_NUM_THREADS", threads.to_string()),
        None => command.env_remove("RAYON_NUM_THREADS"),
    };
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_report_is_the_same_for_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let first = sample_probe(folder.path(), 1, None);
    assert!(first.versions.threads == 1 && first.dataset.decoded > 0);
    for (threads, rayon) in [1, 2, 5].into_iter().flat_map(|t| [None, Some(1), Some(2), Some(5)].map(|r| (t, r))) {
        // What was encoded with other threads is not to be used.
        std::fs::remove_dir_all(folder.path().join("clay-probe/embeddings")).unwrap();
        let mut other = sample_probe(folder.path(), threads, rayon);
        assert_eq!((other.versions.threads, other.dataset.decoded), (threads as u32, 0));
        other.seconds = first.seconds;
        other.versions.threads = first.versions.threads;
        other.dataset.decoded = first.dataset.decoded;
        let [one, other] = [&first, &other].map(|report| serde_json::to_string(report).unwrap());
        assert!(one == other, "{threads} threads, RAYON_NUM_THREADS {rayon:?}:\n{one}\n{other}");
    }

    assert_eq!(first.epoch.unwrap().0, 1);
    let folds = first.fits.iter().map(|f| f.fold).max().unwrap() + 1;
    for head in [HeadName::Conv, HeadName::Linear] {
        let fits: Vec<_> = first.fits.iter().filter(|f| f.head == head).collect();
        assert_eq!(fits.len(), 2 * folds as usize, "{head}");
        let scored: Vec<_> = fits.iter().filter(|f| f.reason.is_none()).collect();
        assert!(!scored.is_empty() && scored.iter().all(|f| f.curve.len() == 8), "both sides after each of four steps");
        // Each seed scores every chip of the folds that can be fitted once, with every pixel in one count.
        let scores: Vec<_> = first.chip_scores.iter().filter(|s| s.head == head).collect();
        assert!(scored.len() < fits.len() || scores.len() as u64 == 2 * first.dataset.chips);
        let own = head_folder(head, &first.heads[&head].digest);
        for score in scores {
            let c = score.confusion;
            assert_eq!(c.tp + c.fp + c.fn_ + c.tn + c.ignored, 224 * 224, "{}", score.chip);
            let picture =
                folder.path().join("pictures").join(&own).join(ChipRecord::picture(&score.chip, "prediction"));
            assert!(picture.is_file(), "{}", picture.display());
        }
        assert_eq!(first.heads[&head].summary[&Metric::Loss].n, 2);
    }
    let Seconds { load, embed, fit, score } = first.seconds;
    assert!([load, embed, fit, score].iter().all(|s| *s > 0.0), "{:?}", first.seconds);
}

/// Two heads and two seeds on several folds: each chip goes through the encoder once; and never again.
#[test]
fn an_embedding_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = sample_probe(folder.path(), 2, None);
    assert_eq!(first.chips_encoded, first.dataset.chips);
    let again = sample_probe(folder.path(), 2, None);
    assert_eq!((again.chips_encoded, &again.heads), (0, &first.heads));
}

/// A folder of 64 chips of two events, each with another pixel in its middle.
fn many_chips() -> tempfile::TempDir {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flood/edge/uncompressed-big-endian");
    let folder = tempfile::tempdir().unwrap();
    let file_of = |ending: &str| {
        let mut files = std::fs::read_dir(&case).unwrap().map(|entry| entry.unwrap().path());
        std::fs::read(files.find(|path| path.to_str().unwrap().ends_with(ending)).unwrap()).unwrap()
    };
    let (cube, water) = (file_of("_rtc.tif"), file_of("_LabelWater.tif"));
    for i in 0..64u8 {
        let event = folder.path().join(["a", "b"][usize::from(i % 2)]);
        std::fs::create_dir_all(&event).unwrap();
        let stem = event.join(format!("S2_{i}_S1A_IW_GRDH_1SDV_20160812T000000_20160812T000000_000000_000000_rtc"));
        let mut bytes = cube.clone();
        let middle = bytes.len() / 2; // of a pixel: they are stored uncompressed
        bytes[middle] ^= i + 1;
        std::fs::write(stem.with_extension("tif"), bytes).unwrap();
        std::fs::write(format!("{}_LabelWater.tif", stem.display()), &water).unwrap();
    }
    folder
}

/// Features that are kept below a cache.
fn kept(cache: &Path) -> usize {
    let embeddings = std::fs::read_dir(cache.join("clay-probe/embeddings")).into_iter().flatten();
    let files = embeddings.flat_map(|entry| std::fs::read_dir(entry.unwrap().path()).unwrap());
    files.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "f32")).count()
}

#[test]
fn after_kill_9_in_the_middle_only_the_rest_is_encoded() {
    let (data, cache) = (many_chips(), tempfile::tempdir().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_clay-probe"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["probe", CHECKPOINT, "--json", "--device", "cpu"]);
    command.args(["--seeds", "0", "--fit-steps", "1", "--threads", "1", "--data"]).arg(data.path());
    command.env("XDG_CACHE_HOME", cache.path()).stderr(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    while kept(cache.path()) == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before anything was kept");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = kept(cache.path());
    assert!((1..64).contains(&before), "{before} of 64 were encoded when it was killed");
    let report = |output: std::process::Output| -> ProbeReport { serde_json::from_slice(&output.stdout).unwrap() };
    let after = report(command.output().unwrap());
    assert_eq!((after.dataset.chips, after.chips_encoded), (64, 64 - before as u64));
    // As if it had not been killed, but for the last bits: the rest went through the encoder in other passes, and a product's
    // blocks, and with them the order of its sums, depend on how many rows it has.
    std::fs::remove_dir_all(cache.path().join("clay-probe/embeddings")).unwrap();
    let whole = report(command.output().unwrap());
    assert_eq!((whole.chips_encoded, whole.heads.len()), (64, after.heads.len()));
    for (name, head) in &whole.heads {
        for (metric, summary) in &head.summary {
            let (a, b) = (summary.mean, after.heads[name].summary[metric].mean);
            let same = a.zip(b).map_or(a == b, |(a, b)| (a - b).abs() < 1e-5);
            assert!(same, "{name} {metric}: {a:?} instead of {b:?}");
        }
    }
}
