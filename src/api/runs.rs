//! `/runs`: the training runs, and the word that one is over.

use axum::{
    Json,
    extract::{Path, Query, State},
};

use super::{
    ApiState,
    ask::{self, PageQuery},
    problem::{Answer, Problem},
};
use crate::{
    domain::RunName,
    error::Error,
    store::{Page, RunRow, Store},
};

/// All runs, the newest first.
#[utoipa::path(get, path = "/runs", tag = "runs", params(PageQuery), responses(
    (status = 200, body = Page<RunRow>), (status = 400, body = Problem)))]
pub async fn list(State(store): State<Store>, Query(q): Query<PageQuery>) -> Answer<Json<Page<RunRow>>> {
    Ok(Json(store.runs(ask::limit(q.limit)?, q.cursor).await?))
}

/// Tells that a run is over: its newest checkpoint becomes due. A `/` in its name is written `%2F`.
#[utoipa::path(post, path = "/runs/{run}/finish", tag = "runs", params(("run" = String, Path)), responses(
    (status = 200, body = RunRow), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn finish(State(state): State<ApiState>, Path(run): Path<String>) -> Answer<Json<RunRow>> {
    state.store.run(&run).await?;
    let name = run.parse::<RunName>().map_err(|error| Error::Invalid(error.to_string()))?;
    state.intake.finish(name).await?;
    Ok(Json(state.store.run(&run).await?))
}
