//! The encoders, frozen: one folder per family, one transformer for all.
//!
//! The modules mirror the state dict: a field is named like its segment of the key. Only inference: nothing here
//! has a gradient.

mod attention;
pub mod clay_v0;
pub mod clay_v1;
mod layers;
mod source;
mod transformer;

use candle_core::{Result as TensorResult, Tensor};

pub use clay_v0::{Encoder, GROUPS, PATCH, keys, to_grid};
pub use source::{EncoderError, TensorSource};

/// Watches the intermediate results of a forward pass, by the names of the golden files.
pub type Trace<'a> = &'a mut dyn FnMut(&str, &Tensor) -> TensorResult<()>;
