//! The configuration: a section per room, `config/default.toml` below a file, the environment and flags.

mod load;
mod units;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::domain::{HeadName, HeadSettings, Input, Interval, Seed, words};

pub use load::{ConfigError, DEFAULT_TOML};
pub use units::Size;

/// All sections. Each room takes its own only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub intake: Intake,
    pub queue: Queue,
    pub worker: Worker,
    pub probe: Probe,
    pub store: Store,
    pub api: Api,
}

/// How checkpoint files are found and proven whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intake {
    pub dirs: Vec<PathBuf>,
    pub roots: Vec<PathBuf>,
    pub path_map: BTreeMap<String, PathBuf>,
    pub watch: Watch,
    #[serde(with = "units::duration")]
    pub settle: Duration,
    #[serde(with = "units::duration")]
    pub poll: Duration,
    #[serde(with = "units::duration")]
    pub give_up: Duration,
}

/// How files are found besides the rescan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    Auto,
    Notify,
    Poll,
}

/// Which checkpoints are probed, and in which order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    pub every_n_epochs: u32,
    pub every_n_steps: u64,
    pub quick_every_n_epochs: u32,
    pub controls: bool,
    pub due: Due,
    #[serde(with = "units::maybe_duration")]
    pub idle_after: Option<Duration>,
    pub retries: u32,
}

/// The due rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    AtLeast,
    Modulo,
}

/// How jobs are run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Worker {
    pub command: Vec<String>,
    pub launcher: Vec<String>,
    pub max_parallel: usize,
    #[serde(with = "units::duration")]
    pub lease: Duration,
    #[serde(with = "units::duration")]
    pub timeout: Duration,
    pub threads: usize,
    pub nice: u8,
    pub device: String,
    pub share_gpu: bool,
    pub gpu_memory: Size,
}

/// What is computed. Everything here that changes a number is part of the data set's digest, its assignment, the
/// preparation, or a head's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    pub data: PathBuf,
    pub layout: Layout,
    pub crop: u32,
    pub split: Split,
    pub folds: u32,
    pub split_seed: u64,
    pub strict: bool,
    pub heads: Vec<HeadName>,
    pub seeds: Vec<u64>,
    pub fit_steps: u32,
    pub batch_size: u32,
    pub learning_rate: f64,
    pub threshold: f64,
    pub clouds: Clouds,
    pub latlon: Latlon,
    pub inputs: Vec<Input>,
    pub prefix: String,
    pub metadata: PathBuf,
    pub interval: Interval,
    pub margin: f64,
    pub opaque_globals: Vec<String>,
}

impl Probe {
    /// Refuses an empty `data`: without a data set there is nothing to probe with.
    pub fn needs_data(&self) -> Result<(), ConfigError> {
        if !self.data.as_os_str().is_empty() {
            return Ok(());
        }
        Err(ConfigError::refused("no data set to probe with: `probe.data` is empty").with_hint(
            "give the folder of labelled flood chips with `--data DIR` or `probe.data` in a `--config FILE`, or run \
             `clay-probe demo` for sample data",
        ))
    }

    /// What decides the numbers of each head, in the configured order.
    pub fn head_settings(&self) -> Vec<HeadSettings> {
        let of = |&head| match head {
            HeadName::Ridge => HeadSettings::closed_form(head),
            HeadName::Conv | HeadName::Linear | HeadName::Segmentor => HeadSettings {
                revision: 1,
                head,
                seeds: self.seeds.iter().copied().map(Seed).collect(),
                fit_steps: self.fit_steps,
                batch_size: self.batch_size,
                learning_rate: self.learning_rate,
                threshold: self.threshold,
            },
        };
        self.heads.iter().map(of).collect()
    }
}

words! {
    /// How the data set lies on disk.
    pub enum Layout {
        /// Found out from what is there.
        Auto = "auto",
        Cube = "cube",
        Sen1Floods11 = "sen1floods11",
        C2smsFloods = "c2smsfloods",
    }
}

words! {
    /// How chips are dealt to training and validation.
    pub enum Split {
        EventFolds = "event_folds",
        List = "list",
        Random = "random",
    }
}

words! {
    /// What happens under cloud and shadow.
    pub enum Clouds {
        /// Pixels as they are, labels ignored.
        Ignore = "ignore",
        /// Raw 0 in all bands, label 0.
        ClayV0 = "clay_v0",
    }
}

words! {
    /// How a chip's place is given to the encoder.
    pub enum Latlon {
        /// Degrees of the centre.
        Wgs84 = "wgs84",
        /// Projected metres of the centre, taken for degrees.
        ClayV0Benchmark = "clay_v0_benchmark",
        /// Zeros: Clay v1 is told neither place nor date, as in part of its training; Clay v0 only no place, for it has no
        /// date that means unknown.
        None = "none",
    }
}

/// Where results are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub dir: PathBuf,
    pub max_bytes: Size,
    pub keep_last: u32,
    pub keep_best: u32,
    pub keep_events: u32,
}

/// How the service is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub listen: SocketAddr,
    pub token_file: PathBuf,
    pub protect_reads: bool,
    pub hosts: Vec<String>,
}
