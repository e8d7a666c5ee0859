//! One sentence for a whole run, and what it rests on.

use serde::{Deserialize, Serialize};

use super::{Alarm, Doubt, Stage, Tendency, Trend};

/// What to do with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// Nothing speaks against it. That includes a run that is flat, and one whose trend the events cannot tell.
    Continue,
    /// One thing speaks against it.
    Look,
    /// An alarm is raised, and something independent of it agrees.
    StopAdvised,
    /// Nothing speaks against it, but too few events or points were there to speak.
    CannotTell,
}

/// A sign of a collapsed representation, found without labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollapseSign {
    /// What was measured, such as `effective_rank`.
    pub sign: String,
    /// The epoch since which it shows.
    pub since: u32,
    pub before: f64,
    pub now: f64,
}

/// What an advice rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Evidence {
    Trend(Trend),
    Alarm(Alarm),
    CollapseSign(CollapseSign),
}

/// The verdict on a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunVerdict {
    pub verdict: Advice,
    /// All that was looked at: the trend always, then what there is of alarm (a lifted one too) and signs.
    pub evidence: Vec<Evidence>,
}

/// From what is known of a run. Thresholds live where each piece of evidence is made; here they are only counted.
pub fn verdict(trend: Trend, alarm: Option<Alarm>, signs: &[CollapseSign]) -> RunVerdict {
    let stage = alarm.map(|alarm| alarm.stage);
    let raised = stage == Some(Stage::Raised);
    // A decline is made of the same scores as the alarm, but by points that may all lie after the fall.
    let agrees = !signs.is_empty() || trend.tendency == Tendency::Declining;
    let verdict = match trend.doubt {
        _ if raised && agrees => Advice::StopAdvised,
        _ if raised || agrees || stage == Some(Stage::Suspected) => Advice::Look,
        Some(Doubt::TooFewEvents | Doubt::TooFewPoints) => Advice::CannotTell,
        Some(Doubt::WideInterval) | None => Advice::Continue,
    };
    let evidence = std::iter::once(Evidence::Trend(trend))
        .chain(alarm.map(Evidence::Alarm))
        .chain(signs.iter().cloned().map(Evidence::CollapseSign))
        .collect();
    RunVerdict { verdict, evidence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::{Comparison, Reference, Verdict};

    fn trend(tendency: Tendency, doubt: Option<Doubt>) -> Trend {
        let (slope, low, high, change) = (None, None, None, None);
        let (n_events, n_seeds, k, first_epoch, last_epoch) = (4, 3, 5, Some(1), Some(5));
        Trend { tendency, doubt, slope, low, high, change, n_events, n_seeds, k, first_epoch, last_epoch }
    }

    fn alarm(stage: Stage) -> Option<Alarm> {
        let (delta, low, high, detectable) = (Some(-0.1), Some(-0.2), Some(-0.05), Some(0.05));
        let (verdict, n_events, n_seeds) = (Verdict::Worse, 4, 3);
        let comparison =
            Comparison { delta, low, high, alpha: 0.05, margin: 0.01, detectable, verdict, n_events, n_seeds };
        let reference = Reference { epoch: 10, first_epoch: 8, last_epoch: 12, points: 5, chosen_among: 18 };
        Some(Alarm { stage, suspected: 20, confirmed: None, lifted: None, reference, newest: 21, comparison })
    }

    #[test]
    fn every_advice() {
        use {Advice::*, Stage::*, Tendency::*};
        let sign = [CollapseSign { sign: "effective_rank".to_owned(), since: 20, before: 59.0, now: 19.0 }];
        let of = |tendency, doubt, stage: Option<Stage>, signs: &[CollapseSign]| {
            verdict(trend(tendency, doubt), stage.and_then(alarm), signs).verdict
        };
        let (wide, few) = (Some(Doubt::WideInterval), Some(Doubt::TooFewEvents));
        assert_eq!(of(Improving, None, None, &[]), Continue);
        assert_eq!(of(Flat, None, Some(Lifted), &[]), Continue);
        assert_eq!(of(Undecided, wide, None, &[]), Continue);
        assert_eq!(of(Undecided, few, None, &[]), CannotTell);
        assert_eq!(of(Undecided, few, None, &sign), Look, "signs need no events");
        assert_eq!(of(Flat, None, Some(Suspected), &[]), Look);
        assert_eq!(of(Improving, None, Some(Raised), &[]), Look);
        assert_eq!(of(Declining, None, None, &[]), Look);
        assert_eq!(of(Flat, None, Some(Raised), &sign), StopAdvised);
        assert_eq!(of(Declining, None, Some(Raised), &[]), StopAdvised);
        assert_eq!(of(Declining, None, Some(Suspected), &sign), Look);
    }

    #[test]
    fn evidence_says_what_it_is() {
        let said = verdict(trend(Tendency::Flat, None), alarm(Stage::Raised), &[]);
        let json = serde_json::to_value(&said).unwrap();
        assert_eq!((&json["verdict"], &json["evidence"][0]["tendency"]), (&"look".into(), &"flat".into()));
        assert_eq!((&json["evidence"][1]["kind"], &json["evidence"][1]["stage"]), (&"alarm".into(), &"raised".into()));
        assert_eq!(serde_json::from_value::<RunVerdict>(json).unwrap(), said);
    }
}
