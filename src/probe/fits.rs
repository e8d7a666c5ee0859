//! All fits of a probe: folds x seeds, side by side on threads of their own.
//!
//! Each fit computes in a pool of its own, so its numbers do not depend on the others or on their timing.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use super::{
    ProbeError,
    chips::Fold,
    device,
    head::{Example, FitSettings, Fitted, fit},
};
use crate::{
    config,
    domain::{Progress, Seed, Stage},
};

/// One fit with what it was made of.
pub struct Done<'a> {
    pub fold: &'a Fold,
    pub settings: FitSettings,
    pub fitted: Fitted,
}

/// Fits every seed on every fold; in the order of the folds, then of the seeds.
pub fn fit_all<'a>(
    examples: &[Example],
    folds: &'a [Fold],
    settings: &config::Probe,
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Done<'a>>, ProbeError> {
    let jobs: Vec<(&Fold, FitSettings)> = folds
        .iter()
        .flat_map(|fold| settings.seeds.iter().map(move |&seed| (fold, of_fold(fold.number, seed, settings))))
        .collect();
    let on_cpu = examples.first().is_none_or(|e| e.features.device().is_cpu());
    let workers = if on_cpu { threads.clamp(1, jobs.len().max(1)) } else { 1 };
    let total = jobs.len() as u64 * u64::from(settings.fit_epochs);
    let channels = examples.first().map_or(Ok(0), |e| e.features.dim(1))?;
    progress(Progress { stage: Stage::Fit, done: 0, total });

    let results: Vec<Mutex<Option<Result<Fitted, ProbeError>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    let (ticks, ticked) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (jobs, results, next, ticks) = (&jobs, &results, &next, ticks.clone());
            scope.spawn(move || {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some((fold, settings)) = jobs.get(i) else { break };
                    let pick = |places: &[usize]| places.iter().map(|&i| &examples[i]).collect::<Vec<_>>();
                    let (train, val) = (pick(&fold.train), pick(&fold.val));
                    // The other end lives as long as this scope; if it did not, nobody would count.
                    let mut tick = || {
                        let _ = ticks.send(());
                    };
                    let result = device::pool((threads / workers).max(1)).map_err(ProbeError::from).and_then(|pool| {
                        pool.install(|| fit(&train, &val, channels, settings, &mut tick)).map_err(ProbeError::from)
                    });
                    let failed = result.is_err();
                    if let Ok(mut slot) = results[i].lock() {
                        *slot = Some(result);
                    }
                    if failed {
                        next.store(jobs.len(), Ordering::Relaxed); // the rest is of no use
                    }
                }
            });
        }
        drop(ticks);
        for (done, ()) in (1..).zip(ticked) {
            progress(Progress { stage: Stage::Fit, done, total });
        }
    });

    let mut all = Vec::with_capacity(jobs.len());
    let mut stopped = false;
    for ((fold, settings), slot) in jobs.into_iter().zip(results) {
        match slot.into_inner().ok().flatten() {
            Some(fitted) => all.push(Done { fold, settings, fitted: fitted? }),
            None => stopped = true, // another fit failed; its error comes out of this loop
        }
    }
    if stopped {
        return Err(ProbeError::Input("a fit ended without a result".into()));
    }
    Ok(all)
}

fn of_fold(fold: u32, seed: u64, settings: &config::Probe) -> FitSettings {
    FitSettings {
        seed: Seed(seed),
        fold,
        fit_epochs: settings.fit_epochs,
        batch_size: settings.batch_size as usize,
        learning_rate: settings.learning_rate,
        threshold: settings.threshold as f32,
    }
}
