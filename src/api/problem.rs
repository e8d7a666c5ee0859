//! Errors as RFC 9457 `application/problem+json`; the only place that knows status codes.

use axum::{
    Json,
    body::to_bytes,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::error::Error;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = RequestProblem)] // `/readyz` has problems of its own
pub struct Problem {
    /// `about:blank`: the title says it.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: String,
    pub status: u16,
    /// What and where.
    pub detail: String,
    /// What to do; null where there is nothing to say.
    pub hint: Option<String>,
    /// The path that was asked for.
    pub instance: String,
}

/// A handler's answer.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem of that status; its instance is filled in by [`dress`].
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let (status, detail, instance) = (status.as_u16(), detail.into(), String::new());
        Self { kind: "about:blank", title, status, detail, hint: None, instance }
    }

    /// The same with what to do.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl Problem {
    /// The service is at fault; causes go to the log, not out.
    fn failed() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the service failed")
            .with_hint("its log tells why; `/readyz` tells whether it goes on")
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Invalid(_) => StatusCode::BAD_REQUEST,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::OutsideRoots { .. } => StatusCode::FORBIDDEN,
            Error::Store(_) | Error::Io { .. } | Error::Internal(_) => {
                tracing::error!(%error, "a request failed");
                return Self::failed();
            }
        };
        Self { hint: error.hint().map(str::to_owned), ..Self::new(status, error.to_string()) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM);
        response.extensions_mut().insert(self);
        response
    }
}

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What a panic answers; its message is logged by the hook.
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    Problem::failed().into_response()
}

/// The layer that makes every error a problem that names its path: those of handlers, of extractors, of the router.
pub async fn dress(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    let response = next.run(request).await;
    if !(response.status().is_client_error() || response.status().is_server_error()) {
        return response;
    }
    if response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json") {
        return response; // `/readyz` tells its facts
    }
    let (parts, body) = response.into_parts();
    let mut problem = match parts.extensions.get::<Problem>() {
        Some(problem) => problem.clone(),
        None => {
            // Rejections are short texts.
            let text = to_bytes(body, 64 * 1024).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let told = |detail: String| Problem::new(parts.status, detail);
            match (parts.status, text.is_empty()) {
                (StatusCode::NOT_FOUND, true) => {
                    told(format!("there is no `{path}`")).with_hint("`/openapi.json` lists what is")
                }
                (StatusCode::METHOD_NOT_ALLOWED, _) => told(format!("`{path}` does not take `{method}`")),
                (StatusCode::PAYLOAD_TOO_LARGE, _) => told("the body is longer than 64 KiB".to_owned()),
                _ => told(text.into_owned()),
            }
        }
    };
    problem.instance = path;
    let mut dressed = problem.into_response();
    for (name, value) in &parts.headers {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            dressed.headers_mut().insert(name, value.clone());
        }
    }
    dressed
}
