//! What requests say, and what answers have in common: which run, which epoch, which page, how far a job is.

use serde::{Deserialize, Serialize};

use super::state::View;
use crate::{
    domain::{Epoch, HeadName, JobId, Progress, RunId, Shown},
    error::{Error, Result},
    status::Status,
    store::{ChosenLine, LineChoice, PointItem, RunItem, Snapshot, Store},
};

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
    /// The run; the one with the newest point where not given.
    pub run: Option<String>,
    /// The run's attempt; the newest where not given.
    pub attempt: Option<u32>,
    /// The head; the first configured one where not given.
    pub head: Option<HeadName>,
    /// The line, as `/lines` lists it; the head's newest where not given.
    pub line: Option<String>,
}

/// The epoch in a path.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum EpochPath {
    /// That of the highest step with a score.
    Latest,
    Epoch(Epoch),
}

impl TryFrom<String> for EpochPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        let number = text.parse().map_err(|_| format!("`{text}` is not an epoch: a number from 0, or `latest`"))?;
        Ok(Self::Epoch(Epoch(number)))
    }
}

/// An item and how far its job is.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Tracked<T> {
    #[serde(flatten)]
    pub item: T,
    /// How far the worker is, while probing; null otherwise.
    pub progress: Option<Progress>,
}

impl<T> Tracked<T> {
    /// An item that shows `state` and whose latest job is `job`.
    pub fn new(status: &Status, state: Shown, job: Option<JobId>, item: T) -> Self {
        Self { item, progress: progress(status, state, job) }
    }
}

/// How far a job is, while it probes.
pub fn progress(status: &Status, state: Shown, job: Option<JobId>) -> Option<Progress> {
    job.filter(|_| state == Shown::Probing).and_then(|job| status.progress(job))
}

/// Items per page.
pub fn limit(asked: Option<u32>) -> Result<u32> {
    match asked.unwrap_or(100) {
        limit @ 1..=1000 => Ok(limit),
        other => Err(Error::invalid(format!("`limit` is 1 to 1000, not `{other}`"))),
    }
}

/// The run that is meant; `None` where none is named and none was seen yet.
pub async fn run_if_any(store: &Store, asked: Option<&str>) -> Result<Option<RunItem>> {
    match asked {
        Some(name) => store.run(name).await.map(Some),
        None => store.default_run().await,
    }
}

/// The line of a run that an answer is about.
pub async fn line(
    snapshot: &mut Snapshot,
    view: View,
    run: RunId,
    head: Option<HeadName>,
    line: Option<&str>,
) -> Result<ChosenLine> {
    snapshot.choose_line(run, LineChoice { head, line, first: view.head }).await
}

/// The points of the epoch in a path under a line: the one that the epoch shows, and the others.
pub async fn points(
    store: &Store,
    view: View,
    epoch: EpochPath,
    of: &PointQuery,
) -> Result<(ChosenLine, PointItem, Vec<PointItem>)> {
    let unseen = || Error::not_found("no checkpoint was seen yet").with_hint("`POST /checkpoints` announces one");
    let run = run_if_any(store, of.run.as_deref()).await?.ok_or_else(unseen)?;
    let mut snapshot = store.snapshot().await?;
    let line = line(&mut snapshot, view, run.id, of.head, of.line.as_deref()).await?;
    let epoch = match epoch {
        EpochPath::Epoch(epoch) => epoch,
        EpochPath::Latest => {
            let unscored = || Error::not_found(format!("no probe of run `{}` is done yet", run.run));
            snapshot.latest_scored(run.id, &line, of.attempt).await?.ok_or_else(unscored)?
        }
    };
    let mut points = snapshot.points_of_epoch(run.id, &line, epoch, of.attempt).await?;
    if points.is_empty() {
        let message = format!("no checkpoint of epoch {epoch} of run `{}` was seen", run.run);
        return Err(Error::not_found(message).with_hint("`/probes` lists the epochs"));
    }
    let first = points.remove(0);
    Ok((line, first, points))
}
