//! The kinds of job, a file each: what it takes, what it gives, where it runs, what the child does, and what the
//! service does with it.

mod control;
mod pin;
mod probe;
mod scan;

use std::{fs, io, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

pub use control::Control;
pub use pin::Pin;
pub use probe::{Probe, ProbeOutput, preparer};
pub use scan::{Scan, ScanOutput, Scanned};

use super::Runner;
use crate::{
    domain::{Failure, Fault, JobKind, Progress, Reason},
    queue::Claimed,
};

/// A kind of job: the type is its input.
pub trait Job: Serialize + DeserializeOwned + Send + Sync {
    const KIND: JobKind;
    /// Of several that wait, the highest goes first.
    const PRIORITY: u8;
    const PLACE: Place;
    type Output: Serialize + DeserializeOwned + Send;

    /// Does it, in the child.
    fn work(&self, machine: &Machine, progress: &mut dyn FnMut(Progress)) -> Result<Self::Output, Failure>;
}

/// Kinds that share the workers of `worker.max_parallel`, the highest priority first.
pub const PROBES: &[JobKind] = &[Scan::KIND, Probe::KIND, Control::KIND];
const _: () = assert!(
    Scan::PRIORITY > Probe::PRIORITY && Probe::PRIORITY > Control::PRIORITY,
    "the order of `PROBES` is that of the priorities"
);
/// What never waits for a probe: one at a time, beside them.
pub const QUICK: &[JobKind] = &[JobKind::Quick];
/// Kinds that are done beside them.
pub const PINS: &[JobKind] = &[Pin::KIND];

/// Where a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine and by this executable: it needs neither a GPU nor a cluster.
    Here,
    /// By `worker.command`, behind `worker.launcher`.
    Launcher,
}

/// What the child may use of its machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Threads to compute with, at least 1.
    pub threads: usize,
}

/// The worker's side of a job of any kind.
pub fn do_job(
    kind: JobKind,
    input: Value,
    machine: &Machine,
    progress: &mut dyn FnMut(Progress),
) -> Result<Value, Failure> {
    match kind {
        JobKind::Scan => run::<Scan>(input, machine, progress),
        JobKind::Pin => run::<Pin>(input, machine, progress),
        JobKind::Quick | JobKind::Probe => run::<Probe>(input, machine, progress),
        JobKind::Control => run::<Control>(input, machine, progress),
    }
}

/// The service's side of a claimed job of any kind: gives it to a worker, stores what came of it.
pub async fn serve(runner: &Runner, claimed: &Claimed, stop: &CancellationToken) -> Result<(), Failure> {
    match claimed.job.kind {
        JobKind::Scan => scan::serve(runner, claimed, stop).await,
        JobKind::Pin => pin::serve(runner, claimed, stop).await,
        JobKind::Quick | JobKind::Probe => probe::serve(runner, claimed, stop).await,
        JobKind::Control => control::serve(runner, claimed, stop).await,
    }
}

fn run<J: Job>(input: Value, machine: &Machine, progress: &mut dyn FnMut(Progress)) -> Result<Value, Failure> {
    let job: J = serde_json::from_value(input).map_err(|error| misread(J::KIND, "worker", &error))?;
    let output = job.work(machine, progress)?;
    serde_json::to_value(output)
        .map_err(|error| Failure::new(Reason::Internal, Fault::Final, format!("the output is no JSON: {error}")))
}

/// One side does not understand what the other said of a job of this kind.
pub(super) fn misread(kind: JobKind, reader: &str, error: &serde_json::Error) -> Failure {
    let message = format!("the {reader} does not understand the `{kind}` job: {error}");
    Failure::new(Reason::Protocol, Fault::Surroundings, message).hint("service and worker must be of one version")
}

/// Writes JSON beside its place, then renames it there: a reader never sees half of it.
fn write_whole(file: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let message = format!("`{}` cannot be written: {error}", file.display());
        Failure::new(Reason::Io, Fault::Surroundings, message).hint("is the disk full, or `store.dir` not ours?")
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    serde_json::to_writer(io::BufWriter::new(&mut temporary), value).map_err(|error| failed(error.into()))?;
    temporary.as_file().sync_all().map_err(failed)?;
    temporary.persist(file).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_another_version_is_misread_and_not_failed() {
        let machine = Machine { threads: 1 };
        let failure = do_job(JobKind::Pin, serde_json::json!({"paths": []}), &machine, &mut |_| {}).unwrap_err();
        assert_eq!((failure.reason, failure.fault), (Reason::Protocol, Fault::Surroundings));
        assert!(failure.message.contains("`pin` job"), "{}", failure.message);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_not_the_jobs_fault() {
        let failure = write_whole(Path::new("/proc/clay-probe/report.json"), &1).unwrap_err();
        assert_eq!((failure.reason, failure.fault), (Reason::Io, Fault::Surroundings));
    }
}
