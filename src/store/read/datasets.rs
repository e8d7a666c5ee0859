//! Data sets and their chips.

use sqlx::types::Json;

use super::Page;
use crate::{
    domain::{ChipRecord, Digest},
    error::{Error, Result},
    store::Store,
};

impl Store {
    /// The usable chips of a data set in the order of its scan.
    pub async fn chips(&self, dataset: Digest, limit: u32, cursor: Option<i64>) -> Result<Page<ChipRecord>> {
        let known: bool = sqlx::query_scalar("select exists (select 1 from datasets where digest = ?1)")
            .bind(dataset)
            .fetch_one(self.pool())
            .await?;
        if !known {
            let unknown = Error::not_found(format!("no data set `{dataset}` was read"));
            return Err(unknown.with_hint("`/readyz` tells its digest"));
        }
        let rows = sqlx::query_as::<_, (i64, Json<ChipRecord>)>(
            "select number, record from chips where dataset_digest = ?1 and number > ?2 order by number limit ?3",
        )
        .bind(dataset)
        .bind(cursor.unwrap_or(-1))
        .bind(limit + 1)
        .fetch_all(self.pool())
        .await?;
        let page = Page::cut(rows, limit, |row| row.0);
        Ok(Page { items: page.items.into_iter().map(|row| row.1.0).collect(), next: page.next })
    }

    /// `(path, event)` of every usable chip of a data set.
    pub async fn chip_paths(&self, dataset: Digest) -> Result<Vec<(String, String)>> {
        let rows = sqlx::query_as("select path, event from chips where dataset_digest = ?1 order by number")
            .bind(dataset)
            .fetch_all(self.pool())
            .await?;
        Ok(rows)
    }
}
