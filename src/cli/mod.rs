//! The command line: one file per subcommand.

mod check;
mod compute;
mod demo;
mod embed;
mod folders;
mod healthcheck;
mod inspect;
mod probe;
mod progress;
mod serve;
mod signals;
mod trainer;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{config::ConfigError, telemetry};

/// Probes the encoder of a Clay foundation model while it trains: flood segmentation curves from frozen embeddings.
#[derive(Parser)]
#[command(name = "clay-probe", version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    /// Write logs as one JSON object a line.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  clay-probe demo                                   see it work: sample data, a mini trainer, a page
  clay-probe check --config clay-probe.toml         look at everything a long run needs
  clay-probe serve --config clay-probe.toml         watch a directory and probe what appears in it
  clay-probe probe epoch-15.ckpt --data floods      one probe, no daemon, same code, same result
  clay-probe inspect epoch-15.ckpt                  what it is, or exactly why it is refused

Every setting: config/default.toml; environment: CLAY_PROBE__SECTION__KEY; logs: RUST_LOG.
Exit codes: 0 done, 1 failed, 2 wrong usage.";

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    Probe(probe::ProbeArgs),
    Embed(embed::EmbedArgs),
    Inspect(inspect::Args),
    Check(check::Args),
    Healthcheck(healthcheck::Args),
    #[command(hide = true)]
    Worker(worker::Args),
    #[command(hide = true)]
    DemoTrainer(trainer::Args),
}

/// A mistake in how the program was called or configured: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUsage(String);

/// Parses, logs, dispatches.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Serve(_) | Command::Worker(_) | Command::DemoTrainer(_) => telemetry::start(cli.log_json),
        _ => telemetry::start_quiet(cli.log_json),
    }
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Probe(args) => probe::run(&args),
        Command::Embed(args) => embed::run(&args),
        Command::Inspect(args) => inspect::run(args),
        Command::Check(args) => check::run(args),
        Command::Healthcheck(args) => healthcheck::run(args),
        Command::Worker(args) => Ok(worker::run(&args)),
        Command::DemoTrainer(args) => trainer::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprint!("{}", describe(&error));
        let usage = error.is::<WrongUsage>() || error.is::<ConfigError>();
        ExitCode::from(if usage { 2 } else { 1 })
    })
}

/// `error: …` with its causes, and what to do on a line of its own.
fn describe(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let (what, hint) = match text.split_once("hint: ") {
        Some((what, hint)) => (what.trim_end_matches(|c: char| c.is_whitespace() || c == ';'), Some(hint)),
        None => (text.as_str(), None),
    };
    let hint = hint.map(|hint| format!("hint: {}\n", hint.trim_end())).unwrap_or_default();
    format!("error: {what}\n{hint}")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn errors_name_the_cause_and_what_to_do() {
        let error =
            Err::<(), _>(anyhow!("no such file; hint: make it")).context("`a.toml` cannot be read").unwrap_err();
        assert_eq!(describe(&error), "error: `a.toml` cannot be read: no such file\nhint: make it\n");
        assert_eq!(describe(&anyhow!("it broke")), "error: it broke\n");
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
