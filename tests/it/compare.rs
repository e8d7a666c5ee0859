//! What `tests/compare_metrics.py` compares with torchmetrics, scikit-learn and numpy: reads the folder that it made,
//! from the environment, and writes `ours.json` there.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use clay_probe::{
    domain::Confusion,
    probe::{
        collapse::{MAX_ROWS, signs},
        ridge::{Patches, event_sums, out_of_fold, quick},
        score::{classes::ClassMetric, histogram::Histogram, sigmoid},
    },
};
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::{Map, Value, json};

/// The folder.
const FOLDER: &str = "CLAY_PROBE_COMPARE";

#[test]
#[ignore = "needs a folder made by tests/compare_metrics.py, named by CLAY_PROBE_COMPARE"]
fn compare_with_references() {
    let folder = std::env::var(FOLDER).unwrap_or_else(|_| panic!("{FOLDER} is not set"));
    let folder = Path::new(&folder);
    let masks = Tensors::read(&folder.join("masks.safetensors"));
    let (labels, logits) = (masks.bytes("labels"), masks.floats("logits"));
    let pixels = masks.shape("labels")[1];
    let of_masks: Vec<Value> = labels.chunks(pixels).zip(logits.chunks(pixels)).map(|(l, z)| mask(l, z)).collect();
    let mut problems = Map::new();
    for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        if let Some(name) = stem.strip_prefix("ridge-") {
            problems.insert(name.to_owned(), ridge(&Tensors::read(&file)));
        }
    }
    let ours = json!({ "masks": of_masks, "pools": pools(&masks), "ridge": problems });
    std::fs::write(folder.join("ours.json"), ours.to_string()).unwrap();
}

/// All numbers of one mask: labels and logits of its pixels.
fn mask(labels: &[u8], logits: &[f32]) -> Value {
    let mut histogram = Histogram::default();
    let mut counts = [Confusion::default(); 2];
    for (&label, &z) in labels.iter().zip(logits) {
        if label < 2 {
            histogram.add(z, u64::from(label == 1), u64::from(label == 0));
        }
        for (counts, threshold) in counts.iter_mut().zip([0.5, 0.3]) {
            match (label, sigmoid(z) > threshold) {
                (1, true) => counts.tp += 1,
                (1, false) => counts.fn_ += 1,
                (0, true) => counts.fp += 1,
                (0, false) => counts.tn += 1,
                _ => counts.ignored += 1,
            }
        }
    }
    let metrics = |counts: Confusion| {
        let word = |m: &ClassMetric| serde_json::to_value(m).unwrap().as_str().unwrap().to_owned();
        ClassMetric::ALL.iter().map(|m| (word(m), json!(m.of(counts)))).collect::<Map<_, _>>()
    };
    assert_eq!(histogram.at(0.5).confusion, Confusion { ignored: 0, ..counts[0] });
    // As it is kept on disk.
    let histogram: Histogram = serde_json::from_str(&serde_json::to_string(&histogram).unwrap()).unwrap();
    json!({
        "at_0.5": metrics(counts[0]),
        "at_0.3": metrics(counts[1]),
        "binned_at_0.3": { "threshold": histogram.at(0.3).threshold, "metrics": metrics(histogram.at(0.3).confusion) },
        "auroc": histogram.auroc(),
        "ap": histogram.average_precision(),
        "ece": histogram.calibration_error(),
    })
}

/// Ranks of masks merged by their pool; 255 is none.
fn pools(masks: &Tensors) -> Value {
    let (labels, logits, pools) = (masks.bytes("labels"), masks.floats("logits"), masks.bytes("pool"));
    let pixels = labels.len() / pools.len();
    let mut merged: BTreeMap<u8, Histogram> = BTreeMap::new();
    for ((labels, logits), &pool) in labels.chunks(pixels).zip(logits.chunks(pixels)).zip(pools) {
        let mut of_mask = Histogram::default();
        let labelled = labels.iter().zip(logits).filter(|(label, _)| **label < 2);
        labelled.for_each(|(&label, &z)| of_mask.add(z, u64::from(label), u64::from(1 - label)));
        merged.entry(pool).or_default().merge(&of_mask);
    }
    merged.remove(&255);
    let ranks = |h: &Histogram| json!({ "auroc": h.auroc(), "ap": h.average_precision() });
    merged.iter().map(|(pool, h)| (pool.to_string(), ranks(h))).collect::<Map<_, _>>().into()
}

/// The quick score, its predictions and the signs of collapse of one set of features.
fn ridge(problem: &Tensors) -> Value {
    let (features, channels) = (problem.floats("features"), problem.shape("features")[1]);
    let ids = |name: &str| problem.bytes(name).iter().map(|&b| u32::from(b)).collect::<Vec<_>>();
    let (fold, group, event) = (ids("fold"), ids("group"), ids("event"));
    let water = problem.doubles("water");
    let usable: Vec<bool> = problem.bytes("usable").iter().map(|&b| b == 1).collect();
    let patches = Patches { features: &features, channels, water: &water, usable: &usable, fold: &fold, group: &group };
    let start = std::time::Instant::now();
    let out = out_of_fold(&patches).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let signs = signs(&features, channels, MAX_ROWS).unwrap();
    let events = event_sums(&patches, &out.predictions, &event);
    json!({
        "quick": quick(&patches, &out.predictions),
        "predictions": out.predictions,
        "penalties": out.penalties.iter().map(|c| c.penalty).collect::<Vec<_>>(),
        "events": events.iter().map(|((fold, event), sums)| json!([fold, event, sums.r2()])).collect::<Vec<_>>(),
        "signs": signs,
        "seconds": { "ridge": seconds, "signs": start.elapsed().as_secs_f64() - seconds },
    })
}

/// A safetensors file, read whole.
struct Tensors(HashMap<String, (Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("`{}`: {e}", path.display()));
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let kept = |(name, view): (String, TensorView)| (name, (view.shape().to_vec(), view.data().to_vec()));
        Self(tensors.tensors().into_iter().map(kept).collect())
    }

    fn shape(&self, name: &str) -> &[usize] {
        &self.0[name].0
    }

    fn bytes(&self, name: &str) -> &[u8] {
        &self.0[name].1
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.bytes(name).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn doubles(&self, name: &str) -> Vec<f64> {
        self.bytes(name).chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    }
}
