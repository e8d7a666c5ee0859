//! `serve`: the daemon.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use serde_json::json;

use super::signals;
use crate::{config::Config, daemon::Daemon};

/// Watch directories for checkpoints, probe what is due, and answer over HTTP.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  clay-probe serve --data floods --dir runs/clay/checkpoints
  clay-probe serve --config clay-probe.toml
  CLAY_PROBE__QUEUE__EVERY_N_EPOCHS=1 clay-probe serve --config clay-probe.toml

Flags override the environment, which overrides the file, which overrides config/default.toml.
SIGINT (Ctrl-C) or SIGTERM stops it cleanly; started again, it goes on where it was.")]
pub struct Args {
    #[command(flatten)]
    pub settings: Settings,
}

/// The configuration, and the settings that have a flag.
#[derive(clap::Args)]
pub struct Settings {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address and port, `api.listen`; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Folder of the labelled flood chips, `probe.data`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Directory to watch, `intake.dirs`; may be given several times.
    #[arg(long, value_name = "DIR")]
    dir: Vec<PathBuf>,
    /// Probe every n-th epoch of the trainer, `queue.every_n_epochs`.
    #[arg(long, value_name = "N")]
    every_n_epochs: Option<u32>,
}

impl Settings {
    /// All layers of the configuration.
    pub fn load(&self) -> anyhow::Result<Config> {
        let mut flags = Vec::new();
        if let Some(listen) = self.listen {
            flags.push(("api.listen", json!(listen)));
        }
        if let Some(data) = &self.data {
            flags.push(("probe.data", json!(data)));
        }
        if !self.dir.is_empty() {
            flags.push(("intake.dirs", json!(self.dir)));
        }
        if let Some(n) = self.every_n_epochs {
            flags.push(("queue.every_n_epochs", json!(n)));
        }
        Ok(Config::load(self.config.as_deref(), &flags)?)
    }
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.settings.load()?;
    config.probe.needs_data()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        // Before the start, which may take a while: a stop that comes meanwhile is a clean one, too.
        let stop = signals::stop();
        let daemon = Daemon::start(config).await?;
        tracing::info!(url = %format!("http://{}/", daemon.addr()), "serving");
        daemon.run_until(stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}
