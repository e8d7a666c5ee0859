//! Alarm: a run has fallen below its best, and the next probe confirms it.
//!
//! Comparing with the best of many points is unfair to the new one: the best of 200 equal points lies 2.7 standard errors
//! above their mean. And 200 looks at 5% find something in every run. So:
//!
//! 1. **The reference is shrunken and chosen beforehand**: a point more than `older_than` epochs old counts for the mean of
//!    it and its neighbours (a stretch of `span`), and the best stretch is taken. The new point has no say in it.
//! 2. **The pair says so**: the comparison with the reference is `worse`, over events and seeds.
//! 3. **The run's noise says so**: the fall is more than `t(1 - level, df)·noise·√(1 + 1/span)`, which pools what events
//!    and seeds differed by in the past steps, and so tells a fall with four events where the pair alone cannot.
//! 4. **The next probe says the same** of the same reference, by 2 and 3.
//!
//! It ends with two successive probes that are back above half of the fall asked for in 3.

use serde::{Deserialize, Serialize};

use super::{Comparison, FEWEST_EVENTS, Point, Reference, Scale, reference::Standard};

/// When to raise an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub scale: Scale,
    /// The reference is more than so many epochs older than the new point: what fell slowly is seen as well.
    pub older_than: u32,
    /// Points of a stretch.
    pub span: usize,
    /// Share of single looks at one fixed reference that suspect without a fall. Calibrated: `docs/calibration.md`.
    pub level: f64,
}

/// Something is suspected, or was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    pub stage: Stage,
    /// The epoch since which the run is worse.
    pub suspected: u32,
    /// The epoch that confirmed it.
    pub confirmed: Option<u32>,
    /// The first of the two epochs that ended it.
    pub lifted: Option<u32>,
    pub reference: Reference,
    /// The epoch that `comparison` is of: the newest that was looked at.
    pub newest: u32,
    /// That epoch less the reference.
    pub comparison: Comparison,
}

/// How far an alarm has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// By one probe: said, never an alarm.
    Suspected,
    /// By two in succession; stays so until it is lifted.
    Raised,
    Lifted,
}

impl Rule {
    /// With what was calibrated.
    pub fn new(scale: Scale) -> Self {
        Self { scale, older_than: 1, span: 5, level: 0.001 }
    }
}

/// What a watch over these points has to say last: a suspicion, else the newest alarm, raised or lifted. The points are in
/// ascending order of epochs.
pub fn alarm(points: &[Point], rule: Rule) -> Option<Alarm> {
    let mut watch = Watch::new(rule);
    points.iter().for_each(|point| watch.push(point.clone()));
    watch.last()
}

/// Looks at one point after the other.
#[derive(Clone, Debug)]
pub struct Watch {
    rule: Rule,
    points: Vec<Point>,
    open: Option<Open>,
    closed: Vec<Alarm>,
}

/// A suspicion or an alarm that is not over.
#[derive(Clone, Debug)]
struct Open {
    alarm: Alarm,
    standard: Standard,
    /// The first of the probes that are back.
    back: Option<u32>,
}

impl Watch {
    pub fn new(rule: Rule) -> Self {
        Self { rule, points: Vec::new(), open: None, closed: Vec::new() }
    }

    /// What is suspected or raised; else the last alarm that was lifted.
    pub fn last(&self) -> Option<Alarm> {
        self.open.as_ref().map(|open| open.alarm).or(self.closed.last().copied())
    }

    /// Every alarm that was ever raised.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> {
        let raised = self.open.iter().map(|open| open.alarm).filter(|alarm| alarm.stage == Stage::Raised);
        self.closed.iter().copied().chain(raised)
    }

    /// The next point; it is later than those before.
    pub fn push(&mut self, point: Point) {
        self.open = match self.open.take() {
            Some(open) => self.follow(open, &point),
            None => self.suspect(&point),
        };
        self.points.push(point);
    }

    /// Whether the point is below the best stretch of those before.
    fn suspect(&self, point: &Point) -> Option<Open> {
        let standard = Standard::choose(&self.points, point, self.rule)?;
        let alarm = Alarm {
            stage: Stage::Suspected,
            suspected: point.epoch,
            confirmed: None,
            lifted: None,
            reference: standard.reference,
            newest: point.epoch,
            comparison: standard.worse(point)?,
        };
        Some(Open { alarm, standard, back: None })
    }

    /// What becomes of something open. A point of too few of the reference's events decides nothing.
    fn follow(&mut self, mut open: Open, point: &Point) -> Option<Open> {
        let (comparison, fall) = open.standard.judge(point);
        if comparison.n_events < FEWEST_EVENTS {
            return Some(open);
        }
        (open.alarm.newest, open.alarm.comparison) = (point.epoch, comparison);
        match open.alarm.stage {
            Stage::Suspected if open.standard.worse(point).is_none() => return self.suspect(point),
            Stage::Suspected => {
                open.alarm.stage = Stage::Raised;
                open.alarm.confirmed = Some(point.epoch);
            }
            _ if fall > open.standard.limit / 2.0 => open.back = None,
            _ if open.back.is_none() => open.back = Some(point.epoch),
            _ => {
                self.closed.push(Alarm { stage: Stage::Lifted, lifted: open.back, ..open.alarm });
                return None;
            }
        }
        Some(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Table;

    /// Four events and two seeds with noise of some .01, moved by `level(epoch)`.
    fn run(level: fn(u32) -> f64, epochs: u32) -> Vec<Point> {
        let cells = (0..4).flat_map(|e| (0..2).map(move |s| (format!("event {e}"), s, Some(0.0))));
        let blank = Table::new(cells);
        let rough = |k: u32, e: usize, s: usize| ((k as usize * 7 + e * 5 + s * 3) % 11) as f64 / 500.0 - 0.01;
        let table = |k: u32| blank.filled(|e, s| 0.5 + 0.1 * e as f64 + level(k) + rough(k, e, s));
        (1..=epochs).map(|epoch| Point { epoch, table: table(epoch) }).collect()
    }

    #[test]
    fn a_fall_is_suspected_then_raised() {
        let rule = Rule::new(Scale::higher(0.01));
        let points = run(|k| if k >= 20 { -0.1 } else { 0.0 }, 30);
        assert_eq!(alarm(&points[..19], rule), None);
        let first = alarm(&points[..20], rule).unwrap();
        assert_eq!((first.stage, first.suspected, first.confirmed), (Stage::Suspected, 20, None));
        assert!(first.reference.last_epoch < 19 && first.reference.points == 5 && first.reference.chosen_among == 18);
        let second = alarm(&points[..21], rule).unwrap();
        assert_eq!((second.stage, second.suspected, second.confirmed), (Stage::Raised, 20, Some(21)));
        assert_eq!((second.reference, second.newest), (first.reference, 21));
        assert!(second.comparison.high.unwrap() < 0.0 && (second.comparison.delta.unwrap() + 0.1).abs() < 0.02);
        let later = alarm(&points, rule).unwrap();
        assert_eq!((later.stage, later.suspected, later.newest), (Stage::Raised, 20, 30));
    }

    #[test]
    fn one_bad_probe_is_no_alarm_and_a_loss_that_falls_is_none() {
        let rule = Rule::new(Scale::higher(0.01));
        assert_eq!(alarm(&run(|k| if k == 20 { -0.1 } else { 0.0 }, 30), rule), None);
        assert_eq!(alarm(&run(|_| 0.0, 60), rule), None);
        assert_eq!(alarm(&run(|k| f64::from(k) * 0.01, 60), rule), None);
        let lower = Rule::new(Scale::lower(0.01));
        assert_eq!(alarm(&run(|k| f64::from(k) * -0.01, 60), lower), None);
        assert_eq!(alarm(&run(|k| if k >= 20 { 0.1 } else { 0.0 }, 30), lower).unwrap().suspected, 20);
    }

    #[test]
    fn a_run_that_comes_back_lifts_it() {
        let mut watch = Watch::new(Rule::new(Scale::higher(0.01)));
        run(|k| if (20..25).contains(&k) { -0.1 } else { 0.0 }, 30).into_iter().for_each(|point| watch.push(point));
        let last = watch.last().unwrap();
        assert_eq!((last.stage, last.suspected, last.lifted, last.newest), (Stage::Lifted, 20, Some(25), 26));
        assert_eq!(watch.alarms().collect::<Vec<_>>(), [last]);
    }

    #[test]
    fn a_probe_of_too_few_events_decides_nothing() {
        let mut points = run(|k| if k >= 20 { -0.1 } else { 0.0 }, 22);
        points[20].table = Table::of_events([("event 0".to_owned(), Some(0.5))]);
        let raised = alarm(&points, Rule::new(Scale::higher(0.01))).unwrap();
        assert_eq!((raised.stage, raised.suspected, raised.confirmed), (Stage::Raised, 20, Some(22)));
    }

    #[test]
    fn nothing_to_compare_with_is_no_alarm() {
        let rule = Rule::new(Scale::higher(0.01));
        assert_eq!(alarm(&[], rule), None);
        assert_eq!(alarm(&run(|k| f64::from(k) * -0.1, 2), rule), None);
    }
}
