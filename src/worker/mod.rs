//! Runs one job in a child process: the supervisor's side, the launcher, the child's side, and the door between.

pub mod protocol;
