//! The settings that `probe` and `embed` share, as flags over the configuration.

use std::path::PathBuf;

use serde_json::Value;

use crate::config::{Config, ConfigError};

/// Where to compute, and the configuration below the flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Compute {
    /// `auto`, `cpu`, `cuda:N` or `metal` [config: worker.device]
    #[arg(long, value_name = "D")]
    device: Option<String>,
    /// Threads to compute with; 0 is all cores [config: worker.threads]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Configuration over the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Compute {
    /// All layers of the configuration; `more` are a command's own flags, `None` where not given.
    pub fn load(&self, more: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Result<Config, ConfigError> {
        let own =
            [("worker.device", self.device.clone().map(Into::into)), ("worker.threads", self.threads.map(Into::into))];
        let given = own.into_iter().chain(more).filter_map(|(key, value)| Some((key, value?)));
        Config::load(self.config.as_deref(), &given.collect::<Vec<_>>())
    }
}
