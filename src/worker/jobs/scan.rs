//! Reads the data set once: refuses what cannot be used, fills the cache, draws the chips, looks for a device.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    super::runner::{Runner, read},
    Job, Machine, Place, write_whole,
};
use crate::{
    config::{self, Size},
    domain::{ChipRecord, DatasetSummary, Digest, Failure, Fault, JobKind, Progress, Reason},
    probe::{
        chips::{Dataset, draw_chips},
        device::{self, DeviceRequest},
    },
    queue::{Claimed, Output},
};

/// What to scan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scan {
    pub settings: config::Probe,
    /// The folder where decoded chips are kept.
    pub cache: PathBuf,
    /// [`Scanned`] goes to `<datasets>/<digest>.json`, the pictures `rgb`, `sar` and `label` of a chip to where
    /// [`ChipRecord::picture`] has them below `<datasets>/<digest>`.
    pub datasets: PathBuf,
    /// `auto`, `cpu`, `cuda:N`, `metal`.
    pub device: String,
    pub share_gpu: bool,
    pub gpu_memory: Size,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScanOutput {
    pub dataset: Digest,
    /// [`Scanned`] as JSON.
    pub file: PathBuf,
    /// What a probe on this machine would compute on now, and why; `none` with the error where there is no device.
    pub device: String,
    pub device_reason: String,
}

/// What a scan found; a file, for it may be long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scanned {
    pub dataset: DatasetSummary,
    pub chips: Vec<ChipRecord>,
}

impl Scanned {
    /// Reads the file of a scan.
    ///
    /// # Errors
    /// What the system says, also when it is not the JSON of a scan.
    pub fn read(file: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(file)?)?)
    }
}

impl Job for Scan {
    const KIND: JobKind = JobKind::Scan;
    const PRIORITY: u8 = 30;
    const PLACE: Place = Place::Here;
    type Output = ScanOutput;

    fn work(&self, _: &Machine, progress: &mut dyn FnMut(Progress)) -> Result<ScanOutput, Failure> {
        let dataset = Dataset::open(&self.settings, &self.cache, progress)?;
        let digest = dataset.summary().digest;
        let file = self.datasets.join(format!("{digest}.json"));
        // The file is written last: where it is, the pictures were drawn, of these labels if they count the same.
        let counts = |chips: &[ChipRecord]| chips.iter().map(|c| (c.water, c.land, c.ignored)).collect::<Vec<_>>();
        if !Scanned::read(&file).is_ok_and(|drawn| counts(&drawn.chips) == counts(dataset.chips())) {
            draw_chips(&dataset, &self.datasets.join(digest.to_string()))?;
        }
        write_whole(&file, &Scanned { dataset: dataset.summary().clone(), chips: dataset.chips().to_vec() })?;
        let (device, device_reason) = self.device_now();
        Ok(ScanOutput { dataset: digest, file, device, device_reason })
    }
}

impl Scan {
    fn device_now(&self) -> (String, String) {
        let chosen = device::choose(&DeviceRequest {
            device: &self.device,
            serve: true,
            share_gpu: self.share_gpu,
            gpu_memory: self.gpu_memory,
        });
        match chosen {
            Ok(chosen) => (chosen.name, chosen.reason),
            Err(error) => ("none".to_owned(), error.to_string()),
        }
    }
}

/// Has the data set scanned. Without one nothing can be probed: it is waited for, however wrong it is.
pub(super) async fn serve(runner: &Runner, claimed: &Claimed, stop: &CancellationToken) -> Result<(), Failure> {
    runner.status.update(|facts| facts.scanning = true);
    let (folder, worker) = (runner.store.folder(), &runner.config.worker);
    let job = Scan {
        settings: runner.config.probe.clone(),
        cache: folder.caches(),
        datasets: folder.datasets(),
        device: worker.device.clone(),
        share_gpu: worker.share_gpu,
        gpu_memory: worker.gpu_memory,
    };
    let worked = runner.work(claimed, &job, worker.timeout).await;
    runner.status.update(|facts| facts.scanning = false);
    let output = worked.map_err(|failure| Failure { fault: Fault::Surroundings, ..failure })?;
    let Scanned { dataset, chips } = read(output.file, Scanned::read).await?;
    for refusal in &dataset.refused {
        warn!(path = refusal.path, reason = %refusal.reason, message = refusal.message, "a chip cannot be used");
    }
    for warning in &dataset.warnings {
        warn!(path = warning.path, reason = %warning.reason, message = warning.message, "a chip looks wrong");
    }
    let path = runner.config.probe.data.display().to_string();
    runner.finish(claimed.job.id, Output::Scan { path: &path, dataset: &dataset, chips: &chips }, stop).await?;
    let (chips, refused) = (dataset.chips, dataset.refused.len());
    info!(chips, refused, dataset = dataset.digest.short(), "the data set is ready");
    runner.status.clear_problem(Reason::DatasetChanged);
    // A launcher or a worker of its own may compute elsewhere: its first probe tells.
    let here = worker.launcher.is_empty() && worker.command.is_empty();
    runner.status.update(|facts| {
        facts.dataset = Some(dataset);
        if here {
            (facts.device, facts.device_reason) = (Some(output.device), Some(output.device_reason));
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_and_a_device_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = config::Config::load(None, &[]).unwrap().probe;
        settings.data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample");
        let scan = Scan {
            settings,
            cache: dir.path().join("cache"),
            datasets: dir.path().join("datasets"),
            device: "gpu".into(),
            share_gpu: false,
            gpu_memory: Size(0),
        };
        let output = scan.work(&Machine { threads: 1 }, &mut |_| {}).unwrap();
        assert_eq!(output.device, "none");
        assert!(output.device_reason.contains("`gpu`"), "{}", output.device_reason);
        let scanned = Scanned::read(&output.file).unwrap();
        assert_eq!(scanned.dataset.digest, output.dataset);
        assert_eq!(scanned.dataset.chips, scanned.chips.len() as u64);
        let chip = &scanned.chips[0];
        let pictures = scan.datasets.join(output.dataset.to_string());
        assert!(pictures.join(ChipRecord::picture(&chip.path, "label")).is_file());
    }
}
