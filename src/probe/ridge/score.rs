//! The quick score and the sums it is made of, per fold and event.

use std::{cmp::Ordering, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::Patches;

/// How well held-out patches are predicted. Not a segmentation score: it has an axis of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quick {
    /// `1 - Σ(prediction - water)² / Σ(water - mean water)²` over usable patches: 1 at best, 0 as good as their mean,
    /// no lower bound.
    pub r2: Option<f64>,
    /// Chance that a patch that is mostly water (fraction over a half) is predicted wetter than one that is not; ties
    /// count half.
    pub auroc: Option<f64>,
    /// Why something is null.
    pub undefined: Vec<Undefined>,
}

/// Why a number is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undefined {
    /// All usable patches have the same water fraction: no R².
    ConstantTarget,
    /// All usable patches are mostly water, or none is: no AUROC.
    OneClass,
}

/// Sums over the usable patches of one event in one fold; sums of several are their sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventSums {
    pub patches: u64,
    /// Σ water
    pub water: f64,
    /// Σ water²
    pub water_squared: f64,
    /// Σ (prediction - water)²
    pub error_squared: f64,
    /// Least and most water; (1, 0) of no patch.
    pub range: (f64, f64),
}

impl EventSums {
    const NOTHING: Self = Self { patches: 0, water: 0.0, water_squared: 0.0, error_squared: 0.0, range: (1.0, 0.0) };

    fn of(water: f64, prediction: f64) -> Self {
        let error_squared = (prediction - water).powi(2);
        Self { patches: 1, water, water_squared: water * water, error_squared, range: (water, water) }
    }

    /// Of disjoint sets of patches together.
    pub fn sum(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().fold(Self::NOTHING, |a, b| Self {
            patches: a.patches + b.patches,
            water: a.water + b.water,
            water_squared: a.water_squared + b.water_squared,
            error_squared: a.error_squared + b.error_squared,
            range: (a.range.0.min(b.range.0), a.range.1.max(b.range.1)),
        })
    }

    /// R² against these patches' own mean; `None` where they all have the same water fraction, or are none.
    pub fn r2(&self) -> Option<f64> {
        let total = self.water_squared - self.water * self.water / self.patches as f64;
        (self.range.0 < self.range.1).then(|| 1.0 - self.error_squared / total)
    }
}

/// Sums per (fold, event); `predictions` and `events` are `[N]`, in the order of `patches`.
pub fn event_sums(patches: &Patches, predictions: &[f64], events: &[u32]) -> BTreeMap<(u32, u32), EventSums> {
    let mut sums = BTreeMap::new();
    for i in patches.rows(|_| true) {
        let sum = sums.entry((patches.fold[i], events[i])).or_insert(EventSums::NOTHING);
        *sum = EventSums::sum([*sum, EventSums::of(patches.water[i], predictions[i])]);
    }
    sums
}

/// The quick score of `predictions` `[N]`, pooled over folds.
pub fn quick(patches: &Patches, predictions: &[f64]) -> Quick {
    let rows: Vec<usize> = patches.rows(|_| true).collect();
    let r2 = EventSums::sum(rows.iter().map(|&i| EventSums::of(patches.water[i], predictions[i]))).r2();
    let auroc = auroc(rows.iter().map(|&i| (predictions[i], patches.water[i] > 0.5)).collect());
    let undefined = [r2.is_none().then_some(Undefined::ConstantTarget), auroc.is_none().then_some(Undefined::OneClass)];
    Quick { r2, auroc, undefined: undefined.into_iter().flatten().collect() }
}

/// Of (score, is wet); `None` of one class.
fn auroc(mut ranked: Vec<(f64, bool)>) -> Option<f64> {
    ranked.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
    let (mut dry_below, mut halves, mut all_wet) = (0u64, 0u64, 0u64);
    for tied in ranked.chunk_by(|a, b| a.0 == b.0) {
        let wet = tied.iter().filter(|(_, wet)| *wet).count() as u64;
        let dry = tied.len() as u64 - wet;
        halves += wet * (2 * dry_below + dry);
        dry_below += dry;
        all_wet += wet;
    }
    let pairs = all_wet * dry_below;
    (pairs > 0).then(|| halves as f64 / (2 * pairs) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patches<'a>(water: &'a [f64], usable: &'a [bool], fold: &'a [u32]) -> Patches<'a> {
        Patches { features: &[], channels: 0, water, usable, fold, group: fold }
    }

    #[test]
    fn pooled_and_by_event() {
        let (water, fold) = ([0.0, 1.0, 0.2, 0.2, 9.0], [0, 0, 1, 1, 1]);
        let all = patches(&water, &[true, true, true, true, false], &fold);
        let predictions = [0.1, 0.7, 0.3, 0.2, 5.0];
        let got = quick(&all, &predictions);
        let total = 0.35f64.powi(2) + 0.65f64.powi(2) + 2.0 * 0.15f64.powi(2);
        assert!((got.r2.unwrap() - (1.0 - 0.11 / total)).abs() < 1e-14);
        assert_eq!((got.auroc, got.undefined.len()), (Some(1.0), 0));
        let sums = event_sums(&all, &predictions, &[7, 7, 8, 8, 8]);
        assert_eq!(sums.keys().collect::<Vec<_>>(), [&(0, 7), &(1, 8)]);
        assert!((sums[&(0, 7)].r2().unwrap() - (1.0 - 0.1 / 0.5)).abs() < 1e-14);
        assert_eq!((sums[&(1, 8)].r2(), sums[&(1, 8)].patches), (None, 2));
        assert_eq!(
            EventSums::sum(sums.into_values()).r2().map(|r2| (r2 * 1e12).round()),
            got.r2.map(|r2| (r2 * 1e12).round())
        );
    }

    #[test]
    fn null_has_a_reason() {
        // 0.3 and its square have no exact sums: the range decides, not their difference.
        let same = quick(&patches(&[0.3; 7], &[true; 7], &[0; 7]), &[0.1; 7]);
        assert_eq!(
            same,
            Quick { r2: None, auroc: None, undefined: vec![Undefined::ConstantTarget, Undefined::OneClass] }
        );
        let dry = quick(&patches(&[0.0, 0.5], &[true; 2], &[0; 2]), &[0.0, 0.5]);
        assert_eq!(dry, Quick { r2: Some(1.0), auroc: None, undefined: vec![Undefined::OneClass] });
        assert_eq!(quick(&patches(&[1.0], &[false], &[0]), &[0.0]).r2, None);
    }

    #[test]
    fn ties_count_half() {
        assert_eq!(auroc(vec![(0.5, true), (0.5, false), (0.1, false), (0.9, true)]), Some(0.875));
        assert_eq!(auroc(vec![(1.0, true); 3]), None);
    }
}
