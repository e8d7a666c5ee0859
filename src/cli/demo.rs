//! `demo`: the daemon on sample data beside a mini trainer.

use std::{path::PathBuf, process::ExitCode};

use super::signals;
use crate::demo;

/// See it work: real flood chips, a mini trainer, the daemon and its page. Nothing to set up.
///
/// A small masked auto-encoder is trained on a few chips in a process of its own, which writes a checkpoint every
/// epoch; the daemon probes every 5th. It shows the machine at work, not a result: on so few chips such a model does
/// not beat random features.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  clay-probe demo                     until Ctrl-C, on a free port
  clay-probe demo --once              ends by itself after the last probe; exit code 0 when all have scores
  clay-probe demo --keep /tmp/demo    leave database, checkpoints and results there")]
pub struct Args {
    /// The port of page and API; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// End by itself after the last probe.
    #[arg(long)]
    once: bool,
    /// Work in this folder and leave everything there, instead of in a temporary one.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Epochs to train [default: 21 with --once, else 101].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Probe every n-th epoch.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let options = demo::Options {
        port: args.port,
        once: args.once,
        epochs: args.epochs.unwrap_or(if args.once { 21 } else { 101 }),
        every: args.every,
        keep: args.keep,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let good = runtime.block_on(async { demo::run(&options, signals::stop()).await })?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
