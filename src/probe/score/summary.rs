//! A metric over seeds: mean, spread, interval.

use std::collections::BTreeMap;

use super::{SideScore, mean};
use crate::domain::{Interval, Metric, Summary};

/// 97.5% quantiles of Student's t for 1 to 30 degrees of freedom; tabulated, three to five digits suffice for a band.
const T_975: [f64; 30] = [
    12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814, 2.20099, 2.17881,
    2.16037, 2.14479, 2.13145, 2.11991, 2.10982, 2.10092, 2.09302, 2.08596, 2.07961, 2.07387, 2.06866, 2.06390,
    2.05954, 2.05553, 2.05183, 2.04841, 2.04523, 2.04227,
];

/// The 97.5% quantile of Student's t; beyond the table by Cornish and Fisher's expansion (error below 1e-4).
fn t_975(degrees: usize) -> f64 {
    if let Some(&t) = degrees.checked_sub(1).and_then(|i| T_975.get(i)) {
        return t;
    }
    let (z, n) = (1.959_963_985_f64, degrees as f64);
    z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
}

/// Mean, sample standard deviation and interval of what is there; nulls are skipped, `n` counts the rest.
///
/// `low` and `high` are the smallest and largest value, or the 95% interval of the mean (null below two values).
pub fn summarise(values: &[Option<f64>], interval: Interval) -> Summary {
    let there: Vec<f64> = values.iter().flatten().copied().collect();
    let n = there.len();
    let centre = mean(there.iter().copied());
    let std = centre.filter(|_| n >= 2).map(|m| {
        let squares: f64 = there.iter().map(|v| (v - m).powi(2)).sum();
        (squares / (n - 1) as f64).sqrt()
    });
    let (low, high) = match interval {
        Interval::SeedMinmax => (there.iter().copied().reduce(f64::min), there.iter().copied().reduce(f64::max)),
        Interval::T95 => centre
            .zip(std)
            .map(|(m, s)| (m, t_975(n - 1) * s / (n as f64).sqrt()))
            .map_or((None, None), |(m, half)| (Some(m - half), Some(m + half))),
    };
    Summary { mean: centre, std, n: n as u32, low, high, interval }
}

/// Every metric over seeds; each item is one seed's score, pooled over its folds.
pub fn summarise_seeds(seeds: &[SideScore], interval: Interval) -> BTreeMap<Metric, Summary> {
    let of = |metric| {
        let values: Vec<Option<f64>> = seeds.iter().map(|s| s.metrics().get(metric)).collect();
        (metric, summarise(&values, interval))
    };
    Metric::ALL.iter().copied().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_are_skipped() {
        let s = summarise(&[Some(0.2), None, Some(0.6), Some(0.4)], Interval::SeedMinmax);
        assert_eq!((s.n, s.low, s.high), (3, Some(0.2), Some(0.6)));
        assert!((s.mean.unwrap() - 0.4).abs() < 1e-12 && (s.std.unwrap() - 0.2).abs() < 1e-12);
        let t = summarise(&[Some(0.2), Some(0.6), Some(0.4)], Interval::T95);
        assert!((t.high.unwrap() - (0.4 + 4.30265 * 0.2 / 3f64.sqrt())).abs() < 1e-9);
        let none = summarise(&[None, None], Interval::T95);
        assert_eq!((none.mean, none.n, none.low), (None, 0, None));
        let one = summarise(&[Some(0.5)], Interval::T95);
        assert_eq!((one.mean, one.std, one.low), (Some(0.5), None, None));
    }

    #[test]
    fn quantiles_go_on_beyond_the_table() {
        assert!((t_975(31) - 2.03951).abs() < 1e-4);
        assert!((t_975(100) - 1.98397).abs() < 1e-4);
        assert!(T_975.windows(2).all(|w| w[0] > w[1]) && t_975(31) < T_975[29]);
    }
}
