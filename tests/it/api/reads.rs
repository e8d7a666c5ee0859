//! What is read: series, probes, curves, pictures, chips, checkpoints, runs.

use std::path::PathBuf;

use clay_probe::{
    config,
    domain::{Digest, HeadName, LineKey, RunName},
    intake::Submissions,
    store::ResultKey,
};
use serde_json::{Value, json};

use super::site::{RUN, Site, another_queue, checkpoint_bytes, science};

async fn filled() -> Site {
    Site::filled(|_, _| {}).await
}

/// The line of the configured head.
fn line() -> LineKey {
    let report = &science().report;
    report.basis().line(HeadName::Conv, report.heads[&HeadName::Conv].digest)
}

fn epochs(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|item| item["epoch"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn series_one_entry_per_epoch() {
    let site = filled().await;
    let series = site.json("/probes").await;
    assert_eq!((&series["run"], &series["metric"], &series["next"]), (&json!(RUN), &json!("iou"), &Value::Null));
    assert_eq!(epochs(&series), [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    let keys = "run attempt epoch global_step state reason checkpoint_id weights_digest line series head \
                dataset_digest assignment preparation_digest notes null_fits metric value low high interval n_seeds n_events n_chips seed_std event_std verdict context \
                job_id device progress created_at finished_at";
    for item in series["items"].as_array().unwrap() {
        for key in keys.split_whitespace() {
            assert!(item.get(key).is_some(), "{key} in {item}");
        }
    }
    let item = |epoch: usize| &series["items"][epoch];
    assert_eq!(item(5)["attempt"], 1, "the newest attempt");
    assert_eq!((&item(5)["value"], &item(5)["n_seeds"], &item(5)["low"]), (&json!(0.6), &json!(2), &json!(0.5375)));
    let line = line();
    assert_eq!((&item(5)["line"], &series["line"]), (&json!(line.name()), &json!(line.name())));
    assert_eq!((&item(5)["head"], &item(5)["series"]), (&json!("conv"), &json!("main")));
    assert_eq!(item(5)["assignment"], json!(line.assignment.to_string()));
    assert_eq!(item(5)["preparation_digest"], json!(line.preparation.to_string()));
    assert!(item(5).get("protocol_digest").is_none());
    assert_eq!((&item(3)["state"], &item(3)["reason"]), (&json!("failed"), &json!("out-of-memory")));
    assert_eq!((&item(3)["value"], &item(3)["n_seeds"]), (&Value::Null, &Value::Null));
    assert!(item(3)["finished_at"].is_string());
    assert_eq!((&item(1)["state"], &item(1)["reason"]), (&json!("skipped"), &json!("not-due")));
    assert_eq!((&item(8)["state"], &item(8)["reason"]), (&json!("held"), &json!("not-due-yet")));
    assert_eq!(item(6)["progress"], json!({"stage": "fit", "done": 3, "total": 9}));
    assert_eq!((&item(7)["state"], &item(7)["progress"]), (&json!("queued"), &Value::Null));
    assert_eq!(item(0)["context"], json!({"train_loss": 0.5}));
    assert_eq!((&item(0)["verdict"], &item(0)["event_std"]), (&Value::Null, &Value::Null));

    let precision = site.json("/probes?metric=precision&from=4&to=5").await;
    assert_eq!(epochs(&precision), [4, 5]);
    assert_eq!((&precision["items"][0]["state"], &precision["items"][0]["value"]), (&json!("done"), &Value::Null));
}

#[tokio::test]
async fn series_in_pages_and_by_run() {
    let site = filled().await;
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
    assert_eq!(site.get("/probes?run=never").await.problem(404), "no run `never` was seen [`/runs` lists them]");
    assert!(site.get("/probes?from=5&to=4").await.problem(400).contains("`from`"));
    assert!(
        site.get("/probes?metric=auc")
            .await
            .problem(400)
            .contains("`iou`, `dice`, `f1`, `precision`, `recall`, `loss`")
    );
    assert!(site.get("/probes?epochs=4").await.problem(400).contains("`run`, `metric`, `head`, `line`, `from`, `to`"));
    assert!(site.get("/probes?limit=0").await.problem(400).contains("1 to 1000"));
    site.get("/probes?limit=1001").await.problem(400);
    site.get("/probes?from=x").await.problem(400);
}

#[tokio::test]
async fn nothing_seen_yet() {
    let site = Site::empty(|_, _| {}).await;
    assert_eq!(
        site.json("/probes").await,
        json!({"run": null, "head": "conv", "line": null, "metric": "iou", "items": [], "next": null})
    );
    assert_eq!(site.json("/lines").await, json!({"run": null, "items": [], "next": null}));
    assert_eq!(site.json("/checkpoints").await, json!({"items": [], "next": null}));
    assert_eq!(site.json("/runs").await, json!({"items": [], "next": null}));
    assert!(site.get("/probes/0").await.problem(404).contains("POST /checkpoints"));
    site.get("/probes/latest").await.problem(404);
    assert_eq!(site.get("/").await.status, 200);
}

#[tokio::test]
async fn one_probe_whole() {
    let (site, report) = (filled().await, &science().report);
    let probe = site.json("/probes/5").await;
    assert_eq!((&probe["run"], &probe["attempt"], &probe["epoch"]), (&json!(RUN), &json!(1), &json!(5)));
    assert_eq!(
        (&probe["state"], &probe["device"], &probe["device_reason"]),
        (&json!("done"), &json!("cpu"), &json!("asked for"))
    );
    let mut iou = probe["summary"]["iou"].clone();
    let std = iou["std"].take().as_f64().unwrap();
    assert!((std - 0.125 / 2f64.sqrt()).abs() < 1e-12, "{std}");
    // The report was made under `t95`: the ends are read off what is stored.
    let wanted = json!({"mean": 0.6, "std": null, "n": 2, "low": 0.5375, "high": 0.6625, "interval": "seed_minmax"});
    assert_eq!(iou, wanted);
    assert_eq!((&probe["head"], &probe["series"]), (&json!("conv"), &json!("main")));
    assert_eq!(probe["heads"]["conv"]["summary"], probe["summary"]);
    assert_eq!(probe["heads"]["conv"]["settings"]["seeds"], json!([0, 1]));
    assert_eq!(
        (&probe["summary"]["precision"]["mean"], &probe["summary"]["precision"]["n"]),
        (&Value::Null, &json!(0))
    );
    let fits = probe["fits"].as_array().unwrap();
    assert_eq!(fits.len(), report.fits.len());
    let keys: Vec<_> = fits.iter().map(|f| (f["seed"].as_u64().unwrap(), f["fold"].as_u64().unwrap())).collect();
    assert!(keys.is_sorted() && fits.iter().all(|fit| fit.get("curve").is_none()), "{keys:?}");
    let wanted = report.fits.iter().find(|f| (f.seed.0, u64::from(f.fold)) == keys[0]).unwrap();
    assert_eq!(fits[0]["confusion"], serde_json::to_value(wanted.confusion).unwrap());
    assert_eq!(fits[0]["metrics"], serde_json::to_value(wanted.metrics).unwrap());

    let chips = probe["chips"].as_array().unwrap();
    assert_eq!(chips.len() as u64, report.dataset.chips);
    let mine = report.chip_scores.iter().filter(|score| json!(score.chip) == chips[0]["chip"]);
    let (n, tp) = mine.fold((0, 0), |(n, tp), score| (n + 1, tp + score.confusion.tp));
    assert_eq!((&chips[0]["n"], &chips[0]["confusion"]["tp"]), (&json!(n), &json!(tp)));
    assert_eq!((n, &chips[0]["metrics"]["loss"]), (2, &Value::Null), "both seeds, no loss");

    assert_eq!((&probe["controls"], &probe["dataset"]["chips"]), (&json!([]), &json!(report.dataset.chips)));
    assert_eq!(probe["preparation"]["family"], "clay-v0");
    assert_eq!(probe["preparation_digest"], json!(report.preparation_digest.to_string()));
    assert_eq!(probe["assignment"], json!(report.assignment.to_string()));
    assert_eq!(probe["n_chips"], json!(report.dataset.chips));
    for key in
        ["encoder", "seconds", "versions", "mean_batch_iou", "chips_encoded", "n_seeds", "n_events", "computed_at"]
    {
        assert!(!probe[key].is_null(), "{key}");
    }
    let others = probe["others"].as_array().unwrap();
    assert_eq!((others.len(), &others[0]["attempt"], &others[0]["state"]), (1, &json!(0), &json!("done")));

    let first = site.json("/probes/5?attempt=0&run=exp/a%201").await;
    assert_eq!((&first["attempt"], &first["summary"]["iou"]["mean"]), (&json!(0), &json!(0.55)));
    assert_eq!(site.json("/probes/latest").await["epoch"], 5);
}

#[tokio::test]
async fn probes_without_a_score_tell_their_state() {
    let site = filled().await;
    for (epoch, state) in [(1, "skipped"), (3, "failed"), (6, "probing"), (7, "queued"), (8, "held")] {
        let probe = site.json(&format!("/probes/{epoch}")).await;
        assert_eq!((&probe["state"], &probe["device"], &probe["fits"]), (&json!(state), &Value::Null, &json!([])));
        assert!(probe.get("seconds").is_some_and(Value::is_null));
        assert_eq!(probe["progress"].is_null(), state != "probing");
        assert_eq!(
            probe["dataset_digest"].is_null(),
            !matches!(state, "failed" | "probing"),
            "known from the claim on"
        );
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
async fn an_epoch_shows_the_step_with_the_score() {
    let site = Site::empty(|_, _| {}).await;
    site.scan().await;
    for step in [100, 200] {
        let path = site.write(&format!("step-{step}.ckpt"), &checkpoint_bytes(step));
        site.announce(json!({"path": path, "epoch": 3, "global_step": step})).await;
        site.pin().await;
        site.until("/checkpoints?state=settling", |page| page["items"] == json!([])).await;
    }
    site.score(0.7).await;
    let item = site.json("/probes").await["items"][0].clone();
    assert_eq!((&item["global_step"], &item["state"], &item["value"]), (&json!(100), &json!("done"), &json!(0.7)));
    let probe = site.json("/probes/3").await;
    assert_eq!((&probe["global_step"], &probe["others"][0]["state"]), (&json!(100), &json!("held")));
}

#[tokio::test]
async fn scores_under_other_settings_are_not_on_the_line() {
    let site = filled().await;
    // The daemon is started again with other settings, and one point is asked for anew.
    let other = config::Probe { learning_rate: 2e-3, ..science().settings.clone() };
    let queue = another_queue(&site, &other).await;
    let cancelled = site.send(axum::http::Method::DELETE, "/checkpoints/9", &[], "").await;
    assert_eq!(cancelled.status, 200, "{}", cancelled.text);
    let path = site.json("/checkpoints/1").await["path"].clone();
    let body = serde_json::from_value(json!({"path": path, "force": true})).unwrap();
    let posted = Submissions { queue: queue.clone(), ..site.submissions.clone() }.post(body).await.unwrap();
    assert!(!posted.known, "it has no score under these settings");
    site.score_with(&queue, 0.9).await;

    let series = site.json("/probes").await;
    assert_eq!((&series["items"][0]["value"], &series["items"][0]["state"]), (&json!(0.9), &json!("done")));
    let left = &series["items"][4];
    assert_eq!(
        (&left["state"], &left["reason"], &left["value"], &left["line"]),
        (&json!("done"), &json!("other-line"), &Value::Null, &Value::Null)
    );
    let left = site.json("/probes/4").await;
    assert_eq!((&left["reason"], &left["summary"], &left["fits"]), (&json!("other-line"), &json!({}), &json!([])));
}

#[tokio::test]
async fn curves_of_every_fit() {
    let (site, report) = (filled().await, &science().report);
    let curves = site.json("/probes/4/curves").await;
    assert_eq!((&curves["run"], &curves["epoch"], &curves["state"]), (&json!(RUN), &json!(4), &json!("done")));
    assert_eq!(curves["curves"].as_array().unwrap().len(), report.fits.len());
    let fit = &curves["curves"][0];
    assert_eq!((&fit["head"], &fit["seed"], &fit["fold"]), (&json!("conv"), &json!(0), &json!(0)));
    let curve = fit["curve"].as_array().unwrap();
    let order: Vec<_> = curve.iter().map(|p| (p["fit_step"].as_i64().unwrap(), p["side"].as_str().unwrap())).collect();
    let steps = order.iter().map(|(step, _)| *step).collect::<Vec<_>>();
    assert!(steps.is_sorted() && steps[0] >= 1 && order.iter().any(|(_, side)| *side == "val"), "{order:?}");
    assert_eq!((&curves["head"], &curves["line"]), (&json!("conv"), &json!(line().name())));
    assert!(curve[0]["metrics"]["loss"].is_number(), "{}", curve[0]);
}

#[tokio::test]
async fn pictures_come_from_the_table_of_chips() {
    let site = filled().await;
    let folder = site.store.folder();
    let put = |path: PathBuf, text: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let line = line();
    let weights = site.json("/probes/5").await["weights_digest"].as_str().unwrap().parse::<Digest>().unwrap();
    let key = ResultKey { weights, basis: science().report.basis() };
    let stem = |n: usize| science().chips[n].path.rsplit('/').next().unwrap().trim_end_matches(".tif").to_owned();
    let (chip, event, twin) = (stem(1), &science().chips[1].event, stem(0));
    put(folder.datasets().join(format!("{}/{event}/{chip}.rgb.png", line.dataset)), "rgb");
    put(
        folder.predictions(&key, line.head, &line.head_digest).join(format!("{event}/{chip}.prediction.png")),
        "prediction of 5",
    );
    put(folder.datasets().join("secret.rgb.png"), "secret");
    let got = site.get(&format!("/probes/5/chips/{chip}.png")).await;
    assert_eq!(
        (got.status.as_u16(), got.text.as_str(), &got.headers["content-type"]),
        (200, "rgb", &"image/png".parse().unwrap())
    );
    let prediction = |epoch: u32| format!("/probes/{epoch}/chips/{event}/{chip}.png?layer=prediction");
    assert_eq!(site.get(&prediction(5)).await.text, "prediction of 5");
    let encoded = format!("/probes/3/chips/{event}%2F{chip}.png?layer=rgb");
    assert_eq!(site.get(&encoded).await.text, "rgb", "labels need no score");
    assert!(site.get(&prediction(3)).await.problem(404).contains("failed"));
    assert!(site.get(&format!("/probes/5/chips/{chip}.png?layer=sar")).await.problem(404).contains("not drawn"));
    let unknown = site.get(&format!("/probes/5/chips/{chip}.png?layer=pca")).await.problem(400);
    assert!(unknown.contains("`rgb`, `sar`, `label`, `prediction`"), "{unknown}");
    assert!(site.get(&format!("/probes/5/chips/{twin}.png")).await.problem(400).contains("several events"));
    for other in [chip.as_str(), "s1.jpg", "s2.png", "..%2F..%2Fsecret.png", "%2Fetc%2Fpasswd.png"] {
        site.get(&format!("/probes/5/chips/{other}")).await.problem(404);
    }
}

#[tokio::test]
async fn chips_of_a_data_set() {
    let site = filled().await;
    let (digest, last) = (science().dataset.digest, science().chips.len() - 1);
    let page = site.json(&format!("/datasets/{digest}/chips?limit=2")).await;
    assert_eq!((&page["next"], page["items"].as_array().unwrap().len()), (&json!(1), 2));
    let keys = "path event split bbox epsg date source_url latlon timestep water land ignored";
    for key in keys.split_whitespace() {
        assert!(page["items"][0].get(key).is_some(), "{key}");
    }
    let rest = site.json(&format!("/datasets/{digest}/chips?limit=2&cursor={last}")).await;
    assert_eq!((&rest["next"], &rest["items"][0]["event"]), (&Value::Null, &json!("twin")));
    site.get(&format!("/datasets/{}/chips", "e".repeat(64))).await.problem(404);
    assert!(site.get("/datasets/xyz/chips").await.problem(400).contains("hexadecimal"));
}

#[tokio::test]
async fn checkpoints_as_they_are_listed() {
    let site = filled().await;
    let all = site.json("/checkpoints").await;
    let states: Vec<_> = all["items"].as_array().unwrap().iter().map(|c| c["state"].as_str().unwrap()).collect();
    assert_eq!(states[..6], ["seen", "settling", "rejected", "held", "queued", "probing"]);
    assert_eq!(states.len(), 13);
    assert_eq!(all["items"][5]["progress"]["stage"], "fit");
    let one = site.json("/checkpoints/11").await;
    assert_eq!((&one["reason"], &one["due"], &one["epoch"]), (&json!("truncated"), &json!(false), &Value::Null));
    let one = site.json("/checkpoints/12").await;
    assert_eq!(
        (&one["epoch"], &one["global_step"], &one["due"], &one["run"]),
        (&json!(3), &json!(30), &Value::Null, &json!("old"))
    );
    let one = site.json("/checkpoints/7").await;
    assert_eq!(
        (&one["state"], &one["due"], &one["due_reason"], &one["attempt"], &one["progress"]),
        (&json!("done"), &json!(true), &json!("first"), &json!(1), &Value::Null)
    );
    let failed = site.json("/checkpoints?state=failed").await;
    assert_eq!((failed["items"].as_array().unwrap().len(), &failed["items"][0]["id"]), (1, &json!(4)));
    assert_eq!(site.json("/checkpoints?run=old").await["items"].as_array().unwrap().len(), 1);
    let page = site.json("/checkpoints?limit=3").await;
    assert_eq!(page["next"], 11);
    assert_eq!(site.json("/checkpoints?limit=3&cursor=11").await["items"][0]["id"], 10);
    let unknown = site.get("/checkpoints?state=lost").await.problem(400);
    assert!(unknown.contains("`settling`") && unknown.contains("`held`"), "{unknown}");
    site.get("/checkpoints?run=never").await.problem(404);
    site.get("/checkpoints/999").await.problem(404);
    site.get("/checkpoints/x").await.problem(400);
}

#[tokio::test]
async fn runs_as_they_are_listed() {
    let site = filled().await;
    let runs = site.json("/runs").await;
    let names: Vec<_> = runs["items"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(names, ["unproven", "old", RUN]);
    let run = &runs["items"][2];
    assert_eq!(
        (&run["attempts"], &run["points"], &run["done"], &run["latest_epoch"], &run["finished_at"]),
        (&json!(2), &json!(10), &json!(4), &json!(8), &Value::Null)
    );
    let page = site.json("/runs?limit=1").await;
    assert_eq!(site.json(&format!("/runs?limit=1&cursor={}", page["next"])).await["items"][0]["run"], "old");
    assert_eq!(site.json("/probes").await["run"], json!(RUN), "the run with the newest point");
    assert_eq!(serde_json::from_value::<RunName>(run["run"].clone()).unwrap().as_str(), RUN);
}
