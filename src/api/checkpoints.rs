//! `/checkpoints`: what was seen, and what a trainer posts.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    ApiState,
    problem::{Answer, Problem},
    query::{self, Tracked},
};
use crate::{
    domain::{CheckpointId, DueReason, PostedCheckpoint, Shown},
    store::{CheckpointFilter, CheckpointItem, Page},
};

/// What a trainer gets back.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Receipt {
    #[schema(value_type = i64)]
    pub id: CheckpointId,
    pub state: Shown,
    /// Null while unknown.
    pub due: Option<bool>,
    pub due_reason: Option<DueReason>,
    pub status_url: String,
    /// Null while the epoch is unknown.
    pub probe_url: Option<String>,
}

impl From<CheckpointItem> for Receipt {
    fn from(item: CheckpointItem) -> Self {
        let CheckpointItem { id, run, state, due, due_reason, epoch, .. } = item;
        let probe_url = epoch.map(|epoch| format!("/probes/{epoch}?run={}", encode(run.as_str())));
        Self { id, state, due, due_reason, status_url: format!("/checkpoints/{id}"), probe_url }
    }
}

/// Which checkpoints.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CheckpointsQuery {
    /// Only of this run.
    pub run: Option<String>,
    /// Only in this state, as it shows.
    pub state: Option<Shown>,
    /// Items per page, 1 to 1000; 100 where not given.
    pub limit: Option<u32>,
    /// The `next` of the page before.
    pub cursor: Option<i64>,
}

/// Announces a checkpoint. Persisted before the answer; also for a file that is not there yet.
#[utoipa::path(post, path = "/checkpoints", tag = "checkpoints", request_body = PostedCheckpoint, responses(
    (status = 202, body = Receipt, description = "taken in", headers(("Location", description = "its status"))),
    (status = 200, body = Receipt, description = "already known"), (status = 400, body = Problem),
    (status = 401, body = Problem), (status = 403, body = Problem, description = "outside the roots"),
    (status = 409, body = Problem, description = "contradicts what is known"), (status = 413, body = Problem),
    (status = 415, body = Problem), (status = 422, body = Problem)))]
pub async fn post(State(state): State<ApiState>, Json(body): Json<PostedCheckpoint>) -> Answer<Response> {
    let posted = state.submissions.post(body).await?;
    let receipt = Receipt::from(state.store.checkpoint(posted.id).await?);
    let status = if posted.known { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, [(header::LOCATION, receipt.status_url.clone())], Json(receipt)).into_response())
}

/// All checkpoints that were seen, the newest first, with state and reason.
#[utoipa::path(get, path = "/checkpoints", tag = "checkpoints", params(CheckpointsQuery), responses(
    (status = 200, body = Page<Tracked<CheckpointItem>>), (status = 400, body = Problem),
    (status = 404, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Query(q): Query<CheckpointsQuery>,
) -> Answer<Json<Page<Tracked<CheckpointItem>>>> {
    let run = match &q.run {
        Some(name) => Some(state.store.run(name).await?.id),
        None => None,
    };
    let filter = CheckpointFilter { run, state: q.state, cursor: q.cursor, limit: query::limit(q.limit)? };
    let page = state.store.checkpoints(filter).await?;
    Ok(Json(Page { items: page.items.into_iter().map(|item| tracked(&state, item)).collect(), next: page.next }))
}

/// One checkpoint.
#[utoipa::path(get, path = "/checkpoints/{id}", tag = "checkpoints", params(("id" = i64, Path)), responses(
    (status = 200, body = Tracked<CheckpointItem>), (status = 404, body = Problem)))]
pub async fn one(State(state): State<ApiState>, Path(id): Path<CheckpointId>) -> Answer<Json<Tracked<CheckpointItem>>> {
    Ok(Json(tracked(&state, state.store.checkpoint(id).await?)))
}

/// Takes a checkpoint's probe back.
#[utoipa::path(delete, path = "/checkpoints/{id}", tag = "checkpoints", params(("id" = i64, Path)), responses(
    (status = 200, body = Tracked<CheckpointItem>, description = "cancelled"), (status = 401, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem, description = "it is over")))]
pub async fn cancel(
    State(state): State<ApiState>,
    Path(id): Path<CheckpointId>,
) -> Answer<Json<Tracked<CheckpointItem>>> {
    state.submissions.cancel(id).await?;
    Ok(Json(tracked(&state, state.store.checkpoint(id).await?)))
}

fn tracked(state: &ApiState, item: CheckpointItem) -> Tracked<CheckpointItem> {
    Tracked::new(&state.status, item.state, item.job_id, item)
}

/// A run's name in a query.
fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
