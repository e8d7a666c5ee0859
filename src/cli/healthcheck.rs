//! `healthcheck`: whether a daemon answers, for containers without curl.

use std::{process::ExitCode, time::Duration};

use crate::error::Error;

/// Ask a running daemon whether it is well; exit status 0 or 1.
#[derive(clap::Args)]
#[command(after_help = "Example: clay-probe healthcheck --url http://127.0.0.1:8080 --ready")]
pub struct Args {
    /// Where the daemon listens.
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "CLAY_PROBE_URL")]
    url: String,
    /// Ask `/readyz` (it can probe) instead of `/livez` (it answers).
    #[arg(long)]
    ready: bool,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 5)]
    timeout: u64,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let url = format!("{}/{}", args.url.trim_end_matches('/'), if args.ready { "readyz" } else { "livez" });
    let timeout = Some(Duration::from_secs(args.timeout));
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(timeout).build().into();
    let answer = agent.get(&url).call();
    let status = answer.map_err(|error| {
        Error::not_found(format!("`{url}` does not answer: {error}")).with_hint("is `clay-probe serve` running there?")
    })?;
    println!("{url}: {}", status.status());
    Ok(ExitCode::SUCCESS)
}
