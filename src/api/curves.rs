//! `/probes/{epoch}/curves`: how the heads were fitted.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Serialize;

use super::{
    probe::in_order,
    problem::{Answer, Problem},
    query::{self, EpochPath, PointQuery},
};
use crate::{
    domain::{Curve, Epoch, Fit, RunName, Seed, Shown},
    store::Store,
};

/// The curves of one probe.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Curves {
    #[schema(value_type = String)]
    pub run: RunName,
    pub attempt: u32,
    #[schema(value_type = u32)]
    pub epoch: Epoch,
    pub global_step: i64,
    pub state: Shown,
    /// One per head, seed and fold; empty until done.
    pub curves: Vec<FitCurve>,
}

/// The curve of one fit.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FitCurve {
    pub head: String,
    #[schema(value_type = u64)]
    pub seed: Seed,
    pub fold: u32,
    /// In the order of fit epochs, `fit_epoch` (counted from 1), `split` (`train` or `val`) and `metrics`.
    #[schema(value_type = Vec<Object>)]
    pub curve: Curve,
}

impl From<Fit> for FitCurve {
    fn from(fit: Fit) -> Self {
        let Fit { head, seed, fold, curve, .. } = fit;
        Self { head, seed, fold, curve }
    }
}

/// Every metric per fit epoch, per head, seed and fold, on the training and the validation side.
#[utoipa::path(get, path = "/probes/{epoch}/curves", tag = "probes", params(
    ("epoch" = String, Path, description = "the trainer's epoch, or `latest`"), PointQuery), responses(
    (status = 200, body = Curves), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn curves(
    State(store): State<Store>,
    Path(epoch): Path<EpochPath>,
    Query(q): Query<PointQuery>,
) -> Answer<Json<Curves>> {
    let (point, _) = query::points(&store, epoch, &q).await?;
    let fits = match point.result_id {
        Some(id) => in_order(store.result(id).await?.report.fits),
        None => Vec::new(),
    };
    let curves = fits.into_iter().map(FitCurve::from).collect();
    let (run, attempt, epoch, global_step) = (point.run, point.attempt, point.epoch, point.global_step);
    Ok(Json(Curves { run, attempt, epoch, global_step, state: point.state, curves }))
}
