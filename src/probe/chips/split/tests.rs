//! Tests of the splits.

use proptest::prelude::*;

use super::*;
use crate::config::Config;

fn member<'a>(event: &'a str, water: u64, land: u64) -> Member<'a> {
    Member { path: "p", event, water, land, listed: None, fold: None }
}

fn settings(split: Split, folds: u32) -> config::Probe {
    config::Probe { split, folds, ..Config::load(None, &[]).unwrap().probe }
}

fn in_folds<'a>(folds: &[&'a str]) -> Vec<Member<'a>> {
    folds.iter().map(|fold| Member { fold: Some(*fold).filter(|f| !f.is_empty()), ..member("e", 1, 1) }).collect()
}

#[test]
fn events_are_dealt_by_water() {
    let water = [("a", 0), ("b", 10), ("c", 90), ("d", 0), ("a", 0)];
    let members = water.map(|(event, water)| member(event, water, 100));
    let (folds, sides) = split(&members, false, &settings(Split::EventFolds, 0)).unwrap();
    // c, b, a, d by water: c and d to fold 0, b and a to fold 1.
    assert_eq!(folds.len(), 2);
    assert_eq!((folds[0].val.clone(), folds[0].train.clone()), (vec![2, 3], vec![0, 1, 4]));
    assert_eq!(sides, ["fold 1", "fold 1", "fold 0", "fold 0", "fold 1"]);
}

#[test]
fn a_fold_is_not_left_without_land_where_it_can_be_helped() {
    // Dealt in turns, both events with land would be in fold 1, and its head would be fitted on water alone.
    let members = [member("flooded", 9, 0), member("a", 0, 9), member("b", 0, 9)];
    let (folds, _) = split(&members, false, &settings(Split::EventFolds, 0)).unwrap();
    for fold in &folds {
        assert!(fold.train.iter().any(|i| members[*i].land > 0), "{folds:?}");
    }
}

#[test]
fn folds_of_the_manifest() {
    let of = |folds: &[&str]| split(&in_folds(folds), true, &settings(Split::EventFolds, 0));
    assert_eq!(of(&["10", "9", "10", "010"]).unwrap().1, ["fold 1", "fold 0", "fold 1", "fold 1"]);
    assert_eq!(of(&["south", "north", "3"]).unwrap().1, ["fold 2", "fold 1", "fold 0"]);
    assert!(of(&["a", "", "b"]).unwrap_err().message.contains("gives `p` none"));
    assert!(of(&["a", "a"]).unwrap_err().message.contains("one fold"));
    let three = split(&in_folds(&["a", "b"]), true, &settings(Split::EventFolds, 3)).unwrap_err();
    assert!(three.message.contains("`probe.folds` is 3") && three.hint.is_some());
    // Other splits do not look at it.
    assert_eq!(split(&in_folds(&["a", ""]), true, &settings(Split::Random, 0)).unwrap().0.len(), 2);
}

#[test]
fn what_cannot_be_split() {
    let of = |members: &[Member], kind, folds| split(members, false, &settings(kind, folds)).unwrap_err();
    let one = [member("a", 5, 1), member("a", 5, 1)];
    assert!(of(&one, Split::EventFolds, 0).hint.unwrap().contains("probe.split = \"random\""));
    assert!(of(&one, Split::Random, 3).message.contains("only 2 chips"));
    assert!(of(&one, Split::Random, 1).message.contains("`probe.folds` is 1"));
    assert!(of(&one, Split::List, 0).message.contains("manifest.csv"));
    let listed = ["a", "b"].map(|event| Member { listed: Some(&Listed::Train), ..member(event, 5, 1) });
    assert!(of(&listed, Split::List, 0).message.contains("`val`"));
}

/// Whether there is anything to split: what the errors say, counted anew.
fn can_be_split(members: &[Member], kind: Split, folds: u32) -> bool {
    let enough = |there: usize| there >= 2 && folds as usize <= there;
    match kind {
        Split::EventFolds => enough(members.iter().map(|m| m.event).collect::<BTreeSet<_>>().len()),
        Split::Random => enough(members.len()),
        Split::List => [Listed::Train, Listed::Val].iter().all(|l| members.iter().any(|m| m.listed == Some(l))),
    }
}

/// Events that have a class, by name.
fn with(members: &[Member], class: fn(&Member) -> u64) -> usize {
    members.iter().filter(|m| class(m) > 0).map(|m| m.event).collect::<BTreeSet<_>>().len()
}

proptest! {
    #[test]
    fn never_on_both_sides(
        chips in prop::collection::vec((0usize..6, 0u64..3, 0u64..3, any::<bool>()), 1..40),
        which in 0usize..3, folds in prop::sample::select(vec![0u32, 2, 3]), seed in any::<u64>(),
    ) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let listed = |train: bool| Some(if train { &Listed::Train } else { &Listed::Val });
        let members: Vec<Member> = chips
            .iter()
            .map(|(event, water, land, train)| Member { listed: listed(*train), ..member(names[*event], *water, *land) })
            .collect();
        let kind = [Split::EventFolds, Split::List, Split::Random][which];
        let settings = config::Probe { split_seed: seed, ..settings(kind, folds) };
        let found = split(&members, false, &settings);
        prop_assert_eq!(found.is_ok(), can_be_split(&members, kind, folds), "{:?}", found);
        let Ok((folds, sides)) = found else { return Ok(()) };
        prop_assert_eq!(sides.len(), members.len());
        for fold in &folds {
            prop_assert!(fold.train.iter().all(|i| !fold.val.contains(i)));
            prop_assert_eq!(fold.train.len() + fold.val.len(), members.len());
            prop_assert!(!fold.train.is_empty() && !fold.val.is_empty());
            if kind == Split::EventFolds {
                prop_assert!(fold.train.iter().all(|t| fold.val.iter().all(|v| members[*t].event != members[*v].event)));
                for class in [|m: &Member| m.water, |m: &Member| m.land] {
                    let trained = fold.train.iter().any(|i| class(&members[*i]) > 0);
                    prop_assert!(trained || with(&members, class) < 2, "{:?} {:?}", fold, members);
                }
            }
        }
        if kind != Split::List {
            let scored: usize = folds.iter().map(|f| f.val.len()).sum();
            prop_assert_eq!(scored, members.len());
        }
    }
}
