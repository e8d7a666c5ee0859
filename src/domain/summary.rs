//! A metric over seeds: mean, spread, interval.

use serde::{Deserialize, Serialize};

use super::{Metric, words};

/// A metric over seeds; nulls are skipped and `n` says how many were left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub mean: Option<f64>,
    /// Sample standard deviation over seeds; `None` below two.
    pub std: Option<f64>,
    pub n: u32,
    /// The ends of the interval; `None` below two seeds.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub interval: Interval,
}

words! {
    /// What `low` and `high` are.
    pub enum Interval {
        /// Smallest and largest over seeds.
        SeedMinmax = "seed_minmax",
        /// Student's t interval of the mean over seeds, 95%, within the metric's range.
        T95 = "t95",
    }
}

/// What seeds make of a metric before anybody chose an interval: every interval is read off it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    pub mean: Option<f64>,
    /// Sample standard deviation; `None` below two values.
    pub std: Option<f64>,
    pub n: u32,
    pub min: Option<f64>,
    pub max: Option<f64>,
}

impl Spread {
    /// Of one value per seed.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>) -> Self {
        let there: Vec<f64> = values.into_iter().flatten().collect();
        if there.is_empty() {
            return Self::default();
        }
        let n = there.len() as f64;
        let mean = there.iter().sum::<f64>() / n;
        let squares: f64 = there.iter().map(|value| (value - mean).powi(2)).sum();
        Self {
            mean: Some(mean),
            std: (there.len() >= 2).then(|| (squares / (n - 1.0)).sqrt()),
            n: there.len() as u32,
            min: there.iter().copied().reduce(f64::min),
            max: there.iter().copied().reduce(f64::max),
        }
    }

    /// With the ends of an interval, which need two values. An interval of the mean stays where `metric` can be: ratios
    /// in 0 to 1, a loss above 0.
    pub fn summary(self, metric: Metric, interval: Interval) -> Summary {
        let Self { mean, std, n, min, max } = self;
        let ends = match interval {
            Interval::SeedMinmax => min.zip(max).filter(|_| n >= 2),
            Interval::T95 => mean.zip(std).map(|(mean, std)| {
                let half = t_975(n.saturating_sub(1)) * std / f64::from(n).sqrt();
                let (least, most) = metric.range();
                ((mean - half).max(least), (mean + half).min(most))
            }),
        };
        let (low, high) = ends.unzip();
        Summary { mean, std, n, low, high, interval }
    }
}

/// 97.5% quantiles of Student's t for 1 to 30 degrees of freedom; tabulated, three to five digits suffice for a band.
const T_975: [f64; 30] = [
    12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814, 2.20099, 2.17881,
    2.16037, 2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596, 2.07961, 2.07387, 2.06866, 2.06390,
    2.05954, 2.05553, 2.05183, 2.04841, 2.04523, 2.04227,
];

/// The 97.5% quantile of Student's t; beyond the table by Cornish and Fisher's expansion (error below 1e-4).
fn t_975(degrees: u32) -> f64 {
    if let Some(&t) = degrees.checked_sub(1).and_then(|i| T_975.get(i as usize)) {
        return t;
    }
    let (z, n) = (1.959_963_985_f64, f64::from(degrees));
    z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_interval_is_read_off_one_spread() {
        let spread = Spread::of([Some(0.2), None, Some(0.6), Some(0.4)]);
        let of = |metric, interval| spread.summary(metric, interval);
        let seeds = of(Metric::Iou, Interval::SeedMinmax);
        assert_eq!((seeds.n, seeds.low, seeds.high), (3, Some(0.2), Some(0.6)));
        assert!((seeds.mean.unwrap() - 0.4).abs() < 1e-12 && (seeds.std.unwrap() - 0.2).abs() < 1e-12);
        let t = of(Metric::Iou, Interval::T95);
        assert!((t.high.unwrap() - (0.4 + 4.30265 * 0.2 / 3f64.sqrt())).abs() < 1e-9);
        assert_eq!(t.low, Some(0.0), "0.4 - 0.497 is no ratio");
        let wide = Spread::of([Some(0.1), Some(0.9)]);
        let ends = |metric| wide.summary(metric, Interval::T95);
        assert_eq!((ends(Metric::Recall).low, ends(Metric::Recall).high), (Some(0.0), Some(1.0)));
        assert_eq!((ends(Metric::Loss).low, ends(Metric::Loss).high.unwrap() > 5.0), (Some(0.0), true));
    }

    #[test]
    fn one_value_has_no_interval_and_none_has_no_mean() {
        for &interval in Interval::ALL {
            let one = Spread::of([Some(0.5)]).summary(Metric::Iou, interval);
            assert_eq!((one.mean, one.n, one.std, one.low, one.high), (Some(0.5), 1, None, None, None), "{interval}");
            let none = Spread::of([None, None]).summary(Metric::Iou, interval);
            assert_eq!((none.mean, none.n, none.low), (None, 0, None));
        }
    }

    #[test]
    fn quantiles_go_on_beyond_the_table() {
        assert!((t_975(31) - 2.03951).abs() < 1e-4);
        assert!((t_975(100) - 1.98397).abs() < 1e-4);
        assert!(T_975.windows(2).all(|w| w[0] > w[1]) && t_975(31) < T_975[29]);
    }

    proptest! {
        #[test]
        fn the_mean_lies_within(values in prop::collection::vec(prop::option::of(0f64..=1.0), 0..9)) {
            for (&metric, &interval) in Metric::OF_PIXELS.iter().flat_map(|m| Interval::ALL.iter().map(move |i| (m, i))) {
                let s = Spread::of(values.iter().copied()).summary(metric, interval);
                prop_assert_eq!(s.n as usize, values.iter().flatten().count());
                prop_assert_eq!(s.low.is_some(), s.n >= 2);
                prop_assert_eq!(s.high.is_some(), s.n >= 2);
                if let (Some(low), Some(mean), Some(high)) = (s.low, s.mean, s.high) {
                    prop_assert!(0.0 <= low && low <= mean && mean <= high);
                    prop_assert!(metric == Metric::Loss || high <= 1.0);
                }
            }
        }
    }
}
