//! Embeds, fits, scores.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    super::runner::{Runner, internal, read, unreadable},
    Job, Machine, Place, write_whole,
};
use crate::{
    config::{self, Size},
    domain::{Digest, Failure, Fault, JobKind, Metric, ProbeReport, Progress, Reason, Seconds},
    probe::{self, ProbeRequest, Resources},
    queue::{Claimed, Output, Prepare, Target},
    store::{ProbeSubject, age_of},
};

/// What to probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub request: ProbeRequest,
    /// The report goes here, renamed into place when whole.
    pub report: PathBuf,
}

/// What came of it besides the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeOutput {
    /// The device that was used: `cpu`, `cuda:0`, `metal`; and why that one.
    pub device: String,
    pub device_reason: String,
    pub seconds: Seconds,
}

impl Job for Probe {
    const KIND: JobKind = JobKind::Probe;
    const PRIORITY: u8 = 10;
    const PLACE: Place = Place::Launcher;
    type Output = ProbeOutput;

    fn work(&self, machine: &Machine, progress: &mut dyn FnMut(Progress)) -> Result<ProbeOutput, Failure> {
        let report = probe::probe(&self.request, machine.threads, progress)?;
        write_whole(&self.report, &report)?;
        Ok(ProbeOutput { device: report.device, device_reason: report.device_reason, seconds: report.seconds })
    }
}

/// Has a point probed, and stores the report.
pub(super) async fn serve(runner: &Runner, claimed: &Claimed, stop: &CancellationToken) -> Result<(), Failure> {
    let point = claimed.job.point_id.ok_or_else(|| internal("a probe job without a point"))?;
    let subject = runner.store.probe_subject(point).await.map_err(|error| unreadable(&error))?;
    let target = match &claimed.target {
        Some(Ok(target)) => target,
        Some(Err(refusal)) => return Err(refusal.clone()),
        None => return Err(internal("a probe before the data set was scanned")),
    };
    info!(run = %subject.run, epoch = subject.epoch.0, global_step = subject.global_step, "probing");
    let report = report(runner, claimed, &subject, target).await?;
    runner.finish(claimed.job.id, Output::Probe(&report, &target.asked), stop).await?;
    // It is in the database now.
    let _ = tokio::fs::remove_file(file(runner, target)).await;
    for (head, told) in &report.heads {
        let iou = told.summary.get(&Metric::Iou).and_then(|summary| summary.mean);
        info!(run = %subject.run, epoch = subject.epoch.0, %head, iou, "probed");
    }
    runner.metrics.observe_seconds_to_score(age_of(&claimed.job.created_at).as_secs_f64());
    runner.metrics.observe_stages(&report.seconds);
    runner.status.update(|facts| {
        facts.device = Some(report.device.clone());
        facts.device_reason = Some(report.device_reason.clone());
    });
    Ok(())
}

/// What the science resolves of an encoder and a data set, for the queue. What the chips lack is no passing trouble.
pub fn preparer(settings: config::Probe) -> Arc<Prepare> {
    Arc::new(move |encoder, dataset| {
        let resolved = probe::resolve(&settings, encoder, dataset);
        resolved.map(|resolved| resolved.preparation).map_err(|error| Failure { fault: Fault::Final, ..error.into() })
    })
}

/// The digests of the heads that a target is to fit.
fn missing(target: &Target) -> Vec<Digest> {
    target.missing.iter().map(|head| head.digest()).collect()
}

/// Where the report of a target lies until it is stored.
fn file(runner: &Runner, target: &Target) -> PathBuf {
    runner.store.folder().report(&target.key, &missing(target))
}

/// The report: one that an earlier life of the daemon left on disk, else computed now.
async fn report(
    runner: &Runner,
    claimed: &Claimed,
    subject: &ProbeSubject,
    target: &Target,
) -> Result<ProbeReport, Failure> {
    let file = file(runner, target);
    if !file.exists() {
        let request = request(runner, claimed, subject, target).await?;
        let job = Probe { request, report: file.clone() };
        runner.work(claimed, &job, runner.config.worker.timeout).await?;
    }
    let parse = |file: &Path| serde_json::from_slice(&std::fs::read(file)?).map_err(std::io::Error::from);
    let report: Result<ProbeReport, Failure> = read(file.clone(), parse).await;
    let report = report.and_then(|report| match target.key.is_of(&report, &missing(target)) {
        true => Ok(report),
        false => {
            let message = format!("`{}` holds a report of other weights, data, preparation or heads", file.display());
            Err(Failure::new(Reason::WrongReport, Fault::Passing, message))
        }
    });
    if report.is_err() {
        // Never trusted again: the next try computes it anew.
        let _ = tokio::fs::remove_file(&file).await;
    }
    report
}

async fn request(
    runner: &Runner,
    claimed: &Claimed,
    subject: &ProbeSubject,
    target: &Target,
) -> Result<ProbeRequest, Failure> {
    let folder = runner.store.folder();
    Ok(ProbeRequest {
        checkpoint: pinned(runner, claimed, subject).await?,
        shown_path: Some(subject.path.clone().into()),
        run: subject.run.clone(),
        epoch: Some(subject.epoch),
        global_step: u64::try_from(subject.global_step).ok(),
        settings: runner.config.probe.clone(),
        resources: resources(runner).await,
        dump: None,
        dump_path: false,
        pictures: Some(folder.pictures_of(&target.key)),
        heads: target.missing.clone(),
        expected: Some(target.key.basis),
    })
}

/// Where a worker computes, and what it may keep.
pub(super) async fn resources(runner: &Runner) -> Resources {
    let worker = &runner.config.worker;
    Resources {
        device: worker.device.clone(),
        serve: true,
        share_gpu: worker.share_gpu,
        gpu_memory: worker.gpu_memory,
        cache: runner.store.folder().caches(),
        cache_bytes: Size(runner.store.usage().await.room_for_caches(runner.config.store.max_bytes.0)),
    }
}

/// The pinned encoder; pinned anew from the trainer's file when its pin was given up for space.
async fn pinned(runner: &Runner, claimed: &Claimed, subject: &ProbeSubject) -> Result<PathBuf, Failure> {
    let pin = runner.store.folder().pin(&subject.weights);
    if pin.is_file() {
        return Ok(pin);
    }
    let missing = |why: &str| {
        let message = format!("the pinned encoder of `{}` was removed for space, and {why}", subject.path);
        Failure::new(Reason::PinMissing, Fault::Final, message)
    };
    match super::pin::pin(runner, claimed, subject.path.clone(), subject.metadata.clone()).await {
        Ok(pinned) if pinned.weights_digest == subject.weights => Ok(pin),
        Ok(_) => Err(missing("the file holds other weights now")),
        Err(failure) if failure.reason == Reason::Stopped || failure.fault == Fault::Surroundings => Err(failure),
        Err(failure) => Err(missing(&failure.text())),
    }
}
