//! The integration tests: one binary, a file per capability.

#![expect(clippy::unwrap_used, reason = "a test, and what it is helped by, ends right there")]

mod api;
mod chips;
mod cli;
mod compare;
mod curve;
mod dataset;
mod demo;
mod digests;
mod encoder;
mod from_scratch;
mod heads;
mod imports;
mod intake;
mod journal;
mod layouts;
mod lines;
mod made;
mod manifest;
mod probe;
mod quick;
mod rig;
mod service;
mod shared;
mod space;
mod tidy;
mod troubles;
mod unpickle;
