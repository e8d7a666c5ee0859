//! The journal: whatever happens, each state is what its last event says; and `/events` tells all of it once.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clay_probe::{
    config::Config,
    domain::{
        Change, CheckpointId, ControlReport, ControlStep, Digest, EventId, Failure, Fault, HeadName, HeadSettings,
        JobKind, Metric, Reason, RunName, Seconds, State,
    },
    intake::{Intake, Roots, Submissions},
    queue::{Claimed, Output, Queue, Target},
    status::Status,
    store::{EventRow, Folder, Store},
    telemetry::Metrics,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    lines::plan,
    made::{dataset, encoder, heads, pinned, report},
    rig::Rig,
};

/// The service without workers: what they give is made up.
struct Service {
    dir: tempfile::TempDir,
    store: Store,
    queue: Queue,
    submissions: Submissions,
    stop: CancellationToken,
    random: ChaCha8Rng,
    running: Vec<Claimed>,
}

impl Service {
    async fn start(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let watched = dir.path().join("ckpt");
        fs::create_dir(&watched).unwrap();
        let flags = [
            ("intake.dirs", json!([watched])),
            ("intake.settle", json!("5ms")),
            ("intake.poll", json!("20ms")),
            ("intake.give_up", json!("300ms")),
            ("queue.every_n_epochs", json!(2)),
            ("queue.quick_every_n_epochs", json!(1)),
            ("queue.retries", json!(1)),
        ];
        let config = Config::load(None, &flags).unwrap();
        let store = Store::open(&Folder::create(&dir.path().join("state")).unwrap()).await.unwrap();
        let plan = plan(heads(&[HeadName::Conv, HeadName::Linear]), 0);
        let queue = Queue::new(store.clone(), config.queue, config.intake.give_up, plan);
        let (roots, wake, stop) =
            (Roots::new(&config.intake).unwrap(), Arc::new(Notify::new()), CancellationToken::new());
        let submissions =
            Submissions { store: store.clone(), queue: queue.clone(), roots: roots.clone(), wake: wake.clone() };
        let metrics = Metrics::default();
        let intake = Intake {
            store: store.clone(),
            queue: queue.clone(),
            roots,
            config: config.intake,
            status: Status::default(),
            metrics,
            wake,
        };
        intake.start(&TaskTracker::new(), &stop).unwrap();
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { dir, store, queue, submissions, stop, random, running: Vec::new() }
    }

    fn below(&mut self, n: u32) -> u32 {
        self.random.random_range(0..n)
    }

    fn path(&mut self) -> PathBuf {
        let (run, n) = (self.below(3), self.below(4));
        self.dir.path().join(format!("ckpt/run{run}/{n}.ckpt"))
    }

    fn run(&mut self) -> RunName {
        format!("run{}", self.below(4)).parse().unwrap()
    }

    /// Something happens; what is refused is fine.
    async fn act(&mut self) {
        match self.below(14) {
            0..=2 => {
                let path = self.path();
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, vec![0; self.below(2000) as usize]).unwrap();
            }
            3 => drop(fs::remove_file(self.path())),
            4 | 5 => {
                let (path, force, run) = (self.path(), self.below(2) == 0, self.run());
                let mut body = json!({"path": path, "force": force});
                if self.below(3) == 0 {
                    body["run"] = json!(run);
                }
                if self.below(4) == 0 {
                    body["epoch"] = json!(self.below(6));
                }
                let _ = self.submissions.post(serde_json::from_value(body).unwrap()).await;
            }
            6 => {
                let id = CheckpointId(self.below(60).into());
                let _ = self.submissions.cancel(id).await;
            }
            7 if self.below(3) == 0 => {
                let run = self.run();
                let _ = self.submissions.finish(&run).await;
            }
            8 if self.below(12) == 0 => {
                let run = self.run();
                let _ = self.submissions.remove_run(&run).await;
            }
            9 if self.below(4) == 0 => self.queue.queue_scan().await.unwrap(),
            10 if self.below(8) == 0 => drop(self.queue.recover().await.unwrap()),
            11..=12 => {
                let kind =
                    [JobKind::Pin, JobKind::Pin, JobKind::Quick, JobKind::Probe, JobKind::Control, JobKind::Scan]
                        [self.below(6) as usize];
                self.running.extend(self.queue.claim(kind).await.unwrap());
            }
            _ if !self.running.is_empty() => {
                let n = self.below(self.running.len() as u32);
                let claimed = self.running.swap_remove(n as usize);
                self.end(&claimed).await;
            }
            _ => {}
        }
    }

    /// A job ends somehow; it may be gone.
    async fn end(&mut self, claimed: &Claimed) {
        let job = &claimed.job;
        let failure = |fault| Failure::new(Reason::WorkerDied, fault, "it died");
        match (self.below(6), job.kind) {
            (0, _) => drop(self.queue.fail(job, &failure(Fault::Passing)).await),
            (1, _) => drop(self.queue.fail(job, &failure(Fault::Final)).await),
            (2, _) => drop(self.queue.interrupt(job.id, &failure(Fault::Surroundings), None).await),
            (_, JobKind::Pin) => {
                let (weights, epoch, step) = (self.below(12), self.below(6), self.below(12));
                let pinned = pinned(Digest::of(&weights.to_le_bytes()), epoch, step.into());
                let _ = self.queue.finish(job.id, Output::Pin(&pinned)).await;
            }
            (_, JobKind::Control) => {
                let target = claimed.target.as_ref().unwrap().as_ref().unwrap();
                let _ = self.queue.finish(job.id, Output::Control(&controls(target))).await;
            }
            (_, JobKind::Scan) => {
                let (dataset, chips) = dataset(self.below(2));
                let output = Output::Scan { path: "/data", dataset: &dataset, chips: &chips };
                let _ = self.queue.finish(job.id, output).await;
            }
            (_, JobKind::Quick | JobKind::Probe) => {
                let target = claimed.target.as_ref().unwrap().as_ref().unwrap();
                let mut report = report(target.key.weights, encoder(), 0, &target.missing, 0.5);
                report.dataset.digest = target.key.basis.dataset;
                let _ = self.queue.finish(job.id, Output::Probe(&report, &target.asked)).await;
            }
        }
    }
}

/// What a control job gives: a number for each head, or one without a head.
fn controls(target: &Target) -> ControlReport {
    let of = target.control.unwrap();
    let step = |head: Option<&HeadSettings>| ControlStep {
        of,
        head: head.map(|head| head.head),
        head_digest: head.map(|head| head.digest()),
        metric: Metric::Iou,
        value: Some(0.25),
        note: None,
    };
    let mut steps: Vec<ControlStep> = target.missing.iter().map(|head| step(Some(head))).collect();
    if steps.is_empty() {
        steps.push(step(None));
    }
    ControlReport {
        schema: ControlReport::SCHEMA,
        basis: target.key.basis,
        architecture: encoder().architecture(),
        steps,
        seconds: Seconds::default(),
    }
}

/// What must never be, each with a query that counts it.
const NEVER: [(&str, &str); 8] = [
    (
        "a job whose last event has another state",
        "select count(*) from jobs j where j.state is not \
         (select state from events e where e.job_id = j.id order by e.id desc limit 1)",
    ),
    (
        "a checkpoint whose last event has another state",
        "select count(*) from checkpoints c where c.state is not (select state from events e \
         where e.checkpoint_id = c.id and e.job_id is null order by e.id desc limit 1)",
    ),
    (
        "a checkpoint that shows something else",
        "select count(*) from checkpoints c where c.shown is not case when c.state <> 'whole' then c.state else \
         coalesce((select case j.state when 'running' then 'probing' else j.state end from jobs j \
                   where j.point_id = c.point_id and j.kind = 'probe' order by j.id desc limit 1), 'whole') end",
    ),
    (
        "a run that is counted wrongly",
        "select count(*) from runs r where r.checkpoints <> (select count(*) from checkpoints where run_id = r.id) \
         or r.points <> (select count(*) from points where run_id = r.id) \
         or r.scored <> (select count(*) from points p where p.run_id = r.id \
                         and exists (select 1 from jobs where point_id = p.id and kind = 'probe' and state = 'done'))",
    ),
    (
        "a point without a checkpoint, or a whole checkpoint without a point",
        "select (select count(*) from points p where not exists (select 1 from checkpoints where point_id = p.id)) \
         + (select count(*) from checkpoints where (state = 'whole') <> (point_id is not null))",
    ),
    (
        "a line that is counted wrongly, or that no score is of",
        "select count(*) from lines l where l.points <> (select count(*) from scores s join points p on p.id = s.point_id \
         where p.run_id = l.run_id and s.line = l.line) or l.points = 0",
    ),
    (
        "a done probe whose point lacks a score of its result",
        "select count(*) from jobs j join heads h on h.result_id = j.result_id where j.state = 'done' and not exists \
         (select 1 from scores s where s.point_id = j.point_id and s.head_id = h.id)",
    ),
    (
        // A pin of content that is gone may still run beside that of what is there now.
        "two open probes of a point, or two open scans",
        "select count(*) from (select 1 from jobs where state in ('queued', 'running') and kind <> 'pin' \
         group by kind, point_id having count(*) > 1)",
    ),
];

async fn check(db: &mut SqliteConnection, context: &str) {
    // One transaction: the intake goes on meanwhile.
    let mut tx = db.begin().await.unwrap();
    for (what, sql) in NEVER {
        let count: i64 = sqlx::query_scalar(sql).fetch_one(&mut *tx).await.unwrap();
        assert_eq!(count, 0, "{what}, {context}");
    }
    tx.rollback().await.unwrap();
}

/// Each event follows from the one before it of the same subject, as the table of changes has it.
fn check_order(events: &[EventRow]) {
    let mut last: HashMap<_, State> = HashMap::new();
    for event in events {
        let subject = (event.job_id, event.checkpoint_id.filter(|_| event.job_id.is_none()));
        let before = last.insert(subject, event.state);
        assert_eq!(State::after(before, event.change), Some(event.state), "{event:?} after {before:?}");
    }
}

#[tokio::test]
async fn whatever_happens_states_are_what_the_journal_says() {
    let mut seen = HashSet::new();
    for seed in 0..4 {
        let mut service = Service::start(seed).await;
        let url = format!("sqlite://{}", service.store.folder().database().display());
        let mut db = SqliteConnection::connect(&url).await.unwrap();
        for step in 0..500 {
            service.act().await;
            check(&mut db, &format!("seed {seed}, step {step}")).await;
            if step % 8 == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let events = service.store.events_after(EventId(0), None, u32::MAX).await.unwrap();
        check_order(&events);
        seen.extend(events.iter().map(|event| event.change));
        service.stop.cancel();
    }
    let unseen: Vec<_> = Change::ALL.iter().filter(|change| !seen.contains(change)).collect();
    assert!(unseen.is_empty(), "never happened: {unseen:?}");
}

#[test]
fn every_change_of_a_real_run_is_told_once_through_ten_cuts() {
    let mut rig = Rig::start("");
    let names: Vec<String> = (1..=6).map(|epoch| format!("epoch={epoch}.safetensors")).collect();
    for (epoch, name) in (1..).zip(&names) {
        rig.save(name, epoch, u64::from(epoch) * 10);
    }
    let after = |told: &[Value], count: usize| -> Vec<Value> {
        let last = told.last().map_or(0, |event| event["id"].as_i64().unwrap());
        rig.events(last).filter(|(name, _)| name == "change").take(count).map(|(_, data)| data).collect()
    };
    let mut told = Vec::new();
    for cut in 0..10 {
        told.extend(after(&told, 2 + cut % 3));
    }
    names.iter().for_each(|name| drop(rig.until(name, "done")));
    rig.wait("all is told", |rig| {
        let left = rig.count("events") as usize - told.len();
        told.extend(after(&told, left));
        // Nothing came meanwhile.
        (rig.count("events") as usize == told.len()).then_some(())
    });
    // Six files: found and proven; a pin and a probe of each, and the scan: asked, claimed, finished.
    assert_eq!(told.len(), 6 * (2 + 2 * 3) + 3);
    for (id, event) in (1..).zip(&told) {
        assert_eq!(event["id"], id, "each once, in order");
        let (change, state) = (event["change"].as_str().unwrap(), event["state"].as_str().unwrap());
        assert_eq!(rig.count(&format!("events where id = {id} and change = '{change}' and state = '{state}'")), 1);
    }

    assert!(rig.stop());
    rig.configure("[store]\nkeep_events = 5\n");
    rig.restart();
    rig.wait("old events are dropped", |rig| (rig.count("events") == 5).then_some(()));
    let mut events = rig.events(3);
    let (name, gap) = events.next().unwrap();
    assert_eq!(name, "gap");
    let (_, first) = events.find(|(name, _)| name == "change").unwrap();
    assert!(first["id"] == gap["oldest"] && first["id"].as_i64() > Some(4), "{gap} {first}");
}
