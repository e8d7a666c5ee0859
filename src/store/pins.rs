//! Pins: the copies of encoders that we own, and which of them may go.

use sqlx::{FromRow, SqliteConnection};

use super::Store;
use crate::{domain::Pinned, error::Result};

/// A pin that nothing needs any more.
#[derive(Clone, Debug, FromRow)]
pub struct PinRow {
    pub weights_digest: String,
    pub path: String,
    pub bytes: i64,
}

impl Store {
    /// Keeps where the copy lies.
    pub async fn add_pin(&self, db: &mut SqliteConnection, pinned: &Pinned, now: &str) -> Result<()> {
        sqlx::query(
            "insert into pins (weights_digest, path, bytes, created_at) values (?1, ?2, ?3, ?4) \
             on conflict (weights_digest) do update set path = excluded.path, bytes = excluded.bytes",
        )
        .bind(pinned.weights_digest.to_string())
        .bind(pinned.pin.to_string_lossy())
        .bind(i64::try_from(pinned.pin_bytes).unwrap_or(i64::MAX))
        .bind(now)
        .execute(db)
        .await?;
        Ok(())
    }

    /// Where the copy of these weights lies.
    pub async fn pin_path(&self, weights_digest: &str) -> Result<Option<String>> {
        Ok(sqlx::query_scalar("select path from pins where weights_digest = ?1")
            .bind(weights_digest)
            .fetch_optional(self.pool())
            .await?)
    }

    /// Pins of ended requests beyond the newest `keep_last` points and the `keep_best` by IoU of each run, oldest first.
    pub async fn spare_pins(&self, keep_last: u32, keep_best: u32) -> Result<Vec<PinRow>> {
        Ok(sqlx::query_as(include_str!("spare_pins.sql"))
            .bind(keep_last)
            .bind(keep_best)
            .fetch_all(self.pool())
            .await?)
    }

    /// Kept pins that are not needed by an open request, oldest first, and the size of all pins in bytes.
    pub async fn ended_pins(&self) -> Result<(Vec<PinRow>, i64)> {
        let pins = sqlx::query_as(
            "select weights_digest, path, bytes from pins where weights_digest not in (select p.weights_digest from \
             requests r join points p on p.id = r.point_id where r.state in ('held', 'queued', 'probing')) order by created_at",
        )
        .fetch_all(self.pool())
        .await?;
        let bytes = sqlx::query_scalar("select coalesce(sum(bytes), 0) from pins").fetch_one(self.pool()).await?;
        Ok((pins, bytes))
    }

    /// Forgets a pin whose file is gone.
    pub async fn forget_pin(&self, weights_digest: &str) -> Result<()> {
        let mut db = self.write().await?;
        sqlx::query("delete from pins where weights_digest = ?1").bind(weights_digest).execute(&mut *db).await?;
        Ok(db.commit().await?)
    }
}
