//! `demo`: the daemon on sample data beside a mini trainer.

use std::{path::PathBuf, process::ExitCode};

use super::signals;
use crate::demo;

/// See it work: real flood scenes, a mini trainer that has an accident, the daemon and its page. Nothing to set up.
///
/// A small masked auto-encoder learns from crops of eight scenes in a process of its own, which writes a checkpoint every
/// epoch. In epoch 20 something goes wrong. The loss recovers; the daemon says what the representation lost.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  clay-probe demo                                 until Ctrl-C, on a free port
  clay-probe demo --once                          ends by itself; exit code 0 when the accident was reported within two
                                                  epochs, and nothing before it
  clay-probe demo --once --no-accident --seed 3   exit code 0 when nothing was reported
  clay-probe demo --keep /tmp/demo                leave database, checkpoints and results there")]
pub struct Args {
    /// The port of page and API; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// End by itself when all is scored.
    #[arg(long)]
    once: bool,
    /// Work in this folder and leave everything there, instead of in a temporary one.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Epochs to train [default: 30 with --once, else 101].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Option<u32>,
    /// Probe every n-th epoch in full.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Seed of the trainer.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What goes wrong in epoch 20: lr-spike, swap-vv-vh or collapse.
    #[arg(long, value_name = "KIND", default_value = "lr-spike")]
    accident: demo::Accident,
    /// Nothing goes wrong.
    #[arg(long, conflicts_with = "accident")]
    no_accident: bool,
}

/// When it happens.
const ACCIDENT: u32 = 20;

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let options = demo::Options {
        port: args.port,
        once: args.once,
        epochs: args.epochs.unwrap_or(if args.once { 30 } else { 101 }),
        every: args.every,
        seed: args.seed,
        accident: (!args.no_accident).then_some((args.accident, ACCIDENT)),
        keep: args.keep,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let good = runtime.block_on(async { demo::run(&options, signals::stop()).await })?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
