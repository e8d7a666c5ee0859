//! The child's side of a job: read it, take its place on the machine, do it, say how it ended.

use std::{fs, io, path::Path, process::ExitCode};

use super::{
    heart::{self, Pulse, read_job, say},
    protocol::{Event, Job, Outcome, PROTOCOL, Probe, Scan, Scanned, Task},
};
use crate::{
    domain::{Failure, Progress},
    probe::{self, ProbeRequest, checkpoint, chips},
};

/// `clay-probe worker`: one job from standard input, events on standard output, logs on standard error.
pub fn main() -> ExitCode {
    let job = match read_job() {
        Ok(job) => job,
        Err(message) => {
            eprintln!("error: {message}\nhint: `clay-probe worker` is started by the service; see `worker.command`");
            return ExitCode::from(2);
        }
    };
    be_modest(&job);
    say(&Event::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: probe::host(),
        device: device_wanted(&job),
    });
    let pulse = Pulse::start(&job);
    // A panic ends this job, as a failure with its message, not as a riddle.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&job, &mut |p| pulse.progress(p))));
    let (job, try_) = (job.job, job.try_);
    heart::rest();
    match done {
        Ok(Ok(outcome)) => say(&Event::Finished { job, try_, outcome }),
        Ok(Err(failure)) => say(&Event::Failed { job, try_, failure }),
        Err(panic) => {
            let text =
                panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or(panic.downcast_ref::<String>().cloned());
            let message = format!("the worker panicked: {}", text.unwrap_or_default());
            say(&Event::Failed { job, try_, failure: Failure { reason: "panic".into(), message, retry: true } });
        }
    }
    ExitCode::SUCCESS
}

/// Leaves the machine to the trainer: niceness, and no core dump of gigabytes.
fn be_modest(job: &Job) {
    if let Err(error) = rustix::process::nice(i32::from(job.nice.min(19))) {
        eprintln!("niceness {} could not be taken: {error}", job.nice);
    }
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}

fn device_wanted(job: &Job) -> String {
    match &job.task {
        Task::Probe(probe) => probe.device.clone(),
        _ => "cpu".to_owned(),
    }
}

fn work(job: &Job, progress: &mut dyn FnMut(Progress)) -> Result<Outcome, Failure> {
    match &job.task {
        Task::Scan(task) => scan(task, progress),
        Task::Pin(task) => {
            let options = checkpoint::Options { opaque_globals: task.opaque_globals.clone() };
            let pinned = checkpoint::pin(&task.path, &task.pins, &options).map_err(|error| Failure {
                reason: error.reason.to_owned(),
                message: error.message.clone(),
                retry: error.retry,
            })?;
            Ok(Outcome::Pin(Box::new(pinned)))
        }
        Task::Probe(task) => probe(task, job.threads, progress),
    }
}

fn probe(task: &Probe, threads: usize, progress: &mut dyn FnMut(Progress)) -> Result<Outcome, Failure> {
    let request = ProbeRequest {
        checkpoint: &task.pin,
        shown_path: Some(&task.path),
        run: task.run.clone(),
        epoch: task.epoch,
        global_step: task.global_step,
        settings: &task.settings,
        device: &task.device,
        threads,
        serve: true,
        share_gpu: task.share_gpu,
        gpu_memory: task.gpu_memory,
        default_cache: &task.settings.cache,
        dump: None,
        pictures: Some(&task.pictures),
        expected_dataset: Some(task.dataset),
    };
    let report = probe::probe(&request, progress).map_err(|error| Failure {
        reason: error.reason().to_owned(),
        message: error.to_string(),
        retry: error.may_pass(),
    })?;
    write_whole(&task.report, &report)?;
    Ok(Outcome::Probe { report: task.report.clone(), device: report.device, device_reason: report.device_reason })
}

fn scan(task: &Scan, progress: &mut dyn FnMut(Progress)) -> Result<Outcome, Failure> {
    let refused =
        |error: chips::ChipError| Failure { reason: error.reason.to_owned(), message: error.message, retry: false };
    let dataset = chips::Dataset::open(&task.settings, &task.settings.cache, progress).map_err(refused)?;
    let digest = dataset.summary().digest;
    let scanned = Scanned { dataset: dataset.summary().clone(), chips: dataset.chips().to_vec() };
    let file = task.results.join("datasets").join(format!("{digest}.json"));
    // The file is written last: where it is, the pictures are.
    if !file.exists() {
        chips::draw_chips(&dataset, &task.pictures.join(digest.to_string())).map_err(refused)?;
    }
    write_whole(&file, &scanned)?;
    Ok(Outcome::Scan { dataset: digest, file })
}

/// Writes JSON beside its place, then renames it there: a reader never sees half of it.
fn write_whole(file: &Path, value: &impl serde::Serialize) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure {
        reason: "disk".to_owned(),
        message: format!("`{}` cannot be written: {error}", file.display()),
        retry: true,
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    serde_json::to_writer(io::BufWriter::new(&mut temporary), value).map_err(|e| failed(e.into()))?;
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(file).map_err(|e| failed(e.error))?;
    Ok(())
}
