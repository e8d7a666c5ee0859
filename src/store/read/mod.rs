//! What the API reads, one file per resource. Rows are answered as they are: a field here is a key there.

mod checkpoints;
#[cfg(test)]
mod cost;
mod datasets;
mod line;
mod point;
mod result;
mod runs;
mod series;
mod service;

use serde::Serialize;

pub use checkpoints::{CheckpointFilter, CheckpointItem};
pub use line::{ChosenLine, LineChoice, LineRow};
pub use point::{Other, PointItem};
pub use result::HeadItem;
pub use runs::RunItem;
pub use series::{SeriesFilter, SeriesItem, SeriesName};
pub use service::{LastScore, QueueDepth};

/// What an epoch shows, as a table `shown_points` before a query; a view cannot take the line that is asked for.
const SHOWN_POINTS: &str = include_str!("shown_points.sql");

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Give it as `cursor` to read on; null at the end.
    pub next: Option<i64>,
}

impl<T> Page<T> {
    /// A page of at most `limit` items out of one more than that, and the cursor of its last.
    fn cut(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> i64) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }
}
