//! What the API reads, one file per resource. Rows are answered as they are: a field here is a key there.

mod checkpoints;
#[cfg(test)]
mod cost;
mod datasets;
mod history;
mod line;
mod point;
mod result;
mod runs;
mod series;
mod service;

use serde::Serialize;
use sqlx::{Sqlite, SqliteConnection, Transaction};

use crate::{error::Result, store::Store};

pub use checkpoints::{CheckpointFilter, CheckpointItem};
pub use history::HistoryPoint;
pub use line::{ChosenLine, LineChoice, LineRow};
pub use point::{Other, PointItem};
pub use result::HeadItem;
pub use runs::RunItem;
pub use series::{SeriesFilter, SeriesItem, SeriesName};
pub use service::{LastScore, QueueDepth};

/// What an epoch shows, as a table `shown_points` before a query; a view cannot take the line that is asked for.
const SHOWN_POINTS: &str = include_str!("shown_points.sql");

/// The database at one moment, for an answer of several queries: what is stored meanwhile is in none of them.
pub struct Snapshot(Transaction<'static, Sqlite>);

impl Store {
    /// The database as it is at the snapshot's first query.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot(self.pool().begin().await?))
    }
}

impl Snapshot {
    fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}

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
