//! What a probe is to be of: the heads that are configured, and what each encoder is given of the data set.

use std::{fmt, sync::Arc};

use sqlx::SqliteConnection;

use super::{Queue, locked};
use crate::{
    domain::{
        Basis, ControlDraw, DatasetSummary, Digest, EncoderFacts, Failure, HeadSettings, JobKind, PointId, Preparation,
    },
    error::Result,
    store::ResultKey,
};

/// Resolves what decides the features of a data set under an encoder; a failure is final.
pub type Prepare = dyn Fn(&EncoderFacts, &DatasetSummary) -> Result<Preparation, Failure> + Send + Sync;

/// What every probe is to be; cheap to clone.
#[derive(Clone)]
pub struct Plan {
    /// In the configured order, at least one.
    pub heads: Arc<[HeadSettings]>,
    /// The one of quick scores.
    pub quick: HeadSettings,
    /// The science's; the queue itself knows no encoder.
    pub prepare: Arc<Prepare>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("heads", &self.heads).finish_non_exhaustive()
    }
}

/// What a claimed probe is to compute.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub key: ResultKey,
    /// The heads that are not stored under that key yet.
    pub missing: Vec<HeadSettings>,
    /// All that were asked for.
    pub asked: Vec<Digest>,
    /// Of a control: which draw, in the place of the weights.
    pub control: Option<ControlDraw>,
}

impl Plan {
    /// What a job of a kind is to fit.
    pub fn heads_of(&self, kind: JobKind) -> &[HeadSettings] {
        if kind == JobKind::Quick { std::slice::from_ref(&self.quick) } else { &self.heads }
    }
}

impl Queue {
    /// What a probe of a point is of under the present settings and data, or why there can be none. `None` until the data
    /// set is scanned.
    pub(super) async fn key_of(
        &self,
        db: &mut SqliteConnection,
        point: PointId,
    ) -> Result<Option<Result<ResultKey, Failure>>> {
        let Some(dataset) = locked(&self.dataset).clone() else { return Ok(None) };
        let weights = self.store.point(db, point).await?.weights_digest;
        let encoder = self.store.encoder_of(db, point).await?;
        let key = (self.plan.prepare)(&encoder, &dataset).map(|preparation| {
            let (assignment, preparation) = (dataset.assignment, preparation.digest());
            ResultKey { weights, basis: Basis { dataset: dataset.digest, assignment, preparation } }
        });
        Ok(Some(key))
    }

    /// Whether a point has a score of every configured head under the present settings and data. Before these are scanned
    /// nobody knows.
    pub(super) async fn is_scored(&self, db: &mut SqliteConnection, point: PointId) -> Result<bool> {
        let Some(Ok(key)) = self.key_of(db, point).await? else { return Ok(false) };
        let lines: Vec<String> =
            self.plan.heads.iter().map(|head| key.basis.line(head.head, head.digest()).name()).collect();
        self.store.has_scores(db, point, &lines).await
    }
}
