//! Fits the network on a fold's training side and scores it on the other, in the words of the heads.

use std::time::Instant;

use super::Network;
use crate::{
    domain::{Confusion, FitNote},
    probe::{
        head::{AdamW, FitSettings, Fitted, HeadError, Keep, Targets, Trace, one_class},
        score::{SideScore, mean_batch_iou},
        seed,
    },
};

/// One side of a fold; the lists are in one order.
pub struct Side<'a> {
    /// Pixels per side of each chip.
    pub sides: Vec<u32>,
    /// Per pixel.
    pub targets: Vec<&'a Targets>,
    /// The normalised pixels `[C, S, S]` of a chip of this list, where a missing one is a number too. They are asked for
    /// when needed: all of a data set together may not fit the memory.
    pub pixels: &'a (dyn Fn(usize) -> Vec<f32> + Sync),
}

/// How far a fit is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Steps taken, from 1.
    pub done: u32,
    pub total: u32,
    /// What this one took.
    pub seconds: f64,
}

impl Step {
    /// In words, what all steps will take if they go on like this one: for the first, the rest of what `cost` says.
    pub fn pace(&self) -> String {
        let minutes = self.seconds * f64::from(self.total) / 60.0;
        format!("the from-scratch network: {:.2} s a step, {minutes:.0} min for {} steps", self.seconds, self.total)
    }
}

/// Fits `network` on `train`, scores it on `val`; `after_step` is called after each step.
///
/// Batches are those of a head with the same settings (`probe/head/fit.rs`): shuffled anew for each pass over `train`; one
/// without a labelled pixel is skipped, and is no step. `train` has some. Both sides are scored at no point before the end, so
/// that there is no curve; a scale is not used.
///
/// # Errors
/// [`HeadError::NotFinite`] for a loss or a logit.
pub fn fit(
    network: &mut Network,
    train: &Side,
    val: &Side,
    settings: &FitSettings,
    after_step: &mut dyn FnMut(Step),
) -> Result<Fitted, HeadError> {
    let mut trace = Trace::default();
    if settings.keep >= Keep::Ends {
        trace.initial = network.state();
    }
    let mut optimiser = network.optimiser(settings.learning_rate);
    for (step, batch) in (1..=settings.fit_steps).zip(settings.batches(train.sides.clone(), &train.targets)) {
        let start = Instant::now();
        let loss = train.step(network, &mut optimiser, &batch);
        if !loss.is_finite() {
            return Err(HeadError::NotFinite { what: "the loss", step });
        }
        trace.batches.push(batch);
        trace.losses.push(loss);
        after_step(Step { done: step, total: settings.fit_steps, seconds: start.elapsed().as_secs_f64() });
    }
    if settings.keep >= Keep::Ends {
        trace.fitted = network.state();
    }
    let chips = val.scores(network, settings)?;
    let batches = seed::in_batches(&(0..val.sides.len()).collect::<Vec<_>>(), &val.sides, settings.batch_size);
    let counts: Vec<Confusion> =
        batches.iter().map(|b| SideScore::sum(b.iter().map(|&i| &chips[i].0)).confusion).collect();
    let notes = one_class(&chips, settings.threshold).then_some(FitNote::OneClass).into_iter().collect();
    Ok(Fitted { curve: Vec::new(), mean_batch_iou: mean_batch_iou(&counts), chips, notes, trace })
}

impl Side<'_> {
    fn step(&self, network: &mut Network, optimiser: &mut AdamW, batch: &[usize]) -> f64 {
        let chips: Vec<_> = batch.iter().map(|&i| ((self.pixels)(i), self.targets[i])).collect();
        network.step(&chips, optimiser)
    }

    /// Score and logits of each chip, in order.
    fn scores(&self, network: &Network, settings: &FitSettings) -> Result<Vec<(SideScore, Vec<f32>)>, HeadError> {
        let score = |(i, targets): (usize, &&Targets)| {
            let logits = network.predict(&(self.pixels)(i));
            if !logits.iter().all(|z| z.is_finite()) {
                return Err(HeadError::NotFinite { what: "a logit", step: settings.fit_steps });
            }
            let (loss, confusion) = targets.score(&logits, settings.threshold);
            Ok((SideScore { loss, labelled: targets.labelled, confusion }, logits))
        };
        self.targets.iter().enumerate().map(score).collect()
    }
}
