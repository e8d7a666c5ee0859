//! How a worker is started: the command, its launcher prefix, its environment.

use std::process::Stdio;

use tokio::process::Command;

use crate::{config, domain::Failure, probe::device};

/// Makes the command of a job.
#[derive(Clone, Debug)]
pub struct Launcher {
    config: config::Worker,
}

impl Launcher {
    /// From the configuration.
    pub fn new(config: config::Worker) -> Self {
        Self { config }
    }

    /// The section it was made from.
    pub fn config(&self) -> &config::Worker {
        &self.config
    }

    /// Threads of a worker beside a trainer: as configured, else a quarter of the cores, at least one.
    pub fn threads(&self) -> usize {
        device::threads(self.config.threads, true)
    }

    /// The command of a job. `local` jobs (scan, pin) are never put behind the launcher, and always run this
    /// executable: they need neither a GPU nor a cluster.
    pub fn command(&self, local: bool) -> Result<Command, Failure> {
        let mut words: Vec<String> = Vec::new();
        if !local {
            words.extend(self.config.launcher.iter().cloned());
            words.extend(self.config.command.iter().cloned());
        }
        if local || self.config.command.is_empty() {
            let own = std::env::current_exe().map_err(|e| failure(format!("this executable cannot be found: {e}")))?;
            words.push(own.to_string_lossy().into_owned());
            words.push("worker".to_owned());
        }
        let (program, arguments) =
            words.split_first().ok_or_else(|| failure("`worker.command` is empty".to_owned()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Its own group: a Ctrl-C at the terminal is for the daemon, and a kill reaches what it started.
            .process_group(0)
            .env("RAYON_NUM_THREADS", self.threads().to_string())
            .kill_on_drop(true);
        Ok(command)
    }
}

fn failure(message: String) -> Failure {
    Failure { reason: "worker-start".to_owned(), message, retry: false }
}
