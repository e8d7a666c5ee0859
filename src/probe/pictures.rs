//! Pictures of predictions: the mean probability of water over seeds, per validation chip.

use std::{collections::BTreeMap, path::Path};

use super::{ProbeError, chips::Dataset, fits::Done, score::sigmoid};
use crate::domain::{ChipRecord, HeadName};

/// Per chip (its place in the data set) the mean over a head's fits of the probability of water, `[side, side]`.
fn mean_probabilities(dataset: &Dataset, fits: &[Done], head: HeadName) -> BTreeMap<usize, Vec<f32>> {
    let mut sums: BTreeMap<usize, (u32, usize, Vec<f32>)> = BTreeMap::new();
    for done in fits.iter().filter(|done| done.settings.head == head) {
        let Some(fitted) = done.fitted() else { continue };
        for (&i, (_, logits)) in done.fold.val.iter().zip(&fitted.chips) {
            let (n, _, sum) = sums.entry(i).or_insert_with(|| (0, done.cell, vec![0.0; logits.len()]));
            *n += 1;
            sum.iter_mut().zip(logits).for_each(|(sum, &z)| *sum += sigmoid(z));
        }
    }
    let by_pixel = |(i, (n, cell, sum)): (usize, (u32, usize, Vec<f32>))| {
        let side = dataset.chips()[i].side as usize;
        let pixel = |p: usize| sum[p / side / cell * (side / cell) + p % side / cell] / n as f32;
        (i, (0..side * side).map(pixel).collect())
    };
    sums.into_iter().map(by_pixel).collect()
}

/// Writes the layer `prediction` of every validation chip, by the given head, where [`ChipRecord::picture`] has it below
/// `dir`; none for a chip whose fold has no fit.
pub(super) fn draw(
    dir: &Path,
    dataset: &Dataset,
    fits: &[Done],
    head: HeadName,
    threshold: f32,
) -> Result<(), ProbeError> {
    for (i, probability) in mean_probabilities(dataset, fits, head) {
        let chip = &dataset.chips()[i];
        let path = dir.join(ChipRecord::picture(&chip.path, "prediction"));
        super::chips::draw_prediction(&path, chip.side as usize, &dataset.labels(i), &probability, threshold)?;
    }
    Ok(())
}
