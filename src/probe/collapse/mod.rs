//! Signs that a representation collapses, from features alone, without labels.
//!
//! A trainer's loss can go on falling while the features of different places become alike. The signs measure how many
//! directions the features of a data set use; `statistics/fall.rs` says when one fell.

mod signs; // the numbers of one checkpoint

pub use signs::{CollapseError, MAX_ROWS, Signs, signs};
