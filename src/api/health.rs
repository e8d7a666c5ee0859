//! `/livez`, `/readyz`: is it there, can it probe.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::ApiState;
use crate::{domain::words, status::Facts};

/// The service answers.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Alive {
    /// `ok`
    status: &'static str,
}

words! {
    /// Whether the service does its work.
    pub enum Ready {
        Ready = "ready",
        /// The data set is being read.
        Scanning = "scanning",
        /// The problems say why.
        NotReady = "not ready",
    }
}

/// Whether the service can probe, and on what.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Readiness {
    status: Ready,
    #[serde(flatten)]
    facts: Facts,
    /// Of the service.
    version: &'static str,
}

/// 200 while the service answers.
#[utoipa::path(get, path = "/livez", tag = "service", responses((status = 200, body = Alive)))]
pub async fn live() -> Json<Alive> {
    Json(Alive { status: "ok" })
}

/// 200 once the data set was read and nothing keeps the service from its work, else 503 with the same facts.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub async fn ready(State(state): State<ApiState>) -> Response {
    let facts = state.facts();
    let (code, status) = match (facts.ready(), facts.problems.is_empty()) {
        (true, _) => (StatusCode::OK, Ready::Ready),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, Ready::Scanning),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, Ready::NotReady),
    };
    (code, Json(Readiness { status, facts, version: env!("CARGO_PKG_VERSION") })).into_response()
}
