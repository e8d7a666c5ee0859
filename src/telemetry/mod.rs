//! Logs, one line per event on standard error, filtered by `RUST_LOG` (default `info`); and metrics for Prometheus.

mod metrics;

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

pub use metrics::{CONTENT_TYPE, Metrics, Readings, RunReading};

/// Starts logging; a second call does nothing. `json` writes one JSON object a line.
pub fn start(json: bool) {
    start_at("info,sqlx=warn,tower_http=warn", json);
}

/// As [`start`], with only warnings: for commands whose own output is what a person reads.
pub fn start_quiet(json: bool) {
    start_at("warn", json);
}

fn start_at(default: &str, json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let ansi = std::io::stderr().is_terminal();
    let base = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).with_target(false);
    let _ = if json { base.json().try_init() } else { base.try_init() };
}
