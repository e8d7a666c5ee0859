//! What the fits were made of, so that anyone can repeat them elsewhere (`tests/repeat_fit.py` does in PyTorch).
//!
//! `chips.safetensors` holds per chip i (its place in the data set) `features.{i}` `[G*D, h, w]` and `labels.{i}`
//! `[side, side]` (1 water, 0 land, 255 ignored). Per fit `fit-fold{f}-seed{s}.safetensors` holds `initial.{k}` and
//! `final.{k}`, the decoder's parameters in PyTorch's layout, and `fit-fold{f}-seed{s}.json` the rest.

use std::{collections::HashMap, path::Path};

use candle_core::{Device, Tensor};
use serde::Serialize;

use super::{
    ProbeError,
    chips::Dataset,
    embed::write,
    encoder::PATCH,
    fits::Done,
    head::{Example, Parameter, adamw},
    score::SideScore,
};
use crate::domain::{ChipRecord, Confusion, Metrics, Seed};

/// The JSON beside a fit's tensors.
#[derive(Serialize)]
struct FitRecord<'a> {
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
    /// Per fit epoch, per batch: places in the data set.
    batches: Vec<Vec<Vec<usize>>>,
    /// Per step, before its update; null where the batch had no labelled pixel and was skipped.
    losses: &'a [Option<f64>],
    /// Per fit epoch, after its last step.
    curve: Vec<[Metrics; 2]>,
    /// Of the validation side after the last fit epoch.
    confusion: Confusion,
}

/// Writes everything into `dir`, which is made if it is not there.
pub(super) fn write_dump(dir: &Path, dataset: &Dataset, examples: &[Example], fits: &[Done]) -> Result<(), ProbeError> {
    std::fs::create_dir_all(dir).map_err(ProbeError::io(dir))?;
    let mut chips = HashMap::new();
    for (i, (example, chip)) in examples.iter().zip(dataset.chips()).enumerate() {
        let (channels, side) = (example.features.dim(1)?, chip.side as usize);
        let grid = side / PATCH;
        let map = example.features.t()?.contiguous()?.reshape((channels, grid, grid))?; // [G*D, h, w]
        chips.insert(format!("features.{i}"), map.to_device(&Device::Cpu)?);
        chips.insert(format!("labels.{i}"), Tensor::from_slice(dataset.labels(i), (side, side), &Device::Cpu)?);
    }
    write(&chips, &dir.join("chips.safetensors"))?;
    let records: Vec<&ChipRecord> = dataset.chips().iter().collect();
    write_json(&dir.join("chips.json"), &records)?;
    fits.iter().try_for_each(|fit| write_fit(dir, fit))
}

fn write_fit(dir: &Path, done: &Done) -> Result<(), ProbeError> {
    let Done { fold, settings, fitted } = done;
    let stem = format!("fit-fold{}-seed{}", fold.number, settings.seed.0);
    let mut tensors = HashMap::new();
    for (prefix, parameters) in [("initial", &fitted.trace.initial), ("final", &fitted.head.parameters)] {
        for Parameter { name, shape, value } in parameters {
            let tensor = Tensor::from_slice(value, shape.as_slice(), &Device::Cpu)?;
            tensors.insert(format!("{prefix}.{name}"), tensor);
        }
    }
    write(&tensors, &dir.join(format!("{stem}.safetensors")))?;
    let of_dataset = |batch: &Vec<usize>| batch.iter().map(|&i| fold.train[i]).collect::<Vec<_>>();
    let of_epoch = |epoch: &Vec<Vec<usize>>| epoch.iter().map(of_dataset).collect::<Vec<_>>();
    let record = FitRecord {
        seed: settings.seed,
        fold: fold.number,
        optimizer: "AdamW",
        learning_rate: settings.learning_rate,
        betas: [adamw::BETA1, adamw::BETA2],
        eps: adamw::EPS,
        weight_decay: adamw::WEIGHT_DECAY,
        threshold: settings.threshold,
        batch_size: settings.batch_size,
        train: &fold.train,
        val: &fold.val,
        batches: fitted.trace.batches.iter().map(of_epoch).collect(),
        losses: &fitted.trace.losses,
        curve: fitted.curve.iter().map(|(train, val)| [train.metrics(), val.metrics()]).collect(),
        confusion: SideScore::sum(fitted.chips.iter().map(|(score, _)| score)).confusion,
    };
    write_json(&dir.join(format!("{stem}.json")), &record)
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ProbeError> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| ProbeError::Input(format!("`{}`: {e}", path.display())))?;
    std::fs::write(path, text).map_err(ProbeError::io(path))
}
