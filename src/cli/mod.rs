//! The command line: one file per subcommand.

mod embed;
mod folders;
mod probe;
mod progress;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Watches a Clay encoder learn: flood segmentation scores of its frozen embeddings, epoch by epoch.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Probe(probe::ProbeArgs),
    Embed(embed::EmbedArgs),
}

/// Parses, logs, dispatches. Exit codes: 0 done, 1 failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Probe(args) => probe::run(&args),
        Command::Embed(args) => embed::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
