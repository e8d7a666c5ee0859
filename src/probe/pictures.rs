//! Pictures of predictions: the mean probability of water over seeds, per validation chip.

use std::{collections::BTreeMap, path::Path};

use super::{ProbeError, chips::Dataset, fits::Done, head::sigmoid};

/// Per chip (its place in the data set) the mean over fits of the probability of water, `[side, side]`.
pub(super) fn mean_probabilities(dataset: &Dataset, fits: &[Done]) -> BTreeMap<usize, Vec<f32>> {
    let mut sums: BTreeMap<usize, (u32, Vec<f32>)> = BTreeMap::new();
    for fit in fits {
        for (&i, (_, logits)) in fit.fold.val.iter().zip(&fit.fitted.chips) {
            let (n, sum) = sums.entry(i).or_insert_with(|| (0, vec![0.0; logits.len()]));
            *n += 1;
            sum.iter_mut().zip(logits).for_each(|(sum, &z)| *sum += sigmoid(z));
        }
    }
    let doubled = |(i, (n, sum)): (usize, (u32, Vec<f32>))| {
        let side = dataset.chips()[i].side as usize;
        let pixel = |p: usize| sum[p / side / 2 * (side / 2) + p % side / 2] / n as f32;
        (i, (0..side * side).map(pixel).collect())
    };
    sums.into_iter().map(doubled).collect()
}

/// Writes `<dir>/<event>/<stem>.prediction.png` for every validation chip.
pub(super) fn draw(dir: &Path, dataset: &Dataset, fits: &[Done], threshold: f32) -> Result<(), ProbeError> {
    for (i, probability) in mean_probabilities(dataset, fits) {
        let chip = &dataset.chips()[i];
        let folder = dir.join(&chip.event);
        std::fs::create_dir_all(&folder).map_err(ProbeError::io(&folder))?;
        let path = folder.join(format!("{}.prediction.png", chip.source_url));
        super::chips::draw_prediction(&path, chip.side as usize, dataset.labels(i), &probability, threshold)?;
    }
    Ok(())
}
