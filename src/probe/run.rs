//! One probe, from a checkpoint and a data set to its report.

use std::{path::PathBuf, time::Instant};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    ProbeError,
    checkpoint::{self, Checkpoint},
    chips::{ChipError, Dataset, Fold},
    device::{self, DeviceRequest},
    dump, embed,
    encoder::Encoder,
    fits::{Done, fit_all},
    head::{Example, Targets},
    score::{SideScore, mean, summarise_seeds},
};
use crate::{
    config::{self, Size},
    domain::{
        ChipScore, CurvePoint, Digest, Epoch, Fit, ProbeReport, Progress, Reason, RunName, Seconds, Seed, Side, Stage,
        Versions,
    },
};

/// What to probe, and how; the command line fills one in, and the service sends one to its worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// A checkpoint or a pinned encoder.
    pub checkpoint: PathBuf,
    /// The path for the report, where it is another (the trainer's file behind a pin).
    pub shown_path: Option<PathBuf>,
    pub run: RunName,
    /// As known from elsewhere; else the file's own, else (the epoch) from its name.
    pub epoch: Option<Epoch>,
    pub global_step: Option<u64>,
    pub settings: config::Probe,
    /// `auto`, `cpu`, `cuda:N`, `metal`.
    pub device: String,
    /// Beside a trainer: leave it the GPU that it computes on.
    pub serve: bool,
    pub share_gpu: bool,
    pub gpu_memory: Size,
    /// The folder where decoded chips are kept.
    pub cache: PathBuf,
    /// Write what the fits were made of into this folder.
    pub dump: Option<PathBuf>,
    /// Write `<pictures>/<event>/<stem>.prediction.png`.
    pub pictures: Option<PathBuf>,
    /// Another data set than this is an error.
    pub expected_dataset: Option<Digest>,
}

/// Probes: reads the weights, encodes each chip once, fits folds x seeds, scores; computes with `threads` threads, at
/// least 1.
///
/// Same inputs and seeds give the same report, bit for bit, on the same CPU, whatever the number of threads; only
/// `seconds`, the data set's `decoded` and the versions' `threads` differ.
pub fn probe(
    request: &ProbeRequest,
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<ProbeReport, ProbeError> {
    let settings = &request.settings;
    let mut seconds = Seconds::default();
    let mut clock = Instant::now();
    let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();

    progress(Progress { stage: Stage::Load, done: 0, total: 2 });
    let chosen = device::choose(&DeviceRequest {
        device: &request.device,
        serve: request.serve,
        share_gpu: request.share_gpu,
        gpu_memory: request.gpu_memory,
    })?;
    let pool = device::pool(threads)?;
    let options = checkpoint::Options { opaque_globals: settings.opaque_globals.clone() };
    let mut file = Checkpoint::open(&request.checkpoint, &options)?;
    let weights_digest = file.weights_digest()?;
    let shape = file.encoder().clone();
    let encoder = Encoder::load(&shape, &mut file, &chosen.device)?;
    let name = request.checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let own_epoch = || file.epoch().map(|(epoch, _)| epoch).or_else(|| Epoch::from_file_name(&name));
    let epoch = request.epoch.or_else(own_epoch);
    let global_step = request.global_step.or_else(|| file.global_step().map(|(step, _)| step));
    drop(file);
    progress(Progress { stage: Stage::Load, done: 1, total: 2 });
    let dataset = open_dataset(request, progress)?;
    seconds.load = lap();

    let features = embed::features(&encoder, &dataset, &chosen.device, &pool, progress)?;
    drop(encoder); // hundreds of megabytes that the fits do not need
    let chips_encoded = features.len() as u64;
    let examples = examples(&dataset, features);
    seconds.embed = lap();

    let fits = fit_all(&examples, dataset.folds(), settings, threads, progress)?;
    seconds.fit = lap();

    progress(Progress { stage: Stage::Score, done: 0, total: 1 });
    if let Some(dir) = &request.dump {
        dump::write_dump(dir, &dataset, &examples, &fits)?;
    }
    if let Some(dir) = &request.pictures {
        super::pictures::draw(dir, &dataset, &fits, settings.threshold as f32)?;
    }
    let protocol = settings.protocol();
    let mut report = ProbeReport {
        schema: ProbeReport::SCHEMA,
        run: request.run.clone(),
        epoch,
        global_step,
        path: request.shown_path.as_ref().unwrap_or(&request.checkpoint).display().to_string(),
        weights_digest,
        encoder: shape,
        dataset: dataset.summary().clone(),
        protocol_digest: protocol.digest(),
        protocol,
        device: chosen.name,
        device_reason: chosen.reason,
        fits: fits.iter().map(report_fit).collect(),
        summary: summarise_seeds(&per_seed(&fits, &settings.seeds), settings.interval),
        chip_scores: fits.iter().flat_map(|fit| chip_scores(fit, &dataset)).collect(),
        mean_batch_iou: mean(fits.iter().filter_map(|fit| fit.fitted.mean_batch_iou)),
        seconds,
        versions: versions(threads),
        chips_encoded,
    };
    report.seconds.score = lap();
    progress(Progress { stage: Stage::Score, done: 1, total: 1 });
    Ok(report)
}

/// The data set, which must be the expected one and have folds with chips on both sides.
fn open_dataset(request: &ProbeRequest, progress: &mut dyn FnMut(Progress)) -> Result<Dataset, ProbeError> {
    let dataset = Dataset::open(&request.settings, &request.cache, progress)?;
    let found = dataset.summary().digest;
    if let Some(expected) = request.expected_dataset.filter(|&expected| expected != found) {
        return Err(ProbeError::DatasetChanged { expected, found });
    }
    let empty = |fold: &&Fold| fold.train.is_empty() || fold.val.is_empty();
    if dataset.folds().is_empty() || dataset.folds().iter().find(empty).is_some() {
        let message = format!(
            "`{}`: its {} chips of {} events cannot be split into training and validation",
            request.settings.data.display(),
            dataset.chips().len(),
            dataset.summary().events.len()
        );
        return Err(ChipError::new(Reason::NoSplit, message).with_hint("add chips or set `probe.split`").into());
    }
    Ok(dataset)
}

/// Features and labels of each chip, in the data set's order.
fn examples(dataset: &Dataset, features: Vec<Tensor>) -> Vec<Example> {
    let example = |(i, features): (usize, Tensor)| {
        let side = dataset.chips()[i].side;
        Example { features, targets: Targets::new(dataset.labels(i), side as usize), side }
    };
    features.into_iter().enumerate().map(example).collect()
}

/// Each seed's score, pooled over its folds.
fn per_seed(fits: &[Done], seeds: &[u64]) -> Vec<SideScore> {
    let of = |&seed: &u64| {
        let own = fits.iter().filter(|fit| fit.settings.seed == Seed(seed));
        SideScore::sum(own.flat_map(|fit| fit.fitted.chips.iter().map(|(score, _)| score)))
    };
    seeds.iter().map(of).collect()
}

fn report_fit(fit: &Done) -> Fit {
    let score = SideScore::sum(fit.fitted.chips.iter().map(|(score, _)| score));
    let points = fit.fitted.curve.iter().zip(1..).flat_map(|((train, val), fit_epoch)| {
        let point = |split, side: &SideScore| CurvePoint { fit_epoch, split, metrics: side.metrics() };
        [point(Side::Train, train), point(Side::Val, val)]
    });
    Fit {
        head: "conv".to_owned(),
        seed: fit.settings.seed,
        fold: fit.fold.number,
        metrics: score.metrics(),
        confusion: score.confusion,
        mean_batch_iou: fit.fitted.mean_batch_iou,
        curve: points.collect(),
    }
}

fn chip_scores(fit: &Done, dataset: &Dataset) -> Vec<ChipScore> {
    let of = |(&i, (score, _)): (&usize, &(SideScore, Vec<f32>))| ChipScore {
        chip: dataset.chips()[i].path.clone(),
        event: dataset.chips()[i].event.clone(),
        head: "conv".to_owned(),
        seed: fit.settings.seed,
        fold: fit.fold.number,
        confusion: score.confusion,
        metrics: score.metrics(),
    };
    fit.fold.val.iter().zip(&fit.fitted.chips).map(of).collect()
}

/// The version of the tensor library; a test holds it against `Cargo.lock`.
const CANDLE: &str = "0.11.1";

fn versions(threads: usize) -> Versions {
    Versions {
        clay_probe: env!("CARGO_PKG_VERSION").to_owned(),
        candle: CANDLE.to_owned(),
        host: host(),
        threads: threads as u32,
    }
}

/// The machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_of_candle_is_the_locked_one() {
        let lock = include_str!("../../Cargo.lock");
        assert!(lock.contains(&format!("name = \"candle-core\"\nversion = \"{}\"", super::CANDLE)));
    }
}
