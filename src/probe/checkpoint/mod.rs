//! The containers of checkpoints: restricted readers that give named tensors and plain values, and know no encoder.
//!
//! ```text
//! file -> archive -> pickle -> torch ─┐
//! file -> safetensors ────────────────┴─> container, contents -> (weights)
//! ```
//!
//! A file is opened once and read with plain reads; nothing in it is run, imported or mapped.

mod archive; // the ZIP: directory, entries with their CRC
mod calls; // what the few known calls of a pickle make
mod container; // told by content, opened, read from
mod contents; // what a container holds
mod dtype; // element types
mod error;
mod file; // the trainer's file: one descriptor, unchanged or not, bytes counted
mod globals; // the names a pickle may mention
mod pickle; // the opcode machine
mod refusal; // why a pickle is refused
mod safetensors;
mod torch; // state dict, epoch, hyper-parameters
mod value; // values of a pickle
mod view; // where a tensor lies

pub use error::CheckpointError;
pub use view::TensorInfo;

pub(super) use container::{Container, open};
pub(super) use contents::{Contents, Entry};
pub(super) use error::Result;
pub(super) use file::TrainerFile;
pub(super) use view::View;
