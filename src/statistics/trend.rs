//! Where a run is going: a slope per event over the last points.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    Components, FEWEST_EVENTS, Noise, Point, Scale, StandardError, Table, Verdict, compare::ALPHA, noise,
    table::comparable,
};

/// Points of which a slope is no trend.
const FEWEST_POINTS: usize = 3;

/// The direction of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tendency {
    Improving,
    /// The 90% interval of the change over all the points lies within ± the margin.
    Flat,
    Declining,
    /// For the reason in [`Trend::doubt`].
    Undecided,
}

/// Why a tendency is undecided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// Under [`FEWEST_EVENTS`].
    TooFewEvents,
    /// Under three that have the newest one's events and seeds.
    TooFewPoints,
    /// The interval holds both no change and more than the margin.
    WideInterval,
}

/// The trend over the last `k` points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    pub tendency: Tendency,
    pub doubt: Option<Doubt>,
    /// Per epoch, in units of the metric; `None` under three points or without events.
    pub slope: Option<f64>,
    /// Ends of the slope's 95% interval; `None` under two events.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// The slope times the epochs from first to last.
    pub change: Option<f64>,
    pub n_events: usize,
    pub n_seeds: usize,
    /// Points that it is of.
    pub k: usize,
    pub first_epoch: Option<u32>,
    pub last_epoch: Option<u32>,
}

/// Over the last `k` of the points, which are in ascending order of epochs.
///
/// Least squares give a slope per event and seed, and the two-way components of these slopes the interval: t over events,
/// with what the seeds add. Where the run's own [`Noise`] makes a wider one, that is taken: checkpoints that go up and down
/// for all events together are no trend.
pub fn trend(points: &[Point], k: usize, scale: Scale) -> Trend {
    let newest = points.last().map(|point| &point.table);
    let history = newest.map(|newest| comparable(points, newest)).unwrap_or_default();
    let window = &history[history.len().saturating_sub(k)..];
    let (n_events, n_seeds) = newest.map_or((0, 0), |table| (table.n_events(), table.n_seeds()));
    let (first_epoch, last_epoch) = (window.first().map(|point| point.0), window.last().map(|point| point.0));
    let blank = Trend {
        tendency: Tendency::Undecided,
        doubt: None,
        slope: None,
        low: None,
        high: None,
        change: None,
        n_events,
        n_seeds,
        k: window.len(),
        first_epoch,
        last_epoch,
    };
    if window.len() < FEWEST_POINTS || first_epoch == last_epoch {
        return Trend { doubt: Some(Doubt::TooFewPoints), ..blank };
    }
    let (slopes, spread) = slopes(window);
    let Some(slopes) = slopes else {
        return Trend { doubt: Some(Doubt::TooFewEvents), ..blank };
    };
    let tables: Vec<&Table> = history.iter().map(|(_, table)| table.as_ref()).collect();
    let floor = Noise::of(&tables, noise::MEMORY).map(Noise::larger);
    let floor = floor.map(|noise| StandardError { value: noise.value / spread, ..noise });
    let half = |error: &StandardError| error.around(0.0, ALPHA).1;
    let error = slopes.error().map(|error| floor.filter(|floor| half(floor) > half(&error)).unwrap_or(error));
    let epochs = f64::from(last_epoch.unwrap_or(0)) - f64::from(first_epoch.unwrap_or(0));
    let change = slopes.mean * epochs;
    let verdict = match error {
        Some(error) if n_events >= FEWEST_EVENTS => {
            StandardError { value: error.value * epochs, ..error }.verdict(change, scale)
        }
        _ => Verdict::TooFewEvents,
    };
    let (tendency, doubt) = match verdict {
        Verdict::Better => (Tendency::Improving, None),
        Verdict::Worse => (Tendency::Declining, None),
        Verdict::Equivalent => (Tendency::Flat, None),
        Verdict::Undecided => (Tendency::Undecided, Some(Doubt::WideInterval)),
        Verdict::TooFewEvents => (Tendency::Undecided, Some(Doubt::TooFewEvents)),
    };
    let (low, high) = error.map(|error| error.around(slopes.mean, ALPHA)).unzip();
    Trend { tendency, doubt, slope: Some(slopes.mean), low, high, change: Some(change), ..blank }
}

/// Least squares per event and seed, `Σ(x - x̄)·y / Σ(x - x̄)²`; and `√Σ(x - x̄)²`, which a point's error is divided by to
/// give the slope's.
fn slopes(window: &[(u32, Cow<'_, Table>)]) -> (Option<Components>, f64) {
    let middle = window.iter().map(|point| f64::from(point.0)).sum::<f64>() / window.len() as f64;
    let squares: f64 = window.iter().map(|point| (f64::from(point.0) - middle).powi(2)).sum();
    let weighted = window.iter().map(|(epoch, table)| ((f64::from(*epoch) - middle) / squares, table.as_ref()));
    (Table::weighted(weighted).as_ref().and_then(Components::of), squares.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four events, two seeds, a score that moves by `step` per epoch, and a little noise that is the same every time.
    fn run(step: f64, noise: f64, epochs: std::ops::Range<u32>) -> Vec<Point> {
        let cells = (0..4).flat_map(|e| (0..2).map(move |s| (format!("event {e}"), s, Some(0.0))));
        let blank = Table::new(cells);
        let rough = |k: u32, e: usize, s: usize| ((k as usize * 7 + e * 5 + s * 3) % 11) as f64 / 5.0 - 1.0;
        let table = |k: u32| blank.filled(|e, s| 0.5 + 0.1 * e as f64 + step * f64::from(k) + noise * rough(k, e, s));
        epochs.map(|k| Point { epoch: 5 * k, table: table(k) }).collect()
    }

    #[test]
    fn up_down_and_level() {
        let scale = Scale::higher(0.01);
        let up = trend(&run(0.02, 0.002, 0..9), 5, scale);
        assert_eq!((up.tendency, up.doubt, up.k), (Tendency::Improving, None, 5));
        assert!((up.slope.unwrap() - 0.004).abs() < 4e-4 && up.low < up.slope && up.slope < up.high, "{up:?}");
        assert_eq!((up.first_epoch, up.last_epoch, up.n_events, up.n_seeds), (Some(20), Some(40), 4, 2));
        assert_eq!(trend(&run(-0.02, 0.002, 0..9), 5, scale).tendency, Tendency::Declining);
        assert_eq!(trend(&run(-0.02, 0.002, 0..9), 5, Scale::lower(0.01)).tendency, Tendency::Improving);
        assert_eq!(trend(&run(0.0, 0.001, 0..9), 5, scale).tendency, Tendency::Flat);
        let unknown = trend(&run(0.0, 0.1, 0..9), 5, scale);
        assert_eq!((unknown.tendency, unknown.doubt), (Tendency::Undecided, Some(Doubt::WideInterval)));
    }

    #[test]
    fn without_noise_a_level_run_is_flat_and_a_step_is_seen() {
        let scale = Scale::higher(0.01);
        assert_eq!(trend(&run(0.0, 0.0, 0..9), 5, scale).tendency, Tendency::Flat);
        assert_eq!(trend(&run(0.02, 0.0, 0..9), 5, scale).tendency, Tendency::Improving);
    }

    #[test]
    fn too_little_has_a_reason() {
        let scale = Scale::higher(0.01);
        for few in [0, 1, 2] {
            let trend = trend(&run(0.02, 0.002, 0..few), 5, scale);
            assert_eq!((trend.doubt, trend.slope, trend.k), (Some(Doubt::TooFewPoints), None, few as usize));
        }
        let mut points = run(0.02, 0.002, 0..6);
        for point in &mut points {
            let two = point.table.rows().zip(["a", "b"]).map(|(row, name)| (name.to_owned(), Some(row[0])));
            point.table = Table::of_events(two.collect::<Vec<_>>());
        }
        let two = trend(&points, 5, scale);
        assert_eq!((two.tendency, two.doubt), (Tendency::Undecided, Some(Doubt::TooFewEvents)));
        assert!(two.slope.is_some() && two.low.is_some());
    }

    #[test]
    fn a_point_that_lacks_an_event_is_left_out() {
        let mut points = run(0.02, 0.002, 0..6);
        points[3].table = Table::of_events([("event 0".to_owned(), Some(9.0))]);
        let trend = trend(&points, 5, Scale::higher(0.01));
        assert_eq!((trend.k, trend.first_epoch, trend.tendency), (5, Some(0), Tendency::Improving));
    }
}
