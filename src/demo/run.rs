//! The demo itself: the daemon in this process, the trainer as a child, and a table that grows.

use std::path::Path;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{DemoError, options::Options, process::Trainer, sample, watch::watch};
use crate::{config::Config, daemon::Daemon};

/// Steps of a fit: a budget of the demo's own.
const FIT_STEPS: u32 = 200;

/// Runs until nothing is left to do (`once`) or until `stop`; true when the story was told as it should be.
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
    say_what_is_next();
    watched
}

/// Short waits, few steps: the first score is to come within seconds, on two cores.
fn configuration(options: &Options, folder: &Path) -> Result<Config, DemoError> {
    let flags = [
        ("intake.dirs", json!([folder.join("checkpoints")])),
        ("intake.settle", json!("300ms")),
        ("intake.poll", json!("1s")),
        ("queue.every_n_epochs", json!(options.every)),
        ("queue.quick_every_n_epochs", json!(1)),
        ("probe.data", json!(folder.join("data"))),
        ("probe.crop", json!(sample::CROP)),
        ("probe.heads", json!(["conv"])),
        ("probe.fit_steps", json!(FIT_STEPS)),
        ("probe.batch_size", json!(16)),
        ("store.dir", json!(folder.join("clay-probe-data"))),
        ("api.listen", json!(format!("127.0.0.1:{}", options.port))),
    ];
    Ok(Config::load(None, &flags)?)
}

fn introduce(options: &Options, url: &str, folder: &Path) {
    let Options { every, seed, accident, .. } = options;
    println!(
        "clay-probe demo: a mini Clay v0 learns from 72 crops (64 px) of eight real flood scenes, seed {seed}. Every epoch"
    );
    println!(
        "gets a quick score (ridge on frozen features, R² of the water in a patch), every {every}th a full probe ({FIT_STEPS}"
    );
    println!("steps of the documented decoder, three seeds).");
    println!("  page     {url}/");
    println!("  verdict  curl '{url}/verdict'");
    println!("  folder   {}{}", folder.display(), if options.keep.is_some() { "" } else { " (removed at the end)" });
    println!();
    println!(
        "Folds are thirds of each scene: easier than an unseen event. 72 crops are no pre-training set: nothing here beats"
    );
    println!("the bands' own means. Look at the change, not at the height.");
    if let Some((accident, at)) = accident {
        println!("In epoch {at} the training has an accident: {}.", accident.describe());
    }
    println!();
}

/// The reader's own next two commands.
fn say_what_is_next() {
    println!("\nYour own data and checkpoints:");
    println!("  clay-probe check --data DIR                        DIR: labelled flood chips (README: \"Data\")");
    println!("  clay-probe serve --data DIR --dir CHECKPOINTS      CHECKPOINTS: where the trainer writes");
}
