//! `/events`: every change once and in order, through cuts; gaps; progress; the end.

use std::time::Duration;

use axum::{
    body::BodyDataStream,
    http::{Method, header},
};
use clay_probe::{
    domain::{EventId, JobId, Progress, Stage},
    store::EventRow,
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::site::{RUN, Site, checkpoint_bytes};

/// A client of the stream.
struct Client {
    body: BodyDataStream,
    text: String,
}

/// What came: the event's name, its id, its data.
type Told = (String, Option<i64>, Value);

impl Client {
    async fn open(site: &Site, query: &str, last: Option<i64>) -> Self {
        let last = last.map(|id| id.to_string());
        let headers: Vec<(&str, &str)> = last.iter().map(|id| ("last-event-id", id.as_str())).collect();
        let response = site.ask(Method::GET, &format!("/events{query}"), &headers, "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some((frame, rest)) = self.text.clone().split_once("\n\n") {
                self.text = rest.to_owned();
                let field = |name: &str| frame.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
                if let (Some(name), Some(data)) = (field("event"), field("data")) {
                    let id = field("id").map(|id| id.parse().unwrap());
                    return Some((name.to_owned(), id, serde_json::from_str(data).unwrap()));
                }
                continue; // a comment that keeps the stream alive
            }
            let more = tokio::time::timeout(Duration::from_secs(10), self.body.next()).await.expect("nothing comes");
            self.text += std::str::from_utf8(&more?.unwrap()).unwrap();
        }
    }

    /// The next so many changes.
    async fn changes(&mut self, count: usize) -> Vec<(i64, Value)> {
        let mut changes = Vec::new();
        while changes.len() < count {
            let (name, id, data) = self.next().await.unwrap();
            if name == "change" {
                changes.push((id.unwrap(), data));
            }
        }
        changes
    }

    /// Nothing comes for a while.
    async fn is_silent(&mut self) -> bool {
        self.text.is_empty() && tokio::time::timeout(Duration::from_millis(150), self.body.next()).await.is_err()
    }
}

async fn journal(site: &Site) -> Vec<EventRow> {
    site.store.events_after(EventId(0), None, 10_000).await.unwrap()
}

#[tokio::test]
async fn from_now_on_and_all_that_is_kept() {
    let site = Site::filled(|_, _| {}).await;
    let mut from_now = Client::open(&site, "", None).await;
    assert!(from_now.is_silent().await);
    site.announce(json!({"path": "later.ckpt", "run": "other"})).await;
    let (_, first) = from_now.changes(1).await.remove(0);
    assert_eq!(
        (&first["change"], &first["state"], &first["run"], &first["checkpoint_id"], &first["job_id"]),
        (&json!("announced"), &json!("seen"), &json!("other"), &json!(14), &Value::Null)
    );

    let kept = journal(&site).await;
    let told = Client::open(&site, "", Some(0)).await.changes(kept.len()).await;
    for (row, (id, data)) in kept.iter().zip(&told) {
        assert_eq!((row.id.0, &serde_json::to_value(row).unwrap()), (*id, data));
    }
    let failed = told.iter().find(|(_, data)| data["change"] == "gave_up").unwrap();
    assert_eq!(
        (&failed.1["kind"], &failed.1["reason"], &failed.1["epoch"], &failed.1["run"], &failed.1["message"]),
        (&json!("probe"), &json!("out-of-memory"), &json!(3), &json!(RUN), &json!("it did not work"))
    );

    let of_run = kept.iter().filter(|row| row.run.as_ref().is_some_and(|run| run.as_str() == RUN)).count();
    let mut mine = Client::open(&site, "?run=exp/a%201&last_event_id=0", None).await;
    assert!(mine.changes(of_run).await.iter().all(|(_, data)| data["run"] == RUN));
    assert!(of_run < kept.len() && mine.is_silent().await);
    site.announce(json!({"path": "another.ckpt", "run": "other"})).await;
    site.announce(json!({"path": "mine.ckpt", "run": RUN})).await;
    assert_eq!(mine.changes(1).await[0].1["checkpoint_id"], json!(16));
}

#[tokio::test]
async fn ten_cuts_lose_and_repeat_nothing() {
    let site = Site::empty(|_, _| {}).await;
    site.scan().await;
    let work = async {
        for step in 1..=12 {
            let path = site.write(&format!("{step}.ckpt"), &checkpoint_bytes(step));
            site.announce(json!({"path": path, "epoch": step, "global_step": step, "force": true})).await;
            site.pin().await;
            site.until("/checkpoints?state=settling", |page| page["items"] == json!([])).await;
            site.score(0.5).await;
        }
    };
    let read = async {
        let mut told = Vec::new();
        for cut in 0..10 {
            let last = told.last().map_or(0, |(id, _)| *id);
            told.extend(Client::open(&site, "", Some(last)).await.changes(3 + cut % 4).await);
        }
        let last = told.last().map_or(0, |(id, _)| *id);
        (told, Client::open(&site, "", Some(last)).await)
    };
    let ((), (mut told, mut client)) = tokio::join!(work, read);
    let kept = journal(&site).await;
    assert!(kept.len() > 80, "{} changes", kept.len());
    told.extend(client.changes(kept.len() - told.len()).await);
    let ids: Vec<i64> = told.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, kept.iter().map(|row| row.id.0).collect::<Vec<_>>());
    assert!(client.is_silent().await);
}

#[tokio::test]
async fn what_was_pruned_is_told() {
    let site = Site::filled(|_, _| {}).await;
    let newest = journal(&site).await.last().unwrap().id;
    site.store.prune_events(3).await.unwrap();
    let oldest = newest.0 - 2;
    let mut client = Client::open(&site, "", Some(5)).await;
    assert_eq!(client.next().await.unwrap(), ("gap".to_owned(), None, json!({"oldest": oldest})));
    assert_eq!(client.changes(3).await[0].0, oldest);
    // Nothing between is missing, or everything that is kept is asked for.
    for (last, first) in [(oldest - 1, oldest), (oldest, oldest + 1), (0, oldest)] {
        let (name, id, _) = Client::open(&site, "", Some(last)).await.next().await.unwrap();
        assert_eq!((name.as_str(), id), ("change", Some(first)), "after {last}");
    }
    // An id of another database: what comes now is told all the same.
    let mut client = Client::open(&site, "", Some(newest.0 + 1000)).await;
    assert_eq!(client.next().await.unwrap().0, "gap");
    site.announce(json!({"path": "later.ckpt"})).await;
    assert_eq!(client.changes(1).await[0].0, newest.0 + 1);
}

#[tokio::test]
async fn progress_comes_without_an_id() {
    let site = Site::empty(|_, _| {}).await;
    let mut client = Client::open(&site, "", None).await;
    site.status.set_progress(JobId(7), Progress { stage: Stage::Embed, done: 1, total: 4 });
    let data = json!({"job_id": 7, "stage": "embed", "done": 1, "total": 4});
    assert_eq!(client.next().await.unwrap(), ("progress".to_owned(), None, data));
    // A slow reader loses old progress, and no change.
    for done in 0..2000 {
        site.status.set_progress(JobId(7), Progress { stage: Stage::Fit, done, total: 2000 });
    }
    site.announce(json!({"path": "later.ckpt"})).await;
    assert_eq!(client.changes(1).await[0].1["change"], "announced");
}

#[tokio::test]
async fn streams_end_with_the_service_and_hold_nothing() {
    let site = Site::filled(|_, _| {}).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::open(&site, "", None).await);
        assert!(clients.last_mut().unwrap().is_silent().await);
    }
    // More streams than connections to the database: reads still go on.
    assert_eq!(site.get("/probes").await.status, 200);
    site.stop.cancel();
    for mut client in clients {
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test]
async fn what_is_not_understood() {
    let site = Site::empty(|_, _| {}).await;
    let bad = site.send(Method::GET, "/events", &[("last-event-id", "x")], "").await;
    assert!(bad.problem(400).contains("Last-Event-ID"));
    site.get("/events?last_event_id=x").await.problem(400);
    site.get("/events?run=never").await.problem(404);
}
