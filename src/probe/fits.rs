//! All fits of a probe: heads x folds x seeds, side by side on threads of their own.
//!
//! Each fit computes in a pool of its own, so its numbers do not depend on the others or on their timing. A heavy head's
//! fits run one after another instead, each on all threads: a fit holds its weights four times.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use super::{
    ProbeError,
    chips::Fold,
    device,
    head::{Example, FitSettings, Fitted, HeadError, Keep, Kind, Needs, Scale, Side, Targets, fit},
};
use crate::domain::{HeadSettings, Metric, Progress, Reason, Seed, Stage};

/// One fit with what it was made of.
pub struct Done<'a> {
    pub fold: &'a Fold,
    pub settings: &'a HeadSettings,
    pub seed: Seed,
    pub outcome: Outcome,
    /// Pixels per side of the cells that share a logit.
    pub cell: usize,
    /// What may be said of the head's predictions.
    pub metrics: &'static [Metric],
    /// What the head's features were standardised by, if they were.
    pub scale: Option<Scale>,
}

/// What became of a fit.
pub enum Outcome {
    Fitted(Fitted),
    /// There is no score, and why.
    Null {
        reason: Reason,
        message: String,
    },
}

impl Done<'_> {
    /// The scores, where there are any.
    pub fn fitted(&self) -> Option<&Fitted> {
        match &self.outcome {
            Outcome::Fitted(fitted) => Some(fitted),
            Outcome::Null { .. } => None,
        }
    }
}

/// What is fitted to what.
pub struct Fits<'a> {
    pub examples: &'a [Example],
    pub folds: &'a [Fold],
    pub heads: &'a [HeadSettings],
    /// Pixels per side of the encoder's patches.
    pub patch: usize,
    pub threads: usize,
    /// What each fit keeps of its weights, for a dump.
    pub keep: Keep,
}

/// One fit to be done.
struct Job<'a, 'b> {
    settings: &'a HeadSettings,
    kind: &'b Kind,
    fold: &'a Fold,
    seed: Seed,
    scale: Option<&'b Scale>,
    /// Per example, for the head's cells.
    targets: &'b [Targets],
    null: Option<&'b str>,
}

/// Fits every head, on every fold, from every seed; in that order. Progress counts steps.
///
/// # Errors
/// A head that does not fit the encoder's patches; a fit whose loss or logits are not finite, naming head, seed, fold
/// and step; what a tensor operation fails with.
pub fn fit_all<'a>(fits: &Fits<'a>, progress: &mut dyn FnMut(Progress)) -> Result<Vec<Done<'a>>, ProbeError> {
    let Fits { examples, folds, heads, .. } = *fits;
    if heads.is_empty() {
        return Ok(Vec::new());
    }
    let channels = examples.first().map_or(Ok(0), |e| e.features.dim(1))?;
    let kinds = heads.iter().map(|settings| Kind::of(settings.head, channels, fits.patch));
    let kinds = kinds.collect::<Result<Vec<Kind>, _>>().map_err(|error| ProbeError::Input(error.to_string()))?;
    let targets: BTreeMap<usize, Vec<Targets>> =
        kinds.iter().map(|kind| (kind.cell, targets(examples, kind.cell))).collect();
    let any_cell = targets.values().next().map_or(&[][..], Vec::as_slice);
    let nulls: Vec<Option<String>> = folds.iter().map(|fold| lacks_a_class(fold, any_cell)).collect();
    let standardised = kinds.iter().any(|kind| kind.needs == Needs::Standardised);
    let scale = |fold: &Fold| (standardised && !fold.train.is_empty()).then(|| Scale::of(&pick(examples, &fold.train)));
    let scales = folds.iter().map(|fold| scale(fold).transpose()).collect::<Result<Vec<_>, _>>()?;

    let mut jobs = Vec::new();
    for (settings, kind) in heads.iter().zip(&kinds) {
        for ((fold, null), scale) in folds.iter().zip(&nulls).zip(&scales) {
            jobs.extend(settings.seeds.iter().map(|&seed| Job {
                settings,
                kind,
                fold,
                seed,
                scale: scale.as_ref().filter(|_| kind.needs == Needs::Standardised),
                targets: &targets[&kind.cell],
                null: null.as_deref(),
            }));
        }
    }
    for (settings, kind) in heads.iter().zip(&kinds) {
        if let Some(cost) = &kind.cost {
            let fits = folds.len() * settings.seeds.len();
            tracing::warn!("{cost}; {fits} fits of {} steps are to be done", settings.fit_steps);
        }
    }
    let outcomes = outcomes(fits, &jobs, progress)?;
    let done = |(job, outcome): (&Job<'a, '_>, Outcome)| Done {
        fold: job.fold,
        settings: job.settings,
        seed: job.seed,
        outcome,
        cell: job.kind.cell,
        metrics: job.kind.metrics,
        scale: job.scale.cloned(),
    };
    Ok(jobs.iter().zip(outcomes).map(done).collect())
}

/// What became of each job, in order: light ones side by side, then heavy ones one after another.
fn outcomes(fits: &Fits, jobs: &[Job], progress: &mut dyn FnMut(Progress)) -> Result<Vec<Outcome>, ProbeError> {
    let null = |message: &str| Outcome::Null { reason: Reason::OneClassTraining, message: message.to_owned() };
    let mut outcomes: Vec<Option<Outcome>> = jobs.iter().map(|job| job.null.map(null)).collect();
    let total = jobs.iter().filter(|job| job.null.is_none()).map(|job| u64::from(job.settings.fit_steps)).sum();
    let on_cpu = fits.examples.first().is_none_or(|e| e.features.device().is_cpu());
    let mut done = 0;
    progress(Progress { stage: Stage::Fit, done, total });
    for heavy in [false, true] {
        let waits = |i: &usize| jobs[*i].null.is_none() && jobs[*i].kind.cost.is_some() == heavy;
        let places: Vec<usize> = (0..jobs.len()).filter(waits).collect();
        let workers = if heavy || !on_cpu { 1 } else { fits.threads.clamp(1, places.len().max(1)) };
        let threads = (fits.threads / workers).max(1);
        let work = |i: usize, tick: Tick| fit_one(fits, &jobs[places[i]], threads, tick);
        let fitted = side_by_side(places.len(), workers, &work, &mut || {
            done += 1;
            progress(Progress { stage: Stage::Fit, done, total });
        })?;
        for (&i, fitted) in places.iter().zip(fitted) {
            outcomes[i] = Some(Outcome::Fitted(fitted));
        }
    }
    let missing = || ProbeError::Input("a fit ended without a result".into());
    outcomes.into_iter().map(|outcome| outcome.ok_or_else(missing)).collect()
}

/// Called after each step.
type Tick<'a> = &'a mut (dyn FnMut() + Send);

/// Results of `count` pieces of work on so many threads, in order; a failure ends it. `ticked` is called on this thread,
/// once for each call of a piece's tick.
fn side_by_side<T: Send>(
    count: usize,
    workers: usize,
    work: &(dyn Fn(usize, Tick) -> Result<T, ProbeError> + Sync),
    ticked: &mut dyn FnMut(),
) -> Result<Vec<T>, ProbeError> {
    let results: Vec<Mutex<Option<Result<T, ProbeError>>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let (ticks, all_ticks) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..workers.min(count) {
            let (results, next, ticks) = (&results, &next, ticks.clone());
            scope.spawn(move || {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(slot) = results.get(i) else { break };
                    // The other end lives as long as this scope; if it did not, nobody would count.
                    let result = work(i, &mut || {
                        let _ = ticks.send(());
                    });
                    if result.is_err() {
                        next.store(count, Ordering::Relaxed); // the rest is of no use
                    }
                    if let Ok(mut slot) = slot.lock() {
                        *slot = Some(result);
                    }
                }
            });
        }
        drop(ticks);
        all_ticks.iter().for_each(|()| ticked());
    });
    // What was not begun comes after what failed.
    results.into_iter().filter_map(|slot| slot.into_inner().ok().flatten()).collect()
}

/// One fit, in a pool of its own.
fn fit_one(fits: &Fits, job: &Job, threads: usize, tick: Tick) -> Result<Fitted, ProbeError> {
    let Job { settings, fold, seed, scale, .. } = *job;
    let side = |places: &[usize]| Side {
        examples: pick(fits.examples, places),
        targets: places.iter().map(|&i| &job.targets[i]).collect(),
    };
    let how = FitSettings::of(settings, seed, fold.number, scale, fits.keep);
    let (train, val) = (side(&fold.train), side(&fold.val));
    let fitted = device::pool(threads)?.install(|| fit(job.kind.make(seed).as_mut(), &train, &val, &how, tick));
    fitted.map_err(|error| match error {
        HeadError::Tensor(error) => error.into(),
        HeadError::NotFinite { .. } => ProbeError::NotFinite(format!(
            "head `{}`, seed {}, fold {}: {error}; hint: lower `probe.learning_rate`",
            settings.head, seed.0, fold.number
        )),
        HeadError::Patch { .. } | HeadError::ClosedForm(_) => ProbeError::Input(error.to_string()),
    })
}

fn targets(examples: &[Example], cell: usize) -> Vec<Targets> {
    examples.iter().map(|e| Targets::new(&e.labels, e.side as usize, cell)).collect()
}

fn pick<'a>(examples: &'a [Example], places: &[usize]) -> Vec<&'a Example> {
    places.iter().map(|&i| &examples[i]).collect()
}

/// Where there is nothing to fit on: a head that sees one class says that class.
pub fn lacks_a_class(fold: &Fold, examples: &[Targets]) -> Option<String> {
    let sums = fold.train.iter().map(|&i| examples[i].classes());
    let what = match sums.fold((0, 0), |(wet, dry), (w, d)| (wet + w, dry + d)) {
        (0, 0) => "labelled pixel",
        (0, _) => "pixel of water",
        (_, 0) => "pixel of land",
        _ => return None,
    };
    Some(format!("fold {}: its training side has no {what}", fold.number))
}
