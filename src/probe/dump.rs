//! What the fits were made of, so that anyone can repeat them elsewhere (`tests/repeat_fit.py` does in PyTorch).
//!
//! `chips.safetensors` holds per chip i (its place in the data set) `features.{i}` `[C, h, w]` and `labels.{i}`
//! `[side, side]` (1 water, 0 land, 255 ignored). Per fit `fit-{head}-fold{f}-seed{s}.safetensors` holds `initial.{k}` and
//! `final.{k}`, the head's state in PyTorch's layout, and `features.mean` and `features.deviation` where it was given
//! standardised features, and `step.{n}.{k}`, the state after step n, if asked for; `fit-{head}-fold{f}-seed{s}.json` holds the rest. A fold without a fit has no file.

use std::{collections::HashMap, path::Path};

use candle_core::{Device, Tensor};
use serde::Serialize;

use super::{
    ProbeError,
    chips::Dataset,
    embed::{to_map, write},
    fits::Done,
    head::{Example, Fitted, Parameter, adamw},
    score::SideScore,
};
use crate::domain::{ChipRecord, Confusion, FitNote, HeadName, Metrics, Seed};

/// The JSON beside a fit's tensors.
#[derive(Serialize)]
struct FitRecord<'a> {
    head: HeadName,
    /// Pixels per side of a patch.
    patch: usize,
    seed: Seed,
    fold: u32,
    optimizer: &'static str,
    learning_rate: f64,
    betas: [f64; 2],
    eps: f64,
    weight_decay: f64,
    threshold: f32,
    batch_size: usize,
    /// Places in the data set.
    train: &'a [usize],
    val: &'a [usize],
    /// Per step: places in the data set.
    batches: Vec<Vec<usize>>,
    /// Per step, before its update.
    losses: &'a [f64],
    curve: Vec<Point>,
    /// Of the validation side after the last step.
    confusion: Confusion,
    notes: &'a [FitNote],
}

/// A place on the curve.
#[derive(Serialize)]
struct Point {
    fit_step: u32,
    train: Scored,
    val: Scored,
}

/// One side there.
#[derive(Serialize)]
struct Scored {
    confusion: Confusion,
    metrics: Metrics,
}

impl From<&SideScore> for Scored {
    fn from(score: &SideScore) -> Self {
        Self { confusion: score.confusion, metrics: score.metrics() }
    }
}

/// Writes everything into `dir`, which is made if it is not there; the fits have kept their weights.
pub(super) fn write_dump(
    dir: &Path,
    dataset: &Dataset,
    examples: &[Example],
    fits: &[Done],
    patch: usize,
) -> Result<(), ProbeError> {
    std::fs::create_dir_all(dir).map_err(ProbeError::io(dir))?;
    let mut chips = HashMap::new();
    for (i, Example { features, labels, side }) in examples.iter().enumerate() {
        let side = *side as usize;
        let map = to_map(features, side / patch)?;
        chips.insert(format!("features.{i}"), map.to_device(&Device::Cpu)?);
        chips.insert(format!("labels.{i}"), Tensor::from_slice(labels, (side, side), &Device::Cpu)?);
    }
    write(&chips, &dir.join("chips.safetensors"))?;
    let records: Vec<&ChipRecord> = dataset.chips().iter().collect();
    write_json(&dir.join("chips.json"), &records)?;
    fits.iter().filter_map(|done| Some((done, done.fitted()?))).try_for_each(|(d, f)| write_fit(dir, d, f, patch))
}

fn write_fit(dir: &Path, done: &Done, fitted: &Fitted, patch: usize) -> Result<(), ProbeError> {
    let Done { fold, settings, seed, .. } = done;
    let stem = format!("fit-{}-fold{}-seed{}", settings.head, fold.number, seed.0);
    let trace = &fitted.trace;
    let mut tensors = HashMap::new();
    let ends = [("initial".to_owned(), &trace.initial), ("final".to_owned(), &trace.fitted)];
    let path = trace.path.iter().zip(1..).map(|(state, n)| (format!("step.{n}"), state));
    for (prefix, parameters) in ends.into_iter().chain(path) {
        for Parameter { name, shape, value } in parameters {
            let tensor = Tensor::from_slice(value, shape.as_slice(), &Device::Cpu)?;
            tensors.insert(format!("{prefix}.{name}"), tensor);
        }
    }
    if let Some(scale) = &done.scale {
        tensors.insert("features.mean".into(), scale.mean.to_device(&Device::Cpu)?);
        tensors.insert("features.deviation".into(), scale.deviation.to_device(&Device::Cpu)?);
    }
    write(&tensors, &dir.join(format!("{stem}.safetensors")))?;
    let of_dataset = |batch: &Vec<usize>| batch.iter().map(|&i| fold.train[i]).collect::<Vec<_>>();
    let curve = fitted.curve.iter();
    let record = FitRecord {
        head: settings.head,
        patch,
        seed: *seed,
        fold: fold.number,
        optimizer: "AdamW",
        learning_rate: settings.learning_rate,
        betas: [adamw::BETA1, adamw::BETA2],
        eps: adamw::EPS,
        weight_decay: adamw::WEIGHT_DECAY,
        threshold: settings.threshold as f32,
        batch_size: settings.batch_size as usize,
        train: &fold.train,
        val: &fold.val,
        batches: trace.batches.iter().map(of_dataset).collect(),
        losses: &trace.losses,
        curve: curve.map(|p| Point { fit_step: p.fit_step, train: (&p.train).into(), val: (&p.val).into() }).collect(),
        confusion: SideScore::sum(fitted.chips.iter().map(|(score, _)| score)).confusion,
        notes: &fitted.notes,
    };
    write_json(&dir.join(format!("{stem}.json")), &record)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ProbeError> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| ProbeError::Input(format!("`{}`: {e}", path.display())))?;
    std::fs::write(path, text).map_err(ProbeError::io(path))
}
