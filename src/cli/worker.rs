//! `worker`: one job for the daemon, in a process of its own; see `worker/protocol.rs`.

use std::process::ExitCode;

use crate::worker::child;

/// Do one job that the daemon writes to standard input.
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args) -> ExitCode {
    child::main()
}
