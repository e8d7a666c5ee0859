//! The quick score of a probe: ridge on the water fraction of patches, and the signs of collapse, in closed form from
//! cached features. It needs no seeds and no steps, and is there within a second.

use std::collections::BTreeMap;

use super::{
    ProbeError,
    chips::{Dataset, Fold},
    collapse::{self, MAX_ROWS},
    head::Example,
    ridge::{self, EventSums, Patches, WaterFractions},
};
use crate::domain::{EventScore, HeadName, Metric};

/// What the closed-form head gives of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Quick {
    /// `quick_r2`, `quick_auroc`, and the signs of collapse; null is undefined.
    pub values: BTreeMap<Metric, Option<f64>>,
    /// Per event `1 - MSE / variance`, the event's mean squared error over the variance of all patches: their mean,
    /// weighted by patches, is `quick_r2`.
    pub events: Vec<EventScore>,
}

/// Fits and scores on all threads' cached features; each validation patch is predicted by a fit that never saw its fold.
///
/// # Errors
/// Where no fold can teach another, or a feature is not finite.
pub fn fit(dataset: &Dataset, examples: &[Example]) -> Result<Quick, ProbeError> {
    let wrong = |error: &dyn std::fmt::Display| ProbeError::Input(format!("head `{}`: {error}", HeadName::Ridge));
    let channels = examples.first().map_or(Ok(0), |example| example.features.dim(1))?;
    let mut features = Vec::new();
    let (mut water, mut usable, mut fold, mut chip) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let folds = folds(dataset.folds(), examples.len());
    for (i, example) in examples.iter().enumerate() {
        let values: Vec<f32> = example.features.flatten_all()?.to_vec1()?;
        let side = example.side as usize;
        let patches = values.len() / channels.max(1);
        let fractions = WaterFractions::of(&example.labels, side, side / patches.isqrt().max(1));
        features.extend(values);
        water.extend(fractions.water);
        usable.extend(fractions.usable);
        fold.extend(vec![folds[i].number; patches]);
        chip.extend(vec![i as u32; patches]);
    }
    let patches = Patches { features: &features, channels, water: &water, usable: &usable, fold: &fold, group: &chip };
    let predictions = ridge::out_of_fold(&patches).map_err(|error| wrong(&error))?.predictions;
    // A split into one training and one validation side scores the latter alone.
    let scored: Vec<bool> = usable.iter().zip(&chip).map(|(&usable, &i)| usable && folds[i as usize].scored).collect();
    let scored = Patches { usable: &scored, ..patches };
    let score = ridge::quick(&scored, &predictions);
    let signs = collapse::signs(&features, channels, MAX_ROWS).map_err(|error| wrong(&error))?;
    let values = BTreeMap::from([
        (Metric::QuickR2, score.r2),
        (Metric::QuickAuroc, score.auroc),
        (Metric::EffectiveRank, Some(signs.effective_rank)),
        (Metric::RankMe, Some(signs.rankme)),
        (Metric::Uniformity, Some(signs.uniformity)),
        (Metric::MeanCosine, Some(signs.mean_cosine)),
        (Metric::DeadDimensions, Some(signs.dead as f64)),
    ]);
    Ok(Quick { values, events: by_event(dataset, &scored, &predictions) })
}

/// Where a chip stands in the folds.
#[derive(Clone, Copy)]
struct Standing {
    number: u32,
    /// It is on a validation side.
    scored: bool,
}

/// By the fold that validates on each chip; what no fold validates on is a fold of its own, and not scored.
fn folds(folds: &[Fold], chips: usize) -> Vec<Standing> {
    let mut standing = vec![Standing { number: u32::MAX, scored: false }; chips];
    for fold in folds {
        fold.val.iter().for_each(|&i| standing[i] = Standing { number: fold.number, scored: true });
    }
    standing
}

fn by_event(dataset: &Dataset, patches: &Patches, predictions: &[f64]) -> Vec<EventScore> {
    let names = &dataset.summary().events;
    let place = |&i: &u32| {
        let event = &dataset.chips()[i as usize].event;
        names.iter().position(|name| name == event).unwrap_or_default() as u32
    };
    let events: Vec<u32> = patches.group.iter().map(place).collect();
    let mut sums = BTreeMap::<u32, EventSums>::new();
    for ((_, event), sum) in ridge::event_sums(patches, predictions, &events) {
        let known = sums.remove(&event);
        sums.insert(event, EventSums::sum(known.into_iter().chain([sum])));
    }
    let all = EventSums::sum(sums.values().copied());
    let variance = (all.water_squared - all.water * all.water / all.patches as f64) / all.patches as f64;
    if all.r2().is_none() {
        return Vec::new();
    }
    let score = |(event, sum): (u32, EventSums)| EventScore {
        event: names[event as usize].clone(),
        head: HeadName::Ridge,
        seed: None,
        metric: Metric::QuickR2,
        value: 1.0 - sum.error_squared / sum.patches as f64 / variance,
    };
    sums.into_iter().map(score).collect()
}
