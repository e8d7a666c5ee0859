//! What `/metrics` tells: every name, its meaning and its unit stand in this file.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::prometheus_text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

use crate::domain::{HeadName, JobKind, Reason, RunName, Seconds, Stage, State};

pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// Upper bounds in seconds: from a glance at a folder to a night.
const SCANS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];
const STAGES: [f64; 10] = [0.1, 0.5, 2.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0];
const SCORES: [f64; 10] = [5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0];

/// Labels of a series, by name.
type Labels = Vec<(&'static str, String)>;

/// What happened since the start of the daemon; the parts of the service write it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Registry>,
    ends: Family<Labels, Counter>,
    stage_seconds: Family<Labels, Histogram, fn() -> Histogram>,
    seconds_to_score: Histogram,
    scan_seconds: Histogram,
}

/// How things are at the moment of a scrape, read from where it is known.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// Jobs that are queued or running.
    pub jobs: Vec<(JobKind, State, i64)>,
    /// Age of the oldest probe that is queued or running; zero where there is none.
    pub oldest_due: Duration,
    pub runs: Vec<RunReading>,
    /// Bytes on disk by kind.
    pub bytes: Vec<(&'static str, u64)>,
    /// What keeps the service from its work.
    pub problems: Vec<Reason>,
}

/// The last score of a run and head.
#[derive(Clone, Debug)]
pub struct RunReading {
    pub run: RunName,
    /// `None` where the run has no score.
    pub head: Option<HeadName>,
    /// Epochs that its training is ahead of it.
    pub lag_epochs: i64,
    /// `None` where there is none yet.
    pub iou: Option<f64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        Self {
            ends: register(
                &mut registry,
                "clay_probe_ends", // the format adds `_total`
                "Jobs that ended, by kind, state and reason",
                Family::default(),
            ),
            stage_seconds: register(
                &mut registry,
                "clay_probe_stage_seconds",
                "Seconds that a stage of a probe took",
                Family::new_with_constructor(|| Histogram::new(STAGES)),
            ),
            seconds_to_score: register(
                &mut registry,
                "clay_probe_seconds_to_score",
                "Seconds from a whole checkpoint file to its score",
                Histogram::new(SCORES),
            ),
            scan_seconds: register(
                &mut registry,
                "clay_probe_scan_seconds",
                "Seconds that one listing of the watched directories took",
                Histogram::new(SCANS),
            ),
            registry: Arc::new(registry),
        }
    }
}

impl Metrics {
    /// A job came to its end.
    pub fn job_ended(&self, kind: JobKind, state: State, reason: Option<Reason>) {
        let reason = reason.map(Reason::as_str).unwrap_or_default();
        let labels = vec![label("kind", kind), label("state", state), label("reason", reason)];
        self.ends.get_or_create(&labels).inc();
    }

    /// The stages of a probe took so long.
    pub fn observe_stages(&self, seconds: &Seconds) {
        let Seconds { load, embed, fit, score } = *seconds;
        for (stage, seconds) in [(Stage::Load, load), (Stage::Embed, embed), (Stage::Fit, fit), (Stage::Score, score)] {
            self.stage_seconds.get_or_create(&vec![label("stage", stage)]).observe(seconds);
        }
    }

    /// So long after its file was whole, a checkpoint has its score.
    pub fn observe_seconds_to_score(&self, seconds: f64) {
        self.seconds_to_score.observe(seconds);
    }

    /// Listing the watched directories once took so long.
    pub fn observe_scan(&self, seconds: f64) {
        self.scan_seconds.observe(seconds);
    }

    /// All of it in Prometheus' text format, whose media type is [`CONTENT_TYPE`].
    pub fn text(&self, now: &Readings) -> String {
        let mut text = String::new();
        // A string takes all that is written to it.
        let _ = encode(&mut text, &self.registry);
        let _ = encode(&mut text, &gauges(now));
        text
    }
}

/// The gauges of one scrape.
fn gauges(now: &Readings) -> Registry {
    let mut registry = Registry::default();
    let mut add = |name: &str, help: &str, series: Vec<(Labels, f64)>| {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in series {
            family.get_or_create(&labels).set(value);
        }
        registry.register(name, help, family);
    };
    let version = label("version", env!("CARGO_PKG_VERSION"));
    add("clay_probe_build_info", "Always 1; the version of the daemon", vec![(vec![version], 1.0)]);

    // Without a job a series is 0, not absent.
    let mut jobs = Vec::new();
    for &kind in JobKind::ALL {
        for state in [State::Queued, State::Running] {
            let depth = now.jobs.iter().find(|job| (job.0, job.1) == (kind, state)).map_or(0, |job| job.2);
            jobs.push((vec![label("kind", kind), label("state", state)], depth as f64));
        }
    }
    add("clay_probe_jobs", "Jobs that are queued or running, by kind and state", jobs);
    let oldest = vec![(vec![], now.oldest_due.as_secs_f64())];
    add("clay_probe_oldest_due_seconds", "Age of the oldest probe that is queued or running", oldest);

    // Of several heads, the one that is furthest ahead: the others may have been added a moment ago.
    let mut lags: BTreeMap<&RunName, i64> = BTreeMap::new();
    for run in &now.runs {
        lags.entry(&run.run).and_modify(|lag| *lag = run.lag_epochs.min(*lag)).or_insert(run.lag_epochs);
    }
    let lag = lags.into_iter().map(|(run, lag)| (vec![label("run", run)], lag as f64));
    add("clay_probe_lag_epochs", "Epochs that the training is ahead of the last score of its run", lag.collect());
    let of = |r: &RunReading| Some((vec![label("run", &r.run), label("head", r.head?)], r.iou?));
    let scores = now.runs.iter().filter_map(of);
    add(
        "clay_probe_last_score",
        "IoU of water, mean over seeds, of the last score of a run and head",
        scores.collect(),
    );

    let bytes = now.bytes.iter().map(|&(kind, bytes)| (vec![label("kind", kind)], bytes as f64));
    add("clay_probe_store_bytes", "Bytes on disk in the folder of state, by kind", bytes.collect());
    let problems = now.problems.iter().map(|&reason| (vec![label("reason", reason)], 1.0));
    add("clay_probe_problems", "1 for each reason that keeps the service from its work now", problems.collect());
    registry
}

fn register<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

fn label(name: &'static str, value: impl ToString) -> (&'static str, String) {
    (name, value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_scrape() {
        let metrics = Metrics::default();
        metrics.job_ended(JobKind::Probe, State::Failed, Some(Reason::OutOfMemory));
        metrics.job_ended(JobKind::Pin, State::Done, None);
        metrics.observe_stages(&Seconds { embed: 3.0, ..Seconds::default() });
        metrics.observe_seconds_to_score(20.0);
        let now = Readings {
            jobs: vec![(JobKind::Probe, State::Queued, 4)],
            oldest_due: Duration::from_millis(1500),
            runs: vec![
                RunReading { run: RunName::default_run(), head: Some(HeadName::Conv), lag_epochs: 3, iou: Some(0.5) },
                RunReading { run: "a b/c".parse().unwrap(), head: None, lag_epochs: 1, iou: None },
            ],
            bytes: vec![("pins", 7)],
            problems: vec![Reason::NoSpace],
        };
        let text = metrics.text(&now);
        for line in [
            "# TYPE clay_probe_ends_total counter",
            "clay_probe_ends_total{kind=\"probe\",state=\"failed\",reason=\"out-of-memory\"} 1",
            "clay_probe_ends_total{kind=\"pin\",state=\"done\",reason=\"\"} 1",
            "clay_probe_stage_seconds_bucket{stage=\"embed\",le=\"5\"} 1",
            "clay_probe_seconds_to_score_sum 20.0",
            "# TYPE clay_probe_jobs gauge",
            "clay_probe_jobs{kind=\"probe\",state=\"queued\"} 4.0",
            "clay_probe_jobs{kind=\"scan\",state=\"running\"} 0.0",
            "clay_probe_oldest_due_seconds 1.5",
            "clay_probe_lag_epochs{run=\"a b/c\"} 1.0",
            "clay_probe_last_score{run=\"default\",head=\"conv\"} 0.5",
            "clay_probe_store_bytes{kind=\"pins\"} 7.0",
            "clay_probe_problems{reason=\"no-space\"} 1.0",
        ] {
            assert!(text.lines().any(|l| l == line), "`{line}` is missing in\n{text}");
        }
        assert!(!text.contains("clay_probe_last_score{run=\"a b/c\"}"), "no score is no series");
    }
}
