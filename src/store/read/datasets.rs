//! Data sets and their chips.

use super::{Doc, Page};
use crate::{
    domain::Digest,
    error::{Error, Result},
    store::Store,
};

impl Store {
    /// The usable chips of a data set in the order of its scan; each is a `ChipRecord`.
    pub async fn chips(&self, dataset: Digest, limit: u32, cursor: Option<i64>) -> Result<Page<Doc>> {
        let known = sqlx::query_scalar::<_, i64>("select count(*) from datasets where digest = ?1")
            .bind(dataset.to_string())
            .fetch_one(self.pool())
            .await?;
        if known == 0 {
            return Err(Error::NotFound(format!("no data set `{dataset}` was read; hint: `/readyz` tells its digest")));
        }
        let rows = sqlx::query_as::<_, (i64, Doc)>(
            "select number, record from chips where dataset_digest = ?1 and number > ?2 order by number limit ?3",
        )
        .bind(dataset.to_string())
        .bind(cursor.unwrap_or(-1))
        .bind(limit + 1)
        .fetch_all(self.pool())
        .await?;
        let page = Page::cut(rows, limit, |row| row.0);
        Ok(Page { items: page.items.into_iter().map(|row| row.1).collect(), next: page.next })
    }

    /// `(path, event)` of every usable chip of a data set.
    pub async fn chip_paths(&self, dataset: &str) -> Result<Vec<(String, String)>> {
        let rows = sqlx::query_as("select path, event from chips where dataset_digest = ?1 order by number")
            .bind(dataset)
            .fetch_all(self.pool())
            .await?;
        Ok(rows)
    }
}
