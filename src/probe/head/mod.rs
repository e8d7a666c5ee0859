//! The head that is fitted on frozen features: the documented flood decoder.

pub mod adamw;
mod conv;
mod fit;
mod phases;
mod targets;

pub use adamw::AdamW;
pub use conv::{ConvHead, LAYERS, Parameter};
pub use fit::{Example, FitSettings, FitTrace, Fitted, fit};
pub use targets::{Targets, sigmoid};
