//! The science, synchronous: a checkpoint's encoder, chips, embeddings, heads, scores.
//!
//! Usable as a library; knows nothing of tokio, HTTP or SQL.

pub mod checkpoint; // .ckpt, .safetensors -> named tensors; pin; inspect
pub mod chips; // data set, GeoTIFF, location, normalisation, labels, splits, cache of chips
pub mod device; // CPU, CUDA or Metal, and why; threads
mod dump; // what a fit was made of, so that it can be repeated elsewhere
pub mod embed; // chips through the encoder, each once
pub mod encoder; // clay v0: keys, patches, positions, transformer
mod error;
mod fits; // folds x seeds, side by side
pub mod gpu; // which GPU may be taken: NVML and CUDA, matched by UUID
pub mod head; // conv decoder, its fitting
mod pictures; // predictions as PNG
pub mod preparation; // what an encoder is given of the chips: resolved before any pixel
mod run; // one probe from request to report
pub mod score; // confusion counts over batches and chips, intervals
pub mod seed; // initial weights and batch order from a seed

pub use error::ProbeError;
pub use run::{ProbeRequest, host, probe};
