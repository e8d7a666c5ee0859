//! Metrics per fit epoch.

use serde::Serialize;

use super::result::MetricColumns;
use crate::{domain::Metrics, error::Result, store::Store};

/// The curve of one fit.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FitCurve {
    pub head: String,
    pub seed: i64,
    pub fold: i64,
    pub curve: Vec<CurveRow>,
}

/// One side of one fit epoch.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CurveRow {
    /// Counted from 1: after that many passes over the training chips.
    pub fit_epoch: i64,
    /// `train` or `val`.
    pub split: String,
    #[schema(value_type = Object)]
    pub metrics: Metrics,
}

#[derive(sqlx::FromRow)]
struct Raw {
    head: String,
    seed: i64,
    fold: i64,
    fit_epoch: i64,
    side: String,
    #[sqlx(flatten)]
    metrics: MetricColumns,
}

impl Store {
    /// The curves of a result: one per head, seed and fold, in the order of fit epochs.
    pub async fn curves(&self, result: i64) -> Result<Vec<FitCurve>> {
        let rows = sqlx::query_as::<_, Raw>(
            r#"select f.head, f.seed, f.fold, c.fit_epoch, c.side,
                    c.iou, c.dice, c.f1, c."precision", c.recall, c.loss
             from curve_points c join fits f on f.id = c.fit_id
             where f.result_id = ?1 order by f.head, f.seed, f.fold, c.fit_epoch, c.side"#,
        )
        .bind(result)
        .fetch_all(self.pool())
        .await?;
        let mut curves: Vec<FitCurve> = Vec::new();
        for r in rows {
            let Raw { head, seed, fold, fit_epoch, side, metrics } = r;
            let point = CurveRow { fit_epoch, split: side, metrics: metrics.into() };
            match curves.last_mut().filter(|c| (&c.head, c.seed, c.fold) == (&head, seed, fold)) {
                Some(fit) => fit.curve.push(point),
                None => curves.push(FitCurve { head, seed, fold, curve: vec![point] }),
            }
        }
        Ok(curves)
    }
}
