//! The door between service and science: plain serde types, one JSON line each.
//!
//! On the worker's stdin: first [`ToWorker::Job`], then [`ToWorker::Lease`] every few seconds; end of file, or silence
//! longer than the lease, stops the worker. On its stdout: first [`Event::Hello`], then events that carry job and
//! try; stderr is log. Success is the event [`Event::Finished`], never the exit status.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    config,
    domain::{ChipRecord, DatasetSummary, Digest, Epoch, Failure, Pinned, Progress, RunName},
};

/// Raised when either side would misread the other.
pub const PROTOCOL: u32 = 1;

/// Longer lines are logged and skipped.
pub const MAX_LINE: usize = 1_000_000;

/// What the service says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// What to do; the first line.
    Job(Box<Job>),
    /// The service is alive and still wants it.
    Lease,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Repeated in every event.
    pub job: i64,
    /// Counted from 1; repeated in every event.
    #[serde(rename = "try")]
    pub try_: u32,
    /// Stop after so many seconds without a line.
    pub lease_seconds: f64,
    /// Threads to compute with.
    pub threads: usize,
    /// Niceness to take, 0 to 19.
    pub nice: u8,
    pub task: Task,
}

/// The kinds of job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Task {
    /// Read the data set once: refuse what cannot be used, fill the cache, draw the chips. Always local.
    Scan(Scan),
    /// Prove a checkpoint and copy its encoder out. Always local.
    Pin(Pin),
    /// Embed, fit, score.
    Probe(Probe),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    pub settings: config::Probe,
    /// Pictures go to `<pictures>/<dataset digest>/<event>/<stem>.{rgb,sar,label}.png`.
    pub pictures: PathBuf,
    /// [`Scanned`] as JSON is written here, then renamed into place: `<results>/datasets/<digest>.json`.
    pub results: PathBuf,
}

/// What a scan found; a file, for it may be long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scanned {
    pub dataset: DatasetSummary,
    pub chips: Vec<ChipRecord>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// The trainer's file.
    pub path: PathBuf,
    /// Where the copy goes, under its weights digest.
    pub pins: PathBuf,
    pub opaque_globals: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The pinned encoder.
    pub pin: PathBuf,
    /// The trainer's file, for the report.
    pub path: PathBuf,
    pub run: RunName,
    pub epoch: Option<Epoch>,
    pub global_step: Option<u64>,
    pub settings: config::Probe,
    pub device: String,
    pub share_gpu: bool,
    pub gpu_memory: config::Size,
    /// The data set that the daemon scanned; another is a failure.
    pub dataset: Digest,
    /// The report is written here, then renamed into place: `<results>/<key>.json`.
    pub report: PathBuf,
    /// Predictions go to `<pictures>/<event>/<stem>.prediction.png`.
    pub pictures: PathBuf,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first line; a mismatch of `protocol` fails by name.
    Hello { protocol: u32, version: String, host: String, device: String },
    /// How far it is.
    Progress {
        job: i64,
        #[serde(rename = "try")]
        try_: u32,
        progress: Progress,
    },
    /// Done; the only sign of success.
    Finished {
        job: i64,
        #[serde(rename = "try")]
        try_: u32,
        outcome: Outcome,
    },
    /// Not done.
    Failed {
        job: i64,
        #[serde(rename = "try")]
        try_: u32,
        failure: Failure,
    },
}

/// What a finished job made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// The data set's digest, and where [`Scanned`] lies.
    Scan {
        dataset: Digest,
        file: PathBuf,
    },
    Pin(Box<Pinned>),
    /// Where the report lies, and the device that was really used.
    Probe {
        report: PathBuf,
        device: String,
        device_reason: String,
    },
}
