//! Who is fitted on and who is scored: folds of events, a list, or chance. Never a chip on both sides.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use crate::{
    config::{self, Split},
    domain::Reason,
};

use super::ChipError;

/// Which chips a head is fitted on and which it is scored on; indices into [`super::Dataset::chips`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    pub number: u32,
    pub train: Vec<usize>,
    pub val: Vec<usize>,
}

/// What a split looks at in one chip.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    pub path: &'a str,
    pub event: &'a str,
    /// Labelled pixels.
    pub water: u64,
    pub land: u64,
    /// Its column `split` in `manifest.csv`.
    pub listed: Option<&'a str>,
}

/// The folds of the configured split, and what it made of each chip: `fold <n>`, `train` or `val`.
///
/// # Errors
/// `split`, with what to set instead.
pub fn split(members: &[Member], settings: &config::Probe) -> Result<(Vec<Fold>, Vec<String>), ChipError> {
    let of_chip = match settings.split {
        Split::EventFolds => event_folds(members, settings.folds)?,
        Split::List => return list(members),
        Split::Random => random(members.len(), settings.folds, settings.split_seed)?,
    };
    let k = of_chip.iter().max().map_or(0, |last| last + 1);
    let side = |number, val| (0..members.len()).filter(|i| (of_chip[*i] == number) == val).collect();
    let folds = (0..k).map(|number| Fold { number, train: side(number, false), val: side(number, true) }).collect();
    Ok((folds, of_chip.iter().map(|number| format!("fold {number}")).collect()))
}

/// The fold of each chip: events, sorted by their share of water (then by name), are dealt in turns that change
/// direction (0 1 2 2 1 0 ...), so that each fold gets wet and dry ones.
fn event_folds(members: &[Member], folds: u32) -> Result<Vec<u32>, ChipError> {
    let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for member in members {
        let (water, land) = counts.entry(member.event).or_default();
        *water += member.water;
        *land += member.land;
    }
    let wet = counts.values().filter(|(water, _)| *water > 0).count();
    let k = number_of_folds(folds, wet, counts.len(), "events")?;
    let share = |(water, land): (u64, u64)| water as f64 / (water + land).max(1) as f64;
    let mut events: Vec<(&str, f64)> = counts.iter().map(|(event, count)| (*event, share(*count))).collect();
    events.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    let deal = |i: usize| {
        let (round, place) = (i / k, i % k);
        if round % 2 == 0 { place } else { k - 1 - place }
    };
    let fold: BTreeMap<&str, u32> = events.iter().enumerate().map(|(i, (event, _))| (*event, deal(i) as u32)).collect();
    Ok(members.iter().map(|m| fold[m.event]).collect())
}

/// The fold of each chip, dealt after a shuffle.
fn random(chips: usize, folds: u32, seed: u64) -> Result<Vec<u32>, ChipError> {
    let k = number_of_folds(folds, 5, chips, "chips")?;
    let mut order: Vec<usize> = (0..chips).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut fold = vec![0; chips];
    for (turn, chip) in order.into_iter().enumerate() {
        fold[chip] = (turn % k) as u32;
    }
    Ok(fold)
}

/// `folds` as asked for; for 0, `natural` kept to 2..=5 and to what there is.
fn number_of_folds(folds: u32, natural: usize, there: usize, what: &str) -> Result<usize, ChipError> {
    let wrong = |message: String| ChipError::new(Reason::Split, message);
    let too_few = |message: String| match what {
        "events" => wrong(message).with_hint("`probe.split = \"random\"` deals chips"),
        _ => wrong(message),
    };
    if there < 2 {
        return Err(too_few(format!("folds need at least two {what}, there is only {there}")));
    }
    match folds as usize {
        0 => Ok(natural.clamp(2, 5).min(there)),
        1 => Err(wrong("`probe.folds` is 1".into()).with_hint("set at least 2, or 0 to choose")),
        k if k > there => Err(too_few(format!("`probe.folds` is {k}, but there are only {there} {what}"))),
        k => Ok(k),
    }
}

/// One fold: the column `split` of `manifest.csv`.
fn list(members: &[Member]) -> Result<(Vec<Fold>, Vec<String>), ChipError> {
    let mut fold = Fold { number: 0, train: Vec::new(), val: Vec::new() };
    let mut sides = Vec::new();
    for (i, member) in members.iter().enumerate() {
        match member.listed {
            Some("train") => fold.train.push(i),
            Some("val") => fold.val.push(i),
            Some(other) => {
                let message = format!("`manifest.csv` gives `{}` the split `{other}`", member.path);
                return Err(ChipError::new(Reason::Split, message).with_hint("train, val or test"));
            }
            None => {
                let message = format!(
                    "`probe.split = \"list\"` needs a row with `file` and `split` for `{}` in `manifest.csv`",
                    member.path
                );
                return Err(ChipError::new(Reason::Split, message));
            }
        }
        sides.extend(member.listed.map(str::to_owned));
    }
    for (side, name) in [(&fold.train, "train"), (&fold.val, "val")] {
        if side.is_empty() {
            return Err(ChipError::new(Reason::Split, format!("`manifest.csv` marks no usable chip `{name}`")));
        }
    }
    Ok((vec![fold], sides))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;

    fn member<'a>(event: &'a str, water: u64, listed: Option<&'a str>) -> Member<'a> {
        Member { path: "p", event, water, land: 100, listed }
    }

    fn settings(split: Split, folds: u32) -> config::Probe {
        config::Probe { split, folds, ..Config::load(None, &[]).unwrap().probe }
    }

    #[test]
    fn events_are_dealt_by_water() {
        let members = ["a", "b", "c", "d", "a"].map(|e| {
            member(
                e,
                if e == "c" {
                    90
                } else if e == "b" {
                    10
                } else {
                    0
                },
                None,
            )
        });
        let (folds, sides) = split(&members, &settings(Split::EventFolds, 0)).unwrap();
        // c, b, a, d by water: c and d to fold 0, b and a to fold 1.
        assert_eq!(folds.len(), 2);
        assert_eq!((folds[0].val.clone(), folds[0].train.clone()), (vec![2, 3], vec![0, 1, 4]));
        assert_eq!(sides, ["fold 1", "fold 1", "fold 0", "fold 0", "fold 1"]);
    }

    #[test]
    fn what_cannot_be_split() {
        let one = [member("a", 5, None), member("a", 5, None)];
        let error = split(&one, &settings(Split::EventFolds, 0)).unwrap_err();
        assert!(error.hint.unwrap().contains("probe.split = \"random\""));
        assert!(split(&one, &settings(Split::Random, 3)).unwrap_err().message.contains("only 2 chips"));
        assert!(split(&one, &settings(Split::Random, 1)).is_err());
        assert!(split(&one, &settings(Split::List, 0)).unwrap_err().message.contains("manifest.csv"));
        let listed = [member("a", 5, Some("train")), member("b", 5, Some("train"))];
        assert!(split(&listed, &settings(Split::List, 0)).unwrap_err().message.contains("`val`"));
    }

    proptest! {
        #[test]
        fn never_on_both_sides(
            chips in prop::collection::vec((0usize..6, 0u64..50, any::<bool>()), 2..40),
            which in 0usize..3, folds in prop::sample::select(vec![0u32, 2, 3]), seed in any::<u64>(),
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let members: Vec<Member> =
                chips.iter().map(|(e, w, t)| member(names[*e], *w, Some(if *t { "train" } else { "val" }))).collect();
            let kind = [Split::EventFolds, Split::List, Split::Random][which];
            let settings = config::Probe { split_seed: seed, ..settings(kind, folds) };
            let Ok((folds, sides)) = split(&members, &settings) else { return Ok(()) };
            prop_assert_eq!(sides.len(), members.len());
            for fold in &folds {
                prop_assert!(fold.train.iter().all(|i| !fold.val.contains(i)));
                prop_assert_eq!(fold.train.len() + fold.val.len(), members.len());
                prop_assert!(!fold.train.is_empty() && !fold.val.is_empty());
                if kind == Split::EventFolds {
                    prop_assert!(fold.train.iter().all(|t| fold.val.iter().all(|v| members[*t].event != members[*v].event)));
                }
            }
            if kind != Split::List {
                let scored: usize = folds.iter().map(|f| f.val.len()).sum();
                prop_assert_eq!(scored, members.len());
            }
        }
    }
}
