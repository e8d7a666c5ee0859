//! `/verdict`, `/trend`, `/compare`: what a run's scores say, and how sure that is.

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
};
use crate::{
    domain::{ControlName, Epoch, HeadName, Metric, RunName},
    error::{Error, Result},
    findings::{Control, Findings, Seen, findings, scale},
    statistics::{Advice, Comparison, Evidence, Table, Trend, compare as compare_tables},
    store::{ChosenLine, HistoryPoint, LineChoice, RunItem, Snapshot},
};

/// Of which line, and up to which epoch.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FindingsQuery {
    /// The run; the one with the newest point where not given.
    pub run: Option<String>,
    /// The head; `ridge` where the run has quick scores, else the first configured one.
    pub head: Option<HeadName>,
    /// The line, as `/lines` lists it; the head's newest where not given.
    pub line: Option<String>,
    /// As if the run had ended with this epoch.
    pub to: Option<u32>,
}

/// Two points of a line.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CompareQuery {
    /// The run; the one with the newest point where not given.
    pub run: Option<String>,
    /// The head; `ridge` where the run has quick scores, else the first configured one.
    pub head: Option<HeadName>,
    /// The line, as `/lines` lists it; the head's newest where not given.
    pub line: Option<String>,
    /// An epoch.
    pub a: u32,
    /// The epoch that it is compared with.
    pub b: u32,
}

/// What an answer is about.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct About {
    #[schema(value_type = String)]
    pub run: RunName,
    pub head: HeadName,
    /// Null where the head has no score in the run yet.
    pub line: Option<String>,
    /// What is looked at, per event: of `ridge` `quick_r2`, else `iou`.
    pub metric: Metric,
    /// The last epoch that was looked at; null without any.
    pub epoch: Option<u32>,
}

/// The verdict on a run.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Verdict {
    #[serde(flatten)]
    pub about: About,
    /// `continue`, `look`, `stop_advised` or `cannot_tell`.
    #[schema(value_type = String)]
    pub verdict: Advice,
    /// The same for people, with figures.
    pub sentence: String,
    /// Whether a sign of collapse or a confirmed alarm stands against the run.
    pub reported: bool,
    /// What it rests on: the trend, the alarm, signs of collapse.
    #[schema(value_type = Vec<Object>)]
    pub evidence: Vec<Evidence>,
    /// The whole of it.
    #[schema(value_type = Object)]
    pub findings: Findings,
}

/// The trend of a run.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct TrendAnswer {
    #[serde(flatten)]
    pub about: About,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub trend: Trend,
}

/// Two points.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Compared {
    #[serde(flatten)]
    pub about: About,
    pub a: u32,
    pub b: u32,
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub comparison: Comparison,
    /// What it is a statement about.
    pub scope: &'static str,
}

/// Whether to go on with a run: `continue`, `look`, `stop_advised` or `cannot_tell`, in one sentence and with its
/// evidence. With `to`, as it was to be said after that epoch.
#[utoipa::path(get, path = "/verdict", tag = "findings", params(FindingsQuery), responses(
    (status = 200, body = Verdict), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn verdict(State(state): State<ApiState>, Query(q): Query<FindingsQuery>) -> Answer<Json<Verdict>> {
    let run = run(&state, q.run.as_deref()).await?;
    let (about, seen) = seen(&state, &run, q.head, q.line.as_deref(), q.to.unwrap_or(u32::MAX)).await?;
    let random = random(&state, &run, &about).await?;
    let findings = findings(&seen, about.metric, state.view.margin, random);
    Ok(Json(Verdict {
        about,
        verdict: findings.verdict,
        sentence: findings.sentence.clone(),
        reported: findings.reports(),
        evidence: findings.evidence(),
        findings,
    }))
}

/// Where a line is going: a slope per event over its last points, with its interval over events.
#[utoipa::path(get, path = "/trend", tag = "findings", params(FindingsQuery), responses(
    (status = 200, body = TrendAnswer), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn trend(State(state): State<ApiState>, Query(q): Query<FindingsQuery>) -> Answer<Json<TrendAnswer>> {
    let run = run(&state, q.run.as_deref()).await?;
    let (about, seen) = seen(&state, &run, q.head, q.line.as_deref(), q.to.unwrap_or(u32::MAX)).await?;
    let trend = findings(&seen, about.metric, state.view.margin, None).trend;
    Ok(Json(TrendAnswer { about, trend }))
}

/// Two sets of weights, by the events and seeds that both were scored on.
#[utoipa::path(get, path = "/compare", tag = "findings", params(CompareQuery), responses(
    (status = 200, body = Compared), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn compare(State(state): State<ApiState>, Query(q): Query<CompareQuery>) -> Answer<Json<Compared>> {
    let run = run(&state, q.run.as_deref()).await?;
    let (about, seen) = seen(&state, &run, q.head, q.line.as_deref(), u32::MAX).await?;
    let table = |epoch: u32| {
        let found = seen.iter().find(|seen| seen.epoch == epoch).map(|seen| &seen.table);
        let none = || Error::not_found(format!("epoch {epoch} of run `{}` has no score on this line", about.run));
        found.ok_or_else(|| none().with_hint("`/probes` lists the epochs"))
    };
    let comparison = compare_tables(table(q.a)?, table(q.b)?, scale(about.metric, state.view.margin));
    let scope = "these two sets of weights, on events like these; not the recipes that they came from";
    Ok(Json(Compared { about, a: q.a, b: q.b, comparison, scope }))
}

async fn run(state: &ApiState, asked: Option<&str>) -> Result<RunItem> {
    let unseen = || Error::not_found("no checkpoint was seen yet").with_hint("`POST /checkpoints` announces one");
    query::run_if_any(&state.store, asked).await?.ok_or_else(unseen)
}

/// The points of the line that is meant, with the signs of collapse of the same steps.
async fn seen(
    state: &ApiState,
    run: &RunItem,
    head: Option<HeadName>,
    line: Option<&str>,
    to: u32,
) -> Result<(About, Vec<Seen>)> {
    let mut snapshot = state.store.snapshot().await?;
    let ridge = newest(&mut snapshot, run, HeadName::Ridge).await?;
    let chosen = match (line, head, &ridge.line) {
        (None, None, Some(_)) => ridge.clone(),
        _ => query::line(&mut snapshot, state.view, run.id, head, line).await?,
    };
    let metric = if chosen.head == HeadName::Ridge { Metric::QuickR2 } else { Metric::Iou };
    let points = history(&mut snapshot, run, &chosen, metric, to).await?;
    let ranks_of = match chosen == ridge {
        true => points.clone(),
        false => history(&mut snapshot, run, &ridge, Metric::QuickR2, to).await?,
    };
    let ranks: HashMap<i64, Option<f64>> =
        ranks_of.iter().map(|point| (point.global_step, value(point, Metric::EffectiveRank))).collect();
    let of = |point: &HistoryPoint| Seen {
        epoch: point.epoch.0,
        table: table(point),
        value: value(point, metric),
        effective_rank: ranks.get(&point.global_step).copied().flatten(),
        train_loss: point.context.number("train_loss"),
    };
    let seen: Vec<Seen> = points.iter().map(of).collect();
    let epoch = seen.last().map(|seen| seen.epoch);
    Ok((About { run: run.run.clone(), head: chosen.head, line: chosen.line, metric, epoch }, seen))
}

async fn newest(snapshot: &mut Snapshot, run: &RunItem, head: HeadName) -> Result<ChosenLine> {
    snapshot.choose_line(run.id, LineChoice { head: Some(head), line: None, first: head }).await
}

async fn history(
    snapshot: &mut Snapshot,
    run: &RunItem,
    line: &ChosenLine,
    metric: Metric,
    to: u32,
) -> Result<Vec<HistoryPoint>> {
    match &line.line {
        Some(line) => snapshot.history(run.id, line, metric, Epoch(to)).await,
        None => Ok(Vec::new()),
    }
}

fn value(point: &HistoryPoint, metric: Metric) -> Option<f64> {
    point.values.iter().find(|(name, _)| *name == metric).and_then(|(_, value)| *value)
}

/// A head without seeds has one.
fn table(point: &HistoryPoint) -> Table {
    Table::new(point.events.iter().map(|(event, seed, value)| (event.clone(), seed.parse().unwrap_or(0), Some(*value))))
}

/// What random encoders score with the line's head.
async fn random(state: &ApiState, run: &RunItem, about: &About) -> Result<Option<Control>> {
    let Some(line) = &about.line else { return Ok(None) };
    let scores = state.store.controls(state.store.head_of_line(run.id, line).await?).await?;
    let of = |score: &crate::domain::ControlScore| {
        let value = score.value?;
        Some(Control { value, low: score.low.unwrap_or(value), high: score.high.unwrap_or(value) })
    };
    Ok(scores.iter().find(|s| s.control == ControlName::Random && s.metric == about.metric).and_then(of))
}
