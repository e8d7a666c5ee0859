//! A computation, read back whole.

use sqlx::types::Json;

use crate::{
    domain::{ProbeReport, ResultId},
    error::Result,
    store::Store,
};

/// A result: its report, and when it was stored.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct ResultItem {
    #[sqlx(json)]
    pub report: ProbeReport,
    pub created_at: String,
}

impl Store {
    /// One result.
    pub async fn result(&self, id: ResultId) -> Result<ResultItem> {
        let row =
            sqlx::query_as::<_, (Json<ProbeReport>, String)>("select report, created_at from results where id = ?1")
                .bind(id)
                .fetch_one(self.pool())
                .await?;
        Ok(ResultItem { report: row.0.0, created_at: row.1 })
    }
}
