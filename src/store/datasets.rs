//! Data sets, their chips, and protocols.

use sqlx::SqliteConnection;

use super::{Store, to_json};
use crate::{
    domain::{ChipRecord, DatasetSummary, Protocol},
    error::Result,
};

impl Store {
    /// Keeps a scanned data set and its chips; a known one gets the newer path and summary.
    pub async fn add_dataset(
        &self,
        db: &mut SqliteConnection,
        path: &str,
        summary: &DatasetSummary,
        chips: &[ChipRecord],
        now: &str,
    ) -> Result<()> {
        let digest = summary.digest.to_string();
        sqlx::query(
            "insert into datasets (digest, path, summary, created_at) values (?1, ?2, ?3, ?4) \
             on conflict (digest) do update set path = excluded.path, summary = excluded.summary",
        )
        .bind(&digest)
        .bind(path)
        .bind(to_json(summary)?)
        .bind(now)
        .execute(&mut *db)
        .await?;
        for (number, chip) in chips.iter().enumerate() {
            sqlx::query(
                "insert into chips (dataset_digest, number, path, event, record) values (?1, ?2, ?3, ?4, ?5) \
                 on conflict (dataset_digest, number) do update set record = excluded.record",
            )
            .bind(&digest)
            .bind(i64::try_from(number).unwrap_or(i64::MAX))
            .bind(&chip.path)
            .bind(&chip.event)
            .bind(to_json(chip)?)
            .execute(&mut *db)
            .await?;
        }
        Ok(())
    }

    /// Keeps a protocol under its digest.
    pub async fn add_protocol(&self, db: &mut SqliteConnection, protocol: &Protocol) -> Result<()> {
        sqlx::query("insert into protocols (digest, body) values (?1, ?2) on conflict (digest) do nothing")
            .bind(protocol.digest().to_string())
            .bind(to_json(protocol)?)
            .execute(db)
            .await?;
        Ok(())
    }
}
