//! All fits of a probe: order, budget, seeds, notes, and what has no score.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use clay_probe::{
    domain::{FitNote, HeadName, HeadSettings, Interval, Metric, Reason, Seed},
    probe::{
        ProbeError,
        chips::Fold,
        fits::{Done, Fits, Outcome, fit_all},
        head::{Example, Fitted, Keep},
        reporting,
    },
};
use rand::Rng;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

const PATCH: usize = 8;
const GRID: usize = 2;
const SIDE: usize = GRID * PATCH;

/// Chips of four patches, each of one class, which the first channel tells and the others drown: a set that is learnt.
/// The channels are far from 0, and of scales three orders apart.
fn examples(chips: usize) -> Vec<Example> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let example = |_| {
        let classes: [u8; 4] = std::array::from_fn(|_| random.random_range(0..2));
        let mut noise = || random.random_range(-1f32..1.0);
        let rows = classes.map(|class| [f32::from(class) + 0.1 * noise(), 100.0 + noise(), 0.001 * noise()]);
        let label = |p: usize| match p % 11 {
            0 => 255,
            _ => classes[p / SIDE / PATCH * GRID + p % SIDE / PATCH],
        };
        Example {
            features: Tensor::new(&rows, &Device::Cpu).unwrap(),
            labels: (0..SIDE * SIDE).map(label).collect(),
            side: SIDE as u32,
        }
    };
    (0..chips).map(example).collect()
}

fn fold(number: u32, train: &[usize], val: &[usize]) -> Fold {
    Fold { number, train: train.to_vec(), val: val.to_vec() }
}

fn settings(head: HeadName, fit_steps: u32) -> HeadSettings {
    HeadSettings {
        revision: 1,
        head,
        seeds: vec![Seed(0), Seed(1)],
        fit_steps,
        batch_size: 2,
        learning_rate: 0.01,
        threshold: 0.5,
    }
}

fn fits<'a>(
    examples: &'a [Example],
    folds: &'a [Fold],
    heads: &'a [HeadSettings],
) -> Result<Vec<Done<'a>>, ProbeError> {
    fit_all(&Fits { examples, folds, heads, patch: PATCH, threads: 2, keep: Keep::Ends }, &mut |_| {})
}

fn of<'a>(done: &'a Done) -> &'a Fitted {
    done.fitted().unwrap()
}

#[test]
fn every_head_on_every_fold_from_every_seed_with_one_budget() {
    let (chips, heads) = (examples(9), [settings(HeadName::Linear, 25), settings(HeadName::Conv, 25)]);
    // Five chips give three batches a pass, two give one: the budget is the same.
    let folds = [fold(0, &[0, 1, 2, 3, 4], &[5, 6, 7, 8]), fold(1, &[5, 6], &[0, 1])];
    let mut told = Vec::new();
    let what = Fits { examples: &chips, folds: &folds, heads: &heads, patch: PATCH, threads: 2, keep: Keep::Ends };
    let all = fit_all(&what, &mut |progress| told.push((progress.done, progress.total))).unwrap();
    assert_eq!(told, (0..=200).map(|done| (done, 200)).collect::<Vec<_>>());

    let order: Vec<_> = all.iter().map(|d| (d.settings.head.as_str(), d.fold.number, d.seed.0)).collect();
    let fold_and_seed = [(0, 0), (0, 1), (1, 0), (1, 1)];
    let want = ["linear", "conv"].into_iter().flat_map(|head| fold_and_seed.map(|(fold, seed)| (head, fold, seed)));
    assert_eq!(order, want.collect::<Vec<_>>());
    for done in &all {
        let Fitted { curve, chips, trace, .. } = of(done);
        assert_eq!((trace.batches.len(), trace.losses.len()), (25, 25));
        assert_eq!(curve.iter().map(|p| p.fit_step).collect::<Vec<_>>(), [2, 5, 7, 10, 12, 15, 17, 20, 22, 25]);
        assert_eq!(chips.len(), done.fold.val.len());
        let confusion = curve[9].val.confusion;
        let pixels = confusion.tp + confusion.fp + confusion.fn_ + confusion.tn + confusion.ignored;
        assert_eq!(pixels as usize, done.fold.val.len() * SIDE * SIDE);
        // Each pass takes every chip once, the last short batch too.
        if done.fold.number == 0 {
            for pass in trace.batches.chunks_exact(3) {
                assert_eq!(pass.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
                let mut all = pass.concat();
                all.sort_unstable();
                assert_eq!(all, [0, 1, 2, 3, 4]);
            }
            assert!(trace.batches.chunks_exact(3).any(|pass| pass != &trace.batches[..3]), "shuffled anew");
        }
    }
    // A seed sets initial weights and the order of batches; a fold the order only.
    let trace = |i: usize| &of(&all[i]).trace;
    assert_ne!((&trace(0).initial, &trace(0).batches), (&trace(1).initial, &trace(1).batches));
    assert_ne!(trace(0).initial, trace(1).initial);
    assert_ne!(trace(0).batches, trace(1).batches);
    assert_eq!(trace(0).initial, trace(2).initial);
    assert_eq!(trace(0).batches, trace(4).batches, "of another head");
    assert_ne!(trace(0).initial, trace(0).fitted);
}

#[test]
fn standardised_features_are_learnt_whatever_their_scale() {
    let (chips, heads) = (examples(16), [settings(HeadName::Linear, 600)]);
    let folds = [fold(0, &(0..12).collect::<Vec<_>>(), &[12, 13, 14, 15])];
    let all = fits(&chips, &folds, &heads).unwrap();
    for done in &all {
        let last = of(done).curve[9];
        println!("{:?}", last.val.metrics());
        assert!(last.val.metrics().iou.unwrap() > 0.99);
        let mean: Vec<f32> = done.scale.as_ref().unwrap().mean.to_vec1().unwrap();
        assert!((mean[1] - 100.0).abs() < 1.0, "of the training side: {mean:?}");
    }
    // Of the training side alone: other chips to be scored change nothing of a fit.
    let other = [fold(0, &(0..12).collect::<Vec<_>>(), &[12])];
    assert_eq!(of(&fits(&chips, &other, &heads).unwrap()[0]).trace.losses, of(&all[0]).trace.losses);
}

#[test]
fn batches_without_a_label_are_no_steps() {
    let mut chips = examples(4);
    chips[1].labels.fill(255);
    let heads = [HeadSettings { batch_size: 1, ..settings(HeadName::Linear, 12) }];
    let folds = [fold(0, &[0, 1, 2], &[3])];
    let all = fits(&chips, &folds, &heads).unwrap();
    for done in &all {
        let trace = &of(done).trace;
        assert_eq!(trace.losses.len(), 12);
        assert!(trace.batches.iter().all(|batch| batch != &[1]) && trace.losses.iter().all(|loss| loss.is_finite()));
    }
}

#[test]
fn a_fold_that_lacks_a_class_has_no_score_and_says_so() {
    let mut chips = examples(6);
    chips[1].labels.fill(255);
    chips[2].labels.fill(0);
    chips[3].labels.fill(1);
    let heads = [settings(HeadName::Conv, 5), settings(HeadName::Linear, 5)];
    let folds = [fold(0, &[1], &[0]), fold(1, &[1, 2], &[0]), fold(2, &[3, 1], &[0]), fold(3, &[4, 5, 0], &[1, 2])];
    let all = fits(&chips, &folds, &heads).unwrap();
    let mut said = HashMap::new();
    for done in &all {
        match &done.outcome {
            Outcome::Null { reason, message } => {
                assert_eq!(*reason, Reason::OneClassTraining);
                said.insert(done.fold.number, message.as_str());
            }
            Outcome::Fitted(_) => assert_eq!(done.fold.number, 3),
        }
    }
    let lacks = |what| format!("its training side has no {what}");
    assert_eq!(said[&0], format!("fold 0: {}", lacks("labelled pixel")));
    assert_eq!(said[&1], format!("fold 1: {}", lacks("pixel of water")));
    assert_eq!(said[&2], format!("fold 2: {}", lacks("pixel of land")));

    let events = (0..chips.len()).map(|i| if i < 5 { "a" } else { "b" }).collect();
    let labelled = reporting::Labelled { examples: &chips, events };
    // A head's scores are of the folds that were fitted, over seeds that have any.
    let loss = &reporting::head(&all, &labelled, &heads[0], Interval::SeedMinmax).summary[&Metric::Loss];
    assert_eq!(loss.n, 2);
    let of_fold = |seed| of(all.iter().find(|d| d.fold.number == 3 && d.seed == Seed(seed)).unwrap()).curve[4].val;
    let mean = (of_fold(0).metrics().loss.unwrap() + of_fold(1).metrics().loss.unwrap()) / 2.0;
    assert!((loss.mean.unwrap() - mean).abs() < 1e-12);
    let none = fits(&chips, &folds[..3], &heads).unwrap();
    let none = &reporting::head(&none, &labelled, &heads[1], Interval::SeedMinmax).summary[&Metric::Iou];
    assert_eq!((none.n, none.mean), (0, None));
}

#[test]
fn a_fit_that_diverges_fails_the_probe() {
    let (chips, folds) = (examples(4), [fold(0, &[0, 1], &[2, 3])]);
    for head in [HeadName::Conv, HeadName::Linear] {
        let heads = [HeadSettings { learning_rate: 1e30, ..settings(head, 20) }];
        let Err(error) = fits(&chips, &folds, &heads) else { panic!("{head} has a score") };
        assert_eq!(error.reason(), Reason::NotFinite);
        let message = error.to_string();
        let start = format!("head `{head}`, seed 0, fold 0: ");
        assert!(message.starts_with(&start) && message.contains("is not finite at fit step "), "{message}");
        assert!(message.ends_with("; hint: lower `probe.learning_rate`"), "{message}");
    }
}

#[test]
fn what_a_reader_is_told_of_a_fit() {
    let (chips, folds) = (examples(8), [fold(0, &[0, 1, 2, 3], &[4, 5, 6, 7])]);
    let notes =
        |fit_steps| of(&fits(&chips, &folds, &[settings(HeadName::Linear, fit_steps)]).unwrap()[0]).notes.clone();
    assert!(notes(20).contains(&FitNote::Underfit), "{:?}", notes(20));
    assert!(!notes(400).contains(&FitNote::OneClass), "{:?}", notes(400));
    let heads = [HeadSettings { threshold: 0.9999, ..settings(HeadName::Linear, 100) }];
    let dry = fits(&chips, &folds, &heads).unwrap();
    assert!(of(&dry[0]).notes.contains(&FitNote::OneClass) && of(&dry[0]).curve[9].val.confusion.tp == 0);
}

/// The numbers of a fit do not depend on how many threads there are, beside it or in it.
#[test]
fn threads_change_no_number() {
    let (chips, folds) = (examples(6), [fold(0, &[0, 1, 2], &[3, 4, 5]), fold(1, &[3, 4, 5], &[0, 1, 2])]);
    let light = [settings(HeadName::Conv, 6), settings(HeadName::Linear, 6)];
    let heavy = [HeadSettings { seeds: vec![Seed(0)], ..settings(HeadName::Segmentor, 1) }]; // 21 million parameters
    let with = |threads, heads: &[HeadSettings], folds: &[Fold]| {
        let what = Fits { examples: &chips, folds, heads, patch: PATCH, threads, keep: Keep::Nothing };
        let all = fit_all(&what, &mut |_| {}).unwrap();
        all.iter().map(|d| (of(d).trace.losses.clone(), of(d).chips.clone(), of(d).curve.clone())).collect::<Vec<_>>()
    };
    for (heads, folds) in [(&light[..], &folds[..]), (&heavy, &folds[..1])] {
        let one = with(1, heads, folds);
        assert!(with(2, heads, folds) == one && with(5, heads, folds) == one);
    }
}
