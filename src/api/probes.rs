//! `/probes`: the series of a run.

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};

use super::{
    ask,
    problem::{Answer, Problem},
};
use crate::{
    domain::Metric,
    error::{Error, Result},
    store::{SeriesFilter, SeriesItem, Store},
};

/// Which entries of which series.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SeriesQuery {
    /// The run; the most recently active one where not given.
    pub run: Option<String>,
    /// `iou` (where not given), `dice`, `f1`, `precision`, `recall`, `loss`.
    pub metric: Option<String>,
    /// First epoch, itself included.
    pub from: Option<u32>,
    /// Last epoch, itself included.
    pub to: Option<u32>,
    /// Items per page, 1 to 1000; 100 where not given.
    pub limit: Option<u32>,
    /// The `next` of the page before.
    pub cursor: Option<i64>,
}

/// The series of a run.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Series {
    /// The run that this is about; null where none was seen yet.
    pub run: Option<String>,
    pub metric: String,
    /// One per epoch: the newest attempt's highest step.
    pub items: Vec<SeriesItem>,
    /// Give it as `cursor` to read on; null at the end.
    pub next: Option<i64>,
}

/// The series: one entry per epoch, a value with its interval, or the reason why there is none.
#[utoipa::path(get, path = "/probes", tag = "probes", params(SeriesQuery), responses(
    (status = 200, body = Series), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn series(State(store): State<Store>, Query(q): Query<SeriesQuery>) -> Answer<Json<Series>> {
    let metric = metric(q.metric.as_deref())?;
    let (from, to, limit) = (q.from.unwrap_or(0), q.to.unwrap_or(u32::MAX), ask::limit(q.limit)?);
    if from > to {
        return Err(Error::Invalid(format!("`from` = `{from}` lies after `to` = `{to}`")).into());
    }
    let run = store.run_asked(q.run.as_deref()).await?;
    let metric_name = metric.as_str().to_owned();
    let Some(name) = &run else {
        return Ok(Json(Series { run, metric: metric_name, items: Vec::new(), next: None }));
    };
    let page = store.series(SeriesFilter { run: name, metric, from, to, cursor: q.cursor, limit }).await?;
    Ok(Json(Series { run, metric: metric_name, items: page.items, next: page.next }))
}

fn metric(asked: Option<&str>) -> Result<Metric> {
    let asked = asked.unwrap_or(Metric::Iou.as_str());
    Metric::parse(asked).ok_or_else(|| {
        let known = Metric::ALL.map(Metric::as_str).join(", ");
        Error::Invalid(format!("`metric` is one of {known}, not `{asked}`"))
    })
}
