//! `/probes`: the series of a run.

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};

use super::{
    ApiState,
    problem::{Answer, Problem},
    query::{self, Tracked},
};
use crate::{
    domain::{HeadName, Metric, RunName},
    error::Error,
    store::{ChosenLine, SeriesFilter, SeriesItem},
};

/// Which entries of which series.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SeriesQuery {
    /// The run; the one with the newest point where not given.
    pub run: Option<String>,
    /// `iou` where not given.
    #[serde(default = "iou")]
    #[param(required = false)]
    pub metric: Metric,
    /// The head; the first configured one where not given.
    pub head: Option<HeadName>,
    /// The line, as `/lines` lists it; the head's newest where not given.
    pub line: Option<String>,
    /// First epoch, itself included.
    #[serde(default)]
    #[param(required = false)]
    pub from: u32,
    /// Last epoch, itself included.
    pub to: Option<u32>,
    /// Items per page, 1 to 1000; 100 where not given.
    pub limit: Option<u32>,
    /// The `next` of the page before.
    pub cursor: Option<i64>,
}

fn iou() -> Metric {
    Metric::Iou
}

/// The series of a run.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Series {
    /// The run that this is about; null where none was seen yet.
    #[schema(value_type = Option<String>)]
    pub run: Option<RunName>,
    pub head: HeadName,
    /// The line of all values; null where the head has no score in the run yet.
    pub line: Option<String>,
    pub metric: Metric,
    /// One per epoch: the newest attempt's highest step with a score, else its highest step.
    pub items: Vec<Tracked<SeriesItem>>,
    /// Give it as `cursor` to read on; null at the end.
    pub next: Option<i64>,
}

/// The series: one entry per epoch, a value with its interval, or the reason why there is none. All values are of one
/// line: the one that is asked for, else the newest of the head.
#[utoipa::path(get, path = "/probes", tag = "probes", params(SeriesQuery), responses(
    (status = 200, body = Series), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn series(State(state): State<ApiState>, Query(q): Query<SeriesQuery>) -> Answer<Json<Series>> {
    let SeriesQuery { metric, from, cursor, .. } = q;
    let (to, limit) = (q.to.unwrap_or(u32::MAX), query::limit(q.limit)?);
    if from > to {
        return Err(Error::invalid(format!("`from` = `{from}` lies after `to` = `{to}`")).into());
    }
    let Some(run) = query::run_if_any(&state.store, q.run.as_deref()).await? else {
        let head = q.head.unwrap_or(state.view.head);
        return Ok(Json(Series { run: None, head, line: None, metric, items: Vec::new(), next: None }));
    };
    let mut snapshot = state.store.snapshot().await?;
    let line = query::line(&mut snapshot, state.view, run.id, q.head, q.line.as_deref()).await?;
    let ChosenLine { head, line: name } = line.clone();
    let interval = state.view.interval;
    let page = snapshot.series(SeriesFilter { run: run.id, line, metric, interval, from, to, cursor, limit }).await?;
    let tracked = |item: SeriesItem| Tracked::new(&state.status, item.point.state, item.point.job_id, item);
    let items = page.items.into_iter().map(tracked).collect();
    Ok(Json(Series { run: Some(run.run), head, line: name, metric, items, next: page.next }))
}
