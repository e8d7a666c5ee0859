//! What a score is of: results by key, heads beside each other, lines; on the real store and queue, without workers.

use std::{sync::Arc, time::Duration};

use clay_probe::{
    config::Config,
    domain::{
        Change, Context, Digest, DueReason, EncoderFacts, Epoch, Facts, Failure, Family, Fault, Generation, HeadName,
        HeadSettings, Identity, Interval, JobKind, Metric, PointId, Reason, RunId, RunName, Shown, State, Subject,
        ValueSource, Via,
    },
    queue::{Claimed, Output, Plan, Queue, Target},
    store::{
        ChosenLine, Folder, LineChoice, NewCheckpoint, NewJob, NewPoint, SeriesFilter, SeriesItem, Store, Why, change,
        now,
    },
};

use crate::made::{dataset, encoder, heads, pinned, preparation, report};

const BOTH: [HeadName; 2] = [HeadName::Conv, HeadName::Linear];

/// What every probe is to be, for a queue: these heads, that preparation.
pub fn plan(heads: Vec<HeadSettings>, statistics: u32) -> Plan {
    Plan {
        heads: heads.into(),
        quick: HeadSettings::closed_form(HeadName::Ridge),
        prepare: Arc::new(move |encoder, _| Ok(preparation(encoder, statistics))),
    }
}

/// A store without a service around it.
struct Lab {
    store: Store,
    dir: tempfile::TempDir,
}

impl Lab {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Folder::create(dir.path()).unwrap()).await.unwrap();
        Self { store, dir }
    }

    /// A queue as a daemon starts it; the data set is scanned.
    async fn queue(&self, plan: Plan) -> Queue {
        let rules = Config::load(None, &[("queue.controls", serde_json::json!(false))]).unwrap().queue;
        let queue = Queue::new(self.store.clone(), rules, Duration::ZERO, plan);
        self.scan(&queue, "folds").await;
        queue
    }

    /// The data set is read again; its chips are on the sides that `split` tells.
    async fn scan(&self, queue: &Queue, split: &str) {
        queue.queue_scan().await.unwrap();
        let scan = queue.claim(JobKind::Scan).await.unwrap().unwrap();
        let (mut dataset, chips) = dataset(0);
        dataset.assignment = Digest::of(split.as_bytes());
        let output = Output::Scan { path: "/data", dataset: &dataset, chips: &chips };
        queue.finish(scan.job.id, output).await.unwrap();
    }

    /// A proven checkpoint of a run with weights of that name; its point waits for its probe.
    async fn save(&self, run: &str, epoch: u32, weights: &str, encoder: EncoderFacts) -> PointId {
        let (at, run): (_, RunName) = (now(), run.parse().unwrap());
        let (facts, context, weights) = (Facts::default(), Context::default(), Digest::of(weights.as_bytes()));
        let path = format!("/ckpt/{run}/{epoch}.ckpt");
        let identity = Identity { device: 1, inode: epoch.into(), size: 9, mtime_ns: epoch.into(), ctime_ns: 0 };
        let (run, via) = (&run, Via::Scan);
        let new = NewCheckpoint {
            path: &path,
            via,
            run,
            facts: &facts,
            forced: false,
            context: &context,
            identity: Some(identity),
            batch: &at,
        };
        let mut db = self.store.write().await.unwrap();
        let checkpoint = self.store.add_checkpoint(&mut db, &new, &at).await.unwrap();
        let run_id = self.store.add_run(&mut db, run, &at).await.unwrap();
        let new = NewPoint {
            run: run_id,
            attempt: 0,
            epoch: (Epoch(epoch), ValueSource::File),
            global_step: (epoch.into(), ValueSource::File),
            weights,
            due: Some(DueReason::EveryN),
            written_ns: 0,
            batch: &at,
            context: &context,
        };
        let point = self.store.add_point(&mut db, &new, &at).await.unwrap();
        self.store.add_job(&mut db, NewJob::Probe(point), &at).await.unwrap();
        let mut pinned = pinned(weights, epoch, epoch.into());
        pinned.encoder = encoder;
        self.store.complete_checkpoint(&mut db, checkpoint, &pinned, point, run_id, &at).await.unwrap();
        db.end(Ok(())).await.unwrap();
        point
    }

    /// Somebody asks for a point again; whether that queues a job.
    async fn force(&self, queue: &Queue, point: PointId) -> bool {
        let mut db = self.store.write().await.unwrap();
        let forced = queue.force(&mut db, point).await;
        db.end(forced).await.unwrap()
    }

    /// Does the next probe with that IoU; which heads it had to fit.
    async fn probe(&self, queue: &Queue, iou: f64) -> Option<Vec<HeadName>> {
        let claimed = queue.claim(JobKind::Probe).await.unwrap()?;
        let Target { key, missing, asked, .. } = target(&claimed);
        let mut db = self.store.write().await.unwrap();
        let encoder = self.store.encoder_of(&mut db, claimed.job.point_id.unwrap()).await;
        let encoder = db.end(encoder).await.unwrap();
        // Which statistics it was prepared with shows in the key alone.
        let statistics = (0..9).find(|&n| preparation(&encoder, n).digest() == key.basis.preparation).unwrap();
        let mut report = report(key.weights, encoder, statistics, missing, iou);
        (report.assignment, report.dataset.assignment) = (key.basis.assignment, key.basis.assignment);
        assert_eq!(report.basis(), key.basis);
        queue.finish(claimed.job.id, Output::Probe(&report, asked)).await.unwrap();
        Some(missing.iter().map(|head| head.head).collect())
    }

    async fn run(&self, name: &str) -> RunId {
        self.store.run(name).await.unwrap().id
    }

    async fn chosen(&self, run: &str, head: HeadName) -> ChosenLine {
        let choice = LineChoice { head: Some(head), line: None, first: HeadName::Conv };
        self.store.snapshot().await.unwrap().choose_line(self.run(run).await, choice).await.unwrap()
    }

    async fn series(&self, run: &str, line: ChosenLine, interval: Interval) -> Vec<SeriesItem> {
        let run = self.run(run).await;
        let of = SeriesFilter { run, line, metric: Metric::Iou, interval, from: 0, to: 99, cursor: None, limit: 100 };
        self.store.snapshot().await.unwrap().series(of).await.unwrap().items
    }

    async fn values(&self, run: &str, line: ChosenLine) -> Vec<Option<f64>> {
        self.series(run, line, Interval::SeedMinmax).await.into_iter().map(|item| item.value).collect()
    }

    /// All that is stored of the heads, as bytes.
    async fn stored(&self) -> Vec<(i64, String, String)> {
        use sqlx::Connection;
        let url = format!("sqlite://{}", self.dir.path().join("clay-probe.db").display());
        let mut db = sqlx::SqliteConnection::connect(&url).await.unwrap();
        sqlx::query_as("select id, report, created_at from heads order by id").fetch_all(&mut db).await.unwrap()
    }
}

fn target(claimed: &Claimed) -> &Target {
    claimed.target.as_ref().unwrap().as_ref().unwrap()
}

#[tokio::test]
async fn a_head_is_added_beside_the_others_which_are_not_fitted_again() {
    let lab = Lab::new().await;
    let queue = lab.queue(plan(heads(&[HeadName::Conv]), 0)).await;
    let mut points = Vec::new();
    for epoch in 0..3 {
        points.push(lab.save("a", epoch, &format!("weights {epoch}"), encoder()).await);
        assert_eq!(lab.probe(&queue, 0.25).await, Some(vec![HeadName::Conv]));
    }
    let line = lab.chosen("a", HeadName::Conv).await;
    assert_eq!(lab.values("a", line.clone()).await, [Some(0.25); 3]);
    assert_eq!(lab.chosen("a", HeadName::Linear).await.line, None);
    let before = lab.stored().await;
    assert!(!lab.force(&queue, points[0]).await, "it has all that is configured");

    // The daemon is started again with another head; one point is asked for, another's weights are saved again.
    let queue = lab.queue(plan(heads(&BOTH), 0)).await;
    assert!(lab.force(&queue, points[0]).await, "it lacks a head");
    assert_eq!(lab.probe(&queue, 0.5).await, Some(vec![HeadName::Linear]));
    lab.save("b", 7, "weights 1", encoder()).await;
    assert_eq!(lab.probe(&queue, 0.75).await, Some(vec![HeadName::Linear]));
    lab.save("a", 3, "weights 3", encoder()).await;
    assert_eq!(lab.probe(&queue, 0.75).await, Some(BOTH.to_vec()));
    assert!(!lab.force(&queue, points[0]).await && !lab.force(&queue, points[1]).await);
    assert!(lab.force(&queue, points[2]).await, "nobody fitted it yet");

    assert_eq!(lab.chosen("a", HeadName::Conv).await, line, "the line goes on");
    assert_eq!(lab.values("a", line).await, [Some(0.25), Some(0.25), Some(0.25), Some(0.75)]);
    let linear = lab.chosen("a", HeadName::Linear).await;
    let items = lab.series("a", linear, Interval::SeedMinmax).await;
    let values: Vec<_> = items.iter().map(|item| item.value).collect();
    assert_eq!(
        values,
        [Some(0.5), Some(0.75), None, Some(0.75)],
        "what run b fitted counts for equal weights of run a"
    );
    assert_eq!((items[2].point.state, items[2].point.reason), (Shown::Queued, None));
    assert_eq!(lab.values("b", lab.chosen("b", HeadName::Conv).await).await, [Some(0.25)], "shared, not fitted again");
    let after = lab.stored().await;
    assert_eq!(after[..3], before[..], "to the byte");
    assert_eq!(after.len(), 3 + 2 + 2);
}

#[tokio::test]
async fn other_settings_of_a_head_are_a_line_of_their_own_in_the_same_result() {
    let lab = Lab::new().await;
    let queue = lab.queue(plan(heads(&BOTH), 0)).await;
    let point = lab.save("a", 0, "weights", encoder()).await;
    lab.probe(&queue, 0.25).await;
    let first = lab.chosen("a", HeadName::Conv).await;

    let mut other = heads(&BOTH);
    other[0].fit_steps = 300;
    let queue = lab.queue(plan(other, 0)).await;
    assert!(lab.force(&queue, point).await);
    assert_eq!(lab.probe(&queue, 0.5).await, Some(vec![HeadName::Conv]));
    let second = lab.chosen("a", HeadName::Conv).await;
    assert_ne!(second, first);
    assert_eq!(lab.values("a", first.clone()).await, [Some(0.25)]);
    assert_eq!(lab.values("a", second.clone()).await, [Some(0.5)]);
    assert_eq!(lab.values("a", lab.chosen("a", HeadName::Linear).await).await, [Some(0.25)]);
    let lines = lab.store.lines(lab.run("a").await).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.key.head, line.points, line.newest)).collect();
    assert_eq!(told, [(HeadName::Conv, 1, false), (HeadName::Linear, 1, true), (HeadName::Conv, 1, true)]);
    let changed = lines[2].facts.changed_since(&lines[0].facts);
    assert_eq!(changed.iter().map(|change| change.word.as_str()).collect::<Vec<_>>(), ["fit_steps"]);

    // Back to the settings of before: nothing is fitted, and their line is shown again.
    let queue = lab.queue(plan(heads(&BOTH), 0)).await;
    lab.save("a", 1, "weights", encoder()).await;
    assert_eq!(lab.probe(&queue, 0.75).await, None);
    assert_eq!(lab.chosen("a", HeadName::Conv).await, first);
    assert_eq!(lab.values("a", first).await, [Some(0.25), Some(0.25)]);
    assert_eq!(lab.values("a", second).await, [Some(0.5), Some(0.5)]);
}

#[tokio::test]
async fn what_decides_the_features_or_the_split_begins_a_line_and_says_so() {
    let lab = Lab::new().await;
    let queue = lab.queue(plan(heads(&[HeadName::Conv]), 0)).await;
    let point = lab.save("a", 0, "weights", encoder()).await;
    lab.probe(&queue, 0.25).await;
    lab.scan(&queue, "other folds").await;
    assert!(lab.force(&queue, point).await);
    assert_eq!(lab.probe(&queue, 0.5).await, Some(vec![HeadName::Conv]));
    let queue = lab.queue(plan(heads(&[HeadName::Conv]), 1)).await;
    lab.scan(&queue, "other folds").await;
    assert!(lab.force(&queue, point).await);
    assert_eq!(lab.probe(&queue, 0.75).await, Some(vec![HeadName::Conv]));
    let lines = lab.store.lines(lab.run("a").await).await.unwrap();
    let words = |n: usize| {
        let changed = lines[n].facts.changed_since(&lines[n - 1].facts);
        changed.into_iter().map(|change| change.word).collect::<Vec<_>>()
    };
    assert_eq!((lines.len(), words(1), words(2)), (3, vec!["assignment".to_owned()], vec!["statistics".to_owned()]));
    assert_eq!(lab.stored().await.len(), 3);
}

#[tokio::test]
async fn two_families_side_by_side_have_each_their_lines() {
    let lab = Lab::new().await;
    let queue = lab.queue(plan(heads(&BOTH), 0)).await;
    let v1 = EncoderFacts { family: Family::ClayV1, generation: Generation::V1_5, patch_size: 8, ..encoder() };
    for epoch in 0..2 {
        lab.save("v0", epoch, &format!("old {epoch}"), encoder()).await;
        lab.save("v1", epoch, &format!("new {epoch}"), v1.clone()).await;
        lab.probe(&queue, 0.25).await;
        lab.probe(&queue, 0.5).await;
    }
    let (old, new) = (lab.chosen("v0", HeadName::Conv).await, lab.chosen("v1", HeadName::Conv).await);
    assert_ne!(old.line, new.line);
    assert_eq!(lab.values("v0", old.clone()).await, [Some(0.25); 2]);
    assert_eq!(lab.values("v1", new).await, [Some(0.5); 2]);
    for (run, family) in [("v0", Family::ClayV0), ("v1", Family::ClayV1)] {
        let lines = lab.store.lines(lab.run(run).await).await.unwrap();
        assert_eq!(lines.iter().map(|line| line.key.head).collect::<Vec<_>>(), BOTH);
        assert!(lines.iter().all(|line| line.facts.preparation.family == family && line.points == 2 && line.newest));
        assert_eq!((lines[0].first_epoch, lines[0].last_epoch), (0, 1));
    }
    let choice = LineChoice { head: None, line: old.line.as_deref(), first: HeadName::Conv };
    let error = lab.store.snapshot().await.unwrap().choose_line(lab.run("v1").await, choice).await.unwrap_err();
    assert!(error.to_string().contains("the run has no line"), "{error}");
    let scores = lab.store.last_scores().await.unwrap();
    let told: Vec<_> = scores.iter().map(|s| (s.run.as_str(), s.head.unwrap(), s.iou)).collect();
    let of = |run, iou| BOTH.map(|head| (run, head, Some(iou)));
    assert_eq!(told, [of("v0", 0.25), of("v1", 0.5)].concat());
}

#[tokio::test]
async fn another_interval_is_read_off_what_is_stored() {
    let lab = Lab::new().await;
    let queue = lab.queue(plan(heads(&[HeadName::Conv]), 0)).await;
    lab.save("a", 0, "weights", encoder()).await;
    lab.probe(&queue, 0.5).await;
    let line = lab.chosen("a", HeadName::Conv).await;
    let ends = |item: &SeriesItem| (item.value, item.low, item.high, item.interval);
    let seeds = lab.series("a", line.clone(), Interval::SeedMinmax).await;
    assert_eq!(ends(&seeds[0]), (Some(0.5), Some(0.4375), Some(0.5625), Some(Interval::SeedMinmax)));
    let t = lab.series("a", line.clone(), Interval::T95).await;
    // Three seeds: t is 4.30265, the standard deviation 1/16.
    let half = 4.30265 * 0.0625 / 3f64.sqrt();
    assert_eq!((t[0].value, t[0].interval, &t[0].line), (Some(0.5), Some(Interval::T95), &line.line));
    assert!((t[0].low.unwrap() - (0.5 - half)).abs() < 1e-12 && (t[0].high.unwrap() - (0.5 + half)).abs() < 1e-12);
    assert_eq!(lab.store.lines(lab.run("a").await).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_chips_lack_fails_a_probe_for_good_and_others_go_on() {
    let lab = Lab::new().await;
    let prepare = |encoder: &EncoderFacts, _: &_| match encoder.family {
        Family::ClayV0 => Ok(preparation(encoder, 0)),
        Family::ClayV1 => Err(Failure::new(Reason::Inputs, Fault::Final, "no input has all its bands in every chip")),
    };
    let queue = lab.queue(Plan { prepare: Arc::new(prepare), ..plan(heads(&BOTH), 0) }).await;
    let v1 = EncoderFacts { family: Family::ClayV1, ..encoder() };
    let refused = lab.save("v1", 0, "new", v1).await;
    lab.save("v0", 0, "old", encoder()).await;
    let claimed = queue.claim(JobKind::Probe).await.unwrap().unwrap();
    let Some(Err(failure)) = &claimed.target else { panic!("{:?}", claimed.target) };
    queue.fail(&claimed.job, failure).await.unwrap();
    let mut db = lab.store.write().await.unwrap();
    let job = lab.store.latest_probe(&mut db, refused).await;
    let job = db.end(job).await.unwrap().unwrap();
    assert_eq!((job.state, job.tries), (State::Failed, 0));
    assert_eq!(lab.probe(&queue, 0.25).await, Some(BOTH.to_vec()));
    let items = lab.series("v1", lab.chosen("v1", HeadName::Conv).await, Interval::SeedMinmax).await;
    assert_eq!((items[0].point.state, items[0].point.reason), (Shown::Failed, Some(Reason::Inputs)));
    let message = items[0].point.message.as_deref();
    assert_eq!(message, Some("no input has all its bands in every chip"));
}

#[tokio::test]
async fn a_head_without_a_score_says_why() {
    let lab = Lab::new().await;
    let queue = lab.queue(plan(heads(&[HeadName::Conv]), 0)).await;
    lab.save("a", 0, "weights", encoder()).await;
    let claimed = queue.claim(JobKind::Probe).await.unwrap().unwrap();
    let Target { key, missing, asked, .. } = target(&claimed);
    let mut report = report(key.weights, encoder(), 0, missing, 0.5);
    let conv = report.heads.get_mut(&HeadName::Conv).unwrap();
    conv.seeds.iter_mut().for_each(|seed| seed.metrics = Default::default());
    conv.set_interval(Interval::SeedMinmax);
    for fit in &mut report.fits {
        fit.metrics = Default::default();
        (fit.reason, fit.message) = (Some(Reason::OneClassTraining), Some("fold 0 has no water to train on".into()));
    }
    queue.finish(claimed.job.id, Output::Probe(&report, asked)).await.unwrap();
    let item = lab.series("a", lab.chosen("a", HeadName::Conv).await, Interval::SeedMinmax).await.remove(0);
    assert_eq!((item.value, item.low, item.n_seeds, item.point.null_fits), (None, None, Some(0), Some(3)));
    assert_eq!((item.point.state, item.point.reason), (Shown::Done, Some(Reason::OneClassTraining)));
    assert_eq!(item.point.message.as_deref(), Some("fold 0 has no water to train on"));
}

#[tokio::test]
async fn a_run_that_is_removed_takes_its_lines_and_leaves_what_is_shared() {
    let lab = Lab::new().await;
    let queue = lab.queue(plan(heads(&BOTH), 0)).await;
    for (run, weights) in [("a", "own"), ("a", "shared"), ("b", "shared")] {
        let epoch = u32::from(weights == "shared");
        let point = lab.save(run, epoch, weights, encoder()).await;
        lab.probe(&queue, 0.5).await;
        assert!(!lab.force(&queue, point).await);
    }
    let mut db = lab.store.write().await.unwrap();
    let run = lab.store.run_id(&mut db, &"a".parse().unwrap()).await.unwrap().unwrap();
    let files = lab.store.remove_run(&mut db, run).await;
    let files = db.end(files).await.unwrap();
    assert_eq!(files.len(), 2, "a pin and pictures: {files:?}");
    assert_eq!(lab.stored().await.len(), 2);
    assert_eq!(lab.values("b", lab.chosen("b", HeadName::Linear).await).await, [Some(0.5)]);
    let mut db = lab.store.write().await.unwrap();
    let lines: i64 = sqlx::query_scalar("select count(*) from lines").fetch_one(&mut *db).await.unwrap();
    let scores: i64 = sqlx::query_scalar("select count(*) from scores").fetch_one(&mut *db).await.unwrap();
    db.end(Ok(())).await.unwrap();
    assert_eq!((lines, scores), (2, 2));
}

#[tokio::test]
async fn a_probe_that_is_taken_back_leaves_no_score() {
    let lab = Lab::new().await;
    let queue = lab.queue(plan(heads(&[HeadName::Conv]), 0)).await;
    lab.save("a", 0, "weights", encoder()).await;
    let claimed = queue.claim(JobKind::Probe).await.unwrap().unwrap();
    let mut db = lab.store.write().await.unwrap();
    let taken = change(&mut db, Subject::Job(claimed.job.id), Change::Cancelled, Why::default()).await;
    db.end(taken).await.unwrap();
    let Target { key, missing, asked, .. } = target(&claimed);
    let late = report(key.weights, encoder(), 0, missing, 0.5);
    queue.finish(claimed.job.id, Output::Probe(&late, asked)).await.unwrap_err();
    assert_eq!((lab.stored().await.len(), lab.chosen("a", HeadName::Conv).await.line), (0, None));
}
