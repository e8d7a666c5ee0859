//! The sample run: real flood chips, a mini trainer in a process of its own, and the daemon beside it.

mod ckpt; // writes checkpoints as torch.save does
mod error;
mod run; // daemon, trainer, table
pub mod sample; // the chips, carried in the binary
mod table;
pub mod trainer; // a small masked auto-encoder, trained on the chips

pub use error::DemoError;
pub use run::{Options, run};
