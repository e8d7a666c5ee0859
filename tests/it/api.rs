//! The REST contract: the real router on the real store, queue and intake, one request at a time.

mod events;
mod lines;
mod reads;
mod service;
mod site;
mod writes;
