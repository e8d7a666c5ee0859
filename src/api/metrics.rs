//! `/metrics`: what Prometheus scrapes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use tokio::sync::Mutex;

use super::{
    ApiState,
    problem::{Answer, Problem},
};
use crate::{
    store::{LastScore, Store, Usage, age_of},
    telemetry::{self, Readings, RunReading},
};

/// Measuring walks the whole folder of state; an answer serves for so long.
const MEASURED_EVERY: Duration = Duration::from_secs(30);

/// Bytes on disk, and when they were counted.
#[derive(Clone, Debug, Default)]
pub struct Measured(Arc<Mutex<Option<(Instant, Usage)>>>);

impl Measured {
    async fn usage(&self, store: &Store) -> Usage {
        let mut last = self.0.lock().await;
        match *last {
            Some((at, usage)) if at.elapsed() < MEASURED_EVERY => usage,
            _ => last.insert((Instant::now(), store.usage().await)).1,
        }
    }
}

/// Prometheus' text format: queue, lag, scores, stages, ends by reason, bytes on disk, problems.
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = 200, content_type = "text/plain", body = String), (status = 401, body = Problem)))]
pub async fn metrics(State(state): State<ApiState>, State(measured): State<Measured>) -> Answer<Response> {
    let store = &state.store;
    let now = Readings {
        jobs: store.queue_depth().await?.into_iter().map(|d| (d.kind, d.state, d.jobs)).collect(),
        oldest_due: store.oldest_due().await?.map(|at| age_of(&at)).unwrap_or_default(),
        runs: store.last_scores().await?.into_iter().map(reading).collect(),
        bytes: by_kind(measured.usage(store).await),
        problems: state.facts().problems.into_iter().map(|problem| problem.reason).collect(),
    };
    Ok(([(header::CONTENT_TYPE, telemetry::CONTENT_TYPE)], state.metrics.text(&now)).into_response())
}

fn reading(last: LastScore) -> RunReading {
    RunReading { run: last.run, head: last.head, lag_epochs: last.lag_epochs, iou: last.iou }
}

fn by_kind(usage: Usage) -> Vec<(&'static str, u64)> {
    vec![
        ("database", usage.database),
        ("pins", usage.pins),
        ("pictures", usage.pictures),
        ("caches", usage.caches),
        ("other", usage.other),
    ]
}
