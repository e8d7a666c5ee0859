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
};
use crate::{
    domain::words,
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
    /// `rgb` where not given.
    pub layer: Option<Layer>,
}

/// A picture of a chip; `chip` is its stem, or `event/stem`.
#[utoipa::path(get, path = "/probes/{epoch}/chips/{*chip}", tag = "probes", params(
    ("epoch" = String, Path, description = "the trainer's epoch, or `latest`"),
    ("chip" = String, Path, description = "a chip's stem, or `event/stem`"), PictureQuery), responses(
    (status = 200, content_type = "image/png", body = Vec<u8>), (status = 400, body = Problem),
    (status = 404, body = Problem)))]
pub async fn picture(
    State(store): State<Store>,
    Path((epoch, chip)): Path<(EpochPath, String)>,
    Query(q): Query<PictureQuery>,
) -> Answer<Response> {
    let layer = q.layer.unwrap_or(Layer::Rgb);
    let (point, _) = query::points(&store, epoch, &PointQuery { run: q.run, attempt: q.attempt }).await?;
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
    let of_result = match point.result_id {
        Some(result) => Some(store.line_of(result).await?),
        None => None,
    };
    let line = of_result.or_else(|| point.line_key()).ok_or_else(|| not_yet(point))?;
    let (event, stem) = find(store.chip_paths(line.dataset).await?, wanted)?;
    let folder = match (layer, of_result) {
        (Layer::Prediction, Some(line)) => store.folder().pictures_of(point.weights_digest, line),
        (Layer::Prediction, None) => return Err(not_yet(point)),
        _ => store.folder().datasets().join(line.dataset.to_string()),
    };
    Ok(folder.join(event).join(format!("{stem}.{layer}.png")))
}

/// Event and stem of the one chip that is called so.
fn find(chips: Vec<(String, String)>, wanted: &str) -> Result<(String, String)> {
    let mut found = chips.into_iter().filter_map(|(path, event)| {
        let stem = FilePath::new(&path).file_stem()?.to_str()?.to_owned();
        (stem == wanted || format!("{event}/{stem}") == wanted).then_some((event, stem))
    });
    let unknown = || Error::not_found(format!("no chip `{wanted}`")).with_hint("`/datasets/{digest}/chips` lists them");
    let first = found.next().ok_or_else(unknown)?;
    match found.next() {
        None => Ok(first),
        Some(_) => {
            Err(Error::invalid(format!("`{wanted}` lies in several events"))
                .with_hint(format!("ask for `event/{wanted}`")))
        }
    }
}

fn not_yet(point: &PointItem) -> Error {
    Error::not_found(format!("the probe of epoch {} has no pictures; it is `{}`", point.epoch, point.state))
}
