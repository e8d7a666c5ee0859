//! The lanes: each claims a request, runs it as a job, stores what came of it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Pinner,
    protocol::{Outcome, Probe, Task},
};
use crate::{
    config,
    domain::{Digest, Epoch, Failure, ProbeReport, Progress},
    error::{Error, Result},
    queue::{Ended, Queue},
    store::{ClaimedRequest, ResultKey, Store, now},
};

/// The jobs that can be taken back: request -> its stop signal.
pub type Running = Arc<Mutex<HashMap<i64, CancellationToken>>>;

/// What a lane needs.
#[derive(Clone)]
pub struct Lanes {
    pub store: Store,
    pub queue: Queue,
    pub pinner: Pinner,
    pub settings: config::Probe,
    pub files: config::Store,
    pub dataset: Digest,
    pub running: Running,
    /// Called with the device and its reason after each probe.
    pub on_device: Arc<dyn Fn(String, String) + Send + Sync>,
}

impl Lanes {
    /// Runs one lane until it is told to stop.
    pub async fn run(&self, stop: &CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            // Armed before the look into the table, so that nothing queued meanwhile is missed.
            let bell = self.queue.bell().notified();
            tokio::pin!(bell);
            bell.as_mut().enable();
            match self.queue.claim().await {
                Ok(Some(claimed)) => self.probe(&claimed, stop).await?,
                Ok(None) => {
                    let retry = tokio::time::sleep(std::time::Duration::from_secs(1));
                    tokio::select! { () = bell => {}, () = retry => {}, () = stop.cancelled() => {} }
                }
                Err(error) => {
                    error!(%error, "the queue could not be read; trying again");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
        Ok(())
    }

    async fn probe(&self, claimed: &ClaimedRequest, stop: &CancellationToken) -> Result<()> {
        let cancel = CancellationToken::new();
        self.lock().insert(claimed.id, cancel.clone());
        info!(run = claimed.run, epoch = claimed.epoch, global_step = claimed.global_step, "probing");
        let ended = self.computed(claimed, &cancel).await;
        self.lock().remove(&claimed.id);
        match ended {
            Ok((report, file)) => {
                let state = self.queue.end(claimed, Ended::Scored(&report, &file)).await?;
                (self.on_device)(report.device.clone(), report.device_reason.clone());
                let iou = report.summary.get(&crate::domain::Metric::Iou).and_then(|s| s.mean);
                info!(run = claimed.run, epoch = claimed.epoch, iou, state = state.as_str(), "probed");
            }
            Err(_) if stop.is_cancelled() => self.queue.interrupt(claimed).await?,
            Err(failure) => {
                self.queue.end(claimed, Ended::Failed(&failure)).await?;
            }
        }
        if let Err(error) = self.drop_spare_pins().await {
            warn!(%error, "old pins could not be removed");
        }
        Ok(())
    }

    /// The report: one that an earlier life of the daemon left on disk, else computed now.
    async fn computed(
        &self,
        claimed: &ClaimedRequest,
        cancel: &CancellationToken,
    ) -> Result<(ProbeReport, String), Failure> {
        let key = self.key(claimed).map_err(internal)?;
        let file = self.files.results.join(format!("{}.json", key.digest()));
        if !file.exists() {
            self.run_job(claimed, &key, &file, cancel).await?;
        }
        let report = read_report(&file).await.and_then(|report| match belongs(&report, &key) {
            true => Ok(report),
            false => Err(Failure {
                reason: "wrong-report".into(),
                message: format!("`{}` holds a report of other weights, protocol or data", file.display()),
                retry: true,
            }),
        });
        match report {
            Ok(report) => Ok((report, file.to_string_lossy().into_owned())),
            Err(failure) => {
                // Never trusted again: the next try computes it anew.
                let _ = tokio::fs::remove_file(&file).await;
                Err(failure)
            }
        }
    }

    async fn run_job(
        &self,
        claimed: &ClaimedRequest,
        key: &ResultKey,
        file: &Path,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let pin = self.pin_of(claimed, cancel).await?;
        let worker = self.pinner.supervisor.launcher().config();
        let task = Task::Probe(Probe {
            pin,
            path: claimed.path.clone().into(),
            run: claimed.run.parse().map_err(|e| internal(Error::Internal(format!("{e}"))))?,
            epoch: u32::try_from(claimed.epoch).ok().map(Epoch),
            global_step: u64::try_from(claimed.global_step).ok(),
            settings: self.settings.clone(),
            device: worker.device.clone(),
            share_gpu: worker.share_gpu,
            gpu_memory: worker.gpu_memory,
            dataset: key.dataset,
            report: file.to_path_buf(),
            pictures: self.files.results.join("predictions").join(key.digest().to_string()),
        });
        let (send, mut receive) = tokio::sync::watch::channel(None::<Progress>);
        let (store, id) = (self.store.clone(), claimed.id);
        let noting = tokio::spawn(async move {
            while receive.changed().await.is_ok() {
                let progress = *receive.borrow_and_update();
                if let Some(progress) = progress {
                    let _ = store.note_progress(id, &progress).await;
                }
            }
        });
        let try_ = u32::try_from(claimed.tries).unwrap_or(u32::MAX).saturating_add(1);
        let outcome = self
            .pinner
            .supervisor
            .run(claimed.id, try_, task, cancel, |p| {
                send.send_replace(Some(p));
            })
            .await;
        drop(send);
        let _ = noting.await;
        match outcome? {
            Outcome::Probe { .. } => Ok(()),
            _ => Err(internal(Error::Internal("the worker finished another kind of job".into()))),
        }
    }

    /// The pinned encoder; pinned anew from the trainer's file when its pin was given up for space.
    async fn pin_of(&self, claimed: &ClaimedRequest, cancel: &CancellationToken) -> Result<PathBuf, Failure> {
        let known = self.store.pin_path(&claimed.weights_digest).await.map_err(internal)?.map(PathBuf::from);
        if let Some(pin) = known.filter(|pin| pin.is_file()) {
            return Ok(pin);
        }
        let missing = |why: &str| Failure {
            reason: "pin-missing".into(),
            message: format!("the pinned encoder of `{}` was removed for space, and {why}", claimed.path),
            retry: false,
        };
        match self.pinner.pin(claimed.id, 1, Path::new(&claimed.path), cancel).await {
            Ok(pinned) if pinned.weights_digest.to_string() == claimed.weights_digest => {
                let mut tx = self.store.write().await.map_err(internal)?;
                self.store.add_pin(&mut tx, &pinned, &now()).await.map_err(internal)?;
                tx.commit().await.map_err(|e| internal(e.into()))?;
                Ok(pinned.pin)
            }
            Ok(_) => Err(missing("the file holds other weights now")),
            Err(failure) if failure.reason == "stopped" => Err(failure),
            Err(failure) => Err(missing(&failure.message)),
        }
    }

    fn key(&self, claimed: &ClaimedRequest) -> Result<ResultKey> {
        let digest = |text: &str| text.parse().map_err(Error::Internal);
        let key = ResultKey {
            weights: digest(&claimed.weights_digest)?,
            protocol: digest(&claimed.protocol_digest)?,
            dataset: digest(&claimed.dataset_digest)?,
        };
        if key.protocol != self.settings.protocol().digest() || key.dataset != self.dataset {
            return Err(Error::Conflict(
                "it was queued under another protocol or data set than is configured now".into(),
            ));
        }
        Ok(key)
    }

    /// Removes pins that nothing needs, and more when they take too much disk.
    async fn drop_spare_pins(&self) -> Result<()> {
        let mut spare = self.store.spare_pins(self.files.keep_last, self.files.keep_best).await?;
        let (ended, mut bytes) = self.store.ended_pins().await?;
        bytes -= spare.iter().map(|pin| pin.bytes).sum::<i64>();
        let limit = i64::try_from(self.files.max_bytes.0).unwrap_or(i64::MAX);
        for pin in ended {
            if bytes > limit && !spare.iter().any(|s| s.weights_digest == pin.weights_digest) {
                bytes -= pin.bytes;
                spare.push(pin);
            }
        }
        for pin in spare {
            match tokio::fs::remove_file(&pin.path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&pin.path)(error)),
                _ => self.store.forget_pin(&pin.weights_digest).await?,
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, CancellationToken>> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn belongs(report: &ProbeReport, key: &ResultKey) -> bool {
    report.weights_digest == key.weights
        && report.protocol_digest == key.protocol
        && report.dataset.digest == key.dataset
}

async fn read_report(file: &Path) -> Result<ProbeReport, Failure> {
    let unreadable = |error: String| Failure {
        reason: "report-unreadable".into(),
        message: format!("`{}`: {error}", file.display()),
        retry: true,
    };
    let bytes = tokio::fs::read(file).await.map_err(|e| unreadable(e.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))
}

fn internal(error: Error) -> Failure {
    Failure { reason: "internal".into(), message: error.to_string(), retry: false }
}
