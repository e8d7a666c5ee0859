//! A store with many rows.

use clay_probe::{
    domain::{
        Change, Context, Digest, DueReason, Epoch, Facts, HeadName, HeadSettings, Identity, Reason, RunName, Subject,
        ValueSource, Via,
    },
    error::Result,
    store::{NewCheckpoint, NewJob, NewPoint, Store, Why, change, now},
};
use sqlx::SqliteConnection;

use super::made::{dataset, heads, pinned, report};

/// Fills a store with `count` checkpoints in three runs, with their points, pins and, every fourth, probes: most are done,
/// some failed. Everything goes through the functions that the service uses, many in one transaction.
pub async fn fill(store: &Store, count: u32) {
    let heads = heads(&[HeadName::Conv, HeadName::Linear]);
    let (dataset, chips) = dataset(0);
    let mut tx = store.write().await.unwrap();
    store.add_dataset(&mut tx, "/data", &dataset, &chips, &now()).await.unwrap();
    for n in 0..count {
        if n % 2000 == 1999 {
            tx.end(Ok(())).await.unwrap();
            tx = store.write().await.unwrap();
        }
        let (run, step) = (n % 3, n / 3);
        fill_one(store, &mut tx, &format!("run{run}").parse().unwrap(), step, &heads).await.unwrap();
    }
    tx.end(Ok(())).await.unwrap();
}

async fn fill_one(
    store: &Store,
    db: &mut SqliteConnection,
    run: &RunName,
    step: u32,
    heads: &[HeadSettings],
) -> Result<()> {
    let (at, epoch) = (now(), Epoch(step / 2));
    let weights = Digest::of(format!("{run} {step}").as_bytes());
    let (path, facts, context) = (format!("/ckpt/{run}/{step}.ckpt"), Facts::default(), Context::default());
    let identity = Identity { device: 1, inode: step.into(), size: 1000, mtime_ns: step.into(), ctime_ns: step.into() };
    let new = NewCheckpoint {
        path: &path,
        via: Via::Scan,
        run,
        facts: &facts,
        forced: false,
        context: &context,
        identity: Some(identity),
        batch: &at,
    };
    let checkpoint = store.add_checkpoint(db, &new, &at).await?;
    let pin = store.add_job(db, NewJob::Pin(checkpoint, identity), &at).await?;
    change(db, Subject::Job(pin), Change::Claimed, Why::default()).await?;
    let pinned = pinned(weights, epoch.0, step.into());
    store.note_output(db, pin, &pinned).await?;
    change(db, Subject::Job(pin), Change::Finished, Why::default()).await?;
    let run_id = store.add_run(db, run, &at).await?;
    let due = step.is_multiple_of(4).then_some(DueReason::EveryN);
    let point = NewPoint {
        run: run_id,
        attempt: 0,
        epoch: (epoch, ValueSource::File),
        global_step: (step.into(), ValueSource::File),
        weights,
        due,
        written_ns: step.into(),
        batch: &at,
        context: &context,
    };
    let point = store.add_point(db, &point, &at).await?;
    if due.is_some() {
        let probe = store.add_job(db, NewJob::Probe(point), &at).await?;
        change(db, Subject::Job(probe), Change::Claimed, Why::default()).await?;
        let report = report(weights, pinned.encoder.clone(), 0, heads, 0.5);
        store.note_basis(db, probe, report.basis()).await?;
        if step.is_multiple_of(40) {
            change(db, Subject::Job(probe), Change::GaveUp, Why::of(Reason::OutOfMemory, "too large")).await?;
        } else {
            let result = store.add_result(db, &report, &at).await?;
            let asked: Vec<Digest> = heads.iter().map(HeadSettings::digest).collect();
            store.link_result(db, probe, result, &asked).await?;
            change(db, Subject::Job(probe), Change::Finished, Why::default()).await?;
        }
    }
    store.complete_checkpoint(db, checkpoint, &pinned, point, run_id, &at).await
}
