//! The science, synchronous: a checkpoint's encoder, chips, embeddings, heads, scores.
//!
//! Usable as a library; knows nothing of tokio, HTTP or SQL.

pub mod checkpoint; // .ckpt, .safetensors -> named tensors
pub mod chips; // data set, GeoTIFF, location, normalisation, labels, splits, cache of chips
pub mod collapse; // signs of collapse, without labels
pub mod controls; // random encoders, the bands, thresholds: what learnt nothing
pub mod device; // CPU, CUDA or Metal, and why; threads
mod dump; // what a fit was made of, so that it can be repeated elsewhere
pub mod embed; // features and given tensors to a file
pub mod encoder; // families: what tells them, keys, inputs, patches, transformer
mod error;
pub mod features; // chips through the encoder, each once, and kept
pub mod fits; // heads x folds x seeds, side by side
pub mod gpu; // which GPU may be taken: NVML and CUDA, matched by UUID
pub mod head; // the heads and their fitting
mod matrix; // symmetric products, their factors and eigenvalues
mod pictures; // predictions as PNG
pub mod preparation; // what an encoder is given of the chips: resolved before any pixel
pub mod quick; // the closed-form head on cached features
pub mod reporting; // what fits come to, in the report's words
mod resources; // device and caches
pub mod ridge; // the closed-form head
mod run; // one probe from request to report
pub mod score; // confusion counts over batches and chips
pub mod seed; // initial weights and batch order from a seed
pub mod weights; // an encoder out of a checkpoint: recognised, proven, pinned, inspected

pub use controls::{ControlRequest, controls};
pub use error::ProbeError;
pub use resources::Resources;
pub use run::{ProbeRequest, host, probe, resolve, weights_options};
