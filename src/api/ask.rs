//! What requests say: which run, which epoch, which page of a list.

use axum::extract::FromRef;
use serde::Deserialize;

use super::{ApiState, auth::Guard};
use crate::{
    error::{Error, Result},
    store::{PointRow, Store},
};

/// What the router carries: handlers see the part they need.
#[derive(Clone)]
pub struct Shared {
    pub api: ApiState,
    pub guard: Guard,
}

impl FromRef<Shared> for ApiState {
    fn from_ref(shared: &Shared) -> Self {
        shared.api.clone()
    }
}

impl FromRef<Shared> for Guard {
    fn from_ref(shared: &Shared) -> Self {
        shared.guard.clone()
    }
}

impl FromRef<Shared> for Store {
    fn from_ref(shared: &Shared) -> Self {
        shared.api.store.clone()
    }
}

/// Which page of a list.
#[derive(Clone, Copy, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Items per page, 1 to 1000; 100 where not given.
    pub limit: Option<u32>,
    /// The `next` of the page before.
    pub cursor: Option<i64>,
}

/// Which point of an epoch.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PointQuery {
    /// The run; the most recently active one where not given.
    pub run: Option<String>,
    /// The run's attempt; the newest where not given.
    pub attempt: Option<u32>,
}

/// Items per page.
pub fn limit(asked: Option<u32>) -> Result<u32> {
    match asked.unwrap_or(100) {
        limit @ 1..=1000 => Ok(limit),
        other => Err(Error::Invalid(format!("`limit` is 1 to 1000, not `{other}`"))),
    }
}

/// The run that is meant, where at least one was seen.
pub async fn run(store: &Store, asked: Option<&str>) -> Result<String> {
    let none = || Error::NotFound("no checkpoint was seen yet; hint: `POST /checkpoints`".to_owned());
    store.run_asked(asked).await?.ok_or_else(none)
}

/// The point that the epoch in a path means, `latest` included, and the other points of that epoch.
pub async fn points(store: &Store, epoch: &str, of: &PointQuery) -> Result<(PointRow, Vec<PointRow>)> {
    let latest = epoch == "latest";
    let number = epoch.parse::<u32>();
    if !latest && number.is_err() {
        return Err(Error::Invalid(format!("`{epoch}` is not an epoch; hint: a number from 0, or `latest`")));
    }
    let run = run(store, of.run.as_deref()).await?;
    if let Ok(number) = number {
        let mut points = store.points_of_epoch(&run, number, of.attempt).await?.into_iter();
        let none =
            || format!("no checkpoint of epoch {number} of run `{run}` was seen; hint: `/probes` lists the epochs");
        let first = points.next().ok_or_else(|| Error::NotFound(none()))?;
        return Ok((first, points.collect()));
    }
    let none = || Error::NotFound(format!("no probe of run `{run}` is done yet"));
    let first = store.latest_done(&run, of.attempt).await?.ok_or_else(none)?;
    let epoch = u32::try_from(first.epoch).map_err(|e| Error::Internal(e.to_string()))?;
    let mut others = store.points_of_epoch(&run, epoch, of.attempt).await?;
    others.retain(|p| (p.attempt, p.global_step) != (first.attempt, first.global_step));
    Ok((first, others))
}
