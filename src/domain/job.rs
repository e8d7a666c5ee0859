//! Jobs: their kinds, how far they are, why they fail.

use serde::{Deserialize, Serialize};

use super::{Reason, words};

words! {
    /// What a worker does in one process.
    pub enum JobKind {
        /// Reads the data set once.
        Scan = "scan",
        /// Proves a checkpoint and copies its encoder out.
        Pin = "pin",
        /// Embeds, and fits the closed-form head alone.
        Quick = "quick",
        /// Embeds, fits, scores.
        Probe = "probe",
        /// The next draw of a control.
        Control = "control",
    }
}

words! {
    /// A stage of a job, in order.
    pub enum Stage {
        /// The launcher (Slurm) has not started the worker yet.
        Launch = "launch",
        Load = "load",
        Embed = "embed",
        Fit = "fit",
        Score = "score",
    }
}

/// How far a long work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    pub stage: Stage,
    pub done: u64,
    pub total: u64,
}

words! {
    /// What a failure says of trying again.
    pub enum Fault {
        /// The same work would fail again.
        Final = "final",
        /// It may pass: a file half written, a worker killed.
        Passing = "passing",
        /// Not the work but its surroundings: they are waited for, and no retry is used up.
        Surroundings = "surroundings",
    }
}

/// Why a job ended without an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: Reason,
    /// What and where.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    pub fault: Fault,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(reason: Reason, fault: Fault, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), hint: None, fault }
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Message and hint in one text, as rows and logs keep it.
    pub fn text(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}; hint: {hint}", self.message),
            None => self.message.clone(),
        }
    }
}
