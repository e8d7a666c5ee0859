//! All HTTP: the full list of routes, and the layers around them.

mod auth;
mod checkpoints;
mod controls;
mod curves;
mod datasets;
mod events;
mod findings;
mod health;
mod lines;
mod metrics;
mod page;
mod pictures;
mod probe;
mod probes;
mod problem;
mod query;
mod runs;
mod state;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue},
    middleware::{from_fn, from_fn_with_state},
    routing::get,
};
use tower_http::{catch_panic::CatchPanicLayer, set_header::SetResponseHeaderLayer, trace::TraceLayer};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

pub use auth::check_listen;
pub use state::{ApiState, View};

use self::{auth::Guard, metrics::Measured, state::Shared};
use crate::{domain::Reason, error::Result};

/// Longer bodies are refused.
const MOST_BYTES: usize = 64 * 1024;

/// The head of the OpenAPI document; the paths come from the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "clay-probe",
        description = "Probes of a Clay encoder while it trains. Errors are RFC 9457 `application/problem+json`. What is \
                   not known yet is null, and keys are only ever added.",
        license(name = "Apache-2.0")
    ),
    components(schemas(Reason, events::ProgressEvent, events::GapEvent, pictures::Layer))
)]
struct Document;

/// Every route. Errors: what [`check_listen`] refuses, a token file that cannot be read.
pub fn router(state: ApiState) -> Result<Router> {
    let guard = Guard::new(&state.config)?;
    let (routes, document) = documented().split_for_parts();
    let shared = Shared { api: state, guard: guard.clone(), measured: Measured::default() };
    Ok(routes
        .route("/assets/{name}", get(page::asset))
        .with_state(shared)
        .merge(SwaggerUi::new("/docs").url("/openapi.json", described(document)))
        .layer(from_fn_with_state(guard, auth::guard))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(from_fn(problem::dress))
        .layer(fixed("x-content-type-options", "nosniff"))
        .layer(fixed("referrer-policy", "no-referrer"))
        .layer(fixed("x-frame-options", "DENY"))
        .layer(TraceLayer::new_for_http()))
}

/// The routes that the OpenAPI document lists.
fn documented() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(checkpoints::post, checkpoints::list))
        .routes(routes!(checkpoints::one, checkpoints::cancel))
        .routes(routes!(probes::series))
        .routes(routes!(probe::one))
        .routes(routes!(curves::curves))
        .routes(routes!(lines::lines))
        .routes(routes!(controls::controls))
        .routes(routes!(findings::verdict))
        .routes(routes!(findings::trend))
        .routes(routes!(findings::compare))
        .routes(routes!(pictures::picture))
        .routes(routes!(runs::list))
        .routes(routes!(runs::finish))
        .routes(routes!(runs::remove))
        .routes(routes!(datasets::chips))
        .routes(routes!(events::events))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics))
        .routes(routes!(auth::login))
        .routes(routes!(page::page))
}

/// The document as clients read it: OpenAPI has no rest-of-the-path parameter.
fn described(mut document: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    if let Some(item) = document.paths.paths.remove("/probes/{epoch}/chips/{*chip}") {
        document.paths.paths.insert("/probes/{epoch}/chips/{chip}.png".to_owned(), item);
    }
    document
}

fn fixed(name: &'static str, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(HeaderName::from_static(name), HeaderValue::from_static(value))
}
