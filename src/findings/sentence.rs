//! Findings in one sentence: the gravest first, always with figures, and never more than the statistics say.

use super::{Change, Control, Findings, Seen};
use crate::{
    domain::Metric,
    statistics::{Doubt, Stage, Tendency, Verdict},
};

/// A loss that rose by less than this share shows nothing.
const SHOWS: f64 = 0.05;

pub(super) fn of(findings: &Findings, seen: &[Seen], metric: Metric, random: Option<Control>) -> String {
    let name = name(metric);
    if let Some(change) = &findings.change {
        let known = change.comparison.verdict == Verdict::Worse || findings.raised().is_some();
        let suspected = findings.alarm.is_some_and(|alarm| alarm.stage == Stage::Suspected);
        let head = match (known, findings.collapse.is_empty()) {
            (true, _) => format!("worse since epoch {}: ", change.since),
            (false, false) => format!("signs of collapse since epoch {}: ", change.since),
            (false, true) if suspected => {
                format!("epoch {} looks worse, and the next probe has to confirm it: ", change.since)
            }
            (false, true) => format!("changed since epoch {}: ", change.since),
        };
        return head + &parts(change, name).join("; ");
    }
    let trend = &findings.trend;
    let over = format!("over the last {} points", trend.k);
    let change = trend.change.map(signed).unwrap_or_default();
    let told = match (trend.tendency, trend.doubt) {
        (Tendency::Improving, _) => format!("improving: {name} {change} {over}"),
        (Tendency::Declining, _) => format!("declining: {name} {change} {over}"),
        (Tendency::Flat, _) => format!("flat: {name} {change} {over}"),
        (Tendency::Undecided, Some(Doubt::TooFewEvents)) => {
            format!("{} events are too few to tell a trend: three are needed", trend.n_events)
        }
        (Tendency::Undecided, Some(Doubt::TooFewPoints)) => "too few points yet to tell a trend".to_owned(),
        (Tendency::Undecided, _) => {
            format!("undecided: {name} {change} {over} is within what {} events vary by", trend.n_events)
        }
    };
    match beside_random(seen, name, random) {
        Some(beside) => format!("{told}; {beside}"),
        None => told,
    }
}

/// Score, rank, loss.
fn parts(change: &Change, name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let comparison = &change.comparison;
    if let Some(delta) = comparison.delta {
        let interval = comparison.low.zip(comparison.high);
        let interval = interval.map(|(low, high)| format!(" [{}, {}]", signed(low), signed(high))).unwrap_or_default();
        let doubt = match comparison.verdict {
            Verdict::Undecided => format!(" (undecided: {} events vary by as much)", comparison.n_events),
            Verdict::TooFewEvents => format!(" (undecided: {} events are too few)", comparison.n_events),
            Verdict::Better | Verdict::Worse | Verdict::Equivalent => String::new(),
        };
        let against =
            change.against.map(|(first, last)| format!(" against epochs {first} to {last}")).unwrap_or_default();
        parts.push(format!("{name} {}{interval}{against}{doubt}", signed(delta)));
    }
    if let Some((before, now)) = change.effective_rank {
        parts.push(format!("effective rank {before:.0} → {now:.0}"));
    }
    if let Some((before, now)) = change.train_loss {
        let figures = format!("{before:.2} → {now:.2}");
        parts.push(if now > before * (1.0 + SHOWS) {
            format!("the loss rose, {figures}")
        } else {
            format!("the loss shows nothing, {figures}")
        });
    }
    parts
}

/// Where the newest score lies beside random encoders.
fn beside_random(seen: &[Seen], name: &str, random: Option<Control>) -> Option<String> {
    let (Control { low, high, .. }, value) = (random?, seen.last()?.value?);
    let band = format!("{} to {}", figure(low), figure(high));
    Some(if value > high {
        format!("{name} {} is above random encoders ({band})", figure(value))
    } else if value < low {
        format!("{name} {} is below random encoders ({band})", figure(value))
    } else {
        format!("{name} {} is not better than a random encoder ({band})", figure(value))
    })
}

fn name(metric: Metric) -> &'static str {
    match metric {
        Metric::Iou => "IoU",
        Metric::QuickR2 => "R²",
        other => other.as_str(),
    }
}

fn figure(value: f64) -> String {
    format!("{value:.2}").replacen("0.", ".", 1)
}

/// `+.05`, `-.14`.
fn signed(value: f64) -> String {
    format!("{value:+.2}").replacen("0.", ".", 1)
}

#[cfg(test)]
mod tests {
    use super::super::{findings, tests::run};
    use super::*;

    fn said(epochs: u32, fall: f64, rank: f64, random: Option<Control>) -> String {
        findings(&run(epochs, fall, rank), Metric::QuickR2, 0.01, random).sentence
    }

    #[test]
    fn the_gravest_first_with_figures() {
        let random = Some(Control { value: 0.7, low: 0.69, high: 0.72 });
        let all = [
            said(22, 0.2, 19.0, random),
            said(21, 0.0, 19.0, random),
            said(20, 0.2, 19.0, random),
            said(2, 0.2, 19.0, random),
            said(8, 0.2, 19.0, None),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        worse since epoch 20: R² -.18 [-.19, -.17] against epochs 17 to 19; effective rank 61 → 19; the loss shows nothing, 0.64 → 0.59
        signs of collapse since epoch 20: R² +.02 [+.01, +.03] against epochs 17 to 19; effective rank 61 → 19; the loss shows nothing, 0.64 → 0.60
        improving: R² +.09 over the last 10 points; R² .79 is above random encoders (.69 to .72)
        too few points yet to tell a trend; R² .61 is below random encoders (.69 to .72)
        improving: R² +.07 over the last 8 points
        ");
    }
}
