//! Heads side by side, lines, and what is asked with `?head=` and `?line=`.

use axum::http::Method;
use clay_probe::{config, domain::HeadName, intake::Submissions};
use serde_json::{Value, json};

use super::site::{RUN, Site, another_queue, science, with_linear};

/// A site whose daemon was started again with a second head, and then with another learning rate; each time the first
/// point was asked for anew.
pub async fn grown() -> (Site, Value) {
    let site = Site::filled(|_, _| {}).await;
    let cancelled = site.send(Method::DELETE, "/checkpoints/9", &[], "").await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    let first = site.json("/probes").await;
    let path = site.json("/checkpoints/1").await["path"].clone();
    let faster = config::Probe { learning_rate: 2e-3, ..with_linear() };
    for (settings, iou) in [(with_linear(), 0.5), (faster, 0.9)] {
        let queue = another_queue(&site, &settings).await;
        let body = serde_json::from_value(json!({"path": path, "force": true})).unwrap();
        let posted = Submissions { queue: queue.clone(), ..site.submissions.clone() }.post(body).await.unwrap();
        assert!(!posted.known, "it has no score under these settings");
        site.score_with(&queue, iou).await;
    }
    (site, first)
}

fn values(series: &Value) -> Vec<(i64, Option<f64>)> {
    let items = series["items"].as_array().unwrap();
    items.iter().map(|item| (item["epoch"].as_i64().unwrap(), item["value"].as_f64())).collect()
}

#[tokio::test]
async fn lines_and_what_tells_them_apart() {
    let (site, first) = grown().await;
    let lines = site.json("/lines").await;
    assert_eq!((&lines["run"], &lines["next"]), (&json!(RUN), &Value::Null));
    let items = lines["items"].as_array().unwrap();
    let told: Vec<_> = items
        .iter()
        .map(|l| json!([l["head"], l["default"], l["newest"], l["points"], l["first_epoch"], l["last_epoch"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!(["conv", false, false, 4, 0, 5]),
            json!(["linear", false, false, 1, 0, 0]),
            json!(["conv", true, true, 1, 0, 0]),
            json!(["linear", false, true, 1, 0, 0])
        ]
    );
    assert_eq!(items[0]["line"], first["line"], "the first line is what it was");
    assert_eq!((&items[0]["changed"], &items[1]["changed"]), (&Value::Null, &Value::Null));
    let change = json!([{"word": "learning_rate", "from": 1e-3, "to": 2e-3}]);
    assert_eq!((&items[2]["changed"], &items[3]["changed"]), (&change, &change));
    let report = &science().report;
    for item in items {
        assert_eq!(item["series"], "main");
        assert_eq!(item["dataset_digest"], json!(report.dataset.digest.to_string()));
        assert_eq!(item["assignment"], json!(report.assignment.to_string()));
        assert_eq!(item["preparation_digest"], json!(report.preparation_digest.to_string()));
        assert_eq!(item["preparation"], serde_json::to_value(&report.preparation).unwrap());
        assert_eq!(item["settings"]["head"], item["head"]);
        assert!(item["head_digest"].as_str().is_some_and(|digest| digest.len() == 64));
    }
    assert_eq!(site.json("/lines?run=old").await["items"], json!([]));
    site.get("/lines?run=never").await.problem(404);
    site.get("/lines?head=conv").await.problem(400);
}

#[tokio::test]
async fn head_and_line_choose_what_is_told() {
    let (site, first) = grown().await;
    let lines = site.json("/lines").await;
    let name = |n: usize| lines["items"][n]["line"].as_str().unwrap().to_owned();
    // The line of before, whole.
    let old = site.json(&format!("/probes?line={}", name(0))).await;
    assert_eq!((&old["line"], values(&old)), (&first["line"], values(&first)));
    // The head's newest line: its first point alone.
    let default = site.json("/probes").await;
    assert_eq!((&default["line"], &default["head"]), (&json!(name(2)), &json!("conv")));
    assert_eq!(values(&default)[0], (0, Some(0.9)));
    assert_eq!(default["items"][4]["reason"], "other-line");
    let linear = site.json("/probes?head=linear&to=0").await;
    let item = &linear["items"][0];
    assert_eq!((&linear["head"], &linear["line"]), (&json!("linear"), &json!(name(3))));
    assert_eq!((&item["head"], &item["value"], &item["low"]), (&json!("linear"), &json!(0.775), &json!(0.7125)));
    assert!(item["notes"].as_array().unwrap().contains(&json!("underfit")), "{item}");
    assert_eq!(item["null_fits"], 1);

    let probe = site.json("/probes/0?head=linear").await;
    assert_eq!((&probe["head"], &probe["line"]), (&json!("linear"), &json!(name(3))));
    assert_eq!(probe["summary"]["iou"]["mean"], 0.775);
    assert_eq!(
        (&probe["heads"]["conv"]["line"], &probe["heads"]["linear"]["line"]),
        (&json!(name(2)), &json!(name(3)))
    );
    assert!(probe["heads"]["linear"]["notes"]["underfit"].as_u64().unwrap() >= 1, "{probe}");
    let fits = science().report.fits.len();
    assert_eq!(
        (&probe["heads"]["linear"]["n_fits"], &probe["heads"]["linear"]["null_fits"]),
        (&json!(fits), &json!(1))
    );
    let all = probe["fits"].as_array().unwrap();
    assert_eq!(all.len(), 2 * fits);
    let null = all.iter().find(|fit| !fit["reason"].is_null()).unwrap();
    assert_eq!((&null["head"], &null["reason"]), (&json!("linear"), &json!("one-class-training")));
    assert!(null["metrics"]["iou"].is_null() && null["message"].as_str().unwrap().contains("no water"), "{null}");
    let before = site.json(&format!("/probes/0?line={}", name(0))).await;
    assert_eq!((&before["summary"]["iou"]["mean"], &before["head"]), (&json!(0.4), &json!("conv")));
    let latest = site.json(&format!("/probes/latest?line={}", name(0))).await;
    assert_eq!((&latest["epoch"], &site.json("/probes/latest").await["epoch"]), (&json!(5), &json!(0)));
    let curves = site.json("/probes/0/curves?head=linear").await;
    assert_eq!((&curves["head"], curves["curves"].as_array().unwrap().len()), (&json!("linear"), fits));
    assert!(curves["curves"].as_array().unwrap().iter().all(|curve| curve["head"] == "linear"));

    for path in ["/probes", "/probes/0", "/probes/latest", "/probes/0/curves"] {
        assert!(
            site.get(&format!("{path}?line=abc")).await.problem(404).contains("`/lines?run=` lists them"),
            "{path}"
        );
        let other = site.get(&format!("{path}?head=linear&line={}", name(0))).await.problem(400);
        assert!(other.contains("is of head `conv`, not `linear`"), "{other}");
        assert!(site.get(&format!("{path}?head=tree")).await.problem(400).contains("`linear`"), "{path}");
    }
    assert!(site.get("/probes/0/chips/x.png?head=segmentor").await.problem(404).contains("no chip"));
}

#[tokio::test]
async fn a_head_that_was_never_fitted_has_no_line_and_every_point_says_why() {
    let site = Site::filled(|_, _| {}).await;
    let series = site.json("/probes?head=linear").await;
    assert_eq!((&series["head"], &series["line"]), (&json!("linear"), &Value::Null));
    let told: Vec<_> = series["items"].as_array().unwrap().iter().map(|i| i["reason"].as_str().unwrap_or("")).collect();
    assert_eq!(told[..6], ["other-line", "not-due", "not-due", "out-of-memory", "other-line", "other-line"]);
    assert!(site.get("/probes/latest?head=linear").await.problem(404).contains("no probe"));
    assert_eq!(site.json("/probes/5?head=linear").await["heads"], json!({}));
}

#[tokio::test]
async fn metadata_is_posted_with_the_file_it_is_of() {
    let site = Site::filled(|_, _| {}).await;
    let yaml = site.write("metadata.yaml", b"sentinel-2-l2a:");
    let real = yaml.canonicalize().unwrap();
    let answer = site.announce(json!({"path": "later.ckpt", "metadata": "metadata.yaml"})).await;
    let row = site.json(&format!("/checkpoints/{}", answer["id"])).await;
    assert_eq!(row["posted"]["metadata"], json!(real), "{row}");
    let missing = site.post("/checkpoints", json!({"path": "x.ckpt", "metadata": "other.yaml"})).await.problem(400);
    assert!(missing.contains("is not a file"), "{missing}");
    assert!(
        site.post("/checkpoints", json!({"path": "x.ckpt", "metadata": "/etc/passwd"}))
            .await
            .problem(403)
            .contains("roots")
    );
    let path = site.json("/checkpoints/1").await["path"].clone();
    let late = site.post("/checkpoints", json!({"path": path, "metadata": yaml})).await.problem(409);
    assert!(late.contains("posted after the file was read"), "{late}");
    assert_eq!(site.json("/lines").await["items"][0]["head"], json!(HeadName::Conv));
}
