//! `/checkpoints`: what was seen, and what a trainer posts.

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    ApiState, ask,
    problem::{Answer, Problem},
};
use crate::{
    domain::{CheckpointState, PostedCheckpoint, RequestState},
    error::{Error, Result},
    store::{CheckpointFilter, CheckpointRow, Page, Store},
};

/// What a trainer gets back.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Receipt {
    pub id: i64,
    pub state: String,
    /// Null while unknown.
    pub due: Option<bool>,
    pub due_reason: Option<String>,
    pub status_url: String,
    /// Null while the epoch is unknown.
    pub probe_url: Option<String>,
}

impl From<CheckpointRow> for Receipt {
    fn from(row: CheckpointRow) -> Self {
        let CheckpointRow { id, run, state, due, due_reason, epoch, .. } = row;
        let probe_url = epoch.map(|epoch| format!("/probes/{epoch}?run={}", encode(&run)));
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
    pub state: Option<String>,
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
    let posted = state.intake.post(body).await?;
    let receipt = Receipt::from(state.store.checkpoint(posted.id).await?);
    let status = if posted.known { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, [(header::LOCATION, receipt.status_url.clone())], Json(receipt)).into_response())
}

/// All checkpoints that were seen, the newest first, with state and reason.
#[utoipa::path(get, path = "/checkpoints", tag = "checkpoints", params(CheckpointsQuery), responses(
    (status = 200, body = Page<CheckpointRow>), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn list(State(store): State<Store>, Query(q): Query<CheckpointsQuery>) -> Answer<Json<Page<CheckpointRow>>> {
    if q.run.is_some() {
        ask::run(&store, q.run.as_deref()).await?;
    }
    let (run, state) = (q.run.as_deref(), known_state(q.state.as_deref())?);
    let filter = CheckpointFilter { run, state, cursor: q.cursor, limit: ask::limit(q.limit)? };
    Ok(Json(store.checkpoints(filter).await?))
}

/// One checkpoint.
#[utoipa::path(get, path = "/checkpoints/{id}", tag = "checkpoints", params(("id" = i64, Path)), responses(
    (status = 200, body = CheckpointRow), (status = 404, body = Problem)))]
pub async fn one(State(store): State<Store>, Path(id): Path<i64>) -> Answer<Json<CheckpointRow>> {
    Ok(Json(store.checkpoint(id).await?))
}

/// Takes a checkpoint's probe back.
#[utoipa::path(delete, path = "/checkpoints/{id}", tag = "checkpoints", params(("id" = i64, Path)), responses(
    (status = 200, body = CheckpointRow, description = "cancelled"), (status = 401, body = Problem),
    (status = 404, body = Problem), (status = 409, body = Problem, description = "it is over")))]
pub async fn cancel(State(state): State<ApiState>, Path(id): Path<i64>) -> Answer<Json<CheckpointRow>> {
    state.store.checkpoint(id).await?;
    state.intake.cancel(id).await?;
    Ok(Json(state.store.checkpoint(id).await?))
}

fn known_state(asked: Option<&str>) -> Result<Option<&str>> {
    let known = |s: &str| CheckpointState::parse(s).is_some() || RequestState::parse(s).is_some();
    match asked {
        Some(state) if !known(state) => {
            let own = CheckpointState::ALL.map(CheckpointState::as_str);
            let all = own.into_iter().chain(RequestState::ALL.map(RequestState::as_str)).collect::<Vec<_>>();
            Err(Error::Invalid(format!("`state` is one of {}, not `{state}`", all.join(", "))))
        }
        state => Ok(state),
    }
}

/// A run's name in a query.
fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
