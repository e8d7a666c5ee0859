//! Signal or noise: intervals and verdicts from scores per event and seed.
//!
//! ```text
//! table -> components -> compare                        two points, or one with its interval
//!             |      \-> noise -> reference -> alarm    a run that fell, and stays down
//!             |              \-> best                   points not worse than the best
//!             \-> trend                                 the last k points; with the alarm: verdict
//! fall                                                a sign of collapse: needs no labels and no events
//! ```
//! Pure functions of `f64` and labels: no I/O, no clock, no random numbers, and never NaN out of finite numbers in. What
//! the rules hold to is measured by `benches/calibration.rs`; its tables are in `docs/calibration.md`.

mod alarm;
mod best;
mod compare;
mod components;
mod fall;
mod noise;
mod reference;
mod scale;
mod student;
mod table;
mod trend;
mod verdict;

pub use alarm::{Alarm, Rule, Stage, Watch, alarm};
pub use best::{Best, best};
pub use compare::{Comparison, Estimate, Verdict, compare, detectable_from, interval};
pub use components::{Components, MeanSquare, StandardError, Variances};
pub use fall::{Fall, FallRule, falls};
pub use noise::Noise;
pub use reference::Reference;
pub use scale::{Direction, Scale};
pub use student::quantile;
pub use table::{Point, Table};
pub use trend::{Doubt, Tendency, Trend, trend};
pub use verdict::{Advice, CollapseSign, Evidence, RunVerdict, verdict};

/// Events under which nothing is said about other events: two agree in sign by chance every second time.
pub const FEWEST_EVENTS: usize = 3;
