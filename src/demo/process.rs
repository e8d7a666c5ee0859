//! The trainer's process.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::{Child, Command};

use super::{
    DemoError,
    options::{Options, RUN},
};

/// The trainer's process, in a group of its own that is killed with this value.
pub struct Trainer {
    child: Child,
    log: PathBuf,
}

impl Trainer {
    pub fn start(options: &Options, url: &str, folder: &Path) -> Result<Self, DemoError> {
        let log = folder.join("trainer.log");
        let file = File::create(&log).map_err(DemoError::io(&log))?;
        let program = std::env::current_exe().map_err(DemoError::io("this program"))?;
        // Half of the cores: the other half is for probes.
        let threads = (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1);
        let child = Command::new(&program)
            .args(["demo-trainer", "--until-stdin-ends", "--url", url, "--run", RUN])
            .args(["--epochs", &options.epochs.to_string(), "--seed", &options.seed.to_string()])
            .args(options.accident.iter().flat_map(|(accident, at)| {
                ["--accident".to_owned(), accident.to_string(), "--accident-epoch".to_owned(), at.to_string()]
            }))
            .arg("--data")
            .arg(folder.join("data"))
            .arg("--out")
            .arg(folder.join("checkpoints").join(RUN)) // the folder names the run, as the post does
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped()) // ends with this process, however it ends, and the trainer with it
            .stdout(Stdio::null())
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(DemoError::io(&program))?;
        Ok(Self { child, log })
    }

    /// Whether it came to its end; an error if that was a bad one.
    pub fn is_done(&mut self) -> Result<bool, DemoError> {
        match self.child.try_wait().map_err(DemoError::io("the trainer"))? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                Err(DemoError::refused(format!("the trainer ended with {status}:\n{}", last.join("\n"))))
            }
        }
    }
}
