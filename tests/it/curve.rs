//! Points on their curve: which are due, what an epoch shows, attempts, the end of a run.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::rig::{Rig, checkpoint};

/// Every checkpoint by its file's stem, once none is open.
fn settled(rig: &Rig, count: usize) -> Vec<(String, Value)> {
    let rows = rig.wait("all are whole", |rig| {
        let rows = rig.all_checkpoints();
        (rows.len() == count && rows.iter().all(|row| row["whole_at"].is_string())).then_some(rows)
    });
    let stem =
        |row: &Value| Path::new(row["path"].as_str().unwrap()).file_stem().unwrap().to_string_lossy().into_owned();
    rows.into_iter().map(|row| (stem(&row), row)).collect()
}

/// `(stem, due reason)` of those that are due, by name.
fn due(rows: &[(String, Value)]) -> Vec<(&str, &str)> {
    let due = rows.iter().filter_map(|(stem, row)| Some((stem.as_str(), row["due_reason"].as_str()?)));
    let mut due: Vec<_> = due.collect();
    due.sort_unstable();
    due
}

fn saved_and_whole(rig: &Rig, name: &str, epoch: u32, step: u64) -> Value {
    rig.save(name, epoch, step);
    whole(rig, name)
}

fn whole(rig: &Rig, name: &str) -> Value {
    rig.wait("it is whole", |rig| {
        let mut rows = rig.all_checkpoints();
        rows.retain(|row| row["path"].as_str().unwrap().ends_with(name));
        rows.pop().filter(|row| row["whole_at"].is_string())
    })
}

fn finish(rig: &Rig, run: &str) {
    assert_eq!(rig.post(&format!("/runs/{run}/finish"), json!({})).0, 200);
}

fn set_age(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

#[test]
fn the_last_of_a_run_that_ends_at_once_is_probed_and_not_the_one_before() {
    let rig = Rig::start("[intake]\nsettle = \"700ms\"\npoll = \"2s\"\n[queue]\nevery_n_epochs = 5\n");
    for run in ["posted", "watched"] {
        for epoch in 0..2 {
            saved_and_whole(&rig, &format!("{run}/epoch-{epoch}.safetensors"), epoch, u64::from(epoch) + 1);
        }
        let last = rig.save(&format!("{run}/epoch-2.safetensors"), 2, 3);
        if run == "posted" {
            assert_eq!(rig.post_file(&last).0, 202);
        }
        finish(&rig, run);
        let done = rig.until(&format!("{run}/epoch-2.safetensors"), "done");
        assert_eq!(done["due_reason"], "last", "{done}");
        let before = rig.until(&format!("{run}/epoch-1.safetensors"), "skipped");
        assert_eq!(before["reason"], "not-due", "{before}");
        assert_eq!(rig.get(&format!("/probes/latest?run={run}")).1["epoch"], 2);
    }
    // What arrives after the end is the last then.
    let late = saved_and_whole(&rig, "watched/epoch-3.safetensors", 3, 4);
    assert_eq!(late["due_reason"], "last", "{late}");
    // What is written long after shows that the run goes on.
    let path = rig.dir.path().join("later.safetensors");
    fs::write(&path, checkpoint(5, &[("epoch", "4".into()), ("global_step", "5".into())])).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    fs::rename(path, rig.checkpoints().join("watched/epoch-4.safetensors")).unwrap();
    let later = whole(&rig, "watched/epoch-4.safetensors");
    assert_eq!((&later["due"], &later["reason"]), (&json!(null), &json!("not-due-yet")), "{later}");
    let (_, runs) = rig.get("/runs");
    let ends: Vec<_> = runs["items"].as_array().unwrap().iter().map(|run| run["finished_at"].is_string()).collect();
    assert_eq!(ends, [false, true], "{runs}");
}

#[test]
fn force_under_other_settings_gives_a_result_on_a_line_of_its_own() {
    let mut rig = Rig::start(FEW);
    for epoch in 0..2 {
        rig.save(&format!("epoch-{epoch}.safetensors"), epoch, u64::from(epoch) + 1);
        rig.until(&format!("epoch-{epoch}.safetensors"), "done");
    }
    let first = rig.get("/probes").1["items"][0]["line"].clone();
    assert!(rig.stop());
    rig.configure("[probe]\nlearning_rate = 2e-3\n");
    rig.restart();
    // At once: the data set is not scanned yet.
    let force = |rig: &Rig| rig.post("/checkpoints", json!({"path": "epoch-0.safetensors", "force": true}));
    let (status, answer) = force(&rig);
    assert_eq!((status, &answer["due_reason"]), (202, &json!("forced")), "{answer}");
    rig.wait("it has two scores", |rig| (rig.count("scores") == 3).then_some(()));
    rig.until("epoch-0.safetensors", "done");
    let (_, series) = rig.get("/probes");
    let (forced, other) = (&series["items"][0], &series["items"][1]);
    assert!(forced["value"].is_number() && forced["line"].is_string() && forced["line"] != first, "{series}");
    assert_eq!((&other["value"], &other["line"]), (&json!(null), &json!(null)), "{series}");
    assert_eq!((&other["state"], &other["reason"]), (&json!("done"), &json!("other-line")), "{series}");
    assert_eq!(rig.get("/probes/latest").1["epoch"], 0, "the newest with a score of this line");
    let jobs = rig.count("jobs");
    assert_eq!(force(&rig).0, 200);
    assert_eq!(rig.count("jobs"), jobs);
}

/// What is configured before and after.
const FEW: &str = "[probe]\nheads = [\"conv\"]\n";
const MORE: &str = "[probe]\nheads = [\"conv\", \"linear\"]\n";

#[test]
fn a_head_that_is_added_breaks_no_line_and_has_nothing_fitted_again() {
    let mut rig = Rig::start(FEW);
    for epoch in 0..2 {
        rig.save(&format!("epoch-{epoch}.safetensors"), epoch, u64::from(epoch) + 1);
        rig.until(&format!("epoch-{epoch}.safetensors"), "done");
    }
    let (_, before) = rig.get("/probes");
    let line = before["line"].as_str().unwrap().to_owned();
    assert_eq!((rig.count("results"), rig.count("heads")), (2, 2));
    assert!(rig.stop());
    rig.configure(MORE);
    rig.restart();
    let (status, answer) = rig.post("/checkpoints", json!({"path": "epoch-0.safetensors", "force": true}));
    assert_eq!((status, &answer["due_reason"]), (202, &json!("forced")), "{answer}");
    rig.wait("it has another head", |rig| (rig.count("heads") == 3).then_some(()));
    rig.until("epoch-0.safetensors", "done");
    assert_eq!(rig.count("results"), 2, "beside the others, under the same key");
    assert_eq!(rig.count("heads h join results r on r.id = h.result_id where h.created_at <> r.created_at"), 1);

    assert_eq!(rig.get("/probes/0?head=linear").1["chips_encoded"], 0, "what was encoded for the first head");

    let (_, after) = rig.get(&format!("/probes?line={line}"));
    for (old, new) in before["items"].as_array().unwrap().iter().zip(after["items"].as_array().unwrap()) {
        for key in ["epoch", "line", "value", "low", "high", "seed_std", "state", "weights_digest"] {
            assert_eq!(old[key], new[key], "{key} of {new}");
        }
    }
    let (_, lines) = rig.get("/lines");
    let points: Vec<_> = lines["items"].as_array().unwrap().iter().map(|line| line["points"].clone()).collect();
    assert_eq!((&lines["items"][0]["line"], points), (&json!(line), vec![json!(2), json!(1)]), "{lines}");
    // Equal weights at another epoch: nothing is missing, and nothing is computed.
    let jobs = rig.log_text().matches("worker started").count();
    fs::write(rig.checkpoints().join("again.safetensors"), checkpoint(1, &[("epoch", "5".into())])).unwrap();
    rig.until("again.safetensors", "done");
    assert_eq!(rig.log_text().matches("worker started").count(), jobs + 1, "the pin alone\n{}", rig.log_text());
    assert_eq!((rig.count("results"), rig.count("heads")), (2, 3));

    // Another interval is another reading of what is stored: no line, nothing computed.
    assert!(rig.stop());
    rig.configure("[probe]\ninterval = \"t95\"\n");
    rig.restart();
    let (_, wide) = rig.get(&format!("/probes?line={line}"));
    let (item, was) = (&wide["items"][0], &after["items"][0]);
    assert_eq!(
        (&item["interval"], &item["value"], &item["line"]),
        (&json!("t95"), &was["value"], &was["line"]),
        "{wide}"
    );
    assert!(item["low"].is_number() && item["low"] != was["low"], "{item}");
    assert_eq!((rig.count("results"), rig.count("heads"), rig.count("lines")), (2, 3, 2));
}

#[test]
fn an_epoch_shows_the_step_that_has_a_score() {
    let rig = Rig::start("[queue]\nevery_n_epochs = 5\n");
    rig.save("step-100.safetensors", 3, 100);
    rig.until("step-100.safetensors", "done");
    let held = saved_and_whole(&rig, "step-200.safetensors", 3, 200);
    assert_eq!((&held["state"], &held["attempt"]), (&json!("held"), &json!(0)), "{held}");
    let shows_the_score = |others: &[(u32, u64)]| {
        let (_, series) = rig.get("/probes");
        let item = series["items"].as_array().unwrap().iter().find(|item| item["epoch"] == 3).unwrap();
        assert_eq!((&item["state"], &item["global_step"]), (&json!("done"), &json!(100)), "{series}");
        assert!(item["value"].is_number() && item["reason"].is_null(), "{series}");
        let (_, probe) = rig.get("/probes/3");
        assert_eq!((&probe["state"], &probe["global_step"]), (&json!("done"), &json!(100)), "{probe}");
        assert!(probe["summary"]["iou"]["mean"].is_number(), "{probe}");
        let found: Vec<_> =
            probe["others"].as_array().unwrap().iter().map(|o| json!([o["attempt"], o["global_step"]])).collect();
        assert_eq!(found, others.iter().map(|(attempt, step)| json!([attempt, step])).collect::<Vec<_>>(), "{probe}");
    };
    shows_the_score(&[(0, 200)]);
    // The run resumes at epoch 2, and comes by epoch 3 again.
    let resumed = saved_and_whole(&rig, "step-95.safetensors", 2, 95);
    assert_eq!((&resumed["attempt"], &resumed["due_reason"]), (&json!(1), &json!("first")), "{resumed}");
    let again = saved_and_whole(&rig, "step-105.safetensors", 3, 105);
    assert_eq!((&again["attempt"], &again["state"]), (&json!(1), &json!("held")), "{again}");
    rig.until("step-95.safetensors", "done");
    shows_the_score(&[(1, 105), (0, 200)]);
}

#[test]
fn files_that_lie_there_are_placed_in_order_and_older_ones_found_late_begin_no_attempt() {
    let mut rig = Rig::start("[queue]\nevery_n_epochs = 5\n");
    assert!(rig.stop());
    // Names tell no order, and times a wrong one.
    let name = |epoch: u32| format!("{}.safetensors", char::from(b'a' + (epoch * 7 % 10) as u8));
    for epoch in 0..10u32 {
        let path = rig.save(&name(epoch), epoch, u64::from(epoch) * 10 + 10);
        set_age(&path, 1000 + u64::from(epoch * 3 % 10) * 60);
    }
    rig.restart();
    let rows = settled(&rig, 10);
    let (first, fifth) = (name(0), name(5));
    let stem = |name: &str| name.trim_end_matches(".safetensors").to_owned();
    let mut expected = [(stem(&first), "first"), (stem(&fifth), "every_n")];
    expected.sort_unstable();
    assert_eq!(due(&rows), expected.each_ref().map(|(stem, why)| (stem.as_str(), *why)));
    assert!(rows.iter().all(|(_, row)| row["attempt"] == 0), "{rows:#?}");

    // Equal weights at an epoch are one point, whether they tell a step or not.
    let points = rig.count("points");
    let silent = rig.dir.path().join("silent");
    fs::write(&silent, checkpoint(100, &[("epoch", "9".into())])).unwrap();
    rig.copy(&silent, "last.safetensors");
    let last = whole(&rig, "last.safetensors");
    assert_eq!((&last["attempt"], &last["global_step"]), (&json!(0), &json!(100)), "{last}");
    assert_eq!(rig.count("points"), points);

    // Written before, found only now; then the run resumes.
    let older = rig.dir.path().join("older");
    fs::write(&older, checkpoint(77, &[("epoch", "6".into()), ("global_step", "75".into())])).unwrap();
    set_age(&older, 5000);
    fs::rename(&older, rig.checkpoints().join("older.safetensors")).unwrap();
    assert_eq!(whole(&rig, "older.safetensors")["attempt"], 0);
    let resumed = saved_and_whole(&rig, "resumed.safetensors", 7, 85);
    assert_eq!((&resumed["attempt"], &resumed["due_reason"]), (&json!(1), &json!("first")), "{resumed}");
}

#[test]
fn a_long_epoch_is_probed_by_steps() {
    let mut rig = Rig::start("[queue]\nevery_n_epochs = 5\nevery_n_steps = 500\n");
    assert!(rig.stop());
    for step in (100..=1000).step_by(100) {
        rig.save(&format!("step={step}.safetensors"), 0, step);
    }
    rig.restart();
    let rows = settled(&rig, 10);
    assert_eq!(due(&rows), [("step=100", "first"), ("step=600", "every_n")]);
    let next = saved_and_whole(&rig, "step=1100.safetensors", 0, 1100);
    assert_eq!((&next["due_reason"], &next["attempt"]), (&json!("every_n"), &json!(0)), "{next}");
}

#[test]
fn a_failed_probe_gives_its_slot_back() {
    let rig = Rig::start("[queue]\nevery_n_epochs = 5\nretries = 0\n[probe]\nheads = [\"conv\"]\nfit_steps = 40\n");
    rig.save("epoch-0.safetensors", 0, 1);
    let worker = rig.until_stage("epoch-0.safetensors", "fit");
    kill_process(Pid::from_raw(worker).unwrap(), Signal::KILL).unwrap();
    assert_eq!(rig.until("epoch-0.safetensors", "failed")["reason"], "worker-died");
    for (epoch, why) in [(1, json!("every_n")), (2, json!(null))] {
        let item = saved_and_whole(&rig, &format!("epoch-{epoch}.safetensors"), epoch, u64::from(epoch) + 1);
        assert_eq!(item["due_reason"], why, "{item}");
    }
    rig.until("epoch-1.safetensors", "done");
}
