//! What fits come to, in the words of the report.

use std::collections::BTreeMap;

use super::{
    chips::Dataset,
    fits::{Done, Outcome},
    head::{Example, ScoredStep, Targets},
    score::{
        SideScore,
        classes::{ClassMetric, false_alarms, over_events},
        histogram::Histogram,
        mean,
    },
};
use crate::domain::{
    ChipScore, Confusion, CurvePoint, EventScore, Fit, HeadName, HeadReport, HeadSettings, Interval, Metric, Metrics,
    Seed, SeedScore, Side,
};

/// The chips of a data set as scores see them, in its order.
pub struct Labelled<'a> {
    pub examples: &'a [Example],
    pub events: Vec<&'a str>,
}

impl<'a> Labelled<'a> {
    pub fn new(dataset: &'a Dataset, examples: &'a [Example]) -> Self {
        Self { examples, events: dataset.chips().iter().map(|chip| chip.event.as_str()).collect() }
    }
}

/// A head over its seeds, each pooled over the folds that could be fitted.
pub fn head(fits: &[Done], chips: &Labelled, settings: &HeadSettings, interval: Interval) -> HeadReport {
    let own = || fits.iter().filter(|done| done.settings.head == settings.head);
    let of = |&seed| {
        let fitted = own().filter(|done| done.seed == seed).filter_map(Done::fitted);
        let score = SideScore::sum(fitted.flat_map(|fitted| fitted.chips.iter().map(|(score, _)| score)));
        SeedScore { seed, metrics: score.metrics(), more: more(own().filter(|done| done.seed == seed), chips) }
    };
    let mean_batch_iou = mean(own().filter_map(|done| done.fitted()?.mean_batch_iou));
    let metrics: Vec<Metric> =
        own().next().map_or(&[][..], |done| done.metrics).iter().chain(Metric::OF_SEEDS).copied().collect();
    HeadReport::new(settings, settings.seeds.iter().map(of).collect(), mean_batch_iou, &metrics, interval)
}

/// What is told of a seed as a whole: means over events and classes, ranks, calibration.
fn more<'a>(fits: impl Iterator<Item = &'a Done<'a>>, chips: &Labelled) -> BTreeMap<Metric, Option<f64>> {
    let fits: Vec<&Done> = fits.collect();
    let events = by_event(&fits, chips);
    let mut histogram = Histogram::default();
    for done in &fits {
        for (i, (_, logits)) in validated(done) {
            let example = &chips.examples[i];
            Targets::new(&example.labels, example.side as usize, done.cell).count_into(logits, &mut histogram);
        }
    }
    let all = events.values().fold(Confusion::default(), |sum, counts| sum.plus(*counts));
    let events = || events.iter().map(|(event, counts)| (*event, *counts));
    let of = |&metric: &Metric| match metric {
        Metric::IouEvent => over_events(ClassMetric::Iou, events()).value,
        Metric::FalseAlarm => mean(false_alarms(events()).into_iter().map(|(_, rate)| rate)),
        Metric::Miou => ClassMetric::Miou.of(all),
        Metric::Mdice => ClassMetric::Mdice.of(all),
        Metric::Mprecision => ClassMetric::Mprecision.of(all),
        Metric::Mrecall => ClassMetric::Mrecall.of(all),
        Metric::Accuracy => ClassMetric::Accuracy.of(all),
        Metric::Auroc => histogram.auroc(),
        Metric::AveragePrecision => histogram.average_precision(),
        Metric::CalibrationError => histogram.calibration_error(),
        _ => None,
    };
    Metric::OF_SEEDS.iter().map(|metric| (*metric, of(metric))).collect()
}

/// One fit, or why there is none.
pub fn fit(done: &Done) -> Fit {
    let (head, seed, fold) = (done.settings.head, done.seed, done.fold.number);
    match &done.outcome {
        Outcome::Null { reason, message } => Fit {
            head,
            seed,
            fold,
            metrics: Metrics::default(),
            confusion: Confusion::default(),
            mean_batch_iou: None,
            notes: Vec::new(),
            reason: Some(*reason),
            message: Some(message.clone()),
            curve: Vec::new(),
        },
        Outcome::Fitted(fitted) => {
            let score = SideScore::sum(fitted.chips.iter().map(|(score, _)| score));
            let points = fitted.curve.iter().flat_map(|&ScoredStep { fit_step, train, val }| {
                let point = |side, score: SideScore| CurvePoint { fit_step, side, metrics: score.metrics() };
                [point(Side::Train, train), point(Side::Val, val)]
            });
            Fit {
                head,
                seed,
                fold,
                metrics: score.metrics(),
                confusion: score.confusion,
                mean_batch_iou: fitted.mean_batch_iou,
                notes: fitted.notes.clone(),
                reason: None,
                message: None,
                curve: points.collect(),
            }
        }
    }
}

/// IoU of each event with water, per head and seed, of counts pooled over the event's validation chips.
pub fn event_scores(fits: &[Done], chips: &Labelled) -> Vec<EventScore> {
    let mut of_seeds = BTreeMap::<(HeadName, Seed), Vec<&Done>>::new();
    fits.iter().for_each(|done| of_seeds.entry((done.settings.head, done.seed)).or_default().push(done));
    let of_seed = |((head, seed), fits): ((HeadName, Seed), Vec<&Done>)| {
        let wet = by_event(&fits, chips).into_iter().filter(|(_, counts)| counts.tp + counts.fn_ > 0);
        let score = move |(event, counts): (&str, Confusion)| {
            let value = counts.metrics(None).iou?;
            Some(EventScore { event: event.to_owned(), head, seed: Some(seed), metric: Metric::Iou, value })
        };
        wet.filter_map(score).collect::<Vec<_>>()
    };
    of_seeds.into_iter().flat_map(of_seed).collect()
}

/// Counts of each event, pooled over its validation chips.
fn by_event<'a>(fits: &[&Done], chips: &Labelled<'a>) -> BTreeMap<&'a str, Confusion> {
    let mut events = BTreeMap::<&str, Confusion>::new();
    for (i, (score, _)) in fits.iter().flat_map(|done| validated(done)) {
        let sum = events.entry(chips.events[i]).or_default();
        *sum = sum.plus(score.confusion);
    }
    events
}

/// The validation chips of a fit, with score and logits; none where there is no fit.
fn validated<'a>(done: &'a Done) -> impl Iterator<Item = (usize, &'a (SideScore, Vec<f32>))> {
    let chips = done.fitted().map_or(&[][..], |fitted| &fitted.chips);
    done.fold.val.iter().copied().zip(chips)
}

/// The validation chips of a fit; none where there is no fit.
pub fn chip_scores(done: &Done, dataset: &Dataset) -> Vec<ChipScore> {
    let of = |(&i, (score, _)): (&usize, &(SideScore, Vec<f32>))| ChipScore {
        chip: dataset.chips()[i].path.clone(),
        event: dataset.chips()[i].event.clone(),
        head: done.settings.head,
        seed: done.seed,
        fold: done.fold.number,
        confusion: score.confusion,
        metrics: score.metrics(),
    };
    done.fitted().map_or_else(Vec::new, |fitted| done.fold.val.iter().zip(&fitted.chips).map(of).collect())
}
