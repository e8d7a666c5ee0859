//! The sample run: real flood chips, a mini trainer in a process of its own, and the daemon beside it.

mod ckpt; // writes checkpoints as torch.save does
mod error;
mod options;
mod process; // the trainer's
mod run; // daemon, trainer, table
pub mod sample; // the chips, carried in the binary
mod table;
pub mod trainer;
mod watch; // what it prints // a small masked auto-encoder, trained on the chips

pub use error::DemoError;
pub use options::Options;
pub use run::run;
pub use trainer::Accident;
