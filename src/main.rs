//! The `clay-probe` binary: parse, log, dispatch, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    clay_probe::cli::main()
}
