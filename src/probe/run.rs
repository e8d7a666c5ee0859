//! One probe, from a checkpoint and a data set to its report.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::{
    ProbeError,
    chips::{ChipError, Dataset, Fold},
    device, dump,
    encoder::{self, metadata},
    features::features,
    fits::{Fits, fit_all},
    head::{Example, Keep},
    preparation::{self, Resolved},
    quick::{self, Quick},
    reporting,
    resources::Resources,
    weights,
};
use crate::{
    config,
    domain::{
        Basis, DatasetSummary, Digest, EncoderFacts, Epoch, HeadName, HeadReport, HeadSettings, ProbeReport, Progress,
        Reason, RunName, Seconds, Stage, Versions, head_folder,
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
    pub resources: Resources,
    /// Write what the fits were made of into this folder.
    pub dump: Option<PathBuf>,
    /// The weights after each step, too.
    pub dump_path: bool,
    /// Write `<pictures>/<head>-<12 digits of its settings>/<event>/<stem>.prediction.png`.
    pub pictures: Option<PathBuf>,
    /// What is fitted; all of `settings.heads`, or those that are still missing.
    pub heads: Vec<HeadSettings>,
    /// Another data set, split or preparation than this is an error.
    pub expected: Option<Basis>,
}

/// Probes: reads the weights, encodes each chip once, fits heads x folds x seeds, scores; computes with `threads` threads,
/// at least 1.
///
/// Same inputs and seeds give the same report, bit for bit, on the same CPU, whatever the number of threads; only
/// `seconds`, the data set's `decoded`, `chips_encoded` and the versions' `threads` differ.
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
    let chosen = request.resources.device()?;
    let pool = device::pool(threads)?;
    let mut file = weights::open(&request.checkpoint, &weights_options(settings))?;
    let weights_digest = file.weights_digest()?;
    let facts = file.encoder().clone();
    let name = request.checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let own_epoch = || file.epoch().map(|(epoch, _)| epoch).or_else(|| Epoch::from_file_name(&name));
    let epoch = request.epoch.or_else(own_epoch);
    let global_step = request.global_step.or_else(|| file.global_step().map(|(step, _)| step));
    progress(Progress { stage: Stage::Load, done: 1, total: 2 });
    let dataset = open_dataset(settings, &request.resources, progress)?;
    let resolved = resolve(settings, &facts, dataset.summary())?;
    let (plan, preparation) = (resolved.plan(settings), resolved.preparation);
    check_expected(request.expected, dataset.summary(), preparation.digest())?;
    seconds.load = lap();

    let mut cache = request.resources.features(weights_digest, preparation.digest());
    let load = || Ok(encoder::load(&facts, &plan, &mut file, &chosen.device)?);
    // The encoder goes with this call: hundreds of megabytes that the fits do not need.
    let features = features(&dataset, &mut cache, &chosen.device, &pool, load, progress)?;
    let chips_encoded = features.encoded;
    let examples = examples(&dataset, features.chips);
    seconds.embed = lap();

    let (closed_form, iterative): (Vec<HeadSettings>, Vec<HeadSettings>) =
        request.heads.iter().cloned().partition(|head| head.head == HeadName::Ridge);
    let quick = if closed_form.is_empty() { None } else { Some(pool.install(|| quick::fit(&dataset, &examples))?) };
    let fits = Fits {
        examples: &examples,
        folds: dataset.folds(),
        heads: &iterative,
        patch: facts.patch_size,
        threads,
        keep: match &request.dump {
            None => Keep::Nothing,
            Some(_) if request.dump_path => Keep::Path,
            Some(_) => Keep::Ends,
        },
    };
    let fits = fit_all(&fits, progress)?;
    seconds.fit = lap();

    progress(Progress { stage: Stage::Score, done: 0, total: 1 });
    if let Some(dir) = &request.dump {
        dump::write_dump(dir, &dataset, &examples, &fits, facts.patch_size)?;
    }
    if let Some(dir) = &request.pictures {
        for head in &iterative {
            let dir = dir.join(head_folder(head.head, &head.digest()));
            super::pictures::draw(&dir, &dataset, &fits, head.head, head.threshold as f32)?;
        }
    }
    let labelled = reporting::Labelled::new(&dataset, &examples);
    let of_head = |head: &HeadSettings| (head.head, reporting::head(&fits, &labelled, head, settings.interval));
    let mut heads: BTreeMap<HeadName, HeadReport> = iterative.iter().map(of_head).collect();
    let mut event_scores = reporting::event_scores(&fits, &labelled);
    if let Some(Quick { values, events }) = quick {
        let of = |head: &HeadSettings| (head.head, HeadReport::closed_form(head, values.clone(), settings.interval));
        heads.extend(closed_form.iter().map(of));
        event_scores.extend(events);
    }
    let mut report = ProbeReport {
        schema: ProbeReport::SCHEMA,
        run: request.run.clone(),
        epoch,
        global_step,
        path: request.shown_path.as_ref().unwrap_or(&request.checkpoint).display().to_string(),
        weights_digest,
        encoder: facts,
        dataset: dataset.summary().clone(),
        assignment: dataset.summary().assignment,
        preparation_digest: preparation.digest(),
        preparation,
        device: chosen.name,
        device_reason: chosen.reason,
        fits: fits.iter().map(reporting::fit).collect(),
        heads,
        controls: Vec::new(),
        event_scores,
        chip_scores: fits.iter().flat_map(|fit| reporting::chip_scores(fit, &dataset)).collect(),
        seconds,
        versions: versions(threads),
        chips_encoded,
    };
    report.seconds.score = lap();
    progress(Progress { stage: Stage::Score, done: 1, total: 1 });
    Ok(report)
}

/// How a checkpoint is opened under these settings.
pub fn weights_options(settings: &config::Probe) -> weights::Options {
    let (opaque_globals, prefix) = (settings.opaque_globals.clone(), settings.prefix.clone());
    weights::Options { opaque_globals, prefix, metadata: None }
}

/// What an encoder is given of a data set under these settings; `probe.metadata` is read here.
///
/// # Errors
/// `metadata`: the file cannot be read. `inputs`: the chips lack what the encoder takes.
pub fn resolve(
    settings: &config::Probe,
    facts: &EncoderFacts,
    dataset: &DatasetSummary,
) -> Result<Resolved, ProbeError> {
    let given = !settings.metadata.as_os_str().is_empty();
    let given = given.then(|| metadata::read(&settings.metadata)).transpose()?;
    preparation::resolve(settings, facts, given, dataset)
}

/// Data set, split and preparation must be those that the request was made for.
pub(super) fn check_expected(
    expected: Option<Basis>,
    found: &DatasetSummary,
    preparation: Digest,
) -> Result<(), ProbeError> {
    let Some(expected) = expected else { return Ok(()) };
    let of_data = [("digest", expected.dataset, found.digest), ("assignment", expected.assignment, found.assignment)];
    if let Some((what, expected, found)) = of_data.into_iter().find(|(_, expected, found)| expected != found) {
        return Err(ProbeError::DatasetChanged { what, expected, found });
    }
    if preparation != expected.preparation {
        let text =
            format!("the preparation is {preparation}, not {}: the pin tells another encoder", expected.preparation);
        return Err(ProbeError::Input(text));
    }
    Ok(())
}

/// The data set, which must have folds with chips on both sides.
pub(super) fn open_dataset(
    settings: &config::Probe,
    resources: &Resources,
    progress: &mut dyn FnMut(Progress),
) -> Result<Dataset, ProbeError> {
    let dataset = Dataset::open(settings, &resources.cache, progress)?;
    let empty = |fold: &&Fold| fold.train.is_empty() || fold.val.is_empty();
    if dataset.folds().is_empty() || dataset.folds().iter().find(empty).is_some() {
        let message = format!(
            "`{}`: its {} chips of {} events cannot be split into training and validation",
            settings.data.display(),
            dataset.chips().len(),
            dataset.summary().events.len()
        );
        return Err(ChipError::new(Reason::NoSplit, message).with_hint("add chips or set `probe.split`").into());
    }
    Ok(dataset)
}

/// Features and labels of each chip, in the data set's order.
pub(super) fn examples(dataset: &Dataset, features: Vec<Tensor>) -> Vec<Example> {
    let example =
        |(i, features): (usize, Tensor)| Example { features, labels: dataset.labels(i), side: dataset.chips()[i].side };
    features.into_iter().enumerate().map(example).collect()
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
