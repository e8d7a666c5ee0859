//! What is written: posts, ends, removals; problems; the token; hosts and origins.

use axum::http::Method;
use clay_probe::{
    api::{ApiState, View, check_listen, router},
    config,
    domain::{HeadName, Interval},
};
use serde_json::{Value, json};

use super::site::{RUN, Site, checkpoint_bytes, settings};

async fn filled() -> Site {
    Site::filled(|_, _| {}).await
}

#[tokio::test]
async fn posting() {
    let site = filled().await;
    let got = site.post("/checkpoints", json!({"path": "new.ckpt", "epoch": 3, "context": {"lr": 1e-4}})).await;
    assert_eq!((got.status.as_u16(), &got.headers["location"]), (202, &"/checkpoints/14".parse().unwrap()));
    assert_eq!(
        got.json(),
        json!({"id": 14, "state": "seen", "due": null, "due_reason": null,
        "status_url": "/checkpoints/14", "probe_url": "/probes/3?run=default"})
    );
    let path = site.json("/checkpoints/1").await["path"].clone();
    let got = site.post("/checkpoints", json!({"path": path, "context": {"val_loss": 0.4}})).await;
    let known = json!({"id": 1, "state": "done", "due": true, "due_reason": "first",
        "status_url": "/checkpoints/1", "probe_url": "/probes/0?run=exp/a%201"});
    assert_eq!((got.status.as_u16(), got.json()), (200, known));
    let probe = site.json("/probes/0?run=exp/a%201").await;
    assert_eq!((&probe["epoch"], &probe["context"]["val_loss"]), (&json!(0), &json!(0.4)));
    let contradicts = site.post("/checkpoints", json!({"path": path, "epoch": 7})).await.problem(409);
    assert!(contradicts.contains("`epoch` was posted as `7`, but is `0`"), "{contradicts}");
    let outside = site.post("/checkpoints", json!({"path": "/etc/passwd"})).await.problem(403);
    assert!(
        outside.contains("lies under none of the roots") && outside.contains("[if the trainer mounts"),
        "{outside}"
    );

    let skipped = site.json("/checkpoints/2").await["path"].clone();
    let forced = site.post("/checkpoints", json!({"path": skipped, "force": true})).await;
    assert_eq!(
        (forced.status.as_u16(), &forced.json()["state"], &forced.json()["due_reason"]),
        (202, &json!("queued"), &json!("forced"))
    );
}

#[tokio::test]
async fn causes_of_failures_stay_inside() {
    let site = filled().await;
    site.store.close().await;
    let told = site.get("/runs").await.problem(500);
    assert_eq!(told, "the service failed [its log tells why; `/readyz` tells whether it goes on]");
}

#[tokio::test]
async fn bodies_that_are_refused() {
    let site = filled().await;
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
    assert_eq!(site.json("/checkpoints").await["items"].as_array().unwrap().len(), 13, "nothing was added");
}

#[tokio::test]
async fn the_end_of_a_run() {
    let site = filled().await;
    let got = site.send(Method::POST, "/runs/exp%2Fa%201/finish", &[], "").await;
    assert_eq!((got.status.as_u16(), &got.json()["run"]), (200, &json!(RUN)));
    assert!(got.json()["finished_at"].is_string());
    // What was saved just before is found first.
    let last = site.until("/probes/8", |probe| probe["state"] != "held").await;
    assert_eq!((&last["state"], &last["due_reason"]), (&json!("queued"), &json!("last")));
    site.send(Method::POST, "/runs/never/finish", &[], "").await.problem(404);
    site.send(Method::POST, "/runs/..%2Fx/finish", &[], "").await.problem(400);
}

#[tokio::test]
async fn a_run_goes_with_its_files() {
    let site = filled().await;
    let pins = || std::fs::read_dir(site.store.folder().pins()).unwrap().count();
    assert_eq!(pins(), 10);
    let got = site.send(Method::DELETE, "/runs/exp%2Fa%201", &[], "").await;
    assert_eq!((got.status.as_u16(), got.text.as_str()), (204, ""));
    assert_eq!(site.json("/runs").await["items"].as_array().unwrap().len(), 2);
    site.get("/probes?run=exp/a%201").await.problem(404);
    site.get("/checkpoints/1").await.problem(404);
    for _ in 0..500 {
        if pins() == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(pins(), 0);
    assert!(site.dir.path().join("ckpt/0/mae_epoch-00.ckpt").is_file(), "the trainer's files stay");
    let again = site.send(Method::DELETE, "/runs/exp%2Fa%201", &[], "").await;
    assert!(again.problem(404).contains("`/runs` lists them"));
    let path = site.write("0/mae_epoch-00.ckpt", &checkpoint_bytes(8));
    site.announce(json!({"path": path, "run": RUN})).await;
}

#[tokio::test]
async fn cancelling() {
    let site = filled().await;
    let got = site.send(Method::DELETE, "/checkpoints/9", &[], "").await;
    assert_eq!((&got.json()["id"], &got.json()["state"]), (&json!(9), &json!("cancelled")));
    site.send(Method::DELETE, "/checkpoints/1", &[], "").await.problem(409);
    site.send(Method::DELETE, "/checkpoints/999", &[], "").await.problem(404);
    assert_eq!(site.json("/checkpoints/1").await["state"], "done");
    let running = site.send(Method::DELETE, "/checkpoints/8", &[], "").await.json();
    assert_eq!((&running["state"], &running["progress"]), (&json!("cancelled"), &Value::Null));
}

#[tokio::test]
async fn what_is_not_there() {
    let site = filled().await;
    assert!(site.get("/nothing").await.problem(404).contains("openapi.json"));
    let got = site.send(Method::PUT, "/probes", &[], "").await;
    assert!(got.problem(405).contains("`PUT`"));
    assert!(got.headers.contains_key("allow"));
    site.get("/assets/other.js").await.problem(404);
    site.get("/docs/nothing.js").await.problem(404);
    assert_eq!(site.get("/nothing").await.json()["instance"], "/nothing");
    insta::assert_snapshot!(site.get("/probes?from=5&to=4").await.text, @r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"`from` = `5` lies after `to` = `4`","hint":null,"instance":"/probes"}"#);
}

const POST: (&str, &str) = ("content-type", "application/json");

async fn locked(protect_reads: bool) -> Site {
    Site::empty(|config, dir| {
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
        ("bearer s3cret", 200),
    ] {
        let got = site.send(Method::POST, "/checkpoints", &[POST, ("authorization", authorization)], body).await;
        assert_eq!(got.status.as_u16(), status, "{authorization}");
        if status == 401 {
            got.problem(401);
            assert_eq!(got.headers["www-authenticate"], "Bearer");
        }
    }
    for (method, path) in
        [(Method::DELETE, "/checkpoints/1"), (Method::POST, "/runs/default/finish"), (Method::DELETE, "/runs/default")]
    {
        site.send(method, path, &[], "").await.problem(401);
    }
    assert_eq!(site.get("/probes").await.status, 200, "reads stay open");
}

#[tokio::test]
async fn reads_can_need_it_too() {
    let site = locked(true).await;
    for path in ["/probes", "/checkpoints", "/runs", "/metrics", "/openapi.json", "/docs/"] {
        site.get(path).await.problem(401);
        assert_eq!(site.send(Method::GET, path, &[("authorization", "Bearer s3cret")], "").await.status, 200, "{path}");
    }
    site.get("/events").await.problem(401);
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
    site.send(Method::DELETE, "/checkpoints/1", &[("cookie", cookie)], "").await.problem(401);
}

#[tokio::test]
async fn every_request_needs_a_known_host() {
    let site = locked(false).await;
    let send = async |site: &Site, path: &str, host: &str| {
        site.send(Method::GET, path, &[("host", host)], "").await.status.as_u16()
    };
    for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "probe.local:80"] {
        assert_eq!(send(&site, "/probes", host).await, 200, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.evil.example", ""] {
        for path in ["/probes", "/events", "/livez", "/readyz", "/metrics", "/", "/assets/page.js", "/openapi.json"] {
            assert_eq!(send(&site, path, host).await, 403, "{path} of {host}");
        }
    }
    let told = site.send(Method::GET, "/probes", &[("host", "evil.example")], "").await.problem(403);
    assert_eq!(told, "`Host` is `evil.example` [add that name to `api.hosts`]");
    let open = everywhere().await;
    for (host, status) in [("10.0.0.1:8080", 200), ("[fe80::1]:8080", 200), ("evil.example", 403), ("localhost", 200)] {
        assert_eq!(send(&open, "/livez", host).await, status, "{host}");
    }
}

#[tokio::test]
async fn writes_need_a_known_origin_too() {
    let site = locked(false).await;
    let send = async |site: &Site, host: &str, origin: &str| {
        let headers = [POST, ("authorization", "Bearer s3cret"), ("host", host), ("origin", origin)];
        site.send(Method::POST, "/checkpoints", &headers, r#"{"path": "new.ckpt"}"#).await.status.as_u16()
    };
    assert_eq!(send(&site, "evil.example", "http://evil.example").await, 403);
    assert_eq!(send(&site, "localhost:8080", "http://localhost:8080").await, 202);
    assert_eq!(send(&site, "localhost:8080", "http://probe.local").await, 200);
    for origin in ["http://evil.example", "null", "", "http://10.0.0.1:8080"] {
        assert_eq!(send(&site, "localhost:8080", origin).await, 403, "{origin}");
    }
    let open = everywhere().await;
    assert_eq!(send(&open, "10.0.0.1:8080", "http://10.0.0.1:8080").await, 202);
    assert_eq!(send(&open, "10.0.0.1:8080", "http://10.0.0.2").await, 403);
    assert_eq!(send(&open, "evil.example", "http://evil.example").await, 403);
}

/// Listens on all addresses.
async fn everywhere() -> Site {
    Site::empty(|config, dir| {
        config.listen = "0.0.0.0:8080".parse().unwrap();
        config.token_file = dir.join("token");
        std::fs::write(&config.token_file, "s3cret").unwrap();
    })
    .await
}

#[test]
fn beyond_loopback_a_token_is_needed() {
    let mut config = settings();
    assert!(check_listen(&config).is_ok());
    config.listen = "0.0.0.0:80".parse().unwrap();
    assert_eq!(check_listen(&config).unwrap_err().hint(), Some("set `api.token_file`"));
    config.token_file = "token".into();
    assert!(check_listen(&config).is_ok());
    config = settings();
    config.protect_reads = true;
    assert!(check_listen(&config).is_err());
}

#[tokio::test]
async fn an_empty_token_file_is_refused() {
    let site = Site::empty(|_, _| {}).await;
    let token_file = site.dir.path().join("token");
    let start = || {
        let config = config::Api { token_file: token_file.clone(), ..settings() };
        let (store, submissions) = (site.store.clone(), site.submissions.clone());
        let (status, metrics, stop) = (site.status.clone(), site.metrics.clone(), site.stop.clone());
        let view = View { head: HeadName::Conv, interval: Interval::SeedMinmax, margin: 0.01 };
        router(ApiState { store, config, view, submissions, status, metrics, stop })
            .err()
            .map(|error| error.to_string())
    };
    assert!(start().unwrap().contains("token"), "not there");
    std::fs::write(&token_file, "\n").unwrap();
    assert!(start().unwrap().contains("is empty"));
    std::fs::write(&token_file, "x\n").unwrap();
    assert_eq!(start(), None);
}
