//! `/events`: the journal as server-sent events, and progress between its entries.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    extract::{Query, State},
    http::HeaderMap,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};
use tokio_util::sync::CancellationToken;

use super::{
    ApiState,
    problem::{Answer, Problem},
};
use crate::{
    domain::{EventId, JobId, Progress, RunName},
    error::{Error, Result},
    store::{EventRow, Store},
};

/// Entries read at once.
const PAGE: u32 = 500;
/// A stream that is silent for so long says that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which events.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Only changes of this run; progress comes of all.
    pub run: Option<String>,
    /// As the header `Last-Event-ID`, which wins, for clients that cannot send it.
    pub last_event_id: Option<i64>,
}

/// How far a job is; sent without an id.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ProgressEvent {
    #[schema(value_type = i64)]
    pub job_id: JobId,
    #[serde(flatten)]
    pub progress: Progress,
}

/// Entries before this one are no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct GapEvent {
    #[schema(value_type = i64)]
    pub oldest: EventId,
}

/// Server-sent events, without an end. `event: change` is a change of state, with its `id`; `event: progress` is how far
/// a job is (`ProgressEvent`), without one, and only its newest counts. With `Last-Event-ID` the changes after that one
/// come first, with 0 all that are kept; without it the stream begins with what happens from now on. Where changes
/// asked for are no longer kept (`store.keep_events`), `event: gap` (`GapEvent`) comes first.
#[utoipa::path(get, path = "/events", tag = "service", params(EventsQuery,
    ("Last-Event-ID" = Option<i64>, Header, description = "the id of the last change seen")), responses(
    (status = 200, content_type = "text/event-stream", body = EventRow), (status = 400, body = Problem),
    (status = 401, body = Problem), (status = 404, body = Problem, description = "no such run")))]
pub async fn events(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Query(q): Query<EventsQuery>,
) -> Answer<Response> {
    let after = last_seen(&headers)?.or(q.last_event_id);
    let run = match &q.run {
        Some(name) => Some(state.store.run(name).await?.run),
        None => None,
    };
    let feed = Feed::begin(&state, run, after).await?;
    let kept_alive = Sse::new(feed.stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("alive"));
    // A proxy that gathers the answer would hold events back.
    Ok(([("x-accel-buffering", "no")], kept_alive).into_response())
}

fn last_seen(headers: &HeaderMap) -> Result<Option<i64>> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let id = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    id.map(Some).ok_or_else(|| Error::invalid(format!("`Last-Event-ID` is the id of an event, not {value:?}")))
}

/// One client's place in the journal. It holds no connection to the database while it waits.
struct Feed {
    store: Store,
    run: Option<RunName>,
    /// Sent, or skipped as of another run.
    last: EventId,
    /// There may be more entries after `last`.
    behind: bool,
    ready: VecDeque<Event>,
    commits: watch::Receiver<u64>,
    progress: broadcast::Receiver<(JobId, Progress)>,
    stop: CancellationToken,
}

impl Feed {
    /// Begins after an entry; `None`: after the newest.
    async fn begin(state: &ApiState, run: Option<RunName>, after: Option<i64>) -> Result<Self> {
        // Listened to before the table is read: a commit in between wakes the first wait.
        let (commits, progress) = (state.store.commits(), state.status.progress_news());
        let bounds = state.store.event_bounds().await?;
        let newest = bounds.map_or(0, |(_, newest)| newest.0);
        // An id above the newest is of a run that was removed, or of another database.
        let last = after.unwrap_or(newest).min(newest);
        let mut ready = VecDeque::new();
        if let (Some(after @ 1..), Some((oldest, newest))) = (after, bounds)
            && !(oldest.0 - 1..=newest.0).contains(&after)
        {
            ready.push_back(event("gap", &GapEvent { oldest })?);
        }
        let (store, stop) = (state.store.clone(), state.stop.clone());
        Ok(Self { store, run, last: EventId(last), behind: true, ready, commits, progress, stop })
    }

    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, async |mut feed| {
            let event = feed.next().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "a stream of events ends; its client comes back");
                None
            });
            event.map(|event| (Ok(event), feed))
        })
    }

    /// The next event; `None` once the service stops.
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            if self.behind {
                self.read().await?;
                continue;
            }
            tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                changed = self.commits.changed() => match changed {
                    Ok(()) => self.behind = true,
                    Err(_) => return Ok(None), // the store is gone
                },
                news = self.progress.recv() => match news {
                    Ok((job_id, progress)) => return Ok(Some(event("progress", &ProgressEvent { job_id, progress })?)),
                    Err(RecvError::Lagged(_)) => {} // newer ones follow
                    Err(RecvError::Closed) => return Ok(None),
                },
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        // Known before the page: with a page that is not full, all up to here was looked at, also of other runs.
        let newest = self.store.event_bounds().await?.map_or(self.last, |(_, newest)| newest);
        let rows = self.store.events_after(self.last, self.run.as_ref(), PAGE).await?;
        self.behind = rows.len() == PAGE as usize;
        for row in rows {
            self.last = row.id;
            self.ready.push_back(event("change", &row)?.id(row.id.to_string()));
        }
        if !self.behind {
            self.last = self.last.max(newest);
        }
        Ok(())
    }
}

fn event(name: &str, data: &impl Serialize) -> Result<Event> {
    Event::default().event(name).json_data(data).map_err(|error| Error::Internal(error.to_string()))
}
