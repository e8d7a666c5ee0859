//! Fits the decoder on cached features: fit epochs of shuffled batches, scored after each.

use candle_core::{Result, Tensor};

use super::{AdamW, ConvHead, Parameter, Targets};
use crate::{
    domain::{Confusion, Seed},
    probe::{
        score::{SideScore, mean_batch_iou},
        seed,
    },
};

/// A chip as the head sees it.
pub struct Example {
    /// `[h*w, C]`, row by row, on the device of the fit.
    pub features: Tensor,
    pub targets: Targets,
    /// Pixels.
    pub side: u32,
}

/// What decides a fit besides its chips.
#[derive(Clone, Debug)]
pub struct FitSettings {
    pub seed: Seed,
    pub fold: u32,
    pub fit_epochs: u32,
    pub batch_size: usize,
    pub learning_rate: f64,
    pub threshold: f32,
}

/// What a fit went through, so that it can be repeated elsewhere.
#[derive(Clone, Debug, Default)]
pub struct FitTrace {
    pub initial: Vec<Parameter>,
    /// Per fit epoch and batch: places in the list of training chips.
    pub batches: Vec<Vec<Vec<usize>>>,
    /// Per step: the loss before it; `None` for a batch without a labelled pixel, which is skipped.
    pub losses: Vec<Option<f64>>,
}

/// A fitted head and how it scored.
#[derive(Debug)]
pub struct Fitted {
    pub head: ConvHead,
    /// Per fit epoch: training side and validation side, both scored after the epoch's last step.
    pub curve: Vec<(SideScore, SideScore)>,
    /// Per validation chip after the last fit epoch: its score, and its logits per cell of 2x2 pixels.
    pub chips: Vec<(SideScore, Vec<f32>)>,
    /// Mean over validation batches of the per-batch IoU.
    pub mean_batch_iou: Option<f64>,
    pub trace: FitTrace,
}

/// Fits a head from `settings.seed` on `train`, scores it on `val`. `after_epoch` is called after each fit epoch.
///
/// The loss of a step is summed over the batch's labelled pixels and divided by their number.
pub fn fit(
    train: &[&Example],
    val: &[&Example],
    channels: usize,
    settings: &FitSettings,
    after_epoch: &mut dyn FnMut(),
) -> Result<Fitted> {
    let mut head = ConvHead::new(channels, settings.seed);
    let mut trace = FitTrace { initial: head.parameters.clone(), ..Default::default() };
    let mut optimiser = AdamW::new(&head.parameters, settings.learning_rate);
    let sides: Vec<u32> = train.iter().map(|e| e.side).collect();
    let (mut curve, mut chips) = (Vec::new(), Vec::new());
    for epoch in 1..=settings.fit_epochs {
        let batches = seed::batches(&sides, settings.batch_size, settings.seed, settings.fold, epoch);
        for batch in &batches {
            let batch: Vec<&Example> = batch.iter().map(|&i| train[i]).collect();
            trace.losses.push(step(&mut head, &mut optimiser, &batch)?);
        }
        trace.batches.push(batches);
        chips = scores(&head, val, settings)?;
        let train_side = scores(&head, train, settings)?;
        curve.push((pooled(&train_side), pooled(&chips)));
        after_epoch();
    }
    let counts: Vec<Confusion> = in_order(val, settings.batch_size)
        .iter()
        .map(|b| SideScore::sum(b.iter().map(|&i| &chips[i].0)).confusion)
        .collect();
    Ok(Fitted { head, curve, mean_batch_iou: mean_batch_iou(&counts), chips, trace })
}

/// One step of AdamW; the loss before it, or `None` where no pixel is labelled and nothing is done.
fn step(head: &mut ConvHead, optimiser: &mut AdamW, batch: &[&Example]) -> Result<Option<f64>> {
    let labelled: u64 = batch.iter().map(|e| e.targets.labelled).sum();
    if labelled == 0 {
        return Ok(None);
    }
    let features = stacked(batch)?;
    let pass = head.forward(&features, grid(batch))?;
    let logits: Vec<f32> = pass.logits.flatten_all()?.to_vec1()?;
    let mut gradient = Vec::with_capacity(logits.len());
    let cells = logits.len() / batch.len();
    let chips = batch.iter().zip(logits.chunks_exact(cells));
    let loss: f64 = chips.map(|(e, z)| e.targets.loss(z, labelled, &mut gradient)).sum();
    let gradients = head.backward(&features, &pass, gradient)?;
    optimiser.step(&mut head.parameters, &gradients);
    Ok(Some(loss / labelled as f64))
}

/// Score and logits of each chip, in the given order.
fn scores(head: &ConvHead, examples: &[&Example], settings: &FitSettings) -> Result<Vec<(SideScore, Vec<f32>)>> {
    let mut all: Vec<_> = examples.iter().map(|_| Default::default()).collect();
    for places in in_order(examples, settings.batch_size) {
        let batch: Vec<&Example> = places.iter().map(|&i| examples[i]).collect();
        let logits: Vec<f32> = head.forward(&stacked(&batch)?, grid(&batch))?.logits.flatten_all()?.to_vec1()?;
        for (z, &i) in logits.chunks_exact(logits.len() / batch.len()).zip(&places) {
            let targets = &examples[i].targets;
            let (loss, confusion) = targets.score(z, settings.threshold);
            all[i] = (SideScore { loss, labelled: targets.labelled, confusion }, z.to_vec());
        }
    }
    Ok(all)
}

/// Batches without shuffling, one size each.
fn in_order(examples: &[&Example], batch_size: usize) -> Vec<Vec<usize>> {
    let sides: Vec<u32> = examples.iter().map(|e| e.side).collect();
    seed::in_batches(&(0..examples.len()).collect::<Vec<_>>(), &sides, batch_size)
}

fn pooled(chips: &[(SideScore, Vec<f32>)]) -> SideScore {
    SideScore::sum(chips.iter().map(|(score, _)| score))
}

/// The features of a batch, `[B*h*w, C]`.
fn stacked(batch: &[&Example]) -> Result<Tensor> {
    Tensor::cat(&batch.iter().map(|e| &e.features).collect::<Vec<_>>(), 0)
}

/// Patches per side; all chips of a batch have the same.
fn grid(batch: &[&Example]) -> usize {
    batch[0].targets.cells / 16
}
