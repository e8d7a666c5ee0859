//! Checkpoints, runs, posts, problems, the token, health, the document, the page.

use super::*;

#[tokio::test]
async fn checkpoints_as_they_are_listed() {
    let site = plain().await;
    let all = site.json("/checkpoints").await;
    let states: Vec<_> = all["items"].as_array().unwrap().iter().map(|c| c["state"].as_str().unwrap()).collect();
    assert_eq!(states[..5], ["seen", "settling", "rejected", "held", "queued"]);
    assert_eq!(states.len(), 13);
    let one = site.json("/checkpoints/20").await;
    assert_eq!((&one["reason"], &one["due"], &one["epoch"]), (&json!("truncated"), &json!(false), &Value::Null));
    let one = site.json("/checkpoints/21").await;
    assert_eq!(
        (&one["epoch"], &one["global_step"], &one["due"], &one["run"]),
        (&json!(3), &json!(30), &Value::Null, &json!("old"))
    );
    let one = site.json("/checkpoints/7").await;
    assert_eq!(
        (&one["state"], &one["due"], &one["due_reason"], &one["attempt"]),
        (&json!("done"), &json!(true), &json!("every_n"), &json!(1))
    );
    let failed = site.json("/checkpoints?state=failed").await;
    assert_eq!((failed["items"].as_array().unwrap().len(), &failed["items"][0]["id"]), (1, &json!(4)));
    assert_eq!(site.json("/checkpoints?run=old").await["items"].as_array().unwrap().len(), 1);
    let page = site.json("/checkpoints?limit=3").await;
    assert_eq!(page["next"], 20);
    assert_eq!(site.json("/checkpoints?limit=3&cursor=20").await["items"][0]["id"], 10);
    assert!(site.get("/checkpoints?state=lost").await.problem(400).contains("settling"));
    site.get("/checkpoints?run=never").await.problem(404);
    site.get("/checkpoints/999").await.problem(404);
    site.get("/checkpoints/x").await.problem(400);
}

#[tokio::test]
async fn posting() {
    let site = plain().await;
    let got = site.post("/checkpoints", json!({"path": "new.ckpt", "epoch": 3, "context": {"lr": 1e-4}})).await;
    assert_eq!((got.status.as_u16(), &got.headers["location"]), (202, &"/checkpoints/22".parse().unwrap()));
    assert_eq!(
        got.json(),
        json!({"id": 22, "state": "seen", "due": null, "due_reason": null,
        "status_url": "/checkpoints/22", "probe_url": null})
    );
    let got = site.post("/checkpoints", json!({"path": "known.ckpt"})).await;
    assert_eq!((got.status.as_u16(), &got.json()["due"]), (200, &json!(true)));
    let probe = got.json()["probe_url"].as_str().unwrap().to_owned();
    assert_eq!(probe, "/probes/0?run=exp/a%201");
    assert_eq!(site.json(&probe).await["epoch"], 0);
    assert!(site.post("/checkpoints", json!({"path": "outside.ckpt"})).await.problem(403).contains("path_map"));
    site.post("/checkpoints", json!({"path": "other.ckpt"})).await.problem(409);
    let broken = site.post("/checkpoints", json!({"path": "broken.ckpt"})).await;
    assert!(!broken.problem(500).contains("secret"));
    assert!(!site.post("/checkpoints", json!({"path": "panic.ckpt"})).await.problem(500).contains("bug"));
    assert_eq!(site.desk.0.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn bodies_that_are_refused() {
    let site = plain().await;
    let many: serde_json::Map<_, _> = (0..65).map(|i| (format!("k{i}"), json!(i))).collect();
    for (body, word) in [
        (json!({}), "path"),
        (json!({"path": ""}), "path"),
        (json!({"path": 3}), "path"),
        (json!({"path": "a", "epoch": -1}), "epoch"),
        (json!({"path": "a", "epoch": 1.5}), "epoch"),
        (json!({"path": "a", "attempt": "1"}), "attempt"),
        (json!({"path": "a", "run": "../b"}), "run"),
        (json!({"path": "a", "global_step": 1u64 << 63}), "global_step"),
        (json!({"path": "a", "force": 1}), "force"),
        (json!({"path": "a", "epochs": 1}), "epochs"),
        (json!({"path": "a", "context": {"x": {}}}), "context"),
        (json!({"path": "a", "context": many}), "context"),
        (json!({"path": "a", "context": {"x": "y".repeat(257)}}), "context"),
        (json!([1]), "path"),
    ] {
        let detail = site.post("/checkpoints", body.clone()).await.problem(422);
        assert!(detail.contains(word) || body.is_array(), "{detail}");
    }
    let json = ("content-type", "application/json");
    site.send(Method::POST, "/checkpoints", &[json], "{\"path\": ").await.problem(400);
    site.send(Method::POST, "/checkpoints", &[json], "").await.problem(400);
    site.send(Method::POST, "/checkpoints", &[], "{}").await.problem(415);
    site.send(Method::POST, "/checkpoints", &[("content-type", "text/plain")], "{}").await.problem(415);
    let long = format!("{{\"path\": \"{}\"}}", "x".repeat(70_000));
    assert!(site.send(Method::POST, "/checkpoints", &[json], &long).await.problem(413).contains("64 KiB"));
    assert!(site.desk.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn runs_and_their_end() {
    let site = plain().await;
    let runs = site.json("/runs").await;
    assert_eq!((&runs["items"][0]["run"], &runs["items"][1]["run"]), (&json!(RUN), &json!("old")));
    let run = &runs["items"][0];
    assert_eq!(
        (&run["attempts"], &run["points"], &run["done"], &run["latest_epoch"]),
        (&json!(2), &json!(10), &json!(4), &json!(8))
    );
    assert_eq!(site.json("/runs?limit=1").await["next"], 2);
    let got = site.send(Method::POST, "/runs/exp%2Fa%201/finish", &[], "").await;
    assert_eq!((got.status.as_u16(), &got.json()["run"]), (200, &json!(RUN)));
    assert_eq!(*site.desk.0.lock().unwrap(), [format!("finish {RUN}")]);
    site.send(Method::POST, "/runs/never/finish", &[], "").await.problem(404);
}

#[tokio::test]
async fn cancelling() {
    let site = plain().await;
    assert_eq!(site.send(Method::DELETE, "/checkpoints/9", &[], "").await.json()["id"], 9);
    site.send(Method::DELETE, "/checkpoints/1", &[], "").await.problem(409);
    site.send(Method::DELETE, "/checkpoints/999", &[], "").await.problem(404);
    assert_eq!(*site.desk.0.lock().unwrap(), ["cancel 9", "cancel 1"]);
}

#[tokio::test]
async fn what_is_not_there() {
    let site = plain().await;
    assert!(site.get("/nothing").await.problem(404).contains("openapi.json"));
    let got = site.send(Method::PUT, "/probes", &[], "").await;
    assert!(got.problem(405).contains("`PUT`"));
    assert!(got.headers.contains_key("allow"));
    site.get("/assets/other.js").await.problem(404);
    site.get("/docs/nothing.js").await.problem(404);
    assert_eq!(site.get("/nothing").await.json()["instance"], "/nothing");
    insta::assert_snapshot!(site.get("/probes?from=5&to=4").await.text, @r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"`from` = `5` lies after `to` = `4`","instance":"/probes"}"#);
}

const POST: (&str, &str) = ("content-type", "application/json");

async fn locked(protect_reads: bool) -> Site {
    site(true, |config, dir| {
        config.token_file = dir.join("token");
        config.protect_reads = protect_reads;
        config.hosts = vec!["Probe.local".into()];
        std::fs::write(&config.token_file, " s3cret\n").unwrap();
    })
    .await
}

#[tokio::test]
async fn writes_need_the_token() {
    let site = locked(false).await;
    let body = r#"{"path": "new.ckpt"}"#;
    for (authorization, status) in [
        ("", 401),
        ("Bearer wrong", 401),
        ("Bearer s3cre", 401),
        ("Basic s3cret", 401),
        ("Bearer s3cret", 202),
        ("bearer s3cret", 202),
    ] {
        let got = site.send(Method::POST, "/checkpoints", &[POST, ("authorization", authorization)], body).await;
        assert_eq!(got.status.as_u16(), status, "{authorization}");
        if status == 401 {
            got.problem(401);
            assert_eq!(got.headers["www-authenticate"], "Bearer");
        }
    }
    site.send(Method::DELETE, "/checkpoints/9", &[], "").await.problem(401);
    site.send(Method::POST, "/runs/old/finish", &[], "").await.problem(401);
    assert_eq!(site.get("/probes").await.status, 200, "reads stay open");
}

#[tokio::test]
async fn reads_can_need_it_too() {
    let site = locked(true).await;
    for path in ["/probes", "/probes/0", "/checkpoints", "/runs", "/openapi.json", "/docs/"] {
        site.get(path).await.problem(401);
        assert_eq!(site.send(Method::GET, path, &[("authorization", "Bearer s3cret")], "").await.status, 200, "{path}");
    }
    for path in ["/livez", "/", "/assets/page.js"] {
        assert_eq!(site.get(path).await.status, 200, "{path}");
    }
    assert_eq!(site.get("/readyz").await.status, 503);
    site.post("/login", json!({"token": "wrong"})).await.problem(401);
    let got = site.post("/login", json!({"token": "s3cret"})).await;
    assert_eq!(got.status, 204);
    let cookie = got.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("s3cret"));
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(site.send(Method::GET, "/probes", &[("cookie", cookie)], "").await.status, 200);
    site.send(Method::DELETE, "/checkpoints/9", &[("cookie", cookie)], "").await.problem(401);
}

#[tokio::test]
async fn writes_need_a_known_host_and_origin() {
    let site = locked(false).await;
    let send = async |host: &str, origin: &str| {
        let mut headers = vec![POST, ("authorization", "Bearer s3cret"), ("host", host)];
        if !origin.is_empty() {
            headers.push(("origin", origin));
        }
        site.send(Method::POST, "/checkpoints", &headers, r#"{"path": "new.ckpt"}"#).await.status.as_u16()
    };
    for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "probe.local:80"] {
        assert_eq!(send(host, "").await, 202, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example"] {
        assert_eq!(send(host, "").await, 403, "{host}");
    }
    assert_eq!(send("localhost:8080", "http://localhost:8080").await, 202);
    assert_eq!(send("localhost:8080", "http://probe.local").await, 202);
    for origin in ["http://evil.example", "null", "http://10.0.0.1:8080"] {
        assert_eq!(send("localhost:8080", origin).await, 403, "{origin}");
    }
    let open = super::site(true, |config, dir| {
        config.listen = "0.0.0.0:8080".parse().unwrap();
        config.token_file = dir.join("token");
        std::fs::write(&config.token_file, "s3cret").unwrap();
    })
    .await;
    for (host, origin, status) in [
        ("10.0.0.1:8080", "http://10.0.0.1:8080", 202),
        ("10.0.0.1:8080", "http://10.0.0.2", 403),
        ("evil.example", "http://evil.example", 403),
    ] {
        let headers = [POST, ("authorization", "Bearer s3cret"), ("host", host), ("origin", origin)];
        let got = open.send(Method::POST, "/checkpoints", &headers, r#"{"path": "new.ckpt"}"#).await;
        assert_eq!(got.status.as_u16(), status, "{host} {origin}");
    }
}

#[test]
fn beyond_loopback_a_token_is_needed() {
    let mut config = settings();
    assert!(check_listen(&config).is_ok());
    config.listen = "0.0.0.0:80".parse().unwrap();
    assert!(check_listen(&config).unwrap_err().to_string().contains("hint: set `api.token_file`"));
    config.token_file = "token".into();
    assert!(check_listen(&config).is_ok());
    config = settings();
    config.protect_reads = true;
    assert!(check_listen(&config).is_err());
}

#[tokio::test]
async fn an_empty_token_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("probe.db")).await.unwrap();
    let mut config = settings();
    config.token_file = dir.path().join("token");
    let start = |config: &config::Api| {
        let (intake, status) = (Arc::new(Desk::default()), Arc::new(Status::default()));
        let state = ApiState { store: store.clone(), config: config.clone(), intake, status, results: PathBuf::new() };
        router(state).err().map(|error| error.to_string())
    };
    assert!(start(&config).unwrap().contains("token"), "not there");
    std::fs::write(&config.token_file, "\n").unwrap();
    assert!(start(&config).unwrap().contains("is empty"));
    std::fs::write(&config.token_file, "x\n").unwrap();
    assert_eq!(start(&config), None);
}

#[tokio::test]
async fn health() {
    let site = plain().await;
    assert_eq!(site.json("/livez").await, json!({"status": "ok"}));
    let got = site.get("/readyz").await;
    assert_eq!((got.status.as_u16(), &got.json()["dataset"]), (503, &Value::Null));
    site.status.update(|facts| {
        facts.device = Some("cpu".into());
        facts.device_reason = Some("no GPU".into());
        facts.dataset = Some(summary());
    });
    let got = site.get("/readyz").await;
    assert_eq!(
        (got.status.as_u16(), &got.json()["device"], &got.json()["status"]),
        (200, &json!("cpu"), &json!("ready"))
    );
    assert_eq!(got.json()["dataset"]["chips"], 3);
    site.status.update(|facts| facts.problems.push("the disk is full".into()));
    let got = site.get("/readyz").await;
    assert_eq!((got.status.as_u16(), &got.json()["problems"]), (503, &json!(["the disk is full"])));
}

fn summary() -> DatasetSummary {
    DatasetSummary {
        digest: DATASET.parse::<Digest>().unwrap(),
        chips: 3,
        events: vec!["peru".into(), "spain".into()],
        water: 15,
        land: 18,
        ignored: 21,
        nonfinite: 0,
        refused: vec![],
        held_out: 0,
        decoded: 3,
    }
}

#[tokio::test]
async fn the_document_is_the_contract() {
    let site = plain().await;
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
        "/runs",
        "/runs/{run}/finish",
        "/livez",
        "/readyz",
        "/",
    ] {
        assert!(paths.iter().any(|p| p == path), "{path} in {paths:?}");
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
    let site = plain().await;
    let got = site.get("/").await;
    let policy = got.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("http") && !policy.contains("unsafe-eval"));
    let links = got.text.split(['"', ' ']).filter(|word| word.starts_with("/assets/")).collect::<Vec<_>>();
    assert_eq!(links.len(), 3);
    for link in links {
        let got = site.get(link).await;
        assert_eq!(got.status, 200, "{link}");
        assert!(got.headers["cache-control"].to_str().unwrap().contains("immutable"));
        assert_eq!(got.headers["x-content-type-options"], "nosniff");
    }
}

/// Serves the seeded database for a look at the page: `CLAY_PROBE_SERVE=8099 cargo test serve_seeded -- --ignored`.
#[tokio::test]
#[ignore = "serves until it is stopped"]
async fn serve_seeded() {
    let port: u16 = std::env::var("CLAY_PROBE_SERVE").unwrap().parse().unwrap();
    let (filled, lock) = (std::env::var_os("EMPTY").is_none(), std::env::var_os("LOCK").is_some());
    let site = if lock { locked(true).await } else { super::site(filled, |_, _| {}).await };
    site.status.update(|facts| {
        facts.device = Some("cpu".into());
        facts.device_reason = Some("`auto`: no GPU was found".into());
        facts.dataset = Some(summary());
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    axum::serve(listener, site.router.clone()).await.unwrap();
}
