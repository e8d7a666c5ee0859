//! What the demo tells of the daemon: it asks over HTTP, as any other program would.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use serde_json::Value;

use super::{
    DemoError,
    options::{Options, RUN},
    process::Trainer,
    table::{FullProbe, HEADING, Row, controls, full_probes, rows},
};

/// Epochs after an accident within which it has to be reported.
const WITHIN: u32 = 2;

/// What was told so far.
#[derive(Default)]
struct Told {
    rows: Vec<Row>,
    full: Vec<FullProbe>,
    /// The epoch after which something was first reported.
    reported: Option<u32>,
}

/// Prints what comes. With `once`, returns when no more will, and whether the story was told: an accident reported within
/// two epochs and nothing before it; without an accident nothing reported. Else never returns.
pub async fn watch(options: &Options, url: &str, mut trainer: Trainer) -> Result<bool, DemoError> {
    let started = Instant::now();
    let spinner = spinner();
    spinner.println(HEADING);
    if spinner.is_hidden() {
        println!("{HEADING}");
    }
    let (mut told, mut trained) = (Told::default(), false);
    loop {
        trained = trained || trainer.is_done()?;
        let owned = url.to_owned();
        // Nothing, where it is asked before it answers or while it is busy: it is asked again.
        if let Ok(Some(seen)) = tokio::task::spawn_blocking(move || Seen::look(&owned)).await {
            spinner.set_message(seen.now());
            told.tell(&seen, url, &spinner).await;
            if options.once && trained && seen.nothing_left(options.epochs) {
                spinner.finish_and_clear();
                return Ok(told.end(options, &seen, started.elapsed()));
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

impl Told {
    /// Prints what is new, epoch by epoch.
    async fn tell(&mut self, seen: &Seen, url: &str, spinner: &ProgressBar) {
        let say = |line: &str| spinner.suspend(|| println!("{line}"));
        for row in &seen.rows {
            // In order: what is late is waited for.
            if row.epoch != self.rows.len() as u32 || row.quick_r2.is_none() {
                continue;
            }
            let url = format!("{url}/verdict?run={RUN}&to={}", row.epoch);
            let Ok(Some(verdict)) = tokio::task::spawn_blocking(move || get(&url)).await else { return };
            let reported = verdict["reported"] == true;
            say(&row.line(reported));
            if reported && self.reported.is_none() {
                self.reported = Some(row.epoch);
                say(&format!("        {}", verdict["sentence"].as_str().unwrap_or_default()));
            }
            self.rows.push(row.clone());
        }
        for probe in &seen.full {
            if !self.full.iter().any(|known| known.epoch == probe.epoch) {
                say(&probe.line());
                self.full.push(probe.clone());
            }
        }
    }

    /// The last lines; whether the story was told.
    fn end(&self, options: &Options, seen: &Seen, took: Duration) -> bool {
        let whole = self.rows.len() == options.epochs as usize && self.full.iter().all(|probe| probe.iou.is_some());
        println!(
            "\n{} quick scores and {} full probes in {:.0} seconds.",
            self.rows.len(),
            self.full.len(),
            took.as_secs_f64()
        );
        println!("{}.", seen.sentence);
        if !seen.controls.is_empty() {
            println!("\nWhat learnt nothing scores on the same crops:");
            seen.controls.iter().for_each(|line| println!("{line}"));
        }
        let as_it_should = match options.accident {
            Some((accident, at)) => {
                let in_time = self.reported.is_some_and(|epoch| (at..=at + WITHIN).contains(&epoch));
                let when = self
                    .reported
                    .map_or("was not reported".to_owned(), |epoch| format!("was reported after epoch {epoch}"));
                println!("\nThe accident of epoch {at} ({}) {when}.", accident.describe());
                in_time
            }
            None => {
                println!(
                    "\nNo accident; {}.",
                    self.reported.map_or("nothing was reported".to_owned(), |e| format!("epoch {e} was reported"))
                );
                self.reported.is_none()
            }
        };
        whole && as_it_should
    }
}

/// What the daemon says.
struct Seen {
    rows: Vec<Row>,
    full: Vec<FullProbe>,
    /// Epoch and state of every checkpoint, the newest first.
    checkpoints: Vec<(Option<u64>, String)>,
    /// The page's first.
    sentence: String,
    controls: Vec<String>,
    /// Jobs that wait or run.
    open_jobs: bool,
}

impl Seen {
    fn look(url: &str) -> Option<Self> {
        let of = |path: &str| get(&format!("{url}{path}"));
        let series = |query: &str| of(&format!("/probes?run={RUN}&{query}&limit=1000"));
        let checkpoints = of(&format!("/checkpoints?run={RUN}&limit=1000"))?;
        let state = |item: &Value| (item["epoch"].as_u64(), item["state"].as_str().unwrap_or_default().to_owned());
        Some(Self {
            rows: rows(&series("head=ridge&metric=quick_r2")?, &series("head=ridge&metric=effective_rank")?),
            full: full_probes(&series("head=conv&metric=iou")?),
            checkpoints: checkpoints["items"].as_array()?.iter().map(state).collect(),
            sentence: of(&format!("/verdict?run={RUN}"))?["sentence"].as_str().unwrap_or_default().to_owned(),
            controls: controls(
                &of(&format!("/controls?run={RUN}&head=ridge"))?,
                &of(&format!("/controls?run={RUN}&head=conv"))?,
            ),
            open_jobs: open_jobs(url)?,
        })
    }

    fn nothing_left(&self, epochs: u32) -> bool {
        let on_the_way = |state: &str| matches!(state, "seen" | "settling" | "whole" | "queued" | "probing");
        let all = self.rows.iter().filter(|row| row.quick_r2.is_some()).count() >= epochs as usize;
        all && !self.open_jobs && !self.checkpoints.iter().any(|(_, state)| on_the_way(state))
    }

    fn now(&self) -> String {
        let epoch = |state: &str| self.checkpoints.iter().rev().find(|(_, s)| s == state).and_then(|(epoch, _)| *epoch);
        match epoch("probing") {
            Some(epoch) => format!("{} epochs trained, full probe of epoch {epoch}", self.checkpoints.len()),
            None => format!("{} epochs trained", self.checkpoints.len()),
        }
    }
}

/// Whether a job of any kind waits or runs.
fn open_jobs(url: &str) -> Option<bool> {
    let metrics = ureq::get(format!("{url}/metrics")).call().ok()?.body_mut().read_to_string().ok()?;
    let open = |line: &str| {
        let of_jobs =
            line.starts_with("clay_probe_jobs{") && (line.contains("\"queued\"") || line.contains("\"running\""));
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
        of_jobs && count != Some(0.0)
    };
    Some(metrics.lines().any(open))
}

fn get(url: &str) -> Option<Value> {
    ureq::get(url).call().ok()?.body_mut().read_json().ok()
}
