//! `demo-trainer`: the mini trainer of the demo, a process of its own.

use std::{io::Read, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;

use crate::demo::{sample, trainer};

/// Train a small masked auto-encoder on flood chips, writing and announcing a checkpoint every epoch.
#[derive(clap::Args)]
pub struct Args {
    /// Where checkpoints go.
    #[arg(long)]
    out: PathBuf,
    /// Folder of chips with a `manifest.csv`; without it, the sample chips of this binary.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The daemon to tell.
    #[arg(long, env = "CLAY_PROBE_URL")]
    url: Option<String>,
    /// A file with the token that the daemon asks for.
    #[arg(long, env = "CLAY_PROBE_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The name of the run.
    #[arg(long, default_value = "demo")]
    run: String,
    #[arg(long, default_value_t = 21)]
    epochs: u32,
    #[arg(long, default_value_t = 3e-4)]
    learning_rate: f64,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What goes wrong: lr-spike, swap-vv-vh or collapse.
    #[arg(long)]
    accident: Option<trainer::Accident>,
    /// In which epoch.
    #[arg(long, default_value_t = 20)]
    accident_epoch: u32,
    /// The least time an epoch takes.
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pace: Duration,
    /// Stop when standard input ends: with the process that started this one.
    #[arg(long)]
    until_stdin_ends: bool,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.until_stdin_ends {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(1);
        });
    }
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).with_context(|| format!("the token file `{}` cannot be read", path.display()))
    };
    let token = args.token_file.map(read).transpose()?.map(|text| text.trim().to_owned());
    let unpacked = tempfile::tempdir()?;
    let data = match args.data {
        Some(data) => data,
        None => {
            sample::unpack(unpacked.path())?;
            unpacked.path().to_owned()
        }
    };
    trainer::run(&trainer::Settings {
        data,
        out: args.out,
        url: args.url,
        token,
        run: args.run,
        epochs: args.epochs,
        learning_rate: args.learning_rate,
        seed: args.seed,
        accident: args.accident.map(|accident| (accident, args.accident_epoch)),
        pace: args.pace,
    })?;
    Ok(ExitCode::SUCCESS)
}
