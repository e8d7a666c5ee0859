//! `/runs`: the training runs, the word that one is over, and its removal.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};

use super::{
    ApiState,
    problem::{Answer, Problem},
    query::{self, PageQuery},
};
use crate::{
    domain::RunName,
    store::{Page, RunItem, Store},
};

/// All runs, the newest first.
#[utoipa::path(get, path = "/runs", tag = "runs", params(PageQuery), responses(
    (status = 200, body = Page<RunItem>), (status = 400, body = Problem)))]
pub async fn list(State(store): State<Store>, Query(q): Query<PageQuery>) -> Answer<Json<Page<RunItem>>> {
    Ok(Json(store.runs(query::limit(q.limit)?, q.cursor).await?))
}

/// Tells that a run is over: its newest checkpoint becomes due, also one that is not proven yet. A `/` in its name is
/// written `%2F`.
#[utoipa::path(post, path = "/runs/{run}/finish", tag = "runs", params(("run" = String, Path)), responses(
    (status = 200, body = RunItem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn finish(State(state): State<ApiState>, Path(run): Path<RunName>) -> Answer<Json<RunItem>> {
    state.submissions.finish(&run).await?;
    Ok(Json(state.store.run(run.as_str()).await?))
}

/// Removes a run: its checkpoints, points and events, and the scores, copies and pictures that no other run has. The
/// trainer's files stay.
#[utoipa::path(delete, path = "/runs/{run}", tag = "runs", params(("run" = String, Path)), responses(
    (status = 204, description = "removed"), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn remove(State(state): State<ApiState>, Path(run): Path<RunName>) -> Answer<StatusCode> {
    state.submissions.remove_run(&run).await?;
    Ok(StatusCode::NO_CONTENT)
}
