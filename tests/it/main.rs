//! The integration tests: one binary, a file per capability.

mod api;
mod chips;
mod cli;
mod dataset;
mod demo;
mod encoder;
mod probe;
mod rig;
mod service;
mod tidy;
mod unpickle;
