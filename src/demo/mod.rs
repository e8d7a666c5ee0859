//! The sample run: real flood chips, a mini trainer in a process of its own, and the daemon beside it.

mod ckpt;
mod error;
pub mod trainer; // a small masked auto-encoder, trained on the chips

pub use error::DemoError;
