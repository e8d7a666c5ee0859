//! Metrics of a binary segmentation, from confusion counts.

use serde::{Deserialize, Serialize};

use super::words;

words! {
    /// A metric's name, as in JSON and in `?metric=`; the most telling first.
    pub enum Metric {
        Iou = "iou",
        Dice = "dice",
        F1 = "f1",
        Precision = "precision",
        Recall = "recall",
        Loss = "loss",
        /// IoU of water, mean over events with water: pooled counts are ruled by the wettest event.
        IouEvent = "iou_event",
        /// IoU, Dice (F1), precision and recall, mean of water's and land's.
        Miou = "miou",
        Mdice = "mdice",
        Mprecision = "mprecision",
        Mrecall = "mrecall",
        /// Share of labelled pixels that are predicted as labelled.
        Accuracy = "accuracy",
        /// Share of land that is predicted as water, in events without water.
        FalseAlarm = "false_alarm",
        /// Area under the ROC curve, of the binned logit.
        Auroc = "auroc",
        /// Area under the precision-recall curve, step by step, of the binned logit.
        AveragePrecision = "average_precision",
        /// Mean of |share of water - probability| over 15 bins of the probability.
        CalibrationError = "calibration_error",
        /// R² of the closed-form head on the share of water of a patch.
        QuickR2 = "quick_r2",
        /// Area under the ROC curve of the same head, for patches that are mostly water.
        QuickAuroc = "quick_auroc",
        /// Of the features, without labels: exponential of the entropy of the centred features' singular values.
        EffectiveRank = "effective_rank",
        /// The same of the features as they are (Garrido et al. 2023).
        RankMe = "rankme",
        /// Logarithm of the mean Gaussian potential of pairs of features on the sphere (Wang and Isola 2020).
        Uniformity = "uniformity",
        /// Mean cosine of the angle between two features.
        MeanCosine = "mean_cosine",
        /// Channels that tell nothing.
        DeadDimensions = "dead_dimensions",
    }
}

impl Metric {
    /// Those of a head that predicts pixels.
    pub const OF_PIXELS: &'static [Self] =
        &[Self::Iou, Self::Dice, Self::F1, Self::Precision, Self::Recall, Self::Loss];

    /// Those that are told of a seed as a whole, beside [`Metric::OF_PIXELS`].
    pub const OF_SEEDS: &'static [Self] = &[
        Self::IouEvent,
        Self::Miou,
        Self::Mdice,
        Self::Mprecision,
        Self::Mrecall,
        Self::Accuracy,
        Self::FalseAlarm,
        Self::Auroc,
        Self::AveragePrecision,
        Self::CalibrationError,
    ];

    /// The least and the most it can be.
    pub fn range(self) -> (f64, f64) {
        match self {
            Self::Loss | Self::EffectiveRank | Self::RankMe | Self::DeadDimensions => (0.0, f64::INFINITY),
            Self::QuickR2 => (f64::NEG_INFINITY, 1.0),
            Self::Uniformity => (f64::NEG_INFINITY, 0.0),
            Self::MeanCosine => (-1.0, 1.0),
            _ => (0.0, 1.0),
        }
    }
}

/// Pixel counts of a prediction against a label; water is positive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// Water predicted as water.
    pub tp: u64,
    /// Land predicted as water.
    pub fp: u64,
    /// Water predicted as land.
    #[serde(rename = "fn")]
    pub fn_: u64,
    /// Land predicted as land.
    pub tn: u64,
    /// Pixels without a label, in no other count.
    pub ignored: u64,
}

impl Confusion {
    /// The counts of two disjoint sets of pixels together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            tp: self.tp + other.tp,
            fp: self.fp + other.fp,
            fn_: self.fn_ + other.fn_,
            tn: self.tn + other.tn,
            ignored: self.ignored + other.ignored,
        }
    }

    /// The metrics of these counts; `loss` is given, for counts do not hold it.
    ///
    /// `0/0` is `None`. Dice and F1 are the same number, `2tp / (2tp + fp + fn)`: 0, not `None`, where only
    /// precision or only recall is undefined.
    pub fn metrics(self, loss: Option<f64>) -> Metrics {
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let dice = ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn_);
        Metrics {
            iou: ratio(self.tp, self.tp + self.fp + self.fn_),
            dice,
            f1: dice,
            precision: ratio(self.tp, self.tp + self.fp),
            recall: ratio(self.tp, self.tp + self.fn_),
            loss: loss.filter(|l| l.is_finite()),
        }
    }
}

/// The metrics of one set of pixels; `None` is `0/0`, written as null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Intersection over union of water (Jaccard index).
    pub iou: Option<f64>,
    /// Dice coefficient of water.
    pub dice: Option<f64>,
    /// F1 score of water; equal to Dice.
    pub f1: Option<f64>,
    /// Share of predicted water that is water.
    pub precision: Option<f64>,
    /// Share of water that was found.
    pub recall: Option<f64>,
    /// Mean binary cross-entropy of the labelled pixels, in nats.
    pub loss: Option<f64>,
}

impl Metrics {
    /// One of them by name.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Iou => self.iou,
            Metric::Dice => self.dice,
            Metric::F1 => self.f1,
            Metric::Precision => self.precision,
            Metric::Recall => self.recall,
            Metric::Loss => self.loss,
            // Not of one set of pixels.
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn worked_example() {
        let counts = Confusion { tp: 6, fp: 2, fn_: 4, tn: 8, ignored: 3 };
        let m = counts.metrics(Some(0.5));
        assert_eq!(m.iou, Some(0.5));
        assert_eq!(m.dice, Some(12.0 / 18.0));
        assert_eq!(m.precision, Some(0.75));
        assert_eq!(m.recall, Some(0.6));
    }

    #[test]
    fn nothing_over_nothing_is_null() {
        let land = Confusion { tn: 10, ..Default::default() }.metrics(None);
        assert_eq!(land, Metrics::default());
        let missed = Confusion { fn_: 5, tn: 5, ..Default::default() }.metrics(Some(f64::NAN));
        assert_eq!((missed.precision, missed.dice, missed.iou), (None, Some(0.0), Some(0.0)));
        assert_eq!(missed.loss, None);
    }

    proptest! {
        #[test]
        fn dice_follows_from_iou(tp in 0u64..1000, fp in 0u64..1000, fn_ in 0u64..1000) {
            let m = Confusion { tp, fp, fn_, tn: 1, ignored: 0 }.metrics(None);
            prop_assert_eq!(m.dice, m.f1);
            if let (Some(iou), Some(dice)) = (m.iou, m.dice) {
                prop_assert!((dice - 2.0 * iou / (1.0 + iou)).abs() < 1e-12);
                prop_assert!((0.0..=1.0).contains(&iou));
            }
        }
    }
}
