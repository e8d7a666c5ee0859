//! `clay-probe`: a probe of the Clay encoder, beside its trainer.
//!
//! ```text
//! checkpoint file -> intake -> queue -> worker -> probe -> store -> api, dashboard
//! ```
//!
//! What is absent holds the house up: `probe` knows nothing of HTTP, SQL or tokio; `api` knows nothing of
//! tensors; the daemon never opens a checkpoint's content, only a child process does; nothing ever executes or
//! imports what a checkpoint holds, and no file of the trainer is ever written, locked or memory-mapped.
//!
//! Words, used by every room:
//!
//! - `domain`: Epoch, Run, Digest, Seed, states and their changes, reason codes, metrics, the report of a probe
//! - `config`: config/default.toml, file, environment, flags
//! - `error`: what a request can fail with
//! - `telemetry`: logs and metrics
//! - `status`: what the service is doing now, in memory
//!
//! The service, in the order a checkpoint walks through it:
//!
//! - `intake`: finds checkpoint files, lets them settle, asks for their pins, puts them on their curve
//! - `queue`: decides which is probed, and which job is next
//! - `worker`: runs one job in a child process
//! - `probe`: the science, synchronous: checkpoint -> encoder -> chips -> head -> score
//! - `statistics`: intervals, differences, trends, alarms: from scores per event and seed
//! - `findings`: what a run's scores say, in words with figures
//! - `store`: all SQL; the journal, where states change
//! - `api`: all HTTP
//! - `dashboard`: the page
//! - `daemon`: starts the parts, stops them in reverse order
//!
//! What a person starts:
//!
//! - `cli`: one file per subcommand
//! - `demo`: the sample run and its mini trainer

#[cfg(test)]
extern crate self as clay_probe; // what unit tests share with those in `tests` names it so

pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dashboard;
pub mod demo;
pub mod domain;
pub mod error;
pub mod findings;
pub mod intake;
pub mod probe;
pub mod queue;
pub mod statistics;
pub mod status;
pub mod store;
pub mod telemetry;
pub mod worker;
