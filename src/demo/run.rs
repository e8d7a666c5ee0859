//! The demo itself: the daemon in this process, the trainer as a child, and a table that grows.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{
    DemoError, sample,
    table::{HEADING, Row, rows},
};
use crate::{config::Config, daemon::Daemon};

const RUN: &str = "demo";

/// What a person may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// 0 takes a free one.
    pub port: u16,
    /// End after the last probe.
    pub once: bool,
    /// Work here and leave everything, instead of in a temporary folder that is removed.
    pub keep: Option<PathBuf>,
    /// Epochs of the trainer.
    pub epochs: u32,
    /// Probe every n-th of them.
    pub every: u32,
}

/// Runs until the last probe is done (`once`) or until `stop`; true when every probe has a score.
pub async fn run(options: &Options, stop: impl Future<Output = ()>) -> Result<bool, DemoError> {
    let temporary = tempfile::Builder::new().prefix("clay-probe-demo-").tempdir();
    let temporary = temporary.map_err(DemoError::io(std::env::temp_dir()))?;
    let folder = options.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    let (data, checkpoints) = (folder.join("data"), folder.join("checkpoints"));
    sample::unpack(&data)?;
    std::fs::create_dir_all(&checkpoints).map_err(DemoError::io(&checkpoints))?;

    let daemon = Daemon::start(configuration(options, &folder)?).await?;
    let url = format!("http://{}", daemon.addr());
    introduce(options, &url, &folder);
    let stop_daemon = CancellationToken::new();
    let serving = tokio::spawn(daemon.run_until(stop_daemon.clone().cancelled_owned()));

    let trainer = Trainer::start(options, &url, &folder)?;
    let watched = tokio::select! {
        watched = watch(options, &url, trainer) => watched,
        () = stop => Ok(true),
    };
    stop_daemon.cancel();
    serving.await.map_err(|error| DemoError::Refused(error.to_string()))??;
    watched
}

/// Short waits, few passes: the first score is to come within a minute, on two cores.
fn configuration(options: &Options, folder: &Path) -> Result<Config, DemoError> {
    let flags = [
        ("intake.dirs", json!([folder.join("checkpoints")])),
        ("intake.settle", json!("300ms")),
        ("intake.poll", json!("1s")),
        ("queue.every_n_epochs", json!(options.every)),
        ("probe.data", json!(folder.join("data"))),
        ("probe.fit_epochs", json!(20)),
        ("store.path", json!(folder.join("clay-probe.db"))),
        ("store.pins", json!(folder.join("pins"))),
        ("store.results", json!(folder.join("results"))),
        ("api.listen", json!(format!("127.0.0.1:{}", options.port))),
    ];
    Config::load(None, &flags).map_err(|error| DemoError::Refused(error.to_string()))
}

fn introduce(options: &Options, url: &str, folder: &Path) {
    println!("clay-probe demo: a mini trainer writes a checkpoint every epoch; every {}th is probed.", options.every);
    println!("  page     {url}/");
    println!("  series   curl '{url}/probes?metric=iou'");
    println!("  folder   {}{}", folder.display(), if options.keep.is_some() { "" } else { " (removed at the end)" });
    println!();
    println!("This shows the machine at work, not a result: the model is tiny, six chips of four events are few, and");
    println!("seeds alone move the scores more than training does. Expect no rising curve.");
    println!();
    println!("{HEADING}");
}

/// The trainer's process, in a group of its own that is killed with this value.
struct Trainer {
    child: Child,
    log: PathBuf,
}

impl Trainer {
    fn start(options: &Options, url: &str, folder: &Path) -> Result<Self, DemoError> {
        let log = folder.join("trainer.log");
        let file = File::create(&log).map_err(DemoError::io(&log))?;
        let program = std::env::current_exe().map_err(DemoError::io("this program"))?;
        // Half of the cores: the other half is for probes.
        let threads = (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1);
        let child = Command::new(&program)
            .args(["demo-trainer", "--until-stdin-ends", "--url", url, "--run", RUN])
            .args(["--epochs", &options.epochs.to_string()])
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
    fn is_done(&mut self) -> Result<bool, DemoError> {
        match self.child.try_wait().map_err(DemoError::io("the trainer"))? {
            None => Ok(false),
            Some(status) if status.success() => Ok(true),
            Some(status) => {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                let last: Vec<&str> = last.into_iter().rev().collect();
                Err(DemoError::Refused(format!("the trainer ended with {status}:\n{}", last.join("\n"))))
            }
        }
    }
}

/// Prints a line for every probe that ends. With `once`, returns when no more will; else never.
async fn watch(options: &Options, url: &str, mut trainer: Trainer) -> Result<bool, DemoError> {
    let started = Instant::now();
    let mut shown: Vec<u64> = Vec::new();
    let mut good = true;
    let mut trained = false;
    loop {
        trained = trained || trainer.is_done()?;
        let seen = {
            let url = url.to_owned();
            tokio::task::spawn_blocking(move || look(&url))
        };
        // Asked before it answers, or busy for a moment: asked again.
        if let Ok(Some(seen)) = seen.await {
            for row in seen.rows.iter().filter(|row| row.state == "done" || row.state == "failed") {
                if !shown.contains(&row.epoch) {
                    if shown.is_empty() {
                        tracing::info!(seconds = started.elapsed().as_secs(), "the first probe ended");
                    }
                    shown.push(row.epoch);
                    good &= row.state == "done";
                    println!("{}", row.line());
                }
            }
            if options.once && trained && seen.nothing_left(options.epochs) {
                println!("\n{} probes in {:.0} seconds.", shown.len(), started.elapsed().as_secs_f64());
                return Ok(good && !shown.is_empty());
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What the daemon says.
struct Seen {
    rows: Vec<Row>,
    /// The states of all checkpoints.
    checkpoints: Vec<String>,
}

impl Seen {
    fn nothing_left(&self, epochs: u32) -> bool {
        let on_the_way =
            |state: &String| matches!(state.as_str(), "seen" | "settling" | "whole" | "queued" | "probing");
        self.checkpoints.len() >= epochs as usize && !self.checkpoints.iter().any(on_the_way)
    }
}

/// Asks over HTTP, as any other program would.
fn look(url: &str) -> Option<Seen> {
    let get =
        |path: &str| -> Option<Value> { ureq::get(format!("{url}{path}")).call().ok()?.body_mut().read_json().ok() };
    let series = |metric: &str| get(&format!("/probes?run={RUN}&metric={metric}"));
    let rows = rows(&series("iou")?, &series("dice")?, &series("precision")?, &series("recall")?);
    let checkpoints = get("/checkpoints")?["items"]
        .as_array()?
        .iter()
        .map(|item| item["state"].as_str().unwrap_or_default().to_owned())
        .collect();
    Some(Seen { rows, checkpoints })
}
