//! Runs one job in a child process: launcher and supervisor on the service's side, `child` on the other.

pub mod child;
mod heartbeat;
pub mod jobs;
mod launch;
mod lines;
mod pause;
pub mod protocol;
mod room;
mod runner;
mod supervise;

pub use jobs::preparer;
pub use launch::Launcher;
pub use room::Room;
pub use runner::Runner;
pub use supervise::{RunOf, Supervisor};
