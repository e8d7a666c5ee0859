//! `/probes/{epoch}/chips/{chip}.png`: what a chip looks like, and what was predicted.

use std::path::{Path as FilePath, PathBuf};

use axum::{
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    problem::{Answer, Problem},
    query::{self, EpochPath, PointQuery},
    state::View,
};
use crate::{
    domain::{ChipRecord, HeadName, words},
    error::{Error, Result},
    store::{PointItem, Store},
};

words! {
    /// What a picture shows of a chip.
    pub enum Layer {
        /// Red, green, blue.
        Rgb = "rgb",
        /// Radar.
        Sar = "sar",
        /// Water, land, and what is ignored.
        Label = "label",
        /// What was predicted, against the label.
        Prediction = "prediction",
    }
}

/// Which picture of which point.
#[derive(Clone, Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PictureQuery {
    /// The run; the one with the newest point where not given.
    pub run: Option<String>,
    /// The run's attempt; the newest where not given.
    pub attempt: Option<u32>,
    /// The head of a prediction; the first configured one where not given.
    pub head: Option<HeadName>,
    /// The line of a prediction; the head's newest where not given.
    pub line: Option<String>,
    /// `rgb` where not given.
    pub layer: Option<Layer>,
}

/// A picture of a chip; `chip` is its stem, `event/stem`, or its path in the data set.
#[utoipa::path(get, path = "/probes/{epoch}/chips/{*chip}", tag = "probes", params(
    ("epoch" = String, Path, description = "the trainer's epoch, or `latest`"),
    ("chip" = String, Path, description = "a chip's stem, `event/stem`, or its path in the data set, without `.tif`"), PictureQuery), responses(
    (status = 200, content_type = "image/png", body = Vec<u8>), (status = 400, body = Problem),
    (status = 404, body = Problem)))]
pub async fn picture(
    State(store): State<Store>,
    State(view): State<View>,
    Path((epoch, chip)): Path<(EpochPath, String)>,
    Query(q): Query<PictureQuery>,
) -> Answer<Response> {
    let layer = q.layer.unwrap_or(Layer::Rgb);
    let PictureQuery { run, attempt, head, line, .. } = q;
    let (_, point, _) = query::points(&store, view, epoch, &PointQuery { run, attempt, head, line }).await?;
    let file = file(&store, &point, &chip, layer).await?;
    let Ok(png) = tokio::fs::read(&file).await else {
        tracing::debug!(file = %file.display(), "a picture is not there");
        return Err(Error::not_found(format!("`{layer}` of `{chip}` was not drawn, or went for space")).into());
    };
    Ok(([(header::CONTENT_TYPE, "image/png"), (header::CACHE_CONTROL, "private, max-age=60")], png).into_response())
}

/// The picture's file. Its names come from the table of chips, never from the request.
async fn file(store: &Store, point: &PointItem, asked: &str, layer: Layer) -> Result<PathBuf> {
    let no_picture = || Error::not_found(format!("there is no `{asked}`")).with_hint("a chip's picture ends in `.png`");
    let wanted = asked.strip_suffix(".png").ok_or_else(no_picture)?;
    let scored = match point.head_id {
        Some(head) => Some(store.head_key(head).await?),
        None => None,
    };
    let basis = scored.map(|(key, ..)| key.basis).or_else(|| point.basis()).ok_or_else(|| not_yet(point))?;
    let path = find(store.chip_paths(basis.dataset).await?, wanted)?;
    let folder = match (layer, scored) {
        (Layer::Prediction, Some((key, head, digest))) => store.folder().predictions(&key, head, &digest),
        (Layer::Prediction, None) => return Err(not_yet(point)),
        _ => store.folder().datasets().join(basis.dataset.to_string()),
    };
    Ok(folder.join(ChipRecord::picture(&path, layer.as_str())))
}

/// The path of the one chip that is called so.
fn find(chips: Vec<(String, String)>, wanted: &str) -> Result<String> {
    let whole = |path: &str| path.strip_suffix(".tif").unwrap_or(path).to_owned();
    if let Some((path, _)) = chips.iter().find(|(path, _)| whole(path) == wanted) {
        return Ok(path.clone());
    }
    let mut found = chips.into_iter().filter_map(|(path, event)| {
        let stem = FilePath::new(&path).file_stem()?.to_str()?.to_owned();
        (stem == wanted || format!("{event}/{stem}") == wanted).then_some(path)
    });
    let unknown = || Error::not_found(format!("no chip `{wanted}`")).with_hint("`/datasets/{digest}/chips` lists them");
    let first = found.next().ok_or_else(unknown)?;
    match found.next() {
        None => Ok(first),
        Some(_) => Err(Error::invalid(format!("`{wanted}` is the name of several chips, of one or several events"))
            .with_hint(format!("ask for `event/{wanted}`, or a chip's whole path"))),
    }
}

fn not_yet(point: &PointItem) -> Error {
    Error::not_found(format!("the probe of epoch {} has no pictures; it is `{}`", point.epoch, point.state))
}
