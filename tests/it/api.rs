//! The REST contract: the real router on a real database, one request at a time.

mod seed;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use clay_probe::{
    api::{ApiState, Later, Posting, Status, check_listen, router},
    config,
    domain::{DatasetSummary, Digest, Posted, PostedCheckpoint, RunName},
    error::Error,
    store::Store,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use self::seed::{DATASET, RUN};

/// Notes what it was asked for; the answer depends on the path or id.
#[derive(Default)]
struct Desk(Mutex<Vec<String>>);

impl Desk {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Posting for Desk {
    fn post(&self, body: PostedCheckpoint) -> Later<'_, Posted> {
        self.note(format!("post {}", body.path.as_str()));
        let answer = match body.path.as_str() {
            "known.ckpt" => Ok(Posted { id: 1, known: true }),
            "outside.ckpt" => Err(Error::OutsideRoots { path: "/x/outside.ckpt".into(), roots: "`/ckpt`".into() }),
            "other.ckpt" => Err(Error::Conflict("posted as epoch 3, is epoch 4".into())),
            "broken.ckpt" => Err(Error::Internal("secret cause".into())),
            "panic.ckpt" => panic!("a bug"),
            _ => Ok(Posted { id: 22, known: false }),
        };
        Box::pin(async move { answer })
    }
    fn cancel(&self, id: i64) -> Later<'_, ()> {
        self.note(format!("cancel {id}"));
        let over = id == 1;
        Box::pin(async move { if over { Err(Error::Conflict("it is over".into())) } else { Ok(()) } })
    }
    fn finish(&self, run: RunName) -> Later<'_, ()> {
        self.note(format!("finish {run}"));
        Box::pin(async { Ok(()) })
    }
}

struct Site {
    router: Router,
    desk: Arc<Desk>,
    status: Arc<Status>,
    dir: tempfile::TempDir,
}

struct Got {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The detail of a problem of that status, after its form was checked.
    #[track_caller]
    fn problem(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json", "{}", self.text);
        let body = self.json();
        assert_eq!(
            body.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["type", "title", "status", "detail", "instance"]
        );
        assert_eq!((&body["type"], &body["status"]), (&json!("about:blank"), &json!(status)));
        assert!(body["instance"].as_str().unwrap().starts_with('/') && !body["title"].as_str().unwrap().is_empty());
        let detail = body["detail"].as_str().unwrap().to_owned();
        assert!(!detail.is_empty());
        detail
    }
}

fn settings() -> config::Api {
    config::Config::load(None, &[]).unwrap().api
}

async fn site(filled: bool, change: impl FnOnce(&mut config::Api, &std::path::Path)) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("probe.db");
    let store = Store::open(&file).await.unwrap();
    if filled {
        seed::fill(&file).await;
    }
    let mut config = settings();
    change(&mut config, dir.path());
    let (desk, status) = (Arc::new(Desk::default()), Arc::new(Status::default()));
    let state =
        ApiState { store, config, intake: desk.clone(), status: status.clone(), results: dir.path().join("results") };
    Site { router: router(state).unwrap(), desk, status, dir }
}

async fn plain() -> Site {
    site(true, |_, _| {}).await
}

impl Site {
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Got {
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
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Got { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    async fn get(&self, path: &str) -> Got {
        self.send(Method::GET, path, &[], "").await
    }

    #[track_caller]
    fn json(&self, path: &str) -> impl Future<Output = Value> {
        let at = std::panic::Location::caller();
        async move {
            let got = self.get(path).await;
            assert_eq!(got.status, 200, "{at}: {}", got.text);
            got.json()
        }
    }

    async fn post(&self, path: &str, body: Value) -> Got {
        self.send(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }
}

fn epochs(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|item| item["epoch"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn series_one_entry_per_epoch() {
    let site = plain().await;
    let series = site.json("/probes").await;
    assert_eq!((&series["run"], &series["metric"], &series["next"]), (&json!(RUN), &json!("iou"), &Value::Null));
    assert_eq!(epochs(&series), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let keys = "run attempt epoch global_step state reason checkpoint_id weights_digest protocol_digest dataset_digest \
                metric value low high n_seeds n_events n_chips seed_std event_std verdict context created_at finished_at";
    for item in series["items"].as_array().unwrap() {
        for key in keys.split_whitespace() {
            assert!(item.get(key).is_some(), "{key} in {item}");
        }
    }
    let item = |epoch: usize| &series["items"][epoch];
    assert_eq!(item(5)["attempt"], 1, "the newest attempt");
    assert_eq!((&item(5)["value"], &item(5)["n_seeds"], &item(5)["seed_std"]), (&json!(0.6), &json!(2), &json!(0.05)));
    assert_eq!((&item(3)["state"], &item(3)["reason"]), (&json!("failed"), &json!("out-of-memory")));
    assert_eq!(
        (&item(3)["value"], &item(3)["n_seeds"], &item(3)["finished_at"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!((&item(1)["state"], &item(1)["reason"]), (&json!("skipped"), &json!("not-due")));
    assert_eq!((&item(8)["state"], &item(8)["reason"]), (&json!("held"), &json!("not-yet-due")));
    assert_eq!(item(6)["progress"], json!({"stage": "fit", "done": 3, "total": 9}));
    assert_eq!(item(0)["context"], json!({"train_loss": 0.5}));
    assert_eq!((&item(0)["verdict"], &item(0)["event_std"]), (&Value::Null, &Value::Null));

    let precision = site.json("/probes?metric=precision&from=4&to=5").await;
    assert_eq!(epochs(&precision), [4, 5]);
    assert_eq!((&precision["items"][0]["state"], &precision["items"][0]["value"]), (&json!("done"), &Value::Null));
}

#[tokio::test]
async fn series_in_pages_and_by_run() {
    let site = plain().await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.json(&format!("/probes?limit=4{cursor}")).await;
        seen.extend(epochs(&page));
        let Some(next) = page["next"].as_i64() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let old = site.json("/probes?run=old").await;
    assert_eq!((&old["run"], epochs(&old)), (&json!("old"), vec![]));
    assert_eq!(site.json("/probes?run=unproven").await["run"], "unproven");
    assert!(site.get("/probes?run=never").await.problem(404).contains("`never`"));
    assert!(site.get("/probes?from=5&to=4").await.problem(400).contains("`from`"));
    assert!(site.get("/probes?metric=auc").await.problem(400).contains("iou, dice, f1, precision, recall, loss"));
    assert!(site.get("/probes?epochs=4").await.problem(400).contains("`run`, `metric`, `from`, `to`"));
    assert!(site.get("/probes?limit=0").await.problem(400).contains("1 to 1000"));
    site.get("/probes?limit=1001").await.problem(400);
    site.get("/probes?from=x").await.problem(400);
}

#[tokio::test]
async fn nothing_seen_yet() {
    let site = site(false, |_, _| {}).await;
    assert_eq!(site.json("/probes").await, json!({"run": null, "metric": "iou", "items": [], "next": null}));
    assert_eq!(site.json("/checkpoints").await, json!({"items": [], "next": null}));
    assert_eq!(site.json("/runs").await, json!({"items": [], "next": null}));
    assert!(site.get("/probes/0").await.problem(404).contains("POST /checkpoints"));
    site.get("/probes/latest").await.problem(404);
    assert_eq!(site.get("/").await.status, 200);
}

#[tokio::test]
async fn one_probe_whole() {
    let site = plain().await;
    let probe = site.json("/probes/5").await;
    assert_eq!((&probe["run"], &probe["attempt"], &probe["epoch"]), (&json!(RUN), &json!(1), &json!(5)));
    assert_eq!(
        (&probe["state"], &probe["device"], &probe["device_reason"]),
        (&json!("done"), &json!("cpu"), &json!("asked for"))
    );
    assert_eq!(
        probe["summary"]["iou"],
        json!({"mean": 0.6, "std": 0.05, "n": 2, "low": 0.54, "high": 0.65, "interval": "seed_minmax"})
    );
    assert_eq!(
        (&probe["summary"]["precision"]["mean"], &probe["summary"]["precision"]["n"]),
        (&Value::Null, &json!(0))
    );
    assert_eq!(probe["fits"].as_array().unwrap().len(), 2);
    let fit = &probe["fits"][1];
    assert_eq!((&fit["head"], &fit["seed"], &fit["fold"]), (&json!("conv"), &json!(1), &json!(0)));
    assert_eq!(fit["confusion"], json!({"tp": 6, "fp": 2, "fn": 4, "tn": 8, "ignored": 3}));
    assert_eq!((&fit["metrics"]["iou"], &fit["metrics"]["precision"]), (&json!(0.6), &Value::Null));
    let chip = &probe["chips"][0];
    assert_eq!((&chip["chip"], &chip["event"], &chip["n"]), (&json!("spain/s1.tif"), &json!("spain"), &json!(2)));
    assert_eq!((&chip["confusion"]["tp"], &chip["metrics"]["iou"]), (&json!(6), &json!(0.5)));
    assert_eq!(
        (&probe["controls"], &probe["dataset"], &probe["protocol"]),
        (&json!([]), &json!({"chips": 3}), &json!({"revision": 1}))
    );
    let others = probe["others"].as_array().unwrap();
    assert_eq!((others.len(), &others[0]["attempt"], &others[0]["state"]), (1, &json!(0), &json!("done")));

    let first = site.json("/probes/5?attempt=0&run=exp/a%201").await;
    assert_eq!((&first["attempt"], &first["summary"]["iou"]["mean"]), (&json!(0), &json!(0.55)));
    // Attempt 0 got further in epoch 5 (step 58) than attempt 1 (step 57).
    assert_eq!(site.json("/probes/latest").await["global_step"], 58);
}

#[tokio::test]
async fn probes_without_a_score_tell_their_state() {
    let site = plain().await;
    for (epoch, state) in [(1, "skipped"), (3, "failed"), (6, "probing"), (7, "queued"), (8, "held")] {
        let probe = site.json(&format!("/probes/{epoch}")).await;
        assert_eq!((&probe["state"], &probe["device"], &probe["fits"]), (&json!(state), &Value::Null, &json!([])));
        assert!(probe.get("seconds").is_some_and(Value::is_null));
        assert_eq!(probe["progress"].is_null(), state != "probing");
        assert_eq!(site.json(&format!("/probes/{epoch}/curves")).await["curves"], json!([]));
    }
    assert!(site.get("/probes/99").await.problem(404).contains("epoch 99"));
    for bad in ["x", "-1", "1.5", "99999999999"] {
        assert!(site.get(&format!("/probes/{bad}")).await.problem(400).contains("is not an epoch"));
    }
    site.get("/probes/5?attempt=9").await.problem(404);
    site.get("/probes/5?metric=iou").await.problem(400);
    site.get("/probes/latest?run=old").await.problem(404);
}

#[tokio::test]
async fn curves_of_every_fit() {
    let site = plain().await;
    let curves = site.json("/probes/4/curves").await;
    assert_eq!(
        (&curves["run"], &curves["epoch"], curves["curves"].as_array().unwrap().len()),
        (&json!(RUN), &json!(4), 2)
    );
    let curve = curves["curves"][0]["curve"].as_array().unwrap();
    let order: Vec<_> =
        curve.iter().map(|p| (p["fit_epoch"].as_i64().unwrap(), p["split"].as_str().unwrap())).collect();
    assert_eq!(order, [(1, "train"), (1, "val"), (2, "train"), (2, "val")]);
    assert_eq!((&curve[0]["metrics"]["loss"], &curve[0]["metrics"]["precision"]), (&json!(0.6), &Value::Null));
}

#[tokio::test]
async fn pictures_come_from_the_table_of_chips() {
    let site = plain().await;
    let results = site.dir.path().join("results");
    let put = |path: PathBuf, text: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put(results.join(format!("datasets/{DATASET}/spain/s1.rgb.png")), "rgb");
    put(results.join("predictions/key-7/spain/s1.prediction.png"), "prediction of 7");
    put(results.join("secret.rgb.png"), "secret");
    let got = site.get("/probes/5/chips/s1.png").await;
    assert_eq!(
        (got.status.as_u16(), got.text.as_str(), &got.headers["content-type"]),
        (200, "rgb", &"image/png".parse().unwrap())
    );
    assert_eq!(site.get("/probes/5/chips/spain/s1.png?layer=prediction").await.text, "prediction of 7");
    assert_eq!(site.get("/probes/3/chips/spain%2Fs1.png?layer=rgb").await.text, "rgb", "labels need no score");
    assert!(site.get("/probes/3/chips/s1.png?layer=prediction").await.problem(404).contains("failed"));
    assert!(site.get("/probes/5/chips/s1.png?layer=sar").await.problem(404).contains("not drawn"));
    assert!(site.get("/probes/5/chips/s1.png?layer=pca").await.problem(400).contains("rgb, sar, label, prediction"));
    assert!(site.get("/probes/5/chips/twin.png").await.problem(400).contains("several events"));
    for other in ["s1", "s1.jpg", "s2.png", "..%2F..%2Fsecret.png", "%2Fetc%2Fpasswd.png"] {
        site.get(&format!("/probes/5/chips/{other}")).await.problem(404);
    }
}

#[tokio::test]
async fn chips_of_a_data_set() {
    let site = plain().await;
    let page = site.json(&format!("/datasets/{DATASET}/chips?limit=2")).await;
    assert_eq!((&page["next"], page["items"].as_array().unwrap().len()), (&json!(1), 2));
    for key in [
        "path",
        "event",
        "split",
        "bbox",
        "epsg",
        "date",
        "source_url",
        "latlon",
        "timestep",
        "water",
        "land",
        "ignored",
    ] {
        assert!(page["items"][0].get(key).is_some(), "{key}");
    }
    let rest = site.json(&format!("/datasets/{DATASET}/chips?limit=2&cursor=1")).await;
    assert_eq!((&rest["next"], &rest["items"][0]["path"]), (&Value::Null, &json!("spain/twin.tif")));
    site.get(&format!("/datasets/{}/chips", "e".repeat(64))).await.problem(404);
    assert!(site.get("/datasets/xyz/chips").await.problem(400).contains("hexadecimal"));
}

mod writes;
