//! Proves a checkpoint and copies its encoder out of the trainer's file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    super::runner::{Runner, internal, unreadable},
    Job, Machine, Place,
};
use crate::{
    config,
    domain::{Failure, JobKind, Pinned, Progress},
    probe::weights::{self, Options},
    queue::{Claimed, Output},
};

/// The most bytes of [`Pinned::about`] as JSON: it goes into a line and into a row.
const MOST_ABOUT: usize = 64 * 1024;

/// What to pin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// The trainer's file.
    pub path: PathBuf,
    /// Where the copy goes, under its weights digest.
    pub pins: PathBuf,
    pub opaque_globals: Vec<String>,
    /// `probe.prefix`.
    pub prefix: String,
    /// A `metadata.yaml` that was posted with the file.
    pub metadata: Option<PathBuf>,
}

impl Job for Pin {
    const KIND: JobKind = JobKind::Pin;
    const PRIORITY: u8 = 20;
    const PLACE: Place = Place::Here;
    type Output = Pinned;

    fn work(&self, _: &Machine, _: &mut dyn FnMut(Progress)) -> Result<Pinned, Failure> {
        let options = Options {
            opaque_globals: self.opaque_globals.clone(),
            prefix: self.prefix.clone(),
            metadata: self.metadata.clone(),
        };
        let pinned = weights::pin(&self.path, &self.pins, &options)?;
        Ok(Pinned { about: bounded(pinned.about, MOST_ABOUT), ..pinned })
    }
}

/// Has a checkpoint pinned.
pub(super) async fn serve(runner: &Runner, claimed: &Claimed, stop: &CancellationToken) -> Result<(), Failure> {
    let id = claimed.job.checkpoint_id.ok_or_else(|| internal("a pin job without a checkpoint"))?;
    let item = runner.store.checkpoint(id).await.map_err(|error| unreadable(&error))?;
    let pinned = pin(runner, claimed, item.path, item.posted.0.metadata).await?;
    runner.finish(claimed.job.id, Output::Pin(&pinned), stop).await
}

/// Pins a file into the folder of pins; `metadata` is the `metadata.yaml` that was posted with it.
pub(super) async fn pin(
    runner: &Runner,
    claimed: &Claimed,
    path: String,
    metadata: Option<String>,
) -> Result<Pinned, Failure> {
    let config::Probe { opaque_globals, prefix, .. } = runner.config.probe.clone();
    let (pins, metadata) = (runner.store.folder().pins(), metadata.map(PathBuf::from));
    let job = Pin { path: path.into(), pins, opaque_globals, prefix, metadata };
    runner.work(claimed, &job, runner.config.intake.give_up).await
}

/// The value, with a note in the place of members that are too large for it to have at most `most` bytes.
fn bounded(value: Value, most: usize) -> Value {
    let size = value.to_string().len();
    if size <= most {
        return value;
    }
    if let Value::Object(members) = value {
        let members = members.into_iter().map(|(key, member)| (key, bounded(member, most / 8)));
        let kept = Value::Object(members.collect());
        if kept.to_string().len() <= most {
            return kept;
        }
    }
    json!({"omitted": format!("{size} bytes")})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::protocol::MAX_LINE;

    #[test]
    fn large_hyper_parameters_are_left_out_and_the_rest_is_kept() {
        let long = "x".repeat(2 * MAX_LINE);
        let about =
            json!({"lightning_version": "2.6.6", "hyper_parameters": {"lr": 0.1, "data": {"list": long, "n": 3}}});
        let about = bounded(about, MOST_ABOUT);
        let omitted = json!({"omitted": "2000002 bytes"});
        let parameters = json!({"lr": 0.1, "data": {"list": omitted, "n": 3}});
        assert_eq!(about, json!({"lightning_version": "2.6.6", "hyper_parameters": parameters}));
    }

    #[test]
    fn what_is_large_in_small_pieces_is_bounded_too() {
        let many: serde_json::Map<_, _> = (0..20_000).map(|i| (format!("key {i}"), i.into())).collect();
        let about = bounded(json!({"epochs": 3, "hyper_parameters": many}), MOST_ABOUT);
        assert!(about.to_string().len() < 100 && about["epochs"] == 3, "{about}");
        let small = json!({"hyper_parameters": {"lr": 0.1}});
        assert_eq!(bounded(small.clone(), MOST_ABOUT), small);
    }
}
