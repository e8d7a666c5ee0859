//! The service as a trainer meets it: files appear, are posted, vanish; the daemon dies and comes back.

use std::{fs, thread, time::Duration};

use serde_json::json;

use crate::rig::{Rig, golden};

#[test]
fn two_checkpoints_give_two_probes_and_posting_again_gives_no_more() {
    let rig = Rig::start("");
    for (n, name) in ["d16h2-newtorch", "d24h3-full"].into_iter().enumerate() {
        rig.copy(&golden(name), &format!("{name}.ckpt"));
        let done = rig.until(&format!("{name}.ckpt"), "done");
        assert_eq!(done["epoch"], 1, "{done}");
        // Both say epoch 1, step 4: other weights at the same step are a new attempt.
        assert_eq!(done["attempt"], n, "{done}");
    }
    let (status, probe) = rig.get("/probes/1");
    assert_eq!((status, &probe["state"]), (200, &json!("done")), "{probe}");
    assert_eq!(probe["others"].as_array().unwrap().len(), 1, "{probe}");
    for metric in ["iou", "dice", "f1", "precision", "recall", "loss"] {
        let summary = &probe["summary"][metric];
        assert_eq!(summary["n"], 3, "{metric}: {summary}");
        assert!(summary["mean"].is_number(), "{metric}: {summary}");
    }
    let (status, posted) = rig.post_file(&rig.checkpoints().join("d24h3-full.ckpt"));
    assert_eq!((status, &posted["state"]), (200, &json!("done")), "{posted}");
    thread::sleep(Duration::from_secs(1));
    assert_eq!(rig.all_checkpoints().len(), 2);
    assert_eq!(rig.count("jobs where kind = 'probe'"), 2);
    let (status, series) = rig.get("/probes?metric=iou");
    assert_eq!((status, series["items"].as_array().unwrap().len()), (200, 1), "{series}");
    assert_eq!(series["items"][0]["n_seeds"], 3, "{series}");
    let (status, curves) = rig.get("/probes/1/curves");
    assert_eq!(status, 200, "{curves}");
    let (status, ready) = rig.get("/readyz");
    assert_eq!((status, &ready["device"]), (200, &json!("cpu")), "{ready}");
    pictures(&rig, probe["dataset_digest"].as_str().unwrap());
}

fn pictures(rig: &Rig, dataset: &str) {
    let (status, chips) = rig.get(&format!("/datasets/{dataset}/chips"));
    assert_eq!(status, 200, "{chips}");
    let chips = chips["items"].as_array().unwrap();
    assert_eq!(chips.len(), 6, "two of the eight chips of the sample are marked test");
    let stem = chips[0]["source_url"].as_str().unwrap();
    for layer in ["rgb", "sar", "label", "prediction"] {
        let (status, png) = rig.get_bytes(&format!("/probes/1/chips/{stem}.png?layer={layer}"));
        assert_eq!((status, &png[..8]), (200, b"\x89PNG\r\n\x1a\n".as_slice()), "{layer}");
    }
}

#[test]
fn kill_9_in_the_middle_of_a_probe_and_a_restart_give_it_once() {
    let mut rig = Rig::start("[probe]\nheads = [\"conv\"]\nfit_steps = 40\n");
    rig.save("epoch=3.ckpt.safetensors", 3, 30);
    rig.until_stage("epoch=3.ckpt.safetensors", "fit");
    rig.kill();
    rig.restart();
    rig.until("epoch=3.ckpt.safetensors", "done");
    let (_, probe) = rig.get("/probes/3");
    assert_eq!(probe["fits"].as_array().unwrap().len(), 6, "3 seeds on 2 folds");
    assert_eq!((rig.count("jobs where kind = 'probe'"), rig.count("results"), rig.count("checkpoints")), (1, 1, 1));
    assert_eq!(rig.count("jobs where kind = 'probe' and tries = 0 and restarts = 1"), 1, "no retry was used up");
}

#[test]
fn a_clean_stop_goes_on_where_it_was() {
    let mut rig = Rig::start("[probe]\nheads = [\"conv\"]\nfit_steps = 40\n");
    rig.save("epoch=0.safetensors", 0, 1);
    rig.until("epoch=0.safetensors", "probing");
    assert!(rig.stop(), "SIGTERM ends with success\n{}", rig.log_text());
    rig.restart();
    rig.until("epoch=0.safetensors", "done");
    assert_eq!(rig.count("jobs where kind = 'probe' and restarts = 0 and tries = 0"), 1);
}

#[test]
fn what_waits_is_probed_as_it_is_configured_after_a_change() {
    let mut rig = Rig::start("[probe]\nheads = [\"conv\"]\nfit_steps = 40\n");
    rig.save("epoch=0.safetensors", 0, 1);
    rig.until("epoch=0.safetensors", "probing");
    assert!(rig.stop());
    rig.configure("[probe]\nheads = [\"conv\"]\nfit_steps = 2\n");
    rig.restart();
    rig.until("epoch=0.safetensors", "done");
    let (_, curves) = rig.get("/probes/0/curves");
    assert_eq!(
        curves["curves"][0]["curve"].as_array().unwrap().len(),
        4,
        "both sides after each of two steps: {curves}"
    );
}

#[test]
fn a_worker_that_dies_is_tried_again() {
    let rig = Rig::start("[probe]\nheads = [\"conv\"]\nfit_steps = 40\n");
    rig.save("epoch=0.safetensors", 0, 1);
    let worker = rig.until_stage("epoch=0.safetensors", "fit");
    rustix::process::kill_process(rustix::process::Pid::from_raw(worker).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    rig.until("epoch=0.safetensors", "done");
    assert_eq!(rig.count("jobs where kind = 'probe' and tries = 1"), 1, "{}", rig.log_text());
}

#[test]
fn bad_files_are_refused_by_name_and_the_next_is_probed() {
    let rig = Rig::start("[intake]\ngive_up = \"1500ms\"\n");
    let sound = fs::read(golden("d16h2-newtorch")).unwrap();
    fs::write(rig.checkpoints().join("epoch-1.ckpt"), &sound[..sound.len() / 2]).unwrap();
    fs::write(rig.checkpoints().join("epoch-2.ckpt"), "<html>no such bucket</html>").unwrap();
    fs::write(rig.checkpoints().join("epoch-3.ckpt"), "").unwrap();
    let expected =
        [("epoch-1.ckpt", "truncated"), ("epoch-2.ckpt", "not-a-checkpoint"), ("epoch-3.ckpt", "not-a-checkpoint")];
    for (name, reason) in expected {
        let refused = rig.until(name, "rejected");
        assert_eq!(refused["reason"], reason, "{refused}");
        assert!(refused["message"].as_str().unwrap().contains(name), "{refused}");
    }
    rig.save("epoch-4.safetensors", 4, 40);
    rig.until("epoch-4.safetensors", "done");
    assert_eq!(rig.get("/livez").0, 200);
}

#[test]
fn a_half_written_file_is_read_when_it_is_whole() {
    let rig = Rig::start("");
    let sound = fs::read(golden("d16h2-newtorch")).unwrap();
    let path = rig.checkpoints().join("mae_epoch-01_val-loss-1.01.ckpt");
    fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    let waiting =
        rig.wait("the half is noticed", |rig| rig.all_checkpoints().into_iter().find(|c| c["reason"] == "truncated"));
    assert_eq!(waiting["state"], "settling", "{waiting}");
    fs::write(&path, &sound).unwrap();
    rig.until("mae_epoch-01_val-loss-1.01.ckpt", "done");
    assert_eq!(rig.count("checkpoints"), 1);
}

#[test]
fn posts_before_the_file_outside_the_roots_and_against_what_is_known() {
    let rig = Rig::start("[intake]\nwatch = \"poll\"\ngive_up = \"3s\"\n");
    let path = rig.checkpoints().join("later/epoch=7.safetensors");
    let (status, answer) =
        rig.post("/checkpoints", json!({"path": path, "run": "exp 1", "context": {"train_loss": 0.25}}));
    assert_eq!((status, &answer["state"], &answer["due"]), (202, &json!("seen"), &json!(null)), "{answer}");
    rig.save("later/epoch=7.safetensors", 7, 70);
    let done = rig.until("later/epoch=7.safetensors", "done");
    assert_eq!((&done["run"], &done["context"]["train_loss"]), (&json!("exp 1"), &json!(0.25)), "{done}");

    assert_eq!(rig.post("/checkpoints", json!({"path": "/etc/passwd.ckpt"})).0, 403);
    assert_eq!(rig.post("/checkpoints", json!({"path": path, "epoch": 8})).0, 409);
    assert_eq!(rig.post("/checkpoints", json!({"path": path, "epoch": 7, "run": "exp 1"})).0, 200);
    assert_eq!(rig.post("/checkpoints", json!({"path": path, "nonsense": 8})).0, 422);

    let (status, _) = rig.post("/checkpoints", json!({"path": "never.ckpt"}));
    assert_eq!(status, 202);
    assert_eq!(rig.until("never.ckpt", "vanished")["reason"], "missing");
}

#[test]
fn a_checkpoint_without_an_epoch_is_refused_until_it_is_posted() {
    let rig = Rig::start("");
    let path = rig.save("weights.safetensors", 0, 5);
    // Without metadata, as somebody's export.
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Map<_, _> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    header.remove("__metadata__");
    let header = serde_json::to_vec(&header).unwrap();
    let plain = [&(header.len() as u64).to_le_bytes()[..], &header, &bytes[8 + length..]].concat();
    fs::remove_file(&path).unwrap();
    let path = rig.checkpoints().join("export.safetensors");
    fs::write(&path, plain).unwrap();
    assert_eq!(rig.until("export.safetensors", "rejected")["reason"], "no-epoch");
    let (status, answer) = rig.post("/checkpoints", json!({"path": path, "epoch": 12}));
    assert_eq!(status, 202, "{answer}");
    assert_eq!(rig.until("export.safetensors", "done")["epoch"], 12);
}

#[test]
fn every_fifth_epoch_and_the_last_are_probed_and_the_rest_says_why_not() {
    let rig = Rig::start("[queue]\nevery_n_epochs = 5\n");
    for epoch in 0..=6 {
        rig.save(&format!("epoch-{epoch:02}.safetensors"), epoch, u64::from(epoch) * 10 + 1);
        rig.wait("it is whole", |rig| {
            let all = rig.all_checkpoints();
            let last = all.last()?;
            (last["epoch"] == epoch && last["state"] != "settling").then_some(())
        });
    }
    for (epoch, state) in [(0, "done"), (1, "skipped"), (4, "skipped"), (5, "done"), (6, "held")] {
        let item = rig.until(&format!("epoch-{epoch:02}.safetensors"), state);
        let why = match state {
            "skipped" => json!("not-due"),
            "held" => json!("not-due-yet"),
            _ => json!(null),
        };
        assert_eq!(item["reason"], why, "{item}");
    }
    let (status, _) = rig.post("/runs/default/finish", json!({}));
    assert!((200..300).contains(&status), "{status}");
    rig.until("epoch-06.safetensors", "done");
    let (status, answer) = rig.post("/checkpoints", json!({"path": "epoch-02.safetensors", "force": true}));
    assert_eq!((status, &answer["due_reason"]), (202, &json!("forced")), "{answer}");
    rig.until("epoch-02.safetensors", "done");
    let (_, runs) = rig.get("/runs");
    assert_eq!(runs["items"].as_array().unwrap().len(), 1, "{runs}");
}

#[test]
fn equal_weights_are_computed_once() {
    let rig = Rig::start("");
    let path = rig.save("a/epoch-1.safetensors", 1, 10);
    rig.until("a/epoch-1.safetensors", "done");
    rig.copy(&path, "a/last.safetensors");
    rig.copy(&path, "b/epoch-1.safetensors");
    rig.until("a/last.safetensors", "done");
    rig.until("b/epoch-1.safetensors", "done");
    assert_eq!(rig.count("results"), 1);
    assert_eq!(rig.count("jobs where kind = 'probe'"), 2, "one per run: a copy in the same run is the same point");
    let (_, probe) = rig.get("/probes/1?run=b");
    assert_eq!(probe["weights_digest"], rig.get("/probes/1?run=a").1["weights_digest"]);
}

#[test]
fn cancelling_ends_the_job() {
    let rig = Rig::start("[probe]\nfit_steps = 100000\n");
    rig.save("epoch-1.safetensors", 1, 10);
    let probing = rig.until("epoch-1.safetensors", "probing");
    rig.wait("a worker computes", |rig| (!rig.workers().is_empty()).then_some(()));
    assert!((200..300).contains(&rig.delete(&format!("/checkpoints/{}", probing["id"]))));
    rig.until("epoch-1.safetensors", "cancelled");
    rig.wait("its worker is gone", |rig| rig.workers().is_empty().then_some(()));
}
