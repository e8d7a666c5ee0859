//! What a run's scores say: a verdict with its evidence, and one sentence with figures that a person reads first.
//!
//! ```text
//! history of a line -> statistics (trend, alarm, fall) -> Findings -> sentence
//! ```

mod sentence;

use serde::{Deserialize, Serialize};

use crate::{
    domain::Metric,
    statistics::{
        Advice, Alarm, CollapseSign, Comparison, Evidence, FallRule, Point, Rule, Scale, Table, Trend, alarm, compare,
        falls, trend, verdict,
    },
};

/// Points that a trend is over.
pub const TREND: usize = 10;
/// Points before and after a change that are put together to say how large it is.
const AROUND: usize = 3;

/// One scored point of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub epoch: u32,
    /// Scores per event and seed.
    pub table: Table,
    /// The score that is shown: pooled, where the table's mean is over events.
    pub value: Option<f64>,
    /// Of the same weights' features.
    pub effective_rank: Option<f64>,
    /// The trainer's own.
    pub train_loss: Option<f64>,
}

/// What a control scored: mean, smallest and largest over draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Control {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// A change of the whole representation, and what the scores say of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Its first epoch.
    pub since: u32,
    /// Of a sign of collapse: the points since (three at most) less those before (three at most). Of an alarm alone: its own,
    /// the newest point less the best stretch before it.
    pub comparison: Comparison,
    /// The epochs that it is compared with.
    pub against: Option<(u32, u32)>,
    /// The shown score before and since; means of the same points.
    pub value: Option<(f64, f64)>,
    /// The effective rank before and now.
    pub effective_rank: Option<(f64, f64)>,
    /// The trainer's loss before and now.
    pub train_loss: Option<(f64, f64)>,
}

/// What is found in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    pub verdict: Advice,
    /// For people: what happened, with figures.
    pub sentence: String,
    pub trend: Trend,
    /// What is suspected or raised; else the last alarm that was lifted.
    pub alarm: Option<Alarm>,
    /// Of the last sign of collapse, else of the alarm.
    pub change: Option<Change>,
    /// Signs of collapse, each with its first epoch.
    pub collapse: Vec<CollapseSign>,
    /// Scored points that were looked at.
    pub points: usize,
}

/// How differences of a metric are read.
pub fn scale(metric: Metric, margin: f64) -> Scale {
    if metric == Metric::Loss { Scale::lower(margin) } else { Scale::higher(margin) }
}

/// Looks at a line's points, in the order of their epochs. `random` is what random encoders score on the same heads.
pub fn findings(seen: &[Seen], metric: Metric, margin: f64, random: Option<Control>) -> Findings {
    let scale = scale(metric, margin);
    let points: Vec<Point> = seen.iter().map(|seen| Point { epoch: seen.epoch, table: seen.table.clone() }).collect();
    let trend = trend(&points, TREND, scale);
    let alarm = alarm(&points, Rule::new(scale));
    let ranks: Vec<(u32, f64)> = seen.iter().filter_map(|seen| Some((seen.epoch, seen.effective_rank?))).collect();
    let now = ranks.last().map(|(_, rank)| *rank);
    let rule = FallRule::default();
    // A fall that was made up for is over.
    let lasting =
        falls(&ranks, &rule).into_iter().filter(|fall| now.is_some_and(|now| now < (1.0 - rule.share) * fall.before));
    let sign = |fall: crate::statistics::Fall| CollapseSign {
        sign: Metric::EffectiveRank.as_str().to_owned(),
        since: fall.epoch,
        before: fall.before,
        now: now.unwrap_or(fall.after),
    };
    let collapse: Vec<CollapseSign> = lasting.map(sign).collect();
    let open = alarm.filter(|alarm| alarm.lifted.is_none());
    let change = match (collapse.last(), open) {
        (Some(sign), _) => Some(change(seen, sign.since, scale)),
        (None, Some(alarm)) => Some(fall(seen, alarm)),
        (None, None) => None,
    };
    let run = verdict(trend, alarm, &collapse);
    let mut findings =
        Findings { verdict: run.verdict, sentence: String::new(), trend, alarm, change, collapse, points: seen.len() };
    findings.sentence = sentence::of(&findings, seen, metric, random);
    findings
}

impl Findings {
    /// Whether something is reported that speaks against the run: a sign of collapse, or an alarm that was confirmed.
    pub fn reports(&self) -> bool {
        matches!(self.verdict, Advice::StopAdvised) || !self.collapse.is_empty() || self.raised().is_some()
    }

    /// The alarm, where it is confirmed and not lifted.
    pub fn raised(&self) -> Option<Alarm> {
        self.alarm.filter(|alarm| alarm.confirmed.is_some() && alarm.lifted.is_none())
    }

    /// All that the verdict rests on.
    pub fn evidence(&self) -> Vec<Evidence> {
        verdict(self.trend, self.alarm, &self.collapse).evidence
    }
}

fn change(seen: &[Seen], since: u32, scale: Scale) -> Change {
    let at = seen.partition_point(|seen| seen.epoch < since);
    let (before, after) = (&seen[at.saturating_sub(AROUND)..at], &seen[at..]);
    let after = &after[after.len().saturating_sub(AROUND)..];
    told(since, compare(&together(after), &together(before), scale), before, after)
}

/// Of an alarm: against the stretch that it was raised by.
fn fall(seen: &[Seen], alarm: Alarm) -> Change {
    let at = |epoch: u32| seen.partition_point(|seen| seen.epoch < epoch);
    let before = &seen[at(alarm.reference.first_epoch)..at(alarm.reference.last_epoch + 1)];
    told(alarm.suspected, alarm.comparison, before, &seen[at(alarm.newest)..])
}

fn told(since: u32, comparison: Comparison, before: &[Seen], after: &[Seen]) -> Change {
    let both = |of: fn(&Seen) -> Option<f64>| mean(before, of).zip(mean(after, of));
    Change {
        since,
        comparison,
        against: before.first().zip(before.last()).map(|(first, last)| (first.epoch, last.epoch)),
        value: both(|seen| seen.value),
        effective_rank: both(|seen| seen.effective_rank),
        train_loss: both(|seen| seen.train_loss),
    }
}

fn mean(seen: &[Seen], of: fn(&Seen) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = seen.iter().filter_map(of).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The mean of tables, cell by cell, over the cells of the last.
fn together(seen: &[Seen]) -> Table {
    let Some(last) = seen.last() else { return Table::new([]) };
    let rows: Vec<Vec<Vec<f64>>> = seen
        .iter()
        .filter(|seen| seen.table.events() == last.table.events() && seen.table.seeds() == last.table.seeds())
        .map(|seen| seen.table.rows().map(<[f64]>::to_vec).collect())
        .collect();
    let n = rows.len() as f64;
    last.table.filled(|event, seed| rows.iter().map(|table| table[event][seed]).sum::<f64>() / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run whose scores rise for 20 epochs and fall by `fall` in each of four events; `rank` is the effective rank after.
    pub(super) fn run(epochs: u32, fall: f64, rank: f64) -> Vec<Seen> {
        let of = |epoch: u32| {
            let broken = epoch >= 20;
            let value = 0.6 + 0.01 * f64::from(epoch.min(20)) - if broken { fall } else { 0.0 };
            // Noise that repeats, other in each event.
            let wobble = |event: u32| 0.004 * f64::from((epoch * 7 + event * 3) % 5) - 0.008;
            let cells = (0..4).map(|e| (format!("event {e}"), Some(value + 0.02 * f64::from(e) + wobble(e))));
            Seen {
                epoch,
                table: Table::of_events(cells),
                value: Some(value),
                effective_rank: Some(if broken { rank } else { 60.0 + f64::from(epoch % 3) }),
                train_loss: Some(1.0 - 0.02 * f64::from(epoch)),
            }
        };
        (0..epochs).map(of).collect()
    }

    #[test]
    fn a_fall_is_reported_at_once_by_the_rank_and_then_by_the_scores() {
        let at = |epochs| findings(&run(epochs, 0.2, 20.0), Metric::QuickR2, 0.01, None);
        assert!(!at(20).reports(), "{:?}", at(20));
        let first = at(21);
        assert!(first.reports() && first.collapse[0].since == 20 && first.raised().is_none(), "{first:?}");
        let second = at(22);
        assert_eq!(second.raised().unwrap().confirmed, Some(21), "{second:?}");
        assert_eq!(second.verdict, Advice::StopAdvised);
        let change = second.change.unwrap();
        assert!(change.comparison.high.unwrap() < 0.0 && change.comparison.delta.unwrap() < -0.15, "{change:?}");
        assert_eq!(change.effective_rank.map(|(_, now)| now), Some(20.0));
    }

    #[test]
    fn nothing_is_reported_of_a_run_that_rises_or_of_none() {
        for epochs in 0..36 {
            let found = findings(&run(epochs, 0.0, 61.0), Metric::QuickR2, 0.01, None);
            assert!(!found.reports(), "{epochs}: {found:?}");
        }
        assert_eq!(findings(&[], Metric::Iou, 0.01, None).verdict, Advice::CannotTell);
    }

    #[test]
    fn an_alarm_alone_is_told_against_the_stretch_that_raised_it() {
        let found = findings(&run(24, 0.1, 61.0), Metric::QuickR2, 0.01, None);
        let (change, alarm) = (found.change.clone().unwrap(), found.raised().unwrap());
        assert!(found.collapse.is_empty() && found.reports(), "{found:?}");
        assert_eq!((change.comparison, change.since), (alarm.comparison, 20));
        assert_eq!(change.against, Some((alarm.reference.first_epoch, alarm.reference.last_epoch)));
        assert!(
            found.sentence.starts_with("worse since epoch 20: R² -.") && found.sentence.contains(" against epochs 1")
        );
    }

    #[test]
    fn a_rank_that_comes_back_is_over() {
        let mut seen = run(30, 0.0, 61.0);
        (20..23).for_each(|epoch| seen[epoch].effective_rank = Some(20.0));
        assert!(!findings(&seen[..23], Metric::QuickR2, 0.01, None).collapse.is_empty());
        assert!(findings(&seen, Metric::QuickR2, 0.01, None).collapse.is_empty());
    }
}
