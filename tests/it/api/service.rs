//! Health, metrics, the document, the page, and the command `status`.

use std::process::Command;

use clay_probe::domain::{JobKind, Reason, Seconds, State};
use serde_json::{Value, json};

use super::site::{RUN, Site, science};

async fn filled() -> Site {
    Site::filled(|_, _| {}).await
}

#[tokio::test]
async fn health() {
    let site = filled().await;
    assert_eq!(site.json("/livez").await, json!({"status": "ok"}));
    let got = site.get("/readyz").await;
    let body = got.json();
    assert_eq!((got.status.as_u16(), &body["dataset"], &body["status"]), (503, &Value::Null, &json!("scanning")));
    site.status.update(|facts| {
        facts.device = Some("cpu".into());
        facts.device_reason = Some("no GPU was found".into());
        facts.dataset = Some(science().dataset.clone());
    });
    let body = site.json("/readyz").await;
    assert_eq!((&body["device"], &body["status"], &body["problems"]), (&json!("cpu"), &json!("ready"), &json!([])));
    assert_eq!(body["dataset"]["chips"], json!(science().dataset.chips));
    site.status.add_problem(Reason::NoSpace, "the folder is full");
    let got = site.get("/readyz").await;
    let (body, problem) = (got.json(), got.json()["problems"][0].clone());
    assert_eq!((got.status.as_u16(), &body["status"]), (503, &json!("not ready")));
    assert_eq!((&problem["reason"], &problem["message"]), (&json!("no-space"), &json!("the folder is full")));
    assert!(problem["since"].as_str().unwrap().ends_with('Z'), "{problem}");
}

#[tokio::test]
async fn a_database_that_cannot_be_written_is_a_problem() {
    let site = filled().await;
    site.status.update(|facts| facts.dataset = Some(science().dataset.clone()));
    assert_eq!(site.get("/readyz").await.status, 200);
    let mut tx = site.store.write().await.unwrap();
    sqlx::query("pragma max_page_count = 1").execute(&mut *tx).await.unwrap();
    tx.end(Ok(())).await.unwrap();
    // A path of many pages, so that the row does not fit into those that are there.
    let long = json!({"path": "x/".repeat(2000), "context": {"note": "y".repeat(256)}});
    let mut refused = None;
    for _ in 0..50 {
        let got = site.post("/checkpoints", long.clone()).await;
        if got.status != 202 {
            refused = Some(got);
            break;
        }
    }
    assert_eq!(
        refused.unwrap().problem(500),
        "the service failed [its log tells why; `/readyz` tells whether it goes on]"
    );
    let got = site.get("/readyz").await;
    let problem = got.json()["problems"][0].clone();
    assert_eq!((got.status.as_u16(), &problem["reason"]), (503, &json!("cannot-write")));
    assert!(problem["message"].as_str().unwrap().contains("clay-probe.db` cannot be written"), "{problem}");
    assert_eq!(site.get("/readyz").await.json()["problems"][0]["since"], problem["since"]);
    assert!(site.get("/metrics").await.text.contains("clay_probe_problems{reason=\"cannot-write\"} 1"));
    site.store.try_writing().await.unwrap(); // the connection was opened anew
    assert_eq!(site.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn metrics_in_the_text_of_prometheus() {
    let site = filled().await;
    site.metrics.job_ended(JobKind::Probe, State::Failed, Some(Reason::OutOfMemory));
    site.metrics.observe_stages(&Seconds { load: 0.1, embed: 2.0, fit: 12.0, score: 0.2 });
    site.metrics.observe_seconds_to_score(30.0);
    let got = site.get("/metrics").await;
    assert_eq!(
        (got.status.as_u16(), &got.headers["content-type"]),
        (200, &"text/plain; version=0.0.4; charset=utf-8".parse().unwrap())
    );
    if let Some(file) = std::env::var_os("CLAY_PROBE_METRICS_TO") {
        std::fs::write(file, &got.text).unwrap(); // for a look with `promtool check metrics`
    }
    let sample = |name: &str| -> f64 {
        let line = got.text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no `{name}` in\n{}", got.text)).parse().unwrap()
    };
    assert_eq!(sample("clay_probe_jobs{kind=\"probe\",state=\"running\"}"), 1.0);
    assert_eq!(sample("clay_probe_jobs{kind=\"probe\",state=\"queued\"}"), 1.0);
    assert_eq!(sample("clay_probe_jobs{kind=\"scan\",state=\"queued\"}"), 0.0);
    assert!(sample("clay_probe_oldest_due_seconds") > 0.0);
    assert_eq!(sample(&format!("clay_probe_last_score{{run=\"{RUN}\",head=\"conv\"}}")), 0.6);
    assert_eq!(sample(&format!("clay_probe_lag_epochs{{run=\"{RUN}\"}}")), 3.0);
    assert_eq!(sample("clay_probe_ends_total{kind=\"probe\",state=\"failed\",reason=\"out-of-memory\"}"), 1.0);
    assert_eq!(sample("clay_probe_stage_seconds_sum{stage=\"fit\"}"), 12.0);
    assert_eq!(sample("clay_probe_seconds_to_score_count"), 1.0);
    assert!(sample("clay_probe_scan_seconds_count") > 0.0, "the intake lists its folder");
    assert!(
        sample("clay_probe_store_bytes{kind=\"pins\"}") > 1e5
            && sample("clay_probe_store_bytes{kind=\"database\"}") > 1e5
    );
}

#[tokio::test]
async fn the_document_is_the_contract() {
    let site = Site::empty(|_, _| {}).await;
    let document = site.json("/openapi.json").await;
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    for path in [
        "/checkpoints",
        "/checkpoints/{id}",
        "/probes",
        "/probes/{epoch}",
        "/probes/{epoch}/curves",
        "/probes/{epoch}/chips/{chip}.png",
        "/datasets/{digest}/chips",
        "/lines",
        "/runs",
        "/runs/{run}",
        "/runs/{run}/finish",
        "/events",
        "/livez",
        "/readyz",
        "/metrics",
        "/",
    ] {
        assert!(paths.iter().any(|p| p == path), "{path} in {paths:?}");
    }
    let words = |name: &str| document["components"]["schemas"][name]["enum"].as_array().unwrap().len();
    assert_eq!(words("Reason"), Reason::ALL.len());
    assert_eq!(words("State"), State::ALL.len());
    let text = document.to_string();
    for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document["components"]["schemas"].get(name).is_some(), "`{name}` is referred to and not there");
    }
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/openapi.json");
    let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    let kept = std::fs::read_to_string(golden).unwrap_or_default();
    assert!(kept == text, "the API changed; look at the difference after `UPDATE_GOLDEN=1 cargo test the_document`");
    assert_eq!(site.get("/docs/").await.status, 200);
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let site = Site::empty(|_, _| {}).await;
    let got = site.get("/").await;
    let policy = got.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("http") && !policy.contains("unsafe-eval"));
    let links = got.text.split(['"', ' ']).filter(|word| word.starts_with("/assets/")).collect::<Vec<_>>();
    assert_eq!(links.len(), 5);
    for link in links {
        let got = site.get(link).await;
        assert_eq!(got.status, 200, "{link}");
        assert!(got.headers["cache-control"].to_str().unwrap().contains("immutable"));
        assert_eq!(got.headers["x-content-type-options"], "nosniff");
    }
}

/// Serves a site on a free port.
async fn serve(site: &Site) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = site.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// Runs `clay-probe status`: its exit status, output and errors.
async fn status(arguments: Vec<String>) -> (Option<i32>, String, String) {
    let output = tokio::task::spawn_blocking(|| {
        Command::new(env!("CARGO_BIN_EXE_clay-probe")).arg("status").args(arguments).output().unwrap()
    });
    let output = output.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn status_for_a_terminal() {
    let site = filled().await;
    site.status.update(|facts| {
        facts.device = Some("cpu".into());
        facts.device_reason = Some("no GPU was found".into());
        facts.dataset = Some(science().dataset.clone());
    });
    site.status.add_problem(Reason::WorkerStart, "`worker` is not there");
    let url = serve(&site).await;
    let (code, text, errors) = status(vec!["--url".into(), url]).await;
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{text}");
    let lines: Vec<String> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for start in [
        "clay-probe 0.1.0 at",
        "problem worker-start since",
        "device CPU, because no GPU was found",
        "exp/a 1 8 11 4 conv 0.600 (0.537 to 0.662) at epoch 5",
        "old – 1 0 –",
        "probing 6 exp/a 1 fit 3 of 9",
        "queued 7 exp/a 1 due: forced",
        "seen – unproven",
        "failed 3 exp/a 1 out-of-memory: it did not work",
        "rejected – exp/a 1 truncated: ",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(start)), "`{start}` is not in\n{text}");
    }
}

#[tokio::test]
async fn status_with_a_token_and_without_a_daemon() {
    let site = Site::empty(|config, dir| {
        config.token_file = dir.join("token");
        config.protect_reads = true;
        std::fs::write(&config.token_file, "s3cret\n").unwrap();
    })
    .await;
    let url = serve(&site).await;
    let (code, _, errors) = status(vec!["--url".into(), url.clone()]).await;
    assert_eq!(code, Some(1));
    assert!(errors.contains("401") && errors.contains("hint: give the server's token with `--token-file"), "{errors}");
    let token = site.dir.path().join("token").display().to_string();
    let (code, text, _) = status(vec!["--url".into(), url, "--token-file".into(), token]).await;
    assert!(code == Some(0) && text.contains("no run yet"), "{text}");
    let (code, _, errors) = status(vec!["--url".into(), "http://127.0.0.1:9".into()]).await;
    assert!(code == Some(1) && errors.contains("does not answer") && errors.contains("\nhint: "), "{errors}");
}

/// Serves the filled site for a look at the page: `CLAY_PROBE_SERVE=8099 cargo test serve_filled -- --ignored`.
#[tokio::test]
#[ignore = "serves until it is stopped"]
async fn serve_filled() {
    let port: u16 = std::env::var("CLAY_PROBE_SERVE").unwrap().parse().unwrap();
    let site = match std::env::var("CLAY_PROBE_SITE").as_deref() {
        Ok("empty") => Site::empty(|_, _| {}).await,
        Ok("lines") => super::lines::grown().await.0,
        _ => filled().await,
    };
    site.status.update(|facts| {
        facts.device = Some("cpu".into());
        facts.device_reason = Some("cuda:0 is in use by python (pid 1234); reserve a GPU, or set `share_gpu`".into());
        facts.dataset = Some(science().dataset.clone());
    });
    if std::env::var_os("TROUBLE").is_some() {
        site.status
            .add_problem(Reason::WorkerStart, "probe job: `worker` cannot be started: not there; hint: put it back");
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    axum::serve(listener, site.router.clone()).await.unwrap();
}
