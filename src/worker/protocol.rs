//! What service and worker say to each other: plain serde types, one JSON line each.
//!
//! On the worker's stdin: first [`ToWorker::Job`], then [`ToWorker::Lease`] every few seconds; end of file, or silence
//! longer than the lease, stops the worker. On its stdout: first [`Event::Hello`], then events that carry job and
//! try; stderr is log. Success is the event [`Event::Finished`], never the exit status. What a kind of job takes and
//! gives is in its file below `jobs`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{Failure, JobId, JobKind, Progress};

/// Raised when either side would misread the other.
pub const PROTOCOL: u32 = 4;

/// The most bytes of a line; longer ones are logged and skipped.
pub const MAX_LINE: usize = 1_000_000;

/// What the service says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// What to do; the first line.
    Job(Order),
    /// The service is alive and still wants it.
    Lease,
}

/// One job, and how to do it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// Repeated in every event.
    pub job: JobId,
    /// Counted from 1; repeated in every event.
    #[serde(rename = "try")]
    pub try_: u32,
    /// Stop after so many seconds without a line.
    pub lease_seconds: f64,
    /// Threads to compute with.
    pub threads: usize,
    /// Niceness to take, 0 to 19.
    pub nice: u8,
    pub kind: JobKind,
    /// The job itself, as its kind has it.
    pub input: Value,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The first line, before the job is read; a mismatch of `protocol` fails by name. `device` is the kind that this
    /// worker is built for: `cpu`, `cuda`, `metal`.
    Hello { protocol: u32, version: String, host: String, device: String },
    /// How far it is.
    Progress {
        job: JobId,
        #[serde(rename = "try")]
        try_: u32,
        progress: Progress,
    },
    /// Done; the only sign of success.
    Finished {
        job: JobId,
        #[serde(rename = "try")]
        try_: u32,
        /// As the job's kind has it.
        output: Value,
    },
    /// Not done.
    Failed {
        job: JobId,
        #[serde(rename = "try")]
        try_: u32,
        failure: Failure,
    },
}
