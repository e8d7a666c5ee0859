//! What fits come to, in the words of the report.

use std::collections::BTreeMap;

use super::{
    chips::Dataset,
    fits::{Done, Outcome},
    head::ScoredStep,
    score::{SideScore, mean},
};
use crate::domain::{
    ChipScore, Confusion, CurvePoint, EventScore, Fit, HeadName, HeadReport, HeadSettings, Interval, Metric, Metrics,
    Seed, SeedScore, Side,
};

/// A head over its seeds, each pooled over the folds that could be fitted.
pub fn head(fits: &[Done], settings: &HeadSettings, interval: Interval) -> HeadReport {
    let own = || fits.iter().filter(|done| done.settings.head == settings.head);
    let of = |&seed| {
        let fitted = own().filter(|done| done.seed == seed).filter_map(Done::fitted);
        let score = SideScore::sum(fitted.flat_map(|fitted| fitted.chips.iter().map(|(score, _)| score)));
        SeedScore { seed, metrics: score.metrics() }
    };
    let mean_batch_iou = mean(own().filter_map(|done| done.fitted()?.mean_batch_iou));
    let metrics = own().next().map_or(&[][..], |done| done.metrics);
    HeadReport::new(settings, settings.seeds.iter().map(of).collect(), mean_batch_iou, metrics, interval)
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
pub fn event_scores(fits: &[Done], dataset: &Dataset) -> Vec<EventScore> {
    let mut sums = BTreeMap::<(HeadName, Seed, &str), Confusion>::new();
    for done in fits {
        for (&i, (score, _)) in done.fold.val.iter().zip(done.fitted().map_or(&[][..], |fitted| &fitted.chips)) {
            let key = (done.settings.head, done.seed, dataset.chips()[i].event.as_str());
            let sum = sums.entry(key).or_default();
            *sum = sum.plus(score.confusion);
        }
    }
    let wet = sums.into_iter().filter(|(_, counts)| counts.tp + counts.fn_ > 0);
    let of = |((head, seed, event), counts): ((HeadName, Seed, &str), Confusion)| {
        let value = counts.metrics(None).iou?;
        Some(EventScore { event: event.to_owned(), head, seed: Some(seed), metric: Metric::Iou, value })
    };
    wet.filter_map(of).collect()
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
