//! The real router on the real store, queue and intake in a temporary folder. Jobs are done by hand, through the
//! functions that a worker's jobs go through; rows are written by nothing else.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use clay_probe::{
    api::{ApiState, View, router},
    config::{self, Config, Size},
    domain::{
        ChipRecord, ChipScore, DatasetSummary, Failure, Fault, FitNote, HeadName, HeadReport, HeadSettings, Interval,
        JobKind, Metric, Metrics, ProbeReport, Progress, Reason, RunName, Seed, SeedScore, Stage,
    },
    intake::{Intake, Roots, Submissions},
    probe::{
        ProbeRequest, Resources,
        chips::Dataset,
        probe,
        weights::{self, Options},
    },
    queue::{Claimed, Output, Plan, Queue, Target},
    status::Status,
    store::{Folder, Store},
    telemetry,
    worker::preparer,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::rig::{golden, sample_data};

pub const RUN: &str = "exp/a 1";

/// What the science gives, computed once: a probe of the smallest encoder on the sample.
pub struct Science {
    pub report: ProbeReport,
    pub dataset: DatasetSummary,
    pub chips: Vec<ChipRecord>,
    pub settings: config::Probe,
    /// Its encoder as safetensors, and where one weight lies.
    weights: (Vec<u8>, usize),
}

pub fn science() -> &'static Science {
    static SCIENCE: OnceLock<Science> = OnceLock::new();
    SCIENCE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let flags = [
            ("probe.data", json!(sample_data())),
            ("probe.fit_steps", json!(2)),
            ("probe.seeds", json!([0, 1])),
            ("probe.heads", json!(["conv"])),
        ];
        let settings = Config::load(None, &flags).unwrap().probe;
        let dataset = Dataset::open(&settings, dir.path(), &mut |_| {}).unwrap();
        let request = ProbeRequest {
            checkpoint: golden("d16h2-newtorch"),
            shown_path: None,
            run: RunName::default_run(),
            epoch: None,
            global_step: None,
            settings: settings.clone(),
            resources: Resources {
                device: "cpu".to_owned(),
                serve: true,
                share_gpu: false,
                gpu_memory: config::Size(0),
                cache: dir.path().to_owned(),
                cache_bytes: Size(u64::MAX),
            },
            dump: None,
            dump_path: false,
            pictures: None,
            heads: settings.head_settings(),
            expected: None,
        };
        let report = probe(&request, 1, &mut |_| {}).unwrap();
        let pinned = weights::pin(&request.checkpoint, dir.path(), &Options::default()).unwrap();
        // Without the epoch that the copy tells: what is posted decides.
        let copy = std::fs::read(pinned.pin).unwrap();
        let bytes = safetensors::serialize(SafeTensors::deserialize(&copy).unwrap().iter(), None).unwrap();
        let bias = SafeTensors::deserialize(&bytes).unwrap().tensor("latlon_embedding.bias").unwrap().data().as_ptr();
        let at = bias as usize - bytes.as_ptr() as usize;
        let (summary, chips) = (dataset.summary().clone(), dataset.chips().to_vec());
        Science { report, dataset: summary, chips, settings, weights: (bytes, at) }
    })
}

/// A checkpoint with weights of its own.
pub fn checkpoint_bytes(number: u32) -> Vec<u8> {
    let (mut bytes, at) = science().weights.clone();
    bytes[at..at + 4].copy_from_slice(&(number as f32).to_le_bytes());
    bytes
}

/// What a queue of these settings asks of probes.
pub fn plan(settings: &config::Probe) -> Plan {
    Plan {
        heads: settings.head_settings().into(),
        quick: HeadSettings::closed_form(HeadName::Ridge),
        prepare: preparer(settings.clone()),
    }
}

/// The settings with a second head.
pub fn with_linear() -> config::Probe {
    config::Probe { heads: vec![HeadName::Conv, HeadName::Linear], ..science().settings.clone() }
}

/// The queue of a daemon that is started anew on a site's store with other settings; the data set is scanned.
pub async fn another_queue(site: &Site, settings: &config::Probe) -> Queue {
    let rules = Config::load(None, &[("queue.controls", json!(false))]).unwrap().queue;
    let queue = Queue::new(site.store.clone(), rules, Duration::ZERO, plan(settings));
    queue.queue_scan().await.unwrap();
    let scan = queue.claim(JobKind::Scan).await.unwrap().unwrap();
    let Science { dataset, chips, .. } = science();
    queue.finish(scan.job.id, Output::Scan { path: "/data", dataset, chips }).await.unwrap();
    queue
}

/// A report of what a target is to fit, made of the one that was computed: the seeds' IoU lie around `iou`, of `linear`
/// an eighth below; no precision. The first fit of `linear` is short, and its last fold has no score.
fn report_of(target: &Target, iou: f64) -> ProbeReport {
    let computed = &science().report;
    let mut report = ProbeReport { weights_digest: target.key.weights, ..computed.clone() };
    (report.fits, report.chip_scores, report.heads) = Default::default();
    for settings in &target.missing {
        let mut fits = computed.fits.clone();
        fits.iter_mut().for_each(|fit| fit.head = settings.head);
        let middle = if settings.head == HeadName::Linear { iou - 0.125 } else { iou };
        if settings.head == HeadName::Linear {
            fits[0].notes.push(FitNote::Underfit);
            let last = fits.last_mut().unwrap();
            (last.metrics, last.confusion, last.curve) = Default::default();
            last.reason = Some(Reason::OneClassTraining);
            last.message = Some(format!("fold {} has no water on its training side", last.fold));
        }
        report.fits.extend(fits);
        let of_head = |score: &ChipScore| ChipScore { head: settings.head, ..score.clone() };
        report.chip_scores.extend(computed.chip_scores.iter().map(of_head));
        let seed = |(seed, off): (&Seed, f64)| {
            let metrics = Metrics { iou: Some(middle + off), loss: Some(0.5), ..Metrics::default() };
            SeedScore { seed: *seed, metrics, more: Default::default() }
        };
        let seeds = settings.seeds.iter().zip([-0.0625, 0.0625]).map(seed).collect();
        report
            .heads
            .insert(settings.head, HeadReport::new(settings, seeds, Some(0.3), Metric::OF_PIXELS, Interval::T95));
    }
    report
}

pub fn settings() -> config::Api {
    Config::load(None, &[]).unwrap().api
}

pub struct Site {
    pub router: Router,
    pub store: Store,
    pub queue: Queue,
    pub submissions: Submissions,
    pub status: Status,
    pub metrics: telemetry::Metrics,
    pub stop: CancellationToken,
    pub dir: tempfile::TempDir,
    /// Jobs that run for as long as the site is there.
    running: Vec<Claimed>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Site {
    /// A site with an empty store.
    pub async fn empty(change: impl FnOnce(&mut config::Api, &Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ckpt = dir.path().join("ckpt");
        std::fs::create_dir_all(&ckpt).unwrap();
        // Nothing lies in the watched folder: all that is known was posted.
        let watched = dir.path().join("watched");
        let flags = [
            ("intake.dirs", json!([watched])),
            ("intake.roots", json!([ckpt])),
            ("intake.settle", json!("0s")),
            ("intake.poll", json!("100ms")),
            ("queue.every_n_epochs", json!(3)),
            ("queue.retries", json!(0)),
            ("queue.controls", json!(false)),
        ];
        let mut config = Config::load(None, &flags).unwrap();
        change(&mut config.api, dir.path());
        let store = Store::open(&Folder::create(&dir.path().join("state")).unwrap()).await.unwrap();
        // What cannot be read is given up at once.
        let queue = Queue::new(store.clone(), config.queue, Duration::ZERO, plan(&science().settings));
        let (roots, wake) = (Roots::new(&config.intake).unwrap(), Arc::new(Notify::new()));
        let (status, metrics, stop) = (Status::default(), telemetry::Metrics::default(), CancellationToken::new());
        let submissions =
            Submissions { store: store.clone(), queue: queue.clone(), roots: roots.clone(), wake: wake.clone() };
        let state = ApiState {
            store: store.clone(),
            config: config.api,
            view: View { head: HeadName::Conv, interval: Interval::SeedMinmax, margin: 0.01 },
            submissions: submissions.clone(),
            status: status.clone(),
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        let intake = Intake {
            store: store.clone(),
            queue: queue.clone(),
            roots,
            config: config.intake,
            status: status.clone(),
            metrics: metrics.clone(),
            wake,
        };
        intake.start(&TaskTracker::new(), &stop).unwrap();
        let router = router(state).unwrap();
        Self { router, store, queue, submissions, status, metrics, stop, dir, running: Vec::new() }
    }

    /// A site with everything in it that an answer can be about. The run has two attempts and ten points: done at epochs
    /// 0 and 4, and at epoch 5 in both attempts; skipped at 1 and 2, failed at 3, then one probing, one queued, one held.
    pub async fn filled(change: impl FnOnce(&mut config::Api, &Path)) -> Self {
        let mut site = Self::empty(change).await;
        site.scan().await;
        site.save(0, &[(0, false), (1, false), (2, false), (3, false)]).await;
        site.score(0.4).await;
        site.fail(Reason::OutOfMemory).await;
        site.save(0, &[(4, false), (5, true)]).await;
        site.score(0.5).await;
        site.score(0.55).await;
        site.save(1, &[(5, false), (6, true), (7, true), (8, false)]).await;
        site.score(0.6).await;
        let probing = site.claim(JobKind::Probe).await;
        site.status.set_progress(probing.job.id, Progress { stage: Stage::Fit, done: 3, total: 9 });
        site.running.push(probing);
        let torn = site.write("torn.ckpt", &checkpoint_bytes(99)[..5000]);
        site.announce(json!({"path": torn, "run": RUN})).await;
        site.pin().await;
        site.until("/checkpoints/11", |c| c["state"] == "rejected").await;
        let late = site.write("late.ckpt", &checkpoint_bytes(30));
        site.announce(json!({"path": late, "run": "old", "epoch": 3, "global_step": 30})).await;
        site.until("/checkpoints/12", |c| c["job_id"].is_number()).await; // its pin job waits
        site.announce(json!({"path": "new/e.ckpt", "run": "unproven"})).await;
        site
    }

    /// A file as the trainer leaves it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("ckpt").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub async fn announce(&self, body: Value) -> Value {
        let got = self.post("/checkpoints", body).await;
        assert_eq!(got.status, 202, "{}", got.text);
        got.json()
    }

    /// Saves, announces and pins a checkpoint per epoch, and waits until they have their points.
    pub async fn save(&self, attempt: u32, epochs: &[(u32, bool)]) {
        for &(epoch, force) in epochs {
            let step = epoch * 10 + 8 - attempt;
            let path = self.write(&format!("{attempt}/mae_epoch-{epoch:02}.ckpt"), &checkpoint_bytes(step));
            let facts = json!({"run": RUN, "attempt": attempt, "epoch": epoch, "global_step": step});
            let mut body = json!({"path": path, "force": force, "context": {"train_loss": 0.5}});
            body.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
            self.announce(body).await;
        }
        for _ in epochs {
            self.pin().await;
        }
        self.until("/checkpoints?state=settling", |page| page["items"] == json!([])).await;
    }

    /// Reads the data set.
    pub async fn scan(&self) {
        self.queue.queue_scan().await.unwrap();
        let job = self.claim(JobKind::Scan).await.job.id;
        let Science { dataset, chips, .. } = science();
        // The first chip's name is given a second time, in another event.
        let mut chips = chips.clone();
        let twin = chips[0].clone();
        chips.push(ChipRecord { path: twin.path.replacen(&twin.event, "twin", 1), event: "twin".to_owned(), ..twin });
        self.queue.finish(job, Output::Scan { path: "/data", dataset, chips: &chips }).await.unwrap();
    }

    /// Takes the next job of a kind, once there is one.
    pub async fn claim(&self, kind: JobKind) -> Claimed {
        let since = Instant::now();
        loop {
            if let Some(claimed) = self.queue.claim(kind).await.unwrap() {
                return claimed;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "no {kind} job");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Does the next pin job.
    pub async fn pin(&self) {
        let claimed = self.claim(JobKind::Pin).await;
        let path = self.store.checkpoint(claimed.job.checkpoint_id.unwrap()).await.unwrap().path;
        match weights::pin(Path::new(&path), &self.store.folder().pins(), &Options::default()) {
            Ok(pinned) => self.queue.finish(claimed.job.id, Output::Pin(&pinned)).await.unwrap(),
            Err(error) => drop(self.queue.fail(&claimed.job, &Failure::from(error)).await.unwrap()),
        }
    }

    /// Does the next probe job; its IoU is `iou`.
    pub async fn score(&self, iou: f64) {
        self.score_with(&self.queue, iou).await;
    }

    /// The same with a queue of other settings.
    pub async fn score_with(&self, queue: &Queue, iou: f64) {
        let Some(claimed) = queue.claim(JobKind::Probe).await.unwrap() else {
            panic!("no probe job waits: {}", self.json("/checkpoints").await);
        };
        let target = claimed.target.as_ref().unwrap().as_ref().unwrap();
        queue.finish(claimed.job.id, Output::Probe(&report_of(target, iou), &target.asked)).await.unwrap();
    }

    /// The next probe job fails for good.
    pub async fn fail(&self, reason: Reason) {
        let claimed = self.claim(JobKind::Probe).await;
        let failure = Failure::new(reason, Fault::Final, "it did not work");
        self.queue.fail(&claimed.job, &failure).await.unwrap();
    }

    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
        let response = self.ask(method, path, headers, body).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Got { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// The answer, its body still to be read.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> axum::response::Response {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "127.0.0.1:8080");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.header("content-length", body.len());
        }
        self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, &[], "").await
    }

    #[track_caller]
    pub fn json(&self, path: &str) -> impl Future<Output = Value> {
        let at = std::panic::Location::caller();
        async move {
            let got = self.get(path).await;
            assert_eq!(got.status, 200, "{at}: {}", got.text);
            got.json()
        }
    }

    pub async fn post(&self, path: &str, body: Value) -> Got {
        self.send(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    /// Asks until the answer is as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let answer = self.json(path).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(since.elapsed() < Duration::from_secs(20), "{path} stays {answer}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The detail of a problem of that status, and its hint in brackets, after its form was checked.
    #[track_caller]
    pub fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{}", self.text);
        let body = self.json();
        let keys = ["type", "title", "status", "detail", "hint", "instance"];
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), keys);
        assert_eq!((&body["type"], &body["status"]), (&json!("about:blank"), &json!(status)));
        assert!(body["instance"].as_str().unwrap().starts_with('/') && !body["title"].as_str().unwrap().is_empty());
        let detail = body["detail"].as_str().unwrap();
        assert!(!detail.is_empty() && !detail.contains("hint"), "{detail}");
        match body["hint"].as_str() {
            Some(hint) => format!("{detail} [{hint}]"),
            None => detail.to_owned(),
        }
    }
}
