//! The Clay v1 encoder (v1.0 and v1.5), frozen: any bands of one sensor to tokens.

mod statistics;

pub use statistics::built_in;
