//! How a worker is started: the command, its launcher prefix, its environment; and how Slurm is told to end one.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};
use tracing::warn;

use super::jobs::Place;
use crate::{
    config,
    domain::{Digest, JobId},
    probe::device,
};

/// How long `scancel` may take: the end of a daemon waits for it.
const SCANCEL: Duration = Duration::from_secs(3);

/// Makes the command of a job.
#[derive(Clone, Debug)]
pub struct Launcher {
    config: config::Worker,
    /// This executable by its path, as it was at the start.
    own: PathBuf,
    /// Tells the jobs of one store from those of another on the same cluster.
    tag: String,
}

impl Launcher {
    /// From the configuration and the folder of the daemon's state.
    ///
    /// # Errors
    /// The system does not tell where this executable lies.
    pub fn new(config: config::Worker, store_dir: &Path) -> io::Result<Self> {
        let dir = store_dir.canonicalize().or_else(|_| std::path::absolute(store_dir))?;
        let tag = Digest::of(dir.as_os_str().as_encoded_bytes()).to_string()[..8].to_owned();
        Ok(Self { config, own: env::current_exe()?, tag })
    }

    /// The section it was made from.
    pub fn config(&self) -> &config::Worker {
        &self.config
    }

    /// Threads of a worker beside a trainer: as configured, else a quarter of the cores, at least one.
    pub fn threads(&self) -> usize {
        device::threads(self.config.threads, true)
    }

    /// Whether a job of that place is handed to a launcher, which may let it wait for hours.
    pub fn launches(&self, place: Place) -> bool {
        place == Place::Launcher && !self.config.launcher.is_empty()
    }

    /// The command of a job.
    pub fn command(&self, place: Place, job: JobId) -> Command {
        let mut words: Vec<&str> = Vec::new();
        if place == Place::Launcher {
            words.extend(self.config.launcher.iter().chain(&self.config.command).map(String::as_str));
        }
        let mut command = match words.split_first() {
            None => self.itself(),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments);
                if self.config.command.is_empty() {
                    command.arg(&self.own);
                }
                command
            }
        };
        if words.is_empty() || self.config.command.is_empty() {
            command.arg("worker");
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group: a Ctrl-C at the terminal is for the daemon, and a kill reaches what it started.
            .process_group(0)
            .env("RAYON_NUM_THREADS", self.threads().to_string())
            .kill_on_drop(true);
        if self.launches(place) {
            command.env("SLURM_JOB_NAME", self.slurm_name(job)); // `srun` takes it for its `--job-name`
        }
        command
    }

    /// This executable, also where its file was replaced under the daemon: the path then leads to another version. (A
    /// launcher, perhaps on another machine, can only use the path; there the number of the protocol tells.)
    fn itself(&self) -> Command {
        let running = Path::new("/proc/self/exe");
        let mut command = Command::new(if running.exists() { running } else { &self.own });
        command.arg0(&self.own);
        command
    }

    fn slurm_name(&self, job: JobId) -> String {
        format!("clay-probe-{}-{job}", self.tag)
    }

    /// Has Slurm end what was started for a job: a killed `srun` leaves its step running. Does nothing where the
    /// launcher is not `srun`; what fails is logged, for the step ends itself once its lease is over.
    pub async fn cancel_left(&self, job: JobId) {
        let Some(srun) = self.config.launcher.first().map(Path::new) else { return };
        if srun.file_name().is_none_or(|name| name != "srun") {
            return;
        }
        let name = self.slurm_name(job);
        let mut command = Command::new(srun.with_file_name("scancel"));
        // The number of the user and not `--me`, which Slurm before 21.08 does not know.
        command.arg("--name").arg(&name).arg("--user").arg(rustix::process::getuid().as_raw().to_string());
        let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
        match timeout(SCANCEL, run).await {
            Ok(Ok(output)) if output.status.success() => {}
            Ok(Ok(output)) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                warn!(job = name, status = %output.status, said, "`scancel` failed");
            }
            Ok(Err(error)) => warn!(job = name, %error, "`scancel` could not be started"),
            Err(_) => warn!(job = name, "`scancel` took longer than {SCANCEL:?}"),
        }
    }
}
