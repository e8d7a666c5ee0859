//! What the API reads, one file per resource. Rows are answered as they are: a field here is a key there.

mod checkpoints;
mod curves;
mod datasets;
mod point;
mod result;
mod runs;
mod series;

use serde::Serialize;
use sqlx::{Decode, Sqlite, Type, error::BoxDynError, sqlite::SqliteValueRef};

pub use checkpoints::{CheckpointFilter, CheckpointRow};
pub use curves::{CurveRow, FitCurve};
pub use point::{Other, PointRow};
pub use result::{ChipSum, FitRow, ResultRow, SummaryRow};
pub use runs::RunRow;
pub use series::{SeriesFilter, SeriesItem};

/// A column of JSON text, answered as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Doc(pub serde_json::Value);

impl Type<Sqlite> for Doc {
    fn type_info() -> <Sqlite as sqlx::Database>::TypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
}

impl<'r> Decode<'r, Sqlite> for Doc {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(serde_json::from_str(<&str as Decode<'r, Sqlite>>::decode(value)?)?))
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
