//! The demo itself: the daemon in this process, the trainer as a child, and a table that grows.

use std::{
    fs::File,
    io::IsTerminal,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::{
    DemoError, sample,
    table::{HEADING, Row, Series, rows},
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
    let checkpoints = folder.join("checkpoints");
    sample::unpack(&folder.join("data"))?;
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
    serving.await.map_err(|error| DemoError::refused(error.to_string()))??;
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
        ("probe.fit_steps", json!(60)),
        ("store.dir", json!(folder.join("clay-probe-data"))),
        ("api.listen", json!(format!("127.0.0.1:{}", options.port))),
    ];
    Ok(Config::load(None, &flags)?)
}

fn introduce(options: &Options, url: &str, folder: &Path) {
    println!("clay-probe demo: a mini trainer writes a checkpoint every epoch; every {}th is probed.", options.every);
    println!("  page     {url}/");
    println!("  series   curl '{url}/probes?metric=iou'");
    println!("  folder   {}{}", folder.display(), if options.keep.is_some() { "" } else { " (removed at the end)" });
    println!();
    println!("This shows the machine at work, not a result: the model is tiny, the chips are six, and each of the two");
    println!(
        "events with water is scored by heads that only saw the other. Scores near 0 and no rising curve are normal."
    );
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
                Err(DemoError::refused(format!("the trainer ended with {status}:\n{}", last.join("\n"))))
            }
        }
    }
}

/// Prints a line for every probe that ends. With `once`, returns when no more will; else never.
async fn watch(options: &Options, url: &str, mut trainer: Trainer) -> Result<bool, DemoError> {
    let started = Instant::now();
    let spinner = spinner();
    let (mut shown, mut good, mut trained) = (Vec::new(), true, false);
    loop {
        trained = trained || trainer.is_done()?;
        let (url, known) = (url.to_owned(), shown.clone());
        // Nothing, where it is asked before it answers or while it is busy: it is asked again.
        if let Ok(Some(seen)) = tokio::task::spawn_blocking(move || look(&url, &known)).await {
            for row in &seen.new_rows {
                shown.push(row.epoch);
                good &= row.state == "done";
                spinner.suspend(|| println!("{}", row.line()));
            }
            spinner.set_message(seen.now());
            if options.once && trained && seen.nothing_left(options.epochs) {
                spinner.finish_and_clear();
                println!("\n{} probes in {:.0} seconds.", shown.len(), started.elapsed().as_secs_f64());
                return Ok(good && !shown.is_empty());
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// What happens now, on a terminal; nothing elsewhere.
fn spinner() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// What the daemon says.
struct Seen {
    /// Probes that came to an end and were not shown yet.
    new_rows: Vec<Row>,
    /// Epoch and state of every checkpoint, the newest first.
    checkpoints: Vec<(Option<u64>, String)>,
}

impl Seen {
    fn nothing_left(&self, epochs: u32) -> bool {
        let on_the_way = |state: &str| matches!(state, "seen" | "settling" | "whole" | "queued" | "probing");
        self.checkpoints.len() >= epochs as usize && !self.checkpoints.iter().any(|(_, state)| on_the_way(state))
    }

    fn now(&self) -> String {
        let epoch = |state: &str| self.checkpoints.iter().rev().find(|(_, s)| s == state).and_then(|(epoch, _)| *epoch);
        match epoch("probing") {
            Some(epoch) => format!("{} epochs trained, probing epoch {epoch}", self.checkpoints.len()),
            None => format!("{} epochs trained", self.checkpoints.len()),
        }
    }
}

/// Asks over HTTP, as any other program would.
fn look(url: &str, shown: &[u64]) -> Option<Seen> {
    let get =
        |path: &str| -> Option<Value> { ureq::get(format!("{url}{path}")).call().ok()?.body_mut().read_json().ok() };
    let series = |query: &str| get(&format!("/probes?run={RUN}&{query}&limit=1000"));
    let of_metrics =
        [series("metric=iou")?, series("metric=dice")?, series("metric=precision")?, series("metric=recall")?];
    let mut rows = rows(&Series { of_metrics, linear: series("metric=iou&head=linear")? });
    rows.retain(|row| matches!(row.state.as_str(), "done" | "failed") && !shown.contains(&row.epoch));
    // IoU and Dice are null together: one alone was asked for a moment before the score was stored. It is asked again.
    rows.retain(|row| row.iou.is_some() == row.dice.is_some());
    for row in &mut rows {
        let probe = get(&format!("/probes/{}?run={RUN}", row.epoch))?;
        row.seconds = probe["seconds"].as_object().map(|stages| stages.values().filter_map(Value::as_f64).sum());
    }
    let checkpoints =
        get(&format!("/checkpoints?run={RUN}&limit=1000"))?["items"].as_array()?.iter().map(state_of).collect();
    Some(Seen { new_rows: rows, checkpoints })
}

fn state_of(item: &Value) -> (Option<u64>, String) {
    (item["epoch"].as_u64(), item["state"].as_str().unwrap_or_default().to_owned())
}
