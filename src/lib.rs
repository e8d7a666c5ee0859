//! `clay-probe`: a probe of the Clay encoder, beside its trainer.
//!
//! ```text
//! checkpoint file -> intake -> queue -> worker -> probe -> store -> api, dashboard
//! ```
//!
//! What is absent holds the house up: `probe` knows nothing of HTTP, SQL or tokio; `api` knows nothing of
//! tensors; the daemon never opens a checkpoint's content, only a child process does; nothing ever executes or
//! imports what a checkpoint holds, and no file of the trainer is ever written, locked or memory-mapped.

// words, used by every room
pub mod config; // config/default.toml, file, environment, flags
pub mod domain; // Epoch, Run, Digest, Seed, states, metrics, the report of a probe
pub mod error; // what a request can fail with
pub mod telemetry; // logs

// the service, in the order a checkpoint walks through it
pub mod api; // all HTTP
pub mod daemon;
pub mod dashboard; // the page
pub mod intake; // finds checkpoint files, lets them settle, asks for a pin
pub mod probe; // the science: checkpoint -> encoder -> chips -> head -> score
pub mod queue; // decides which is probed, and which is next
pub mod store; // all SQL
pub mod worker; // runs one job in a child process // starts the parts, stops them in reverse order

// what a person starts
pub mod cli; // one file per subcommand
pub mod demo; // the sample run and its mini trainer
