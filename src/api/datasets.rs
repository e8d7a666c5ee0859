//! `/datasets/{digest}/chips`: the chips that scores are about.

use axum::{
    Json,
    extract::{Path, Query, State},
};
use serde::Serialize;

use super::{
    problem::{Answer, Problem},
    query::{self, PageQuery},
};
use crate::{
    domain::{ChipRecord, Digest},
    store::Store,
};

/// A page of chips.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Chips {
    /// `path`, `event`, `split`, `bbox`, `epsg`, `date`, `source_url`, `latlon`, `timestep`, `lat`, `lon`, `gsd`,
    /// `level`, `id`, counts of pixels: `water`, `land`, `ignored`; and `nonfinite`, of values over bands.
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<ChipRecord>,
    /// Give it as `cursor` to read on; null at the end.
    pub next: Option<i64>,
}

/// The usable chips of a data set, in the order of its scan.
#[utoipa::path(get, path = "/datasets/{digest}/chips", tag = "data sets", params(
    ("digest" = String, Path, description = "64 hexadecimal digits"), PageQuery), responses(
    (status = 200, body = Chips), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub async fn chips(
    State(store): State<Store>,
    Path(digest): Path<Digest>,
    Query(q): Query<PageQuery>,
) -> Answer<Json<Chips>> {
    let page = store.chips(digest, query::limit(q.limit)?, q.cursor).await?;
    Ok(Json(Chips { items: page.items, next: page.next }))
}
