//! The database: SQLite in WAL mode, one writer. All SQL of the project is in this folder.

mod checkpoints;
mod datasets;
mod pins;
mod points;
mod read;
mod requests;
mod results;

use std::{path::Path, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::error::{Error, Result};

pub use checkpoints::{FileRow, Identity, NewCheckpoint, PostedFields};
pub use points::{AttemptTop, NewPoint, PlacedPoint};
pub use read::*;
pub use requests::{ClaimedRequest, RequestRow, SlotRow};
pub use results::ResultKey;

/// A handle on the database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    readers: SqlitePool,
    writer: SqlitePool,
}

/// A write transaction; nothing is kept unless it is committed.
pub type Write = Transaction<'static, Sqlite>;

impl Store {
    /// Opens or creates the database and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A 202 promises that the row survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await?;
        sqlx::migrate!().run(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        Ok(Self { readers, writer })
    }

    /// Begins a write; others wait until it ends.
    pub async fn write(&self) -> Result<Write> {
        Ok(self.writer.begin_with("begin immediate").await?)
    }

    /// The connections for reading.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.readers
    }

    /// Finishes what is under way and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Now, as the database keeps times.
pub fn now() -> String {
    text_of(Utc::now())
}

/// A time as the database keeps it: RFC 3339, UTC, milliseconds; sorts as text.
pub fn text_of(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A time that the database kept.
pub fn time_of(text: &str) -> Result<DateTime<Utc>> {
    let time =
        DateTime::parse_from_rfc3339(text).map_err(|e| Error::Internal(format!("`{text}` is not a time: {e}")))?;
    Ok(time.with_timezone(&Utc))
}

/// JSON that the database kept.
pub(crate) fn json_of<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::Internal(format!("a row holds JSON that does not parse: {e}")))
}

/// JSON as the database keeps it.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::Internal(format!("a value has no JSON: {e}")))
}
