//! Runs one job in a child process: launcher and supervisor on this side of the door, `child` on the other.

pub mod child;
mod heart;
pub mod lanes;
mod launch;
mod pinner;
pub mod protocol;
mod supervise;

pub use launch::Launcher;
pub use pinner::Pinner;
pub use supervise::Supervisor;
