//! The from-scratch network on the folds of a data set: what its bands teach without any pre-training.

use std::sync::mpsc;

use super::{ControlRequest, from_scratch};
use crate::{
    domain::{Band, ControlStep, HeadSettings, Metric, Progress, Reason, Seed, Stage},
    probe::{
        ProbeError,
        chips::{Dataset, Fold},
        device,
        fits::{Done, Outcome, lacks_a_class},
        head::{Example, FitSettings, Fitted, HeadError, Keep, Targets},
        reporting,
    },
};

/// Mean and deviation of a band over the finite pixels of a fold's training side.
type Moments = Vec<(f32, f32)>;

/// Fits the network on each fold with the draw's seed and the budget of the first head that was asked for, and scores it.
/// Bands are those that every chip has, standardised by the training side; what is missing is 0 after that.
pub fn from_scratch(
    request: &ControlRequest,
    dataset: &Dataset,
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<ControlStep>, ProbeError> {
    let Some(budget) = request.heads.first() else { return Ok(Vec::new()) };
    let settings = HeadSettings { seeds: vec![Seed(u64::from(request.draw.draw))], ..budget.clone() };
    let examples = labelled(dataset)?;
    let targets: Vec<Targets> = examples.iter().map(|e| Targets::new(&e.labels, e.side as usize, 1)).collect();
    let bands = &dataset.summary().bands;
    let largest = dataset.chips().iter().map(|chip| chip.side).max().unwrap_or_default();
    let steps = settings.fit_steps * dataset.folds().len() as u32;
    tracing::warn!("{}; {steps} steps are to be done", from_scratch::cost(largest as usize, bands.len()));
    let pool = device::pool(threads)?;
    let (mut fits, mut done) = (Vec::new(), 0);
    for fold in dataset.folds() {
        let outcome = match lacks_a_class(fold, &targets) {
            Some(message) => Outcome::Null { reason: Reason::OneClassTraining, message },
            None => Outcome::Fitted(fit(dataset, fold, &targets, &settings, &pool, &mut |pace| {
                done += 1;
                if done == 1 {
                    tracing::warn!("{pace}");
                }
                progress(Progress { stage: Stage::Fit, done, total: steps.into() });
            })?),
        };
        let (seed, cell, metrics, scale) = (settings.seeds[0], 1, Metric::OF_PIXELS, None);
        fits.push(Done { fold, settings: &settings, seed, outcome, cell, metrics, scale });
    }
    let labelled = reporting::Labelled::new(dataset, &examples);
    let report = reporting::head(&fits, &labelled, &settings, request.settings.interval);
    let step = |&metric: &Metric| ControlStep {
        of: request.draw,
        head: Some(budget.head),
        head_digest: Some(budget.digest()),
        metric,
        value: report.spread(metric).mean,
        note: None,
    };
    Ok(report.summary.keys().map(step).collect())
}

/// Labels alone: the network has no features.
fn labelled(dataset: &Dataset) -> Result<Vec<Example>, ProbeError> {
    let none = candle_core::Tensor::zeros((0, 0), candle_core::DType::F32, &candle_core::Device::Cpu)?;
    let of = |i: usize| Example { features: none.clone(), labels: dataset.labels(i), side: dataset.chips()[i].side };
    Ok((0..dataset.chips().len()).map(of).collect())
}

fn fit(
    dataset: &Dataset,
    fold: &Fold,
    targets: &[Targets],
    settings: &HeadSettings,
    pool: &rayon::ThreadPool,
    after_step: &mut dyn FnMut(String),
) -> Result<Fitted, ProbeError> {
    let bands = &dataset.summary().bands;
    let moments: Moments = bands.iter().map(|&band| moments(dataset, &fold.train, band)).collect();
    let pixels = |i: usize| {
        let chip = dataset.raw(i);
        let plane = |(&band, &(mean, deviation)): (&Band, &(f32, f32))| {
            let plane = chip.plane(band).map_or_else(|| vec![f32::NAN; chip.side * chip.side], <[f32]>::to_vec);
            plane.into_iter().map(move |v| if v.is_finite() { (v - mean) / deviation } else { 0.0 })
        };
        bands.iter().zip(&moments).flat_map(plane).collect::<Vec<f32>>()
    };
    let (of_train, of_val) = (|i: usize| pixels(fold.train[i]), |i: usize| pixels(fold.val[i]));
    let sides = |places: &[usize]| places.iter().map(|&i| dataset.chips()[i].side).collect();
    let own = |places: &[usize]| places.iter().map(|&i| &targets[i]).collect();
    let train = from_scratch::Side { sides: sides(&fold.train), targets: own(&fold.train), pixels: &of_train };
    let val = from_scratch::Side { sides: sides(&fold.val), targets: own(&fold.val), pixels: &of_val };
    let how = FitSettings::of(settings, settings.seeds[0], fold.number, None, Keep::Nothing);
    let mut network = from_scratch::Network::new(bands.len(), settings.seeds[0]);
    // What watches stays on this thread.
    let (tell, told) = mpsc::channel();
    let work = move |network: &mut from_scratch::Network| {
        // The other end lives as long as this scope; if it did not, nobody would count.
        let mut after = move |step: from_scratch::Step| drop(tell.send(step.pace()));
        pool.install(|| from_scratch::fit(network, &train, &val, &how, &mut after))
    };
    let fitted = std::thread::scope(|scope| {
        let fitting = scope.spawn(|| work(&mut network));
        told.iter().for_each(after_step);
        fitting.join()
    });
    let fitted = fitted.map_err(|_| ProbeError::Input("the fit of the from-scratch network panicked".to_owned()))?;
    fitted.map_err(|error| match error {
        HeadError::NotFinite { .. } => {
            ProbeError::NotFinite(format!("the from-scratch network, fold {}: {error}", fold.number))
        }
        other => ProbeError::Input(other.to_string()),
    })
}

/// In f64, in two passes; (0, 1) where nothing is finite or nothing varies.
fn moments(dataset: &Dataset, chips: &[usize], band: Band) -> (f32, f32) {
    let over = |each: &dyn Fn(f64) -> f64| {
        let (mut sum, mut n) = (0.0, 0u64);
        for &i in chips {
            let chip = dataset.raw(i);
            for &value in chip.plane(band).unwrap_or_default().iter().filter(|v| v.is_finite()) {
                sum += each(f64::from(value));
                n += 1;
            }
        }
        if n > 0 { sum / n as f64 } else { 0.0 }
    };
    let mean = over(&|v| v);
    let variance = over(&|v| (v - mean).powi(2));
    (mean as f32, if variance > 0.0 { variance.sqrt() as f32 } else { 1.0 })
}
