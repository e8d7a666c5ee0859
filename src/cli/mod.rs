//! The command line: one file per subcommand.

mod check;
mod client;
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
mod status;
mod trainer;
mod wait;
mod worker;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    config::ConfigError,
    demo::DemoError,
    error::Error,
    probe::{ProbeError, checkpoint::CheckpointError, chips::ChipError},
    telemetry,
};

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
  clay-probe status --watch                         what a running daemon does, and why
  clay-probe wait --epoch 40 --worse-exit 3         until that epoch is scored; what the scores say as exit code

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
    Status(status::Args),
    Wait(wait::Args),
    Healthcheck(healthcheck::Args),
    #[command(hide = true)]
    Worker(worker::Args),
    #[command(hide = true)]
    DemoTrainer(trainer::Args),
}

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
        Command::Status(args) => status::run(args),
        Command::Wait(args) => wait::run(args),
        Command::Healthcheck(args) => healthcheck::run(args),
        Command::Worker(args) => Ok(worker::run(&args)),
        Command::DemoTrainer(args) => trainer::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprint!("{}", describe(&error));
        ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
    })
}

/// `error: …` with its causes and its reason code, and what to do on a line of its own.
fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some tell their cause themselves.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    if let Some(error) = error.chain().find_map(|cause| cause.downcast_ref::<ProbeError>()) {
        text = format!("{text} [{}]", error.reason());
    }
    match error.chain().find_map(hint_of) {
        Some(hint) => format!("{text}\nhint: {hint}\n"),
        None => format!("{text}\n"),
    }
}

/// What to do, by the types of errors that say it.
fn hint_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    let probe = || error.downcast_ref::<ProbeError>()?.hint();
    let checkpoint = || error.downcast_ref::<CheckpointError>()?.hint.as_deref();
    let chips = || error.downcast_ref::<ChipError>()?.hint.as_deref();
    let config = || error.downcast_ref::<ConfigError>()?.hint();
    let service = || error.downcast_ref::<Error>()?.hint();
    let demo = || error.downcast_ref::<DemoError>()?.hint();
    probe().or_else(checkpoint).or_else(chips).or_else(config).or_else(service).or_else(demo)
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;
    use crate::probe::device;

    #[test]
    fn errors_name_the_cause_and_what_to_do() {
        let error = Error::not_found("no such file").with_hint("make it");
        let error = Err::<(), _>(error).context("`a.toml` cannot be read").unwrap_err();
        assert_eq!(describe(&error), "error: `a.toml` cannot be read: no such file\nhint: make it\n");
        assert_eq!(describe(&anyhow!("it broke")), "error: it broke\n");
        let refused = ProbeError::io("a.ckpt")(std::io::ErrorKind::NotFound.into());
        assert_eq!(describe(&refused.into()), "error: `a.ckpt`: entity not found [io]\n", "its cause is told once");
        let device = device::choose(&device::DeviceRequest {
            device: "gpu",
            serve: false,
            share_gpu: false,
            gpu_memory: crate::config::Size(0),
        });
        let device = ProbeError::from(device.unwrap_err());
        let told = "error: `gpu` is not a device [device]\nhint: `auto`, `cpu`, `cuda:0` or `metal`\n";
        assert_eq!(describe(&device.into()), told);
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
