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
    state::View,
};
use crate::{
    domain::{Curve, Epoch, Fit, HeadName, RunName, Seed, Shown},
    store::{ChosenLine, PointItem, Store},
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
    pub head: HeadName,
    /// The line of its score.
    pub line: Option<String>,
    /// One per seed and fold; empty until done.
    pub curves: Vec<FitCurve>,
}

/// The curve of one fit.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FitCurve {
    pub head: HeadName,
    #[schema(value_type = u64)]
    pub seed: Seed,
    pub fold: u32,
    /// In the order of fit steps, `fit_step` (counted from 1), `side` (`train` or `val`) and `metrics`.
    #[schema(value_type = Vec<Object>)]
    pub curve: Curve,
}

impl From<Fit> for FitCurve {
    fn from(fit: Fit) -> Self {
        let Fit { head, seed, fold, curve, .. } = fit;
        Self { head, seed, fold, curve }
    }
}

/// Every metric per fit step of a head, per seed and fold, on the training and the validation side.
#[utoipa::path(get, path = "/probes/{epoch}/curves", tag = "probes", params(
    ("epoch" = String, Path, description = "the trainer's epoch, or `latest`"), PointQuery), responses(
    (status = 200, body = Curves), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn curves(
    State(store): State<Store>,
    State(view): State<View>,
    Path(epoch): Path<EpochPath>,
    Query(q): Query<PointQuery>,
) -> Answer<Json<Curves>> {
    let (ChosenLine { head, .. }, point, _) = query::points(&store, view, epoch, &q).await?;
    let shown = match point.head_id {
        Some(id) => store.heads_beside(id).await?.into_iter().next(),
        None => None,
    };
    let fits = shown.map(|shown| in_order(shown.report.fits)).unwrap_or_default();
    let curves = fits.into_iter().map(FitCurve::from).collect();
    let PointItem { run, attempt, epoch, global_step, state, line, .. } = point;
    Ok(Json(Curves { run, attempt, epoch, global_step, state, head, line, curves }))
}
