//! The one writer: a connection of its own, opened anew after any error of a transaction.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

use crate::error::{Error, Result};

/// The writing connection, while nobody writes; `None` after an error.
type Slot = Arc<AsyncMutex<Option<SqliteConnection>>>;

/// Hands out the writing connection, one transaction at a time.
#[derive(Debug)]
pub(super) struct Writer {
    options: SqliteConnectOptions,
    slot: Slot,
    /// Counts commits; streams of events wait on it.
    commits: watch::Sender<u64>,
    /// Why the last transaction failed; `None` once one went through.
    problem: Mutex<Option<String>>,
}

impl Writer {
    pub fn new(options: SqliteConnectOptions) -> Self {
        Self { options, slot: Slot::default(), commits: watch::channel(0).0, problem: Mutex::default() }
    }

    /// Begins a transaction; others wait until it ends.
    pub async fn begin(self: &Arc<Self>) -> Result<Write> {
        let mut slot = self.slot.clone().lock_owned().await;
        // What is dropped half way (an error, a request that went away) is closed with its connection, and SQLite rolls
        // back: after an error SQLite may have rolled back by itself, and a connection must not be trusted to know.
        let begun = async {
            let mut connection = match slot.take() {
                Some(connection) => connection,
                None => self.options.connect().await?,
            };
            sqlx::query("begin immediate").execute(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        let connection = self.note(begun.await)?;
        Ok(Write { slot, connection, writer: self.clone() })
    }

    /// Keeps why the database cannot be written, and that it can again. A row that is not there, or does not decode, says
    /// nothing of that.
    fn note<T>(&self, outcome: Result<T, sqlx::Error>) -> Result<T> {
        use sqlx::Error::{ColumnDecode, Decode, RowNotFound};
        if !matches!(outcome, Err(RowNotFound | Decode(_) | ColumnDecode { .. })) {
            let problem = outcome.as_ref().err().map(ToString::to_string);
            *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        }
        outcome.map_err(Error::from)
    }

    pub fn problem(&self) -> Option<String> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes after each commit.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Ends the connection, once nobody writes.
    pub async fn close(&self) {
        if let Some(connection) = self.slot.lock().await.take() {
            let _ = sqlx::Connection::close(connection).await;
        }
    }
}

/// A write transaction; nothing is kept unless it is committed.
pub struct Write {
    slot: OwnedMutexGuard<Option<SqliteConnection>>,
    connection: SqliteConnection,
    writer: Arc<Writer>,
}

impl Write {
    /// Keeps what was written where that went well; else drops it and hands the error on.
    pub async fn end<T>(mut self, outcome: Result<T>) -> Result<T> {
        match outcome {
            Ok(value) => {
                self.writer.note(sqlx::query("commit").execute(&mut self.connection).await)?;
                *self.slot = Some(self.connection);
                self.writer.commits.send_modify(|count| *count += 1);
                Ok(value)
            }
            Err(Error::Store(error)) => self.writer.note(Err(error)),
            Err(refused) => {
                if sqlx::query("rollback").execute(&mut self.connection).await.is_ok() {
                    *self.slot = Some(self.connection);
                }
                Err(refused)
            }
        }
    }
}

impl Deref for Write {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fill(writer: &Arc<Writer>, bytes: u32) -> Result<()> {
        let mut tx = writer.begin().await?;
        let filled = sqlx::query("insert into t values (zeroblob(?1))").bind(bytes).execute(&mut *tx).await;
        tx.end(filled.map(drop).map_err(Error::from)).await
    }

    async fn rows(writer: &Arc<Writer>) -> i64 {
        let mut tx = writer.begin().await.unwrap();
        let rows = sqlx::query_scalar("select count(*) from t").fetch_one(&mut *tx).await;
        tx.end(rows.map_err(Error::from)).await.unwrap()
    }

    #[tokio::test]
    async fn a_write_that_fails_or_is_given_up_is_gone_and_the_next_goes_through() {
        let dir = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(dir.path().join("t.db"))
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .pragma("max_page_count", "9");
        let writer = Arc::new(Writer::new(options));
        let mut tx = writer.begin().await.unwrap();
        sqlx::query("create table t (bytes blob) strict").execute(&mut *tx).await.unwrap();
        tx.end(Ok(())).await.unwrap();
        fill(&writer, 4000).await.unwrap();

        // SQLite rolls back by itself when the file is full.
        let full = fill(&writer, 80_000).await.unwrap_err();
        assert!(full.to_string().contains("full"), "{full}");
        assert_eq!(writer.problem(), Some(full.to_string().trim_start_matches("the database failed: ").to_owned()));
        fill(&writer, 80_000).await.unwrap_err();
        fill(&writer, 4000).await.unwrap();
        assert_eq!((writer.problem(), rows(&writer).await), (None, 2));

        // A request that went away, and one that was refused.
        let mut tx = writer.begin().await.unwrap();
        sqlx::query("delete from t").execute(&mut *tx).await.unwrap();
        drop(tx);
        assert_eq!(rows(&writer).await, 2);
        let mut tx = writer.begin().await.unwrap();
        sqlx::query("delete from t").execute(&mut *tx).await.unwrap();
        tx.end::<()>(Err(Error::conflict("no"))).await.unwrap_err();
        assert_eq!((writer.problem(), rows(&writer).await), (None, 2));
    }
}
