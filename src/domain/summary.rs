//! A metric over seeds: mean, spread, interval.

use serde::{Deserialize, Serialize};

use super::words;

/// A metric over seeds; nulls are skipped and `n` says how many were left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub mean: Option<f64>,
    /// Sample standard deviation over seeds; `None` below two.
    pub std: Option<f64>,
    pub n: u32,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub interval: Interval,
}

words! {
    /// What `low` and `high` are.
    pub enum Interval {
        /// Smallest and largest over seeds.
        SeedMinmax = "seed_minmax",
        /// Student's t interval of the mean over seeds, 95%.
        T95 = "t95",
    }
}
