//! Controls: the heads of a probe on what learnt nothing, on the same chips, folds and budget. Without them a score means
//! nothing: random encoders and the bands themselves come close to trained ones.

mod bands;
pub mod from_scratch;
mod index;
mod random;
mod trained;

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{
    ProbeError,
    chips::Dataset,
    device,
    encoder::{self, InputPlan},
    features::features,
    fits::{Fits, fit_all},
    head::{Example, Keep},
    quick, reporting,
    resources::Resources,
    run::{check_expected, examples, open_dataset, resolve},
    score::SideScore,
};
use crate::{
    config,
    domain::{
        Basis, ControlDraw, ControlName, ControlReport, ControlStep, Digest, EncoderFacts, HeadName, HeadSettings,
        Metric, Progress, Seconds, Seed, Stage,
    },
};

/// One draw of a control, to be computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlRequest {
    /// Whose architecture random weights are drawn for, and whose patches the bands are told by.
    pub facts: EncoderFacts,
    pub draw: ControlDraw,
    pub settings: config::Probe,
    pub resources: Resources,
    /// What is fitted on its features, each with the draw's seed alone.
    pub heads: Vec<HeadSettings>,
    /// Another data set, split or preparation than this is an error.
    pub expected: Option<Basis>,
}

/// Computes a draw: bit for bit the same on the same CPU, whatever the number of threads.
///
/// # Errors
/// As a probe's.
pub fn controls(
    request: &ControlRequest,
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<ControlReport, ProbeError> {
    let ControlRequest { facts, draw, settings, resources, .. } = request;
    let mut clock = Instant::now();
    let mut lap = || std::mem::replace(&mut clock, Instant::now()).elapsed().as_secs_f64();
    let mut seconds = Seconds::default();
    progress(Progress { stage: Stage::Load, done: 0, total: 1 });
    let dataset = open_dataset(settings, resources, progress)?;
    let resolved = resolve(settings, facts, dataset.summary())?;
    let (plan, preparation) = (resolved.plan(settings), resolved.preparation.digest());
    check_expected(request.expected, dataset.summary(), preparation)?;
    seconds.load = lap();
    let steps = match draw.control {
        ControlName::AllWater | ControlName::Index => without_features(&dataset, *draw),
        ControlName::Bands => {
            let examples = examples(&dataset, bands::features(&dataset, facts.patch_size)?);
            seconds.embed = lap();
            on_features(request, &dataset, &examples, threads, progress)?
        }
        ControlName::FromScratch => trained::from_scratch(request, &dataset, threads, progress)?,
        ControlName::Random => {
            let examples = random_examples(request, &dataset, &plan, preparation, threads, progress)?;
            seconds.embed = lap();
            on_features(request, &dataset, &examples, threads, progress)?
        }
    };
    seconds.fit = lap();
    let basis = Basis { dataset: dataset.summary().digest, assignment: dataset.summary().assignment, preparation };
    Ok(ControlReport { schema: ControlReport::SCHEMA, basis, architecture: facts.architecture(), steps, seconds })
}

/// Features of an encoder with random weights; kept as those of any other.
fn random_examples(
    request: &ControlRequest,
    dataset: &Dataset,
    plan: &InputPlan,
    preparation: Digest,
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Example>, ProbeError> {
    let ControlRequest { facts, draw, resources, .. } = request;
    let (chosen, pool) = (resources.device()?, device::pool(threads)?);
    let weights = Digest::of(format!("random {} {}", facts.architecture(), draw.draw).as_bytes());
    let mut cache = resources.features(weights, preparation);
    let mut source = random::RandomWeights::new(facts, Seed(u64::from(draw.draw)));
    let load = || Ok(encoder::load(facts, plan, &mut source, &chosen.device)?);
    let features = features(dataset, &mut cache, &chosen.device, &pool, load, progress)?;
    Ok(examples(dataset, features.chips))
}

/// The heads of a draw on its features.
fn on_features(
    request: &ControlRequest,
    dataset: &Dataset,
    examples: &[Example],
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<ControlStep>, ProbeError> {
    let step = |head: &HeadSettings, metric, value| ControlStep {
        of: request.draw,
        head: Some(head.head),
        head_digest: Some(head.digest()),
        metric,
        value,
        note: None,
    };
    let mut steps = Vec::new();
    for head in request.heads.iter().filter(|head| head.head == HeadName::Ridge) {
        let quick = device::pool(threads)?.install(|| quick::fit(dataset, examples))?;
        steps.extend(quick.values.into_iter().map(|(metric, value)| step(head, metric, value)));
    }
    let seed = Seed(u64::from(request.draw.draw));
    let iterative = || request.heads.iter().filter(|head| head.head != HeadName::Ridge);
    let one_seed: Vec<HeadSettings> =
        iterative().map(|head| HeadSettings { seeds: vec![seed], ..head.clone() }).collect();
    let fits = Fits {
        examples,
        folds: dataset.folds(),
        heads: &one_seed,
        patch: request.facts.patch_size,
        threads,
        keep: Keep::Nothing,
    };
    let fits = fit_all(&fits, progress)?;
    let labelled = reporting::Labelled::new(dataset, examples);
    for (head, own) in iterative().zip(&one_seed) {
        let report = reporting::head(&fits, &labelled, own, request.settings.interval);
        steps.extend(report.summary.keys().map(|&metric| step(head, metric, report.spread(metric).mean)));
    }
    Ok(steps)
}

/// What needs no features: the metrics of a rule on the validation sides, pooled.
fn without_features(dataset: &Dataset, draw: ControlDraw) -> Vec<ControlStep> {
    let labels: Vec<Vec<u8>> = (0..dataset.chips().len()).map(|i| dataset.labels(i)).collect();
    let (score, note) = match draw.control {
        ControlName::Index => {
            let (score, rules) = index::score(dataset, &labels);
            let told: Vec<String> =
                rules.into_iter().map(|(fold, rule)| format!("fold {fold}: {}", rule.name())).collect();
            (score, (!told.is_empty()).then(|| told.join(", ")))
        }
        _ => (all_water(dataset, &labels), None),
    };
    let metrics = score.confusion.metrics(None);
    let of = |&metric: &Metric| ControlStep {
        of: draw,
        head: None,
        head_digest: None,
        metric,
        value: metrics.get(metric),
        note: note.clone(),
    };
    [Metric::Iou, Metric::Dice, Metric::F1, Metric::Precision, Metric::Recall].iter().map(of).collect()
}

/// Every pixel is called water.
fn all_water(dataset: &Dataset, labels: &[Vec<u8>]) -> SideScore {
    let validated = dataset.folds().iter().flat_map(|fold| &fold.val);
    let of = |&i: &usize| {
        let confusion = index::count(labels[i].iter().map(|&label| (label, true)));
        SideScore { confusion, loss: 0.0, labelled: labels[i].len() as u64 - confusion.ignored }
    };
    SideScore::sum(&validated.map(of).collect::<Vec<_>>())
}
