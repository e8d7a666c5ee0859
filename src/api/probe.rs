//! `/probes/{epoch}`: one probe, whole.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Serialize;

use super::{
    ask::{self, PointQuery},
    problem::{Answer, Problem},
};
use crate::{
    error::Result,
    store::{ChipSum, FitRow, Other, PointRow, ResultRow, Store, SummaryRow},
};

/// One probe: the point, and, once done, its result.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Probe {
    #[serde(flatten)]
    pub point: PointRow,
    /// Null until done.
    #[serde(flatten)]
    pub result: Computed,
    /// Every metric over seeds.
    pub summary: BTreeMap<String, SummaryRow>,
    /// One per head, seed and fold.
    pub fits: Vec<FitRow>,
    /// One per validation chip and head.
    pub chips: Vec<ChipSum>,
    /// The same protocol on networks that learnt nothing; none are computed yet.
    #[schema(value_type = Vec<Object>)]
    pub controls: Vec<serde_json::Value>,
    /// Other points of the same epoch.
    pub others: Vec<Other>,
}

/// The provenance of a result; its keys are null until there is one.
#[derive(Clone, Debug, PartialEq, utoipa::ToSchema)]
pub struct Computed(#[schema(inline)] pub Option<ResultRow>);

impl Serialize for Computed {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        const KEYS: [&str; 13] = [
            "device",
            "device_reason",
            "encoder",
            "dataset",
            "protocol",
            "seconds",
            "versions",
            "mean_batch_iou",
            "chips_encoded",
            "n_seeds",
            "n_events",
            "n_chips",
            "computed_at",
        ];
        match &self.0 {
            Some(row) => row.serialize(to),
            None => KEYS.map(|key| (key, ())).into_iter().collect::<BTreeMap<_, _>>().serialize(to),
        }
    }
}

/// One probe, whole; with its state while it is queued, running, skipped or failed. `latest`: the highest step done.
#[utoipa::path(get, path = "/probes/{epoch}", tag = "probes", params(
    ("epoch" = String, Path, description = "the trainer's epoch, or `latest`"), PointQuery), responses(
    (status = 200, body = Probe), (status = 400, body = Problem),
    (status = 404, body = Problem, description = "never seen")))]
pub async fn one(
    State(store): State<Store>,
    Path(epoch): Path<String>,
    Query(q): Query<PointQuery>,
) -> Answer<Json<Probe>> {
    let (point, others) = ask::points(&store, &epoch, &q).await?;
    Ok(Json(whole(&store, point, others.into_iter().map(Other::from).collect()).await?))
}

async fn whole(store: &Store, point: PointRow, others: Vec<Other>) -> Result<Probe> {
    let (result, summary, fits, chips) = match point.result_id {
        Some(id) => (
            Some(store.result(id).await?),
            store.summaries(id).await?,
            store.fits(id).await?,
            store.chip_sums(id).await?,
        ),
        None => Default::default(),
    };
    Ok(Probe { point, result: Computed(result), summary, fits, chips, controls: Vec::new(), others })
}
