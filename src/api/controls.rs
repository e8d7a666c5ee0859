//! `/controls`: what the head of a line scores on what learnt nothing.

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};

use super::{
    ApiState,
    problem::{Answer, Problem},
    query,
};
use crate::domain::{ControlScore, HeadName, RunName};

/// Of which line.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ControlsQuery {
    /// The run; the one with the newest point where not given.
    pub run: Option<String>,
    /// The head; the first configured one where not given.
    pub head: Option<HeadName>,
    /// The line, as `/lines` lists it; the head's newest where not given.
    pub line: Option<String>,
}

/// The controls of a line.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Controls {
    /// The run that this is about; null where none was seen yet.
    #[schema(value_type = Option<String>)]
    pub run: Option<RunName>,
    /// The line; null where the head has no score in the run yet.
    pub line: Option<String>,
    /// Those that are computed: each control, head and metric once.
    pub items: Vec<ControlScore>,
    /// Always null: they are all here.
    pub next: Option<i64>,
}

/// What the head of a line scores on what learnt nothing, on the same data, split and budget: random weights, the bands
/// themselves, every pixel called water, the best single index. They are computed when nothing else waits.
#[utoipa::path(get, path = "/controls", tag = "probes", params(ControlsQuery), responses(
    (status = 200, body = Controls), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn controls(State(state): State<ApiState>, Query(q): Query<ControlsQuery>) -> Answer<Json<Controls>> {
    let Some(run) = query::run_if_any(&state.store, q.run.as_deref()).await? else {
        return Ok(Json(Controls { run: None, line: None, items: Vec::new(), next: None }));
    };
    let mut snapshot = state.store.snapshot().await?;
    let line = query::line(&mut snapshot, state.view, run.id, q.head, q.line.as_deref()).await?.line;
    drop(snapshot);
    let items = match &line {
        Some(line) => state.store.controls(state.store.head_of_line(run.id, line).await?).await?,
        None => Vec::new(),
    };
    Ok(Json(Controls { run: Some(run.run), line, items, next: None }))
}
