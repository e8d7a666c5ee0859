//! The command line: one file per subcommand.

use std::process::ExitCode;

/// Parses, logs, dispatches.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
