//! What a person may choose.

use std::path::PathBuf;

use super::trainer::Accident;

/// The name of the demo's run.
pub const RUN: &str = "demo";

/// What a person may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// 0 takes a free one.
    pub port: u16,
    /// End after the last probe.
    pub once: bool,
    /// Work here and leave everything, instead of in a temporary folder that is removed.
    pub keep: Option<PathBuf>,
    /// Epochs of the trainer.
    pub epochs: u32,
    /// Probe every n-th of them in full.
    pub every: u32,
    /// Of the trainer.
    pub seed: u64,
    /// What goes wrong, and in which epoch.
    pub accident: Option<(Accident, u32)>,
}
