//! How far one point's mean is off, from a run's whole recent past.
//!
//! Two points of four events say little about their own noise (three degrees of freedom). But every two successive points
//! differ by that noise and by one step of training, which hits all events alike to first order: what events and seeds
//! differ by *within* a step is noise, whatever the run does meanwhile (von Neumann's successive differences, Annals of
//! Mathematical Statistics 12, 1941).

use std::borrow::Borrow;

use super::{Components, MeanSquare, StandardError, Table};

/// Steps that are remembered: enough for 13 independent ones, few enough to follow a noise that falls with the learning rate.
pub(super) const MEMORY: usize = 20;

/// Successive differences from which on the jitter is estimated: some six degrees of freedom.
const FEWEST_FOR_JITTER: usize = 8;

/// The noise of a run's points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Noise {
    /// Of one point's mean, over events and seeds such as these.
    pub sampling: StandardError,
    /// Of one point's mean, over points: the same if nothing else makes them go up and down, more where checkpoints do
    /// that for all events together. `None` of fewer than eight steps.
    pub jitter: Option<StandardError>,
}

impl Noise {
    /// Of the last `memory` steps between points with the same cells, in order. `None` without a step or under two events.
    pub fn of<T: Borrow<Table>>(points: &[T], memory: usize) -> Option<Self> {
        let recent = &points[points.len().saturating_sub(memory.saturating_add(1))..];
        let steps: Vec<Components> =
            recent.windows(2).filter_map(|pair| Components::of(&pair[1].borrow().minus(pair[0].borrow()))).collect();
        let (first, n) = (steps.first()?, steps.len());
        let pooled = |of: fn(&Components) -> MeanSquare| MeanSquare {
            // A difference has twice the variance of a point.
            value: steps.iter().map(|step| of(step).value).sum::<f64>() / (2.0 * n as f64),
            df: of(first).df * independent(n),
        };
        let (event, seed, rest) = (pooled(|c| c.event), pooled(|c| c.seed), pooled(|c| c.rest));
        Some(Self { sampling: Components { event, seed, rest, ..*first }.error()?, jitter: jitter(&steps) })
    }

    /// The larger of the two.
    pub fn larger(self) -> StandardError {
        self.jitter.filter(|jitter| jitter.value > self.sampling.value).unwrap_or(self.sampling)
    }
}

/// From the steps of the means, less their mean, so that a steady rise is no jitter.
fn jitter(steps: &[Components]) -> Option<StandardError> {
    let n = steps.len() as f64;
    let drift = steps.iter().map(|step| step.mean).sum::<f64>() / n;
    let squares: f64 = steps.iter().map(|step| (step.mean - drift).powi(2)).sum();
    let variance = squares / (2.0 * (n - 1.0 / n));
    let df = independent(steps.len() - 1).max(1.0);
    (steps.len() >= FEWEST_FOR_JITTER).then(|| StandardError { value: variance.sqrt(), df })
}

/// How many independent values the squares of `n` successive differences of white noise are worth: with `D` the matrix of
/// differences, `tr(DᵀD)² / tr((DᵀD)²) = (2n)² / (6n - 2)`.
fn independent(n: usize) -> f64 {
    let n = n as f64;
    2.0 * n * n / (3.0 * n - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(event: impl Fn(usize) -> f64) -> Table {
        Table::of_events((0..3).map(|e| (format!("event {e}"), Some(event(e)))))
    }

    #[test]
    fn one_step_is_worth_one_and_many_two_thirds_each() {
        assert_eq!(independent(1), 1.0);
        assert!((independent(300) / 300.0 - 2.0 / 3.0).abs() < 1e-3);
    }

    #[test]
    fn a_rise_of_all_events_is_no_noise() {
        let rising: Vec<Table> = (0..12).map(|k| table(|e| 0.1 * e as f64 + 0.5 * f64::from(k))).collect();
        let noise = Noise::of(&rising, 20).unwrap();
        assert!(noise.larger().value < 1e-9, "{noise:?}");
    }

    #[test]
    fn jitter_is_what_all_events_share() {
        let jumping: Vec<Table> = (0..12).map(|k| table(|_| f64::from(k % 2))).collect();
        let noise = Noise::of(&jumping, 20).unwrap();
        assert!(noise.sampling.value < 1e-9 && noise.larger().value > 0.5, "{noise:?}");
        assert_eq!(Noise::of(&jumping, 5).unwrap().jitter, None, "only five steps are remembered");
    }

    /// Steps of -1, 0 and 1 for three events: their variance is 1, of a point's half, of a mean over three a sixth.
    #[test]
    fn sampling_is_half_of_what_a_step_differs_by() {
        let points: Vec<Table> = (0..2).map(|k| table(|e| f64::from(k) * (e as f64 - 1.0))).collect();
        let noise = Noise::of(&points, 20).unwrap();
        assert!((noise.sampling.value.powi(2) - 1.0 / 6.0).abs() < 1e-12 && noise.sampling.df == 2.0);
        assert_eq!(Noise::of(&points[..1], 20), None);
    }
}
