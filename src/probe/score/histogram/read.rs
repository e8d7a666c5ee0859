//! What can be read off a histogram.

use super::bins::{ABOVE_ZERO, BINS, Histogram, LIMIT, PER_UNIT};
use crate::domain::Confusion;

/// Bins of the probability in the calibration error (torchmetrics' and the literature's usual number).
pub const CALIBRATION_BINS: usize = 15;

/// Counts at a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AtThreshold {
    /// Of the labelled pixels; `ignored` is 0, for a histogram does not hold it.
    pub confusion: Confusion,
    /// The probability in force: that of the edge.
    pub threshold: f64,
}

impl Histogram {
    /// The counts where a pixel is wet when its probability is over `threshold` (0 to 1).
    ///
    /// Exact at 0.5, the edge at 0. Elsewhere the edge nearest to the threshold's logit is taken: off by at most half a
    /// bin, 1/32 of logit, 0.008 of probability (0.3 becomes 0.2942). Beyond the outermost edges all or no pixels are
    /// wet.
    pub fn at(&self, threshold: f64) -> AtThreshold {
        let logit = (threshold / (1.0 - threshold)).ln();
        let edge = (logit * PER_UNIT).round() + ABOVE_ZERO as f64;
        let edge = edge.clamp(0.0, BINS as f64) as usize;
        let (below, above) =
            (|counts: &[u64]| counts[..edge].iter().sum(), |counts: &[u64]| counts[edge..].iter().sum());
        let (dry, wet) = (&self.dry, &self.wet);
        let confusion = Confusion { tp: above(wet), fp: above(dry), fn_: below(wet), tn: below(dry), ignored: 0 };
        let threshold = match edge {
            0 => 0.0,
            BINS => 1.0,
            _ => probability(edge as f64 / PER_UNIT - LIMIT),
        };
        AtThreshold { confusion, threshold }
    }

    /// Chance that a wet pixel has a higher logit than a dry one, pixels of one bin counting half (area under the ROC
    /// curve); `None` without one of the classes.
    pub fn auroc(&self) -> Option<f64> {
        let (wet, dry) = self.classes();
        let (mut wet_above, mut halves) = (0u64, 0u128);
        for (_, wet, dry) in self.from_the_top() {
            halves += u128::from(dry) * u128::from(2 * wet_above + wet);
            wet_above += wet;
        }
        let pairs = u128::from(wet) * u128::from(dry);
        (pairs > 0).then(|| halves as f64 / (2 * pairs) as f64)
    }

    /// `Σ (Rₙ - Rₙ₋₁) Pₙ` over the bins from the top, R and P recall and precision of all down to there: scikit-learn's
    /// `average_precision_score` of the binned logit. `None` without a wet pixel.
    pub fn average_precision(&self) -> Option<f64> {
        let (all_wet, _) = self.classes();
        let (mut above, mut wet_above, mut sum) = (0, 0, 0.0);
        for (_, wet, dry) in self.from_the_top().filter(|(_, wet, dry)| wet + dry > 0) {
            above += wet + dry;
            wet_above += wet;
            sum += wet as f64 * (wet_above as f64 / above as f64);
        }
        (all_wet > 0).then(|| sum / all_wet as f64)
    }

    /// Expected calibration error (Guo et al. 2017): over 15 equal bins of the probability, the mean of |share of wet
    /// pixels - mean probability|, weighted by pixels; `None` without a pixel.
    ///
    /// A pixel's probability is that of its logit bin's centre, which is off by at most 0.008. It is torchmetrics'
    /// `binary_calibration_error(norm="l1")` of those probabilities.
    pub fn calibration_error(&self) -> Option<f64> {
        let mut bins = [(0u64, 0u64, 0.0); CALIBRATION_BINS]; // pixels, wet ones, sum of probabilities
        for (z, wet, dry) in self.from_the_top() {
            let p = probability(z);
            // p < 1 at the highest centre, so that the place is in the range.
            let (pixels, wet_pixels, sum) = &mut bins[(p * CALIBRATION_BINS as f64) as usize];
            *pixels += wet + dry;
            *wet_pixels += wet;
            *sum += (wet + dry) as f64 * p;
        }
        let (wet, dry) = self.classes();
        // Each bin's gap times its pixels.
        let gaps: f64 = bins.iter().map(|(_, wet, sum)| (*wet as f64 - sum).abs()).sum();
        (wet + dry > 0).then(|| gaps / (wet + dry) as f64)
    }
}

fn probability(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(pixels: &[(f32, u64, u64)]) -> Histogram {
        let mut histogram = Histogram::default();
        pixels.iter().for_each(|&(z, wet, dry)| histogram.add(z, wet, dry));
        histogram
    }

    #[test]
    fn worked_example() {
        let h = of(&[(2.0, 3, 1), (-1.0, 1, 2), (-3.0, 0, 3)]);
        // Pairs 4·6: 3·(2 + 3) + 1·3, and ties 3·1 + 1·2 by half.
        assert_eq!(h.auroc(), Some((18.0 + 2.5) / 24.0));
        assert!((h.average_precision().unwrap() - (0.75 * 0.75 + 0.25 * 4.0 / 7.0)).abs() < 1e-15);
        let at = h.at(0.5);
        assert_eq!((at.confusion, at.threshold), (Confusion { tp: 3, fp: 1, fn_: 1, tn: 5, ignored: 0 }, 0.5));
        let p = |z: f64| probability(z - 1.0 / 32.0);
        let gaps = (3.0 - 4.0 * p(2.0)).abs() + (1.0 - 3.0 * p(-1.0)).abs() + 3.0 * p(-3.0);
        assert!((h.calibration_error().unwrap() - gaps / 10.0).abs() < 1e-15);
    }

    #[test]
    fn thresholds_and_their_edges() {
        let h = of(&[(-0.88, 1, 0), (-0.87, 0, 1), (20.0, 5, 5)]);
        let at = h.at(0.3);
        assert!((at.threshold - 0.2942).abs() < 1e-4, "{at:?}");
        assert_eq!(at.confusion, Confusion { tp: 5, fp: 6, fn_: 1, tn: 0, ignored: 0 });
        assert_eq!((h.at(0.0).confusion.tp, h.at(0.0).threshold), (6, 0.0));
        assert_eq!((h.at(1.0).confusion.fn_, h.at(1.0).threshold), (6, 1.0));
        for percent in 1..100 {
            let asked = f64::from(percent) / 100.0;
            assert!((h.at(asked).threshold - asked).abs() <= 0.0079, "{asked}");
        }
    }

    #[test]
    fn nothing_over_nothing_is_null() {
        let nothing = Histogram::default();
        assert_eq!((nothing.auroc(), nothing.average_precision(), nothing.calibration_error()), (None, None, None));
        let dry = of(&[(1.0, 0, 3)]);
        assert_eq!((dry.auroc(), dry.average_precision()), (None, None));
        assert_eq!(of(&[(1.0, 3, 0)]).average_precision(), Some(1.0));
    }

    proptest! {
        /// Turned around, wet and dry change places and the order too.
        #[test]
        fn auroc_of_pairs(pixels in proptest::collection::vec((-40i32..40, 0u64..4, 0u64..4), 0..30)) {
            let h = of(&pixels.iter().map(|&(z, wet, dry)| (z as f32 / 8.0, wet, dry)).collect::<Vec<_>>());
            let (mut won, mut all) = (0.0, 0.0);
            for &(z, wet, _) in &pixels {
                for &(other, _, dry) in &pixels {
                    let pairs = (wet * dry) as f64;
                    all += pairs;
                    won += pairs * f64::from((z.cmp(&other) as i8) + 1) / 2.0;
                }
            }
            match h.auroc() {
                Some(auroc) => prop_assert!((auroc - won / all).abs() < 1e-12),
                None => prop_assert_eq!(all, 0.0),
            }
        }
    }
}
