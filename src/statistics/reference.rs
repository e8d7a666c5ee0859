//! What an alarm compares with: the best stretch of points that are old enough, and the fall that the noise asks for.

use serde::{Deserialize, Serialize};

use super::{Comparison, Noise, Point, Rule, Scale, Table, Verdict, compare, noise, quantile, table::comparable};

/// The stretch of points that was best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Its middle.
    pub epoch: u32,
    pub first_epoch: u32,
    pub last_epoch: u32,
    /// Points that were averaged.
    pub points: usize,
    /// Points that it was chosen among.
    pub chosen_among: usize,
}

/// A reference with what it takes to judge points by it. Once chosen it stays, whatever comes.
#[derive(Clone, Debug)]
pub(super) struct Standard {
    pub reference: Reference,
    /// The mean over the reference's points.
    table: Table,
    /// The fall that is asked for, in units of the metric.
    pub limit: f64,
    scale: Scale,
}

impl Standard {
    /// From the points before `newest`, of which only those count that have its events and seeds. `None` where none is old
    /// enough, or where there is no step to tell the noise from.
    pub fn choose(before: &[Point], newest: &Point, rule: Rule) -> Option<Self> {
        let Rule { scale, older_than, span, level } = rule;
        let history = comparable(before, &newest.table);
        let tables: Vec<&Table> = history.iter().map(|(_, table)| table.as_ref()).collect();
        let old = history.partition_point(|(epoch, _)| epoch.saturating_add(older_than) < newest.epoch);
        let span = span.clamp(1, old.max(1));
        let heights: Vec<f64> = tables[..old].iter().map(|table| scale.gain(table.mean())).collect();
        let stretches: Vec<f64> = heights.windows(span).map(|stretch| stretch.iter().sum()).collect();
        let best = (0..stretches.len()).max_by(|&a, &b| stretches[a].total_cmp(&stretches[b]))?;
        let weight = 1.0 / span as f64;
        let table = Table::weighted(tables[best..best + span].iter().map(|&table| (weight, table)))?;
        let noise = Noise::of(&tables, noise::MEMORY)?.larger();
        let epoch = |at: usize| history[best + at].0;
        let reference = Reference {
            epoch: epoch(span / 2),
            first_epoch: epoch(0),
            last_epoch: epoch(span - 1),
            points: span,
            chosen_among: old,
        };
        let limit = quantile(1.0 - level, noise.df) * noise.value * (1.0 + weight).sqrt();
        Some(Self { reference, table, limit, scale })
    }

    /// A point less the reference, and how far it has fallen below it.
    pub fn judge(&self, point: &Point) -> (Comparison, f64) {
        let comparison = compare(&point.table, &self.table, self.scale);
        (comparison, -self.scale.gain(comparison.delta.unwrap_or(0.0)))
    }

    /// The comparison, where it says `worse` and the fall exceeds the limit.
    pub fn worse(&self, point: &Point) -> Option<Comparison> {
        let (comparison, fall) = self.judge(point);
        (comparison.verdict == Verdict::Worse && fall > self.limit).then_some(comparison)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three events about `height`, apart by what `noise` is.
    fn point(epoch: u32, height: f64, noise: f64) -> Point {
        let rough = |e: u32| noise * (f64::from((epoch * 7 + e * 5) % 11) / 5.0 - 1.0);
        let cells = (0..3).map(|e| (format!("event {e}"), Some(height + rough(e))));
        Point { epoch, table: Table::of_events(cells) }
    }

    fn chosen(heights: &[f64], rule: Rule) -> Option<Reference> {
        let points: Vec<Point> = heights.iter().zip(1..).map(|(&height, epoch)| point(epoch, height, 0.0)).collect();
        let (newest, before) = points.split_last()?;
        Some(Standard::choose(before, newest, rule)?.reference)
    }

    #[test]
    fn the_best_stretch_is_taken_among_what_is_old_enough() {
        let rule = Rule { span: 2, ..Rule::new(Scale::higher(0.01)) };
        let heights = [0.1, 0.6, 0.2, 0.5, 0.4, 0.9, 0.9];
        let found = chosen(&heights, rule).unwrap();
        assert_eq!(
            (found.first_epoch, found.last_epoch, found.chosen_among),
            (4, 5, 5),
            "0.6 stands alone, 0.9 is new"
        );
        let lower = Rule { scale: Scale::lower(0.01), ..rule };
        assert_eq!(chosen(&heights, lower).unwrap().first_epoch, 1);
        assert_eq!(chosen(&heights, Rule { older_than: 3, ..rule }).unwrap().chosen_among, 3);
        assert_eq!(chosen(&heights, Rule { span: 99, ..rule }).unwrap().points, 5, "all there is");
        assert_eq!(chosen(&heights, Rule { older_than: 6, ..rule }), None);
        assert_eq!(chosen(&heights[..2], rule), None, "one point before: no step");
    }

    #[test]
    fn more_noise_asks_for_a_deeper_fall() {
        let rule = Rule::new(Scale::higher(0.01));
        let limit = |noise: f64| {
            let before: Vec<Point> = (1..12).map(|epoch| point(epoch, 0.5, noise)).collect();
            Standard::choose(&before, &point(12, 0.5, noise), rule).unwrap().limit
        };
        assert!(limit(0.0) < 1e-9 && limit(0.01) > 0.01 && (limit(0.02) / limit(0.01) - 2.0).abs() < 1e-9);
    }
}
