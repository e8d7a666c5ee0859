//! `/probes/{epoch}/curves`: how the heads were fitted.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Serialize;

use super::{
    ask::{self, PointQuery},
    problem::{Answer, Problem},
};
use crate::store::{FitCurve, Store};

/// The curves of one probe.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Curves {
    pub run: String,
    pub attempt: i64,
    pub epoch: i64,
    pub global_step: i64,
    pub state: Option<String>,
    /// One per head, seed and fold; empty until done.
    pub curves: Vec<FitCurve>,
}

/// Every metric per fit epoch, per head, seed and fold, on the training and the validation side.
#[utoipa::path(get, path = "/probes/{epoch}/curves", tag = "probes", params(
    ("epoch" = String, Path, description = "the trainer's epoch, or `latest`"), PointQuery), responses(
    (status = 200, body = Curves), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn curves(
    State(store): State<Store>,
    Path(epoch): Path<String>,
    Query(q): Query<PointQuery>,
) -> Answer<Json<Curves>> {
    let (point, _) = ask::points(&store, &epoch, &q).await?;
    let curves = match point.result_id {
        Some(id) => store.curves(id).await?,
        None => Vec::new(),
    };
    let (run, attempt, epoch, global_step) = (point.run, point.attempt, point.epoch, point.global_step);
    Ok(Json(Curves { run, attempt, epoch, global_step, state: point.state, curves }))
}
