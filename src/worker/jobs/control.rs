//! Computes the next draw of a control.

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    super::runner::{Runner, internal, unreadable},
    Job, Machine, Place,
    probe::resources,
};
use crate::{
    domain::{ControlReport, Failure, JobKind, Progress},
    probe::{self, ControlRequest},
    queue::{Claimed, Output},
};

/// What to compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    pub request: ControlRequest,
}

impl Job for Control {
    const KIND: JobKind = JobKind::Control;
    const PRIORITY: u8 = 5;
    const PLACE: Place = Place::Launcher;
    type Output = ControlReport;

    fn work(&self, machine: &Machine, progress: &mut dyn FnMut(Progress)) -> Result<ControlReport, Failure> {
        Ok(probe::controls(&self.request, machine.threads, progress)?)
    }
}

/// Has the next draw computed, and stores it.
pub(super) async fn serve(runner: &Runner, claimed: &Claimed, stop: &CancellationToken) -> Result<(), Failure> {
    let point = claimed.job.point_id.ok_or_else(|| internal("a control job without a point"))?;
    let target = match &claimed.target {
        Some(Ok(target)) => target,
        Some(Err(refusal)) => return Err(refusal.clone()),
        None => return Err(internal("a control before the data set was scanned")),
    };
    let draw = target.control.ok_or_else(|| internal("a control job without a draw"))?;
    let facts = runner.store.encoder_of_point(point).await.map_err(|error| unreadable(&error))?;
    info!(control = %draw.control, draw = draw.draw, "computing a control");
    let request = ControlRequest {
        facts,
        draw,
        settings: runner.config.probe.clone(),
        resources: resources(runner).await,
        heads: target.missing.clone(),
        expected: Some(target.key.basis),
    };
    let report = runner.work(claimed, &Control { request }, runner.config.worker.timeout).await?;
    runner.finish(claimed.job.id, Output::Control(&report), stop).await
}
