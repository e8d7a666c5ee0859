//! Who is fitted on and who is scored: folds of events, a list, or chance. Never a chip on both sides.

use std::collections::{BTreeMap, BTreeSet};

use rand::seq::SliceRandom;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

use super::{ChipError, manifest::Listed};
use crate::{
    config::{self, Split},
    domain::Reason,
};

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
    /// Its columns `split` and `fold` in `manifest.csv`.
    pub listed: Option<&'a Listed>,
    pub fold: Option<&'a str>,
}

/// The folds of the configured split, and what it made of each chip: `fold <n>`, `train` or `val`. `own_folds`: the
/// manifest has a column `fold`, which is then what `event_folds` follows.
///
/// # Errors
/// `split`, with what to set instead.
pub fn split(
    members: &[Member],
    own_folds: bool,
    settings: &config::Probe,
) -> Result<(Vec<Fold>, Vec<String>), ChipError> {
    let of_chip = match settings.split {
        Split::EventFolds if own_folds => listed_folds(members, settings.folds)?,
        Split::EventFolds => event_folds(members, settings.folds)?,
        Split::List => return list(members),
        Split::Random => random(members.len(), settings.folds, settings.split_seed)?,
    };
    let k = of_chip.iter().max().map_or(0, |last| last + 1);
    let side = |number, val| (0..members.len()).filter(|i| (of_chip[*i] == number) == val).collect();
    let folds = (0..k).map(|number| Fold { number, train: side(number, false), val: side(number, true) }).collect();
    Ok((folds, of_chip.iter().map(|number| format!("fold {number}")).collect()))
}

/// An event with its labelled pixels.
struct Event<'a> {
    name: &'a str,
    water: u64,
    land: u64,
}

impl Event<'_> {
    fn share(&self) -> f64 {
        self.water as f64 / (self.water + self.land).max(1) as f64
    }
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
    let mut events: Vec<Event> = counts.into_iter().map(|(name, (water, land))| Event { name, water, land }).collect();
    events.sort_by(|a, b| b.share().total_cmp(&a.share()).then(a.name.cmp(b.name)));
    let wet = events.iter().filter(|event| event.water > 0).count();
    let k = number_of_folds(folds, wet, events.len(), "events")?;
    let deal = |i: usize| {
        let (round, place) = (i / k, i % k);
        if round % 2 == 0 { place } else { k - 1 - place }
    };
    let mut dealt: Vec<usize> = (0..events.len()).map(deal).collect();
    spread_land(&events, &mut dealt, k);
    let fold: BTreeMap<&str, u32> = events.iter().zip(&dealt).map(|(event, fold)| (event.name, *fold as u32)).collect();
    Ok(members.iter().map(|m| fold[m.event]).collect())
}

/// Where all events with land lie in one fold, whose training side then has none, moves one of them to another fold.
/// (Water needs no such care: the two wettest events come first, and so into two folds.)
fn spread_land(events: &[Event], dealt: &mut [usize], k: usize) {
    let with = |class: fn(&Event) -> u64, dealt: &[usize]| -> BTreeSet<usize> {
        events.iter().zip(dealt).filter(|(event, _)| class(event) > 0).map(|(_, fold)| *fold).collect()
    };
    let dry: Vec<usize> = (0..events.len()).filter(|i| events[*i].land > 0).collect();
    if dry.len() < 2 || with(|e| e.land, dealt).len() > 1 {
        return;
    }
    let from = dealt[dry[0]];
    let wet_folds = with(|e| e.water, dealt).len();
    let size = |fold: usize| dealt.iter().filter(|f| **f == fold).count();
    let Some(to) = (0..k).filter(|fold| *fold != from).min_by_key(|fold| size(*fold)) else { return };
    for event in dry.into_iter().rev() {
        dealt[event] = to;
        if with(|e| e.water, dealt).len() >= wet_folds.min(2) {
            return;
        }
        dealt[event] = from;
    }
}

/// The fold of each chip as the column `fold` of `manifest.csv` says: whole numbers or words, numbered in their order,
/// whole numbers first.
fn listed_folds(members: &[Member], folds: u32) -> Result<Vec<u32>, ChipError> {
    let wrong = |message: String| ChipError::new(Reason::Split, message);
    let mut names = Vec::with_capacity(members.len());
    for member in members {
        let name = member.fold.ok_or_else(|| {
            wrong(format!("`manifest.csv` has a column `fold` and gives `{}` none", member.path))
                .with_hint("fill it for every chip, or remove the column to have `probe.split` deal the events")
        })?;
        // `01` and `1` are one fold; words stand behind all numbers.
        names.push((name.parse::<u64>().unwrap_or(u64::MAX), if name.parse::<u64>().is_ok() { "" } else { name }));
    }
    let order: BTreeSet<(u64, &str)> = names.iter().copied().collect();
    if order.len() < 2 {
        return Err(wrong("the column `fold` of `manifest.csv` puts all usable chips into one fold".to_owned())
            .with_hint("give at least two, or remove the column"));
    }
    if folds != 0 && folds as usize != order.len() {
        let message = format!("`probe.folds` is {folds}, and the column `fold` of `manifest.csv` has {}", order.len());
        return Err(wrong(message).with_hint("set `probe.folds = 0`"));
    }
    let number: BTreeMap<(u64, &str), u32> = order.into_iter().zip(0..).collect();
    Ok(names.iter().map(|name| number[name]).collect())
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
        let (side, name) = match member.listed {
            Some(Listed::Train) => (&mut fold.train, "train"),
            Some(Listed::Val) => (&mut fold.val, "val"),
            // Chips of other words are left out before this.
            _ => {
                let message = format!(
                    "`probe.split = \"list\"` needs a row with `file` and `split` for `{}` in `manifest.csv`",
                    member.path
                );
                return Err(ChipError::new(Reason::Split, message));
            }
        };
        side.push(i);
        sides.push(name.to_owned());
    }
    for (side, name) in [(&fold.train, "train"), (&fold.val, "val")] {
        if side.is_empty() {
            return Err(ChipError::new(Reason::Split, format!("`manifest.csv` marks no usable chip `{name}`")));
        }
    }
    Ok((vec![fold], sides))
}

#[cfg(test)]
mod tests;
