//! Which draw of a control is next: the cheapest that is missing under the key of a point's scores.

use sqlx::SqliteConnection;

use super::{Queue, plan::Target};
use crate::{
    domain::{ControlDraw, Digest, HeadSettings, PointId},
    error::Result,
    store::{ControlKey, NewJob, ResultKey, now},
};

impl Queue {
    /// Asks for the next draw for encoders as that of a point, unless one waits or runs, or there is none to be done.
    pub(super) async fn queue_control(&self, db: &mut SqliteConnection, point: PointId) -> Result<()> {
        if !self.rules.controls {
            return Ok(());
        }
        let Some(Ok(key)) = self.key_of(db, point).await? else { return Ok(()) };
        if !self.store.control_is_asked(db, key.basis).await? && self.next_draw(db, point, key).await?.is_some() {
            self.store.add_job(db, NewJob::Control(point), &now()).await?;
        }
        Ok(())
    }

    /// The next draw under a key, with the heads that are to be fitted on it.
    pub(super) async fn next_draw(
        &self,
        db: &mut SqliteConnection,
        point: PointId,
        key: ResultKey,
    ) -> Result<Option<Target>> {
        let architecture = self.store.encoder_of(db, point).await?.architecture();
        let known = self.store.control_draws(db, ControlKey { basis: key.basis, architecture }).await?;
        let has = |draw: ControlDraw, head: Option<Digest>| known.contains(&(draw, head));
        let next = ControlDraw::all().find_map(|draw| {
            let heads = draw.control.heads(&self.plan.heads);
            let missing: Vec<HeadSettings> =
                heads.iter().filter(|head| !has(draw, Some(head.digest()))).cloned().collect();
            let lacks = if heads.is_empty() { !has(draw, None) } else { !missing.is_empty() };
            lacks.then(|| Target { key, asked: Vec::new(), missing, control: Some(draw) })
        });
        Ok(next)
    }
}
