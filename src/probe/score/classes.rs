//! Metrics of both classes from counts, and their means over events and over chips.
//!
//! `0/0` is `None`, and what is undefined is listed with the mean it is missing from. F1 and Dice are the same number,
//! pooled: both words are kept because readers look for one or the other.

use serde::{Deserialize, Serialize};

use crate::domain::Confusion;

/// A metric that follows from counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassMetric {
    /// Of water: `tp / (tp + fp + fn)`.
    Iou,
    /// Of water: `2tp / (2tp + fp + fn)`.
    Dice,
    /// Of water, equal to Dice.
    F1,
    /// Of water: `tp / (tp + fp)`.
    Precision,
    /// Of water: `tp / (tp + fn)`.
    Recall,
    /// Mean of water's and land's; `None` where either is: a mean over one class is another number.
    Miou,
    Mdice,
    Mf1,
    Mprecision,
    Mrecall,
    /// Share of labelled pixels that are predicted as labelled.
    Accuracy,
    /// Share of land that is predicted as water, `fp / (fp + tn)`: what an event without water can still tell.
    FalseAlarm,
}

impl ClassMetric {
    /// All of them, in order.
    pub const ALL: &'static [Self] = &[
        Self::Iou,
        Self::Dice,
        Self::F1,
        Self::Precision,
        Self::Recall,
        Self::Miou,
        Self::Mdice,
        Self::Mf1,
        Self::Mprecision,
        Self::Mrecall,
        Self::Accuracy,
        Self::FalseAlarm,
    ];

    /// Its value, 0 to 1; `None` is `0/0`.
    pub fn of(self, counts: Confusion) -> Option<f64> {
        let Confusion { tp, fp, fn_, tn, ignored } = counts;
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let land = Confusion { tp: tn, fp: fn_, fn_: fp, tn: tp, ignored };
        let both = |of_one: Self| Some((of_one.of(counts)? + of_one.of(land)?) / 2.0);
        match self {
            Self::Iou => ratio(tp, tp + fp + fn_),
            Self::Dice | Self::F1 => ratio(2 * tp, 2 * tp + fp + fn_),
            Self::Precision => ratio(tp, tp + fp),
            Self::Recall => ratio(tp, tp + fn_),
            Self::Miou => both(Self::Iou),
            Self::Mdice | Self::Mf1 => both(Self::Dice),
            Self::Mprecision => both(Self::Precision),
            Self::Mrecall => both(Self::Recall),
            Self::Accuracy => ratio(tp + tn, tp + fp + fn_ + tn),
            Self::FalseAlarm => ratio(fp, fp + tn),
        }
    }

    /// Those that are `0/0` for these counts.
    pub fn undefined(counts: Confusion) -> Vec<Self> {
        Self::ALL.iter().copied().filter(|metric| metric.of(counts).is_none()).collect()
    }
}

/// The mean of a metric over events or chips.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeanOver {
    /// `None` where it is defined for none.
    pub value: Option<f64>,
    /// How many it is the mean of.
    pub n: usize,
    /// Names of those that should have been in it, but for which the metric is `0/0`.
    pub undefined: Vec<String>,
    /// Names of events that were left out because nothing in them is labelled water; they have [`false_alarms`].
    pub dry: Vec<String>,
}

/// The mean over chips, whether they hold water or not.
pub fn over_chips<'a>(metric: ClassMetric, chips: impl IntoIterator<Item = (&'a str, Confusion)>) -> MeanOver {
    let (mut mean, mut sum) = (MeanOver::default(), 0.0);
    for (name, counts) in chips {
        match metric.of(counts) {
            Some(value) => (sum, mean.n) = (sum + value, mean.n + 1),
            None => mean.undefined.push(name.to_owned()),
        }
    }
    mean.value = (mean.n > 0).then(|| sum / mean.n as f64);
    mean
}

/// The mean over events with water (`iou_event` of [`ClassMetric::Iou`]): pooled counts are ruled by the wettest event,
/// and what is predicted in a dry one says nothing of water that was found.
pub fn over_events<'a>(metric: ClassMetric, events: impl IntoIterator<Item = (&'a str, Confusion)>) -> MeanOver {
    let (dry, wet): (Vec<_>, Vec<_>) = events.into_iter().partition(|(_, counts)| is_dry(*counts));
    let dry = dry.into_iter().map(|(name, _)| name.to_owned()).collect();
    MeanOver { dry, ..over_chips(metric, wet) }
}

/// The false-alarm rate of each dry event.
pub fn false_alarms<'a>(events: impl IntoIterator<Item = (&'a str, Confusion)>) -> Vec<(&'a str, f64)> {
    let dry = events.into_iter().filter(|(_, counts)| is_dry(*counts));
    dry.filter_map(|(name, counts)| Some((name, ClassMetric::FalseAlarm.of(counts)?))).collect()
}

/// Labelled, and nowhere as water.
fn is_dry(counts: Confusion) -> bool {
    counts.tp + counts.fn_ == 0 && counts.fp + counts.tn > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: Confusion = Confusion { tp: 6, fp: 2, fn_: 4, tn: 8, ignored: 3 };
    const DRY: Confusion = Confusion { tp: 0, fp: 1, fn_: 0, tn: 9, ignored: 0 };
    const CALM: Confusion = Confusion { tp: 0, fp: 0, fn_: 0, tn: 5, ignored: 0 };
    const MISSED: Confusion = Confusion { tp: 0, fp: 0, fn_: 5, tn: 5, ignored: 0 };

    #[test]
    fn worked_example() {
        let expected = [
            (ClassMetric::Iou, 6.0 / 12.0),
            (ClassMetric::Miou, (6.0 / 12.0 + 8.0 / 14.0) / 2.0),
            (ClassMetric::Mf1, (12.0 / 18.0 + 16.0 / 22.0) / 2.0),
            (ClassMetric::Mprecision, (6.0 / 8.0 + 8.0 / 12.0) / 2.0),
            (ClassMetric::Mrecall, (6.0 / 10.0 + 8.0 / 10.0) / 2.0),
            (ClassMetric::Accuracy, 14.0 / 20.0),
            (ClassMetric::FalseAlarm, 2.0 / 10.0),
        ];
        for (metric, value) in expected {
            assert!((metric.of(MIXED).unwrap() - value).abs() < 1e-15, "{metric:?}");
        }
        for metric in ClassMetric::ALL.iter().filter(|m| **m < ClassMetric::Miou) {
            let water = MIXED.metrics(None);
            let values = [water.iou, water.dice, water.f1, water.precision, water.recall];
            assert_eq!(metric.of(MIXED), values[*metric as usize]);
        }
    }

    #[test]
    fn nothing_over_nothing_is_listed() {
        assert_eq!(ClassMetric::undefined(MIXED), []);
        assert_eq!(ClassMetric::undefined(MISSED), [ClassMetric::Precision, ClassMetric::Mprecision]);
        assert_eq!(ClassMetric::undefined(Confusion { ignored: 9, ..Default::default() }), ClassMetric::ALL);
        assert_eq!(ClassMetric::Accuracy.of(CALM), Some(1.0));
        assert_eq!(ClassMetric::Miou.of(CALM), None);
    }

    #[test]
    fn means_over_events_and_chips() {
        let none = Confusion::default();
        let all = [("mixed", MIXED), ("dry", DRY), ("calm", CALM), ("missed", MISSED), ("clouds", none)];
        let events = over_events(ClassMetric::Iou, all);
        assert_eq!((events.value, events.n), (Some(0.25), 2));
        assert_eq!(
            (events.undefined, events.dry),
            (vec!["clouds".to_owned()], vec!["dry".to_owned(), "calm".to_owned()])
        );
        assert_eq!(over_events(ClassMetric::Precision, all).undefined, ["missed", "clouds"]);
        let chips = over_chips(ClassMetric::Iou, all);
        assert_eq!((chips.value, chips.n), (Some(0.5 / 3.0), 3));
        assert_eq!(chips.undefined, ["calm", "clouds"]);
        assert_eq!(false_alarms(all), [("dry", 0.1), ("calm", 0.0)]);
        assert_eq!(over_events(ClassMetric::Iou, [("dry", DRY)]).value, None);
    }
}
