//! Data sets and their chips.

use sqlx::{SqliteConnection, types::Json};

use super::Store;
use crate::{
    domain::{ChipRecord, DatasetSummary},
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
        sqlx::query(
            "insert into datasets (digest, path, summary, created_at) values (?1, ?2, ?3, ?4) \
             on conflict (digest) do update set path = excluded.path, summary = excluded.summary",
        )
        .bind(summary.digest)
        .bind(path)
        .bind(Json(summary))
        .bind(now)
        .execute(&mut *db)
        .await?;
        for (number, chip) in (0i64..).zip(chips) {
            sqlx::query(
                "insert into chips (dataset_digest, number, path, event, record) values (?1, ?2, ?3, ?4, ?5) \
                 on conflict (dataset_digest, number) do update set event = excluded.event, record = excluded.record",
            )
            .bind(summary.digest)
            .bind(number)
            .bind(&chip.path)
            .bind(&chip.event)
            .bind(Json(chip))
            .execute(&mut *db)
            .await?;
        }
        Ok(())
    }
}
