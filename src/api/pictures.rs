//! `/probes/{epoch}/chips/{chip}.png`: what a chip looks like, and what was predicted.

use std::path::{Path as FilePath, PathBuf};

use axum::{
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    ApiState,
    ask::{self, PointQuery},
    problem::{Answer, Problem},
};
use crate::{
    error::{Error, Result},
    store::{PointRow, Store},
};

const LAYERS: [&str; 4] = ["rgb", "sar", "label", "prediction"];

/// Which picture of which point.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PictureQuery {
    /// The run; the most recently active one where not given.
    pub run: Option<String>,
    /// The run's attempt; the newest where not given.
    pub attempt: Option<u32>,
    /// `rgb` (where not given), `sar`, `label` or `prediction`.
    pub layer: Option<String>,
}

/// A picture of a chip; `chip` is its stem, or `event/stem`.
#[utoipa::path(get, path = "/probes/{epoch}/chips/{*chip}", tag = "probes", params(
    ("epoch" = String, Path, description = "the trainer's epoch, or `latest`"),
    ("chip" = String, Path, description = "a chip's stem, or `event/stem`"), PictureQuery), responses(
    (status = 200, content_type = "image/png", body = Vec<u8>), (status = 400, body = Problem),
    (status = 404, body = Problem)))]
pub async fn picture(
    State(state): State<ApiState>,
    Path((epoch, chip)): Path<(String, String)>,
    Query(q): Query<PictureQuery>,
) -> Answer<Response> {
    let layer = layer(q.layer.as_deref())?;
    let (point, _) = ask::points(&state.store, &epoch, &PointQuery { run: q.run, attempt: q.attempt }).await?;
    let file = state.results.join(file(&state.store, &point, &chip, layer).await?);
    let Ok(png) = tokio::fs::read(&file).await else {
        tracing::warn!(file = %file.display(), "a picture is not there");
        return Err(Error::NotFound(format!("`{layer}` of `{chip}` was not drawn")).into());
    };
    Ok(([(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "private, max-age=60")], png).into_response())
}

fn layer(asked: Option<&str>) -> Result<&'static str> {
    let asked = asked.unwrap_or(LAYERS[0]);
    let known = LAYERS.into_iter().find(|layer| *layer == asked);
    known.ok_or_else(|| Error::Invalid(format!("`layer` is one of {}, not `{asked}`", LAYERS.join(", "))))
}

/// The picture's file below `store.results`. Its names come from the table of chips, never from the request.
async fn file(store: &Store, point: &PointRow, asked: &str, layer: &str) -> Result<PathBuf> {
    let wanted = asked
        .strip_suffix(".png")
        .ok_or_else(|| Error::NotFound(format!("there is no `{asked}`; hint: a chip's picture ends in `.png`")))?;
    let dataset = point.dataset_digest.as_deref().ok_or_else(|| not_yet(point))?;
    let (event, stem) = find(store.chip_paths(dataset).await?, wanted)?;
    let below = if layer == "prediction" {
        let result = store.result(point.result_id.ok_or_else(|| not_yet(point))?).await?;
        let key = FilePath::new(&result.file).file_stem().map(PathBuf::from);
        PathBuf::from("predictions").join(key.ok_or_else(|| Error::Internal("a result has no file".to_owned()))?)
    } else {
        PathBuf::from("datasets").join(dataset)
    };
    Ok(below.join(event).join(format!("{stem}.{layer}.png")))
}

/// Event and stem of the one chip that is called so.
fn find(chips: Vec<(String, String)>, wanted: &str) -> Result<(String, String)> {
    let mut found = chips.into_iter().filter_map(|(path, event)| {
        let stem = FilePath::new(&path).file_stem()?.to_str()?.to_owned();
        (stem == wanted || format!("{event}/{stem}") == wanted).then_some((event, stem))
    });
    let first = found
        .next()
        .ok_or_else(|| Error::NotFound(format!("no chip `{wanted}`; hint: `/datasets/{{digest}}/chips` lists them")))?;
    match found.next() {
        None => Ok(first),
        Some(_) => Err(Error::Invalid(format!("`{wanted}` lies in several events; hint: ask for `event/{wanted}`"))),
    }
}

fn not_yet(point: &PointRow) -> Error {
    let state = point.state.as_deref().unwrap_or("not asked for");
    Error::NotFound(format!("the probe of epoch {} has no pictures; it is `{state}`", point.epoch))
}
