//! `GET /` and what it loads: the dashboard, from this binary alone.

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};

use super::problem::{Answer, Problem};
use crate::dashboard;

/// Nothing from elsewhere; plotly writes its own styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The dashboard.
#[utoipa::path(get, path = "/", tag = "service", responses((status = 200, content_type = "text/html", body = String)))]
pub async fn page() -> impl IntoResponse {
    let headers = [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-cache")];
    (headers, Html(dashboard::page()))
}

/// A file that the page loads; its address changes with its content.
pub async fn asset(Path(name): Path<String>) -> Answer<Response> {
    let Some(asset) = dashboard::asset(&name) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("the page has no file `{name}`")));
    };
    let headers = [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.body).into_response())
}
