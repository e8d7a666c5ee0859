//! The line that a result belongs to, without its report.

use crate::{
    domain::{Digest, ResultId},
    error::Result,
    store::{LineKey, Store},
};

impl Store {
    /// What a result was computed under.
    pub async fn line_of(&self, result: ResultId) -> Result<LineKey> {
        let (protocol, dataset): (Digest, Digest) =
            sqlx::query_as("select protocol_digest, dataset_digest from results where id = ?1")
                .bind(result)
                .fetch_one(self.pool())
                .await?;
        Ok(LineKey { protocol, dataset })
    }
}
