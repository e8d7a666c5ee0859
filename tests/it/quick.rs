//! The quick score of data sets that tell nothing, and of one that does.

use candle_core::{Device, Tensor};
use clay_probe::{
    config::{self, Config},
    domain::Metric,
    findings::{Seen, findings},
    probe::{chips::Dataset, head::Example, quick},
    statistics::{Advice, Table, Verdict, compare},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::rig::sample_data;

/// The sample chips, with its folds by event.
fn dataset(cache: &std::path::Path, change: impl FnOnce(&mut config::Probe)) -> Dataset {
    let mut settings = config::Probe { data: sample_data(), ..Config::load(None, &[]).unwrap().probe };
    change(&mut settings);
    Dataset::open(&settings, cache, &mut |_| {}).unwrap()
}

/// Features of sixteen channels: noise, and, where `told`, the water of the patch in the first.
fn examples(dataset: &Dataset, told: bool, label: impl Fn(u8) -> u8) -> Vec<Example> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let of = |i: usize| {
        let (side, labels) = (dataset.chips()[i].side, dataset.labels(i).into_iter().map(&label).collect::<Vec<u8>>());
        let grid = side as usize / 32;
        let mut values: Vec<f32> = (0..grid * grid * 16).map(|_| random.random_range(-1.0..1.0)).collect();
        for (cell, row) in values.chunks_exact_mut(16).enumerate().filter(|_| told) {
            let pixel = |p: usize| labels[(cell / grid * 32 + p / 32) * side as usize + cell % grid * 32 + p % 32];
            row[0] = (0..1024).filter(|&p| pixel(p) == 1).count() as f32 / 1024.0;
        }
        let features = Tensor::from_vec(values, (grid * grid, 16), &Device::Cpu).unwrap();
        Example { features, labels, side }
    };
    (0..dataset.chips().len()).map(of).collect()
}

#[test]
fn what_the_features_tell_is_found_and_noise_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path(), |_| {});
    let told = quick::fit(&dataset, &examples(&dataset, true, |label| label)).unwrap();
    let noise = quick::fit(&dataset, &examples(&dataset, false, |label| label)).unwrap();
    let r2 = |quick: &quick::Quick| quick.values[&Metric::QuickR2].unwrap();
    assert!(r2(&told) > 0.8 && r2(&noise) < 0.1, "{} {}", r2(&told), r2(&noise));
    // The events' scores are the score, event by event: pooled by their patches they give it back.
    let patches = |event: &str| {
        let own = dataset.chips().iter().filter(|chip| chip.event == event);
        own.map(|chip| f64::from(chip.side / 32).powi(2)).sum::<f64>()
    };
    let all: f64 = told.events.iter().map(|score| patches(&score.event)).sum();
    let pooled: f64 = told.events.iter().map(|score| score.value * patches(&score.event) / all).sum();
    assert!((pooled - r2(&told)).abs() < 0.05, "patches without enough labels are in neither: {pooled} {}", r2(&told));
    assert!(told.values.values().all(|value| value.is_none_or(f64::is_finite)));
}

#[test]
fn what_tells_nothing_is_null_or_refused_and_never_nan() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = dataset(dir.path(), |_| {});
    let water = quick::fit(&dataset, &examples(&dataset, true, |_| 1)).unwrap();
    assert_eq!((water.values[&Metric::QuickR2], water.values[&Metric::QuickAuroc]), (None, None));
    assert!(water.events.is_empty() && water.values[&Metric::EffectiveRank].is_some_and(|rank| rank > 10.0));

    let ignored = quick::fit(&dataset, &examples(&dataset, true, |_| 255)).unwrap_err().to_string();
    assert!(ignored.contains("no patch has enough labelled pixels"), "{ignored}");

    let mut constant = examples(&dataset, false, |label| label);
    for example in &mut constant {
        example.features = example.features.zeros_like().unwrap();
    }
    let constant = quick::fit(&dataset, &constant).unwrap();
    assert_eq!(constant.values[&Metric::EffectiveRank], Some(0.0));
    assert!(
        constant.values[&Metric::QuickR2].unwrap() <= 1e-9,
        "the mean of the other folds is no better than the mean"
    );
    assert!(constant.values.values().all(|value| value.is_none_or(f64::is_finite)));
}

#[test]
fn one_event_or_two_give_no_verdict() {
    for events in [1, 2] {
        let seen: Vec<Seen> = (0..40)
            .map(|epoch| Seen {
                epoch,
                table: Table::of_events(
                    (0..events).map(|e| (format!("event {e}"), Some(0.9 - f64::from(epoch) / 50.0))),
                ),
                value: Some(0.5),
                effective_rank: None,
                train_loss: None,
            })
            .collect();
        let found = findings(&seen, Metric::Iou, 0.01, None);
        assert_eq!((found.verdict, found.reports()), (Advice::CannotTell, false), "{events}: {found:?}");
        assert!(found.sentence.contains(&format!("{events} events are too few")), "{}", found.sentence);
    }
    let two = |value| Table::of_events((0..2).map(|e| (format!("event {e}"), Some(value))));
    assert_eq!(
        compare(&two(0.9), &two(0.1), clay_probe::statistics::Scale::higher(0.01)).verdict,
        Verdict::TooFewEvents
    );
}
