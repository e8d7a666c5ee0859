//! The Clay v0 encoder.
pub mod keys;
