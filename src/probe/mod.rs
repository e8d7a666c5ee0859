//! The science, synchronous: a checkpoint's encoder, chips, embeddings, heads, scores.
//!
//! Usable as a library; knows nothing of tokio, HTTP or SQL.

pub mod checkpoint; // .ckpt, .safetensors -> named tensors; pin; inspect
pub mod chips; // data set, GeoTIFF, location, normalisation, labels, splits, cache of chips
pub mod encoder; // clay v0: keys, patches, positions, transformer
pub mod head; // conv decoder, its fitting, seeds
pub mod score; // confusion counts over batches and chips, intervals
