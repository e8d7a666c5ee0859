//! The best of many points: which ones it may be, and what it is worth when it was chosen for being the best.

use serde::{Deserialize, Serialize};

use super::{FEWEST_EVENTS, Noise, Point, Scale, Table, noise, quantile, table::comparable};

/// Neighbours on each side that a point is shrunken towards.
const NEIGHBOURS: usize = 2;
/// Share of runs in which the set may lack the point that is truly best.
const ALPHA: f64 = 0.05;

/// The best of a run's points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The point with the best shrunken score.
    pub epoch: u32,
    /// Its mean as measured.
    pub measured: f64,
    /// Its mean, shrunken towards its neighbours': what it is worth, less what it owes to being chosen.
    pub shrunken: f64,
    /// Points that it was chosen among: those with the newest one's events and seeds.
    pub chosen_among: usize,
    /// Epochs of the points not worse than the best, in order, this one included.
    pub not_worse: Vec<u32>,
}

/// The best of the points, which are in ascending order of epochs; `None` without points or under [`FEWEST_EVENTS`].
///
/// *Not worse*: no more than `t(1 - α/(k-1), df)·noise·√2` behind the best score measured, which holds the truly best point
/// with 95% whatever the scores are (multiple comparisons with the best, by Bonferroni; Hsu 1996, ch. 4).
///
/// *Shrunken* (empirical Bayes; Efron and Morris 1975): `local + B·(score - local)` with the mean of the point and its
/// neighbours, and `B` the part of the scores' scatter about these means that the events' noise does not explain.
pub fn best(points: &[Point], scale: Scale) -> Option<Best> {
    let newest = &points.last()?.table;
    if newest.n_events() < FEWEST_EVENTS {
        return None;
    }
    let history = comparable(points, newest);
    let tables: Vec<&Table> = history.iter().map(|(_, table)| table.as_ref()).collect();
    let scores: Vec<f64> = tables.iter().map(|table| scale.gain(table.mean())).collect();
    let k = scores.len();
    let (slack, shrunken) = match Noise::of(&tables, noise::MEMORY) {
        Some(Noise { sampling, .. }) => {
            let t = quantile(1.0 - ALPHA / (k - 1) as f64, sampling.df);
            (t * sampling.value * 2f64.sqrt(), shrink(&scores, sampling.value.powi(2)))
        }
        None => (0.0, scores.clone()),
    };
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let not_worse: Vec<usize> = (0..k).filter(|&at| scores[at] >= top - slack - Scale::ROUNDING).collect();
    let at = not_worse.iter().copied().max_by(|&a, &b| shrunken[a].total_cmp(&shrunken[b]))?;
    Some(Best {
        epoch: history[at].0,
        measured: scale.gain(scores[at]),
        shrunken: scale.gain(shrunken[at]),
        chosen_among: k,
        not_worse: not_worse.into_iter().map(|at| history[at].0).collect(),
    })
}

fn shrink(scores: &[f64], variance: f64) -> Vec<f64> {
    let around = |at: usize| &scores[at.saturating_sub(NEIGHBOURS)..(at + NEIGHBOURS + 1).min(scores.len())];
    let local = |at: usize| around(at).iter().sum::<f64>() / around(at).len() as f64;
    let (mut scatter, mut noise) = (0.0, 0.0);
    for (at, score) in scores.iter().enumerate() {
        scatter += (score - local(at)).powi(2);
        noise += variance * (1.0 - 1.0 / around(at).len() as f64);
    }
    let kept = if scatter > noise { 1.0 - noise / scatter } else { 0.0 };
    scores.iter().enumerate().map(|(at, score)| local(at) + kept * (score - local(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(scores: &[f64], noise: f64) -> Vec<Point> {
        let rough = |k: usize, e: usize| ((k * 7 + e * 5) % 11) as f64 / 5.0 - 1.0;
        let cell = |k: usize, e: usize| (format!("event {e}"), Some(scores[k] + 0.1 * e as f64 + noise * rough(k, e)));
        let table = |k: usize| Table::of_events((0..4).map(|e| cell(k, e)));
        (0..scores.len()).map(|k| Point { epoch: k as u32, table: table(k) }).collect()
    }

    #[test]
    fn without_noise_the_best_is_the_best() {
        let scores = [0.1, 0.3, 0.2, 0.5, 0.4];
        let found = best(&run(&scores, 0.0), Scale::higher(0.01)).unwrap();
        assert_eq!((found.epoch, found.not_worse.as_slice(), found.chosen_among), (3, [3].as_slice(), 5));
        assert!((found.shrunken - found.measured).abs() < 1e-9 && (found.measured - 0.65).abs() < 1e-9);
        assert_eq!(best(&run(&scores, 0.0), Scale::lower(0.01)).unwrap().epoch, 0);
    }

    #[test]
    fn with_noise_the_set_is_wide_and_the_best_is_shrunken() {
        let found = best(&run(&[0.5; 12], 0.05), Scale::higher(0.01)).unwrap();
        assert_eq!(found.not_worse, (0..12).collect::<Vec<u32>>());
        let top = run(&[0.5; 12], 0.05).iter().map(|point| point.table.mean()).fold(0.0, f64::max);
        assert!(found.shrunken < top, "{found:?}");
        let rising: Vec<f64> = (0..12).map(|k| 0.1 * f64::from(k)).collect();
        let last = best(&run(&rising, 0.05), Scale::higher(0.01)).unwrap();
        assert!(last.not_worse.len() < 6 && last.not_worse.contains(&last.epoch) && last.epoch >= 10, "{last:?}");
    }

    #[test]
    fn little_to_choose_among() {
        assert_eq!(best(&[], Scale::higher(0.01)), None);
        let one = best(&run(&[0.5], 0.05), Scale::higher(0.01)).unwrap();
        assert_eq!((one.chosen_among, one.not_worse.as_slice(), one.measured), (1, [0].as_slice(), one.shrunken));
    }
}
