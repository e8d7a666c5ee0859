//! What an answer costs, in steps of SQLite's machine: it must not grow with the number of rows.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{CheckpointFilter, LineChoice, SeriesFilter};
use crate::{
    domain::{Epoch, EventId, HeadName, Interval, JobKind, Metric, Shown},
    store::{Folder, Store},
};

#[path = "../../../tests/it/made.rs"]
mod made;
#[path = "../../../benches/queries/rows.rs"]
mod rows;

/// Connections for reading; each counts.
const READERS: usize = 4;

/// The steps that each query takes on a store of so many checkpoints.
async fn costs(count: u32) -> Vec<(&'static str, u64)> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Folder::create(dir.path()).unwrap()).await.unwrap();
    rows::fill(&store, count).await;
    let steps = Arc::new(AtomicU64::new(0));
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = store.pool().acquire().await.unwrap();
        let steps = steps.clone();
        reader.lock_handle().await.unwrap().set_progress_handler(1, move || {
            steps.fetch_add(1, Ordering::Relaxed);
            true
        });
        readers.push(reader);
    }
    drop(readers);
    let id = store.default_run().await.unwrap().unwrap().id;
    let filter = |state, run| CheckpointFilter { state, run, cursor: None, limit: 3 };
    let choice = LineChoice { head: None, line: None, first: HeadName::Conv };
    let mut snapshot = store.snapshot().await.unwrap();
    let line = snapshot.choose_line(id, choice).await.unwrap();
    let (metric, interval) = (Metric::Iou, Interval::SeedMinmax);
    let series =
        SeriesFilter { run: id, line: line.clone(), metric, interval, from: 5, to: u32::MAX, cursor: None, limit: 10 };
    let head = snapshot.points_of_epoch(id, &line, Epoch(8), None).await.unwrap()[0].head_id.unwrap();
    let mut costs = Vec::new();
    macro_rules! count {
        ($($name:literal: $query:expr,)+) => {$(
            steps.store(0, Ordering::Relaxed);
            $query.await.unwrap();
            costs.push(($name, steps.load(Ordering::Relaxed)));
        )+};
    }
    count! {
        "/runs": store.runs(100, None),
        "the default run": store.default_run(),
        "/checkpoints": store.checkpoints(filter(None, None)),
        "/checkpoints?run=": store.checkpoints(filter(None, Some(id))),
        "/checkpoints?state=failed": store.checkpoints(filter(Some(Shown::Failed), None)),
        "/checkpoints?state=failed&run=": store.checkpoints(filter(Some(Shown::Failed), Some(id))),
        "/checkpoints?state=skipped": store.checkpoints(filter(Some(Shown::Skipped), None)),
        "/checkpoints?state=held": store.checkpoints(filter(Some(Shown::Held), None)),
        "/probes": snapshot.series(series),
        "/probes/{epoch}": snapshot.points_of_epoch(id, &line, Epoch(5), None),
        "/probes/latest": snapshot.latest_scored(id, &line, None),
        "/lines": store.lines(id),
        "the line of an answer": snapshot.choose_line(id, choice),
        "the heads of a probe": store.heads_beside(head),
        "/events": store.events_after(EventId(50), None, 10),
        "/events?run=": store.events_after(EventId(50), Some(&"run1".parse().unwrap()), 10),
        "the bounds of /events": store.event_bounds(),
        "the depth of the queue": store.queue_depth(),
        "the oldest that waits": store.oldest_due(),
        "the last scores": store.last_scores(),
        "settling": store.open_checkpoints(),
        "idle runs": store.idle_runs("2020"),
        "whether a job waits": store.has_queued(JobKind::Probe),
        "what is known of a path": store.known_identity("/ckpt/run1/7.ckpt"),
    }
    costs
}

#[tokio::test]
async fn an_answer_costs_the_same_however_many_rows_there_are() {
    let (few, many) = (costs(300).await, costs(3000).await);
    let grown = few.iter().zip(&many).filter(|((_, few), (_, many))| *few == 0 || *many > few * 3 / 2 + 100);
    let grown: Vec<_> = grown.map(|((name, few), (_, many))| format!("{name}: {few} steps, then {many}")).collect();
    assert!(grown.is_empty(), "with ten times the rows: {grown:#?}");
}
