//! `wait`: until a run is scored so far, and what that says of it: for scripts and Slurm.

use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

use super::client::{At, Client, text_of};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);

/// Wait until an epoch of a run is scored, print the verdict, and tell it by the exit code.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  clay-probe wait --epoch 40                            until epoch 40 (or a later one) has a score
  clay-probe wait --epoch 40 --worse-exit 3             exit code 3 where the run is reported as worse by then
  clay-probe wait --epoch 40 --worse-exit 3 || scancel $TRAINER

Reported is what /verdict calls so: a confirmed alarm, or a sign of collapse. It is noticed as soon as it is there, also
before that epoch.")]
pub struct Args {
    #[command(flatten)]
    at: At,
    /// The epoch that is waited for.
    #[arg(long, value_name = "N")]
    epoch: u64,
    /// The run; the one with the newest point where not given.
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    /// End with this code where the run is reported as worse.
    #[arg(long, value_name = "CODE", default_value_t = 0)]
    worse_exit: u8,
    /// Give up after so long, with exit code 1.
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.at)?;
    let query: Vec<(&str, &str)> = args.run.iter().map(|run| ("run", run.as_str())).collect();
    let started = Instant::now();
    let mut scored = None;
    while started.elapsed() < args.timeout {
        let (status, verdict) = client.get("/verdict", &query)?;
        match status {
            200 => {
                scored = verdict["epoch"].as_u64();
                let reported = verdict["reported"] == true;
                if reported || scored.is_some_and(|epoch| epoch >= args.epoch) {
                    println!("{}: {}", text_of(&verdict["verdict"]), text_of(&verdict["sentence"]));
                    return Ok(ExitCode::from(if reported { args.worse_exit } else { 0 }));
                }
            }
            // No checkpoint was seen yet.
            404 => {}
            _ => bail!("`{}/verdict` answered {status}: {}", client.url, text_of(&verdict["detail"])),
        }
        thread::sleep(EVERY);
    }
    let so_far =
        scored.map_or("nothing is scored yet".to_owned(), |epoch| format!("epoch {epoch} is the last that is scored"));
    bail!("epoch {} had no score after {}: {so_far}", args.epoch, humantime::format_duration(args.timeout))
}
