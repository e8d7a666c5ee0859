//! Finds checkpoint files, lets them settle, has them proven and pinned, and puts them on their curve.

mod desk;
mod files;
mod paths;
mod scan;
mod watch;

pub use desk::Desk;
pub use files::{identity_of, is_checkpoint_name};
pub use paths::Places;
pub use scan::{PinJobs, Scanner};
pub use watch::Watcher;
