//! `/lines`: which lines a run has, and what tells them apart.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};

use super::{
    ApiState,
    problem::{Answer, Problem},
    query,
    state::View,
};
use crate::{
    domain::{ChangedWord, Digest, HeadName, HeadSettings, LineFacts, Preparation, RunName},
    store::{LineRow, SeriesName},
};

/// Of which run.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LinesQuery {
    /// The run; the one with the newest point where not given.
    pub run: Option<String>,
}

/// The lines of a run, in the order they began.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Lines {
    /// The run that this is about; null where none was seen yet.
    #[schema(value_type = Option<String>)]
    pub run: Option<RunName>,
    pub items: Vec<LineItem>,
    /// Always null: all of them are told at once.
    pub next: Option<i64>,
}

/// A line: scores under one key, which may be compared.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LineItem {
    /// Its name in `?line=`.
    pub line: String,
    pub series: SeriesName,
    pub head: HeadName,
    /// What an answer is about that is asked for neither head nor line.
    pub default: bool,
    /// The newest of its head: what an answer is about that is asked for the head alone.
    pub newest: bool,
    /// Points with a score under it.
    pub points: i64,
    pub first_epoch: u32,
    pub last_epoch: u32,
    #[schema(value_type = String)]
    pub dataset_digest: Digest,
    /// Which chip is on which side of which fold.
    #[schema(value_type = String)]
    pub assignment: Digest,
    #[schema(value_type = String)]
    pub preparation_digest: Digest,
    /// What decides the features: family, inputs, statistics, cloud rule, ...
    #[schema(value_type = Object)]
    pub preparation: Preparation,
    #[schema(value_type = String)]
    pub head_digest: Digest,
    /// What decides the head's numbers: seeds, steps, learning rate, ...
    #[schema(value_type = Object)]
    pub settings: HeadSettings,
    /// The words in which it differs from the line of its head that began before it; null for the first.
    pub changed: Option<Vec<ChangedWord>>,
    /// When its first score was computed.
    pub created_at: String,
}

/// The lines of a run: of each head under each data set, assignment, preparation and settings of the head.
#[utoipa::path(get, path = "/lines", tag = "probes", params(LinesQuery), responses(
    (status = 200, body = Lines), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn lines(State(state): State<ApiState>, Query(q): Query<LinesQuery>) -> Answer<Json<Lines>> {
    let Some(run) = query::run_if_any(&state.store, q.run.as_deref()).await? else {
        return Ok(Json(Lines { run: None, items: Vec::new(), next: None }));
    };
    let items = told(state.store.lines(run.id).await?, state.view);
    Ok(Json(Lines { run: Some(run.run), items, next: None }))
}

fn told(rows: Vec<LineRow>, view: View) -> Vec<LineItem> {
    let mut before: HashMap<HeadName, LineFacts> = HashMap::new();
    let item = |row: LineRow| {
        let LineRow { line, key, facts, points, first_epoch, last_epoch, newest, created_at } = row;
        let changed = before.insert(key.head, facts.clone()).map(|before| facts.changed_since(&before));
        LineItem {
            line,
            series: SeriesName::Main,
            head: key.head,
            default: newest && key.head == view.head,
            newest,
            points,
            first_epoch,
            last_epoch,
            dataset_digest: key.dataset,
            assignment: key.assignment,
            preparation_digest: key.preparation,
            preparation: facts.preparation,
            head_digest: key.head_digest,
            settings: facts.settings,
            changed,
            created_at,
        }
    };
    rows.into_iter().map(item).collect()
}
