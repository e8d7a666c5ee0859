//! Two points: is one better, do they come to the same, and what could these events and seeds tell at all?

use serde::{Deserialize, Serialize};

use super::{Components, FEWEST_EVENTS, Scale, StandardError, Table, Variances, quantile};

/// Share of comparisons without a difference that may say there is one.
pub(super) const ALPHA: f64 = 0.05;
/// Share of differences of the size `detectable` that are found.
const POWER: f64 = 0.8;

/// What a comparison says of its first point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The 95% interval lies on the better side of 0.
    Better,
    /// It lies on the worse side.
    Worse,
    /// The 90% interval lies within ± the margin (two one-sided tests of 5%; Schuirmann 1987). Goes before the two above: a
    /// difference known to be too small to matter is no news, however sure.
    Equivalent,
    /// Neither: nothing follows, in particular not that they are alike.
    Undecided,
    /// Under [`FEWEST_EVENTS`].
    TooFewEvents,
}

/// The difference of two points over the events and seeds that both have. Says something about these two sets of weights on
/// events like these; nothing about the recipes that they came from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// First less second, in units of the metric; `None` where they have no event in common.
    pub delta: Option<f64>,
    /// Ends of the interval of `1 - alpha`; `None` under two events.
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub alpha: f64,
    pub margin: f64,
    /// The size of a difference that these events and seeds tell with 80% power: `(t.975 + t.80)·se`, the noncentral t as
    /// a shifted central one. From true variances 66 to 80% of such differences are told, and fewer where the rest alone
    /// varies (the floor): `docs/calibration.md`. `None` under two events.
    pub detectable: Option<f64>,
    pub verdict: Verdict,
    pub n_events: usize,
    pub n_seeds: usize,
}

/// A mean with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    pub n_events: usize,
    pub n_seeds: usize,
}

/// `a` against `b`: `better` means that `a` is better.
///
/// Where all differences are alike, the interval is a point: 0 is `equivalent`, another one is `better` or `worse` unless
/// the margin covers it. Three events that agree to the last digit are no proof, but they contradict nothing.
pub fn compare(a: &Table, b: &Table, scale: Scale) -> Comparison {
    let components = Components::of(&a.minus(b));
    let (n_events, n_seeds) = components.map_or((0, 0), |of| (of.n_events, of.n_seeds));
    let delta = components.map(|of| of.mean);
    let error = components.and_then(|of| of.error());
    let (low, high) = delta.zip(error).map(|(delta, error)| error.around(delta, ALPHA)).unzip();
    Comparison {
        delta,
        low,
        high,
        alpha: ALPHA,
        margin: scale.margin,
        detectable: error.map(StandardError::detectable),
        verdict: match delta.zip(error) {
            Some((delta, error)) if n_events >= FEWEST_EVENTS => error.verdict(delta, scale),
            _ => Verdict::TooFewEvents,
        },
        n_events,
        n_seeds,
    }
}

/// One point's mean, by the same components of the values themselves; `None` under two events. The ends may lie where the
/// metric cannot: cut by whoever knows its range.
pub fn interval(table: &Table) -> Option<Estimate> {
    let components = Components::of(table)?;
    let (low, high) = components.error()?.around(components.mean, ALPHA);
    let Components { mean, n_events, n_seeds, .. } = components;
    Some(Estimate { mean, low, high, n_events, n_seeds })
}

/// What so many events and seeds could tell with 80% power, before a run: from variances of the **differences** between
/// two points, stated or of an earlier comparison ([`Components::variances`]). `None` under [`FEWEST_EVENTS`].
pub fn detectable_from(variances: Variances, n_events: usize, n_seeds: usize) -> Option<f64> {
    let error = Components::expected(variances, n_events, n_seeds)?.error()?;
    (n_events >= FEWEST_EVENTS).then(|| error.detectable())
}

impl StandardError {
    /// The interval of `1 - alpha` around a mean.
    pub(super) fn around(self, mean: f64, alpha: f64) -> (f64, f64) {
        let half = quantile(1.0 - alpha / 2.0, self.df) * self.value;
        (mean - half, mean + half)
    }

    fn detectable(self) -> f64 {
        (quantile(1.0 - ALPHA / 2.0, self.df) + quantile(POWER, self.df)) * self.value
    }

    pub(super) fn verdict(self, delta: f64, scale: Scale) -> Verdict {
        let ((low, high), inner) = (self.around(delta, ALPHA), self.around(delta, 2.0 * ALPHA));
        match scale.side(low, high) {
            _ if scale.covers(inner.0, inner.1) => Verdict::Equivalent,
            1 => Verdict::Better,
            -1 => Verdict::Worse,
            _ => Verdict::Undecided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(values: &[f64]) -> Table {
        Table::of_events(values.iter().enumerate().map(|(e, &value)| (format!("event {e}"), Some(value))))
    }

    fn verdict(differences: &[f64], scale: Scale) -> Verdict {
        let a = events(differences);
        compare(&a, &a.filled(|_, _| 0.0), scale).verdict
    }

    #[test]
    fn every_verdict() {
        let scale = Scale::higher(0.01);
        assert_eq!(verdict(&[0.05, 0.06, 0.04, 0.05], scale), Verdict::Better);
        assert_eq!(verdict(&[-0.05, -0.06, -0.04, -0.05], scale), Verdict::Worse);
        assert_eq!(verdict(&[0.05, 0.06, 0.04, 0.05], Scale::lower(0.01)), Verdict::Worse);
        assert_eq!(verdict(&[0.05, -0.06, 0.04, -0.05], scale), Verdict::Undecided);
        assert_eq!(verdict(&[0.001, -0.001, 0.002, 0.0], scale), Verdict::Equivalent);
        assert_eq!(verdict(&[0.003, 0.003, 0.0031, 0.0029], scale), Verdict::Equivalent, "sure, but too small");
        assert_eq!(verdict(&[0.5, 0.5], scale), Verdict::TooFewEvents);
        assert_eq!(verdict(&[], scale), Verdict::TooFewEvents);
    }

    #[test]
    fn differences_that_are_all_alike() {
        for margin in [0.0, 0.01] {
            assert_eq!(verdict(&[0.0; 3], Scale::higher(margin)), Verdict::Equivalent);
        }
        assert_eq!(verdict(&[0.1; 3], Scale::higher(0.01)), Verdict::Better);
        assert_eq!(verdict(&[0.005; 3], Scale::higher(0.01)), Verdict::Equivalent);
        let a = events(&[0.1 + 0.2, 0.3, 0.3]);
        assert_eq!(compare(&a, &events(&[0.3; 3]), Scale::higher(0.0)).verdict, Verdict::Equivalent, "rounding");
    }

    /// Student's own table of sleep (1908): mean 1.58, 95% interval 0.70 to 2.46.
    #[test]
    fn the_interval_is_students() {
        let sleep = events(&[1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]);
        let c = compare(&sleep, &sleep.filled(|_, _| 0.0), Scale::higher(0.01));
        assert!((c.delta.unwrap() - 1.58).abs() < 1e-9 && (c.low.unwrap() - 0.7001).abs() < 1e-3, "{c:?}");
        assert!((c.high.unwrap() - 2.4599).abs() < 1e-3 && c.verdict == Verdict::Better);
        let own = interval(&sleep).unwrap();
        assert_eq!((Some(own.mean), Some(own.low), Some(own.high)), (c.delta, c.low, c.high));
    }

    #[test]
    fn what_little_there_is_is_said_without_numbers_that_are_none() {
        let c = compare(&events(&[0.5]), &events(&[0.4]), Scale::higher(0.01));
        assert!((c.delta.unwrap() - 0.1).abs() < 1e-12 && c.low.is_none() && c.detectable.is_none());
        assert_eq!((c.n_events, c.n_seeds), (1, 1));
        assert_eq!(interval(&events(&[0.5])), None);
        assert!(interval(&events(&[0.5, 0.6])).is_some());
    }

    #[test]
    fn more_events_tell_smaller_differences() {
        let variances = Variances { event: 4e-4, seed: 1e-5, rest: 4e-4 };
        let of = |events, seeds| detectable_from(variances, events, seeds);
        assert!(of(2, 3).is_none() && of(0, 0).is_none());
        assert!(of(4, 3) > of(11, 3) && of(11, 3) > of(11, 10) && of(11, 1) > of(11, 3));
        let one = detectable_from(Variances { event: 0.0, seed: 0.0, rest: 1.0 }, 10, 1).unwrap();
        assert!((one - (2.262_157 + 0.883_404) / 10f64.sqrt()).abs() < 1e-5);
    }

    #[test]
    fn words_are_those_of_the_interface() {
        let a = events(&[0.1; 3]);
        let json = serde_json::to_value(compare(&a, &a, Scale::higher(0.01))).unwrap();
        assert_eq!((&json["verdict"], &json["delta"]), (&"equivalent".into(), &0.0.into()));
        assert_eq!(serde_json::to_value(Verdict::TooFewEvents).unwrap(), "too_few_events");
    }
}
