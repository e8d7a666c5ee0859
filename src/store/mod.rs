//! The database: SQLite in WAL mode, one writer. All SQL of the project is in this folder.

mod checkpoints;
mod controls;
mod datasets;
mod events;
mod folder;
mod jobs;
mod journal;
mod points;
mod read;
mod results;
mod space;
mod types;
mod write;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::{
    Connection, SqliteConnection, SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::watch;

use self::write::Writer;
use crate::error::{Error, Result};

pub use checkpoints::{CheckpointRow, NewCheckpoint};
pub use controls::ControlKey;
pub use events::EventRow;
pub use folder::Folder;
pub use jobs::{JobRow, NewJob, ProbeSubject};
pub use journal::{Why, change};
pub use points::{NewPoint, PointRow, Slot, Top};
pub use read::*;
pub use results::ResultKey;
pub use space::{Limits, Usage, remove_path};
pub use write::Write;

/// Packages whose databases are not read, by how the checksum of their first migration starts.
const EARLIER: &[(&str, &str)] =
    &[("21149496185d7f8b", "clay-probe 0.1.0 of 2026-11-24, which kept one score a checkpoint and knew no heads")];

/// A handle on the database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    readers: SqlitePool,
    writer: Arc<Writer>,
    folder: Folder,
}

impl Store {
    /// Opens or creates the database of a folder and brings its schema up to date. The folder's lock must be held.
    ///
    /// # Errors
    /// A database that is no database, or of another package, which is named.
    pub async fn open(folder: &Folder) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(folder.database())
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A 202 promises that the row survives a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10));
        let mut first = SqliteConnection::connect_with(&options).await?;
        migrate(&mut first, folder).await?;
        first.close().await?;
        let readers = SqlitePoolOptions::new().max_connections(4).connect_with(options.clone()).await?;
        Ok(Self { readers, writer: Arc::new(Writer::new(options)), folder: folder.clone() })
    }

    /// Begins a write; others wait until it ends. See [`Write::end`].
    pub async fn write(&self) -> Result<Write> {
        self.writer.begin().await
    }

    /// Why the database could not be written the last time it was tried; `None` once it could.
    pub fn problem(&self) -> Option<String> {
        self.writer.problem()
    }

    /// Finds out whether the database can be written: takes some pages, and gives them back.
    pub async fn try_writing(&self) -> Result<()> {
        let mut tx = self.write().await?;
        let done = async {
            sqlx::query("create table trial (bytes blob) strict").execute(&mut *tx).await?;
            sqlx::query("insert into trial values (zeroblob(16384))").execute(&mut *tx).await?;
            sqlx::query("drop table trial").execute(&mut *tx).await?;
            Ok(())
        };
        let done = done.await;
        tx.end(done).await
    }

    /// Changes after each commit.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.writer.commits()
    }

    /// Where all state lies.
    pub fn folder(&self) -> &Folder {
        &self.folder
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

async fn migrate(connection: &mut SqliteConnection, folder: &Folder) -> Result<()> {
    let path = folder.database();
    match sqlx::migrate!().run(&mut *connection).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMismatch(_)) => Err(Error::invalid(format!(
            "`{}` was written by {}",
            path.display(),
            writer(connection).await
        ))
        .with_hint(
            "move it away, or give this daemon another `store.dir`; what the trainer still has is found and probed anew",
        )),
        Err(MigrateError::VersionMissing(version)) => Err(Error::invalid(format!(
            "`{}` was made by a newer clay-probe (its schema has step {version})",
            path.display()
        ))
        .with_hint("use that version, or give this daemon another `store.dir`")),
        Err(error) => Err(Error::invalid(format!("`{}` cannot be brought up to date: {error}", path.display()))),
    }
}

/// The package that wrote a database whose first migration is another than ours.
async fn writer(connection: &mut SqliteConnection) -> String {
    let sql = "select lower(hex(checksum)) from _sqlx_migrations where version = 1";
    let checksum: Option<String> = sqlx::query_scalar(sql).fetch_optional(connection).await.ok().flatten();
    let known = checksum.and_then(|checksum| EARLIER.iter().find(|(start, _)| checksum.starts_with(start)));
    known.map_or("a version of clay-probe whose schema was never released", |(_, package)| package).to_owned()
}

/// Now, as the database keeps times.
pub fn now() -> String {
    text_of(Utc::now())
}

/// A time as the database keeps it: RFC 3339, UTC, milliseconds; sorts as text.
pub fn text_of(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// How long ago a time of the database is; zero for the future, and for what is not a time.
pub fn age_of(text: &str) -> Duration {
    DateTime::parse_from_rfc3339(text)
        .ok()
        .and_then(|time| (Utc::now() - time.to_utc()).to_std().ok())
        .unwrap_or_default()
}
