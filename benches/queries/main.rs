//! How long the API's queries take on a store with many rows: the median and the slowest of a hundred, in milliseconds.
//!
//! `cargo bench --bench queries [-- ROWS]`; 300,000 checkpoints by default, which takes some minutes to fill.

#![expect(clippy::unwrap_used, reason = "what fails ends it")]

#[path = "../../tests/it/made.rs"]
mod made;
mod rows;

use std::time::{Duration, Instant};

use clay_probe::{
    domain::{EventId, HeadName, Interval, Metric, RunName, Shown},
    store::{CheckpointFilter, Folder, LineChoice, SeriesFilter, Store},
};

/// Times one query, a hundred times.
async fn time<F: Future>(name: &str, query: impl Fn() -> F) {
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..100 {
        let since = Instant::now();
        query().await;
        took.push(since.elapsed());
    }
    took.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!("{name:34} {:8.2} {:8.2}", ms(took[50]), ms(took[98]));
}

#[tokio::main]
async fn main() {
    let count = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(300_000);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Folder::create(dir.path()).unwrap()).await.unwrap();
    let since = Instant::now();
    rows::fill(&store, count).await;
    println!(
        "{count} checkpoints, filled in {:.0} s\n{:34} {:>8} {:>8}",
        since.elapsed().as_secs_f64(),
        "",
        "p50",
        "p99"
    );

    let run = store.default_run().await.unwrap().unwrap();
    let middle = run.latest_epoch.unwrap().0 / 2;
    let (name, id): (RunName, _) = (run.run, run.id);
    let filter = |state, run| CheckpointFilter { state, run, cursor: None, limit: 100 };
    let choice = LineChoice { head: None, line: None, first: HeadName::Conv };
    let line = store.snapshot().await.unwrap().choose_line(id, choice).await.unwrap();
    let (metric, interval) = (Metric::Iou, Interval::SeedMinmax);
    let series = |from, limit| {
        let line = line.clone();
        SeriesFilter { run: id, line, metric, interval, from, to: u32::MAX, cursor: None, limit }
    };
    time("/lines", async || store.lines(id).await.unwrap()).await;
    time("the line of an answer", async || store.snapshot().await.unwrap().choose_line(id, choice).await.unwrap())
        .await;
    time("/runs", async || store.runs(100, None).await.unwrap()).await;
    time("/checkpoints", async || store.checkpoints(filter(None, None)).await.unwrap()).await;
    time("/checkpoints?run=", async || store.checkpoints(filter(None, Some(id))).await.unwrap()).await;
    for state in [Shown::Failed, Shown::Skipped, Shown::Held, Shown::Queued] {
        let name = format!("/checkpoints?state={state}");
        time(&name, async || store.checkpoints(filter(Some(state), None)).await.unwrap()).await;
    }
    for (from, limit) in [(0, 100), (middle, 100), (0, 1000), (middle, 1000)] {
        let name = format!("/probes?from={from}&limit={limit}");
        time(&name, async || store.snapshot().await.unwrap().series(series(from, limit)).await.unwrap()).await;
    }
    let epoch = clay_probe::domain::Epoch(middle);
    time("/probes/{epoch}", async || {
        store.snapshot().await.unwrap().points_of_epoch(id, &line, epoch, None).await.unwrap()
    })
    .await;
    time("/probes/latest", async || store.snapshot().await.unwrap().latest_scored(id, &line, None).await.unwrap())
        .await;
    let head = store
        .snapshot()
        .await
        .unwrap()
        .points_of_epoch(id, &line, epoch, None)
        .await
        .unwrap()
        .into_iter()
        .find_map(|p| p.head_id);
    if let Some(head) = head {
        time("the heads of a probe", async || store.heads_beside(head).await.unwrap()).await;
    }
    time("/events (500)", async || store.events_after(EventId(1000), None, 500).await.unwrap()).await;
    time("/events?run= (500)", async || store.events_after(EventId(1000), Some(&name), 500).await.unwrap()).await;
    time("/metrics", async || (store.queue_depth().await.unwrap(), store.last_scores().await.unwrap())).await;
    time("settling", async || store.open_checkpoints().await.unwrap()).await;
}
