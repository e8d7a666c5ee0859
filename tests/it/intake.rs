//! Files as trainers write them: gone soon, written again under the same name, away for a moment, posted wrongly.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use clay_probe::probe::weights::{Options, inspect};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    rig::{Rig, checkpoint, golden},
    unpickle::torch_save::{Save, text},
};

/// A worker that was stopped in the middle of its work; it ends with the test.
struct Hung(Pid);

impl Drop for Hung {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Stops a worker that makes a pin. No probe may run meanwhile.
fn hang_a_pin(rig: &Rig) -> Hung {
    for n in 0..20 {
        rig.save(&format!("hung/{n}.safetensors"), 0, 1000 + n);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            let of = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // Before its `exec` a child is still called as the daemon is.
            let Some(pid) = rig.workers().into_iter().find(|pid| of(pid).ends_with(b"worker\0")) else { continue };
            let hung = Hung(Pid::from_raw(pid).unwrap());
            kill_process(hung.0, Signal::STOP).unwrap();
            // It may have said that it was done the moment before.
            thread::sleep(Duration::from_millis(500));
            if rig.count("jobs where kind = 'pin' and state = 'running'") == 1 {
                return hung;
            }
        }
    }
    panic!("no pin could be stopped in its middle\n{}", rig.log_text());
}

#[test]
fn what_is_deleted_soon_is_pinned_while_another_pin_hangs() {
    let rig = Rig::start(
        "[intake]\nsettle = \"300ms\"\n[queue]\nevery_n_epochs = 1000\n[worker]\nlease = \"5m\"\n[store]\nkeep_last = 100\n",
    );
    for run in ["", "hung/"] {
        rig.save(&format!("{run}epoch-0.safetensors"), 0, 0);
        rig.until(&format!("{run}epoch-0.safetensors"), "done");
    }
    let _hung = hang_a_pin(&rig);
    thread::scope(|scope| {
        for n in 1..=5u32 {
            let rig = &rig;
            scope.spawn(move || {
                thread::sleep(Duration::from_millis(900) * n);
                let path = rig.save(&format!("epoch-{n}.safetensors"), n, u64::from(n));
                thread::sleep(Duration::from_millis(2500));
                fs::remove_file(path).unwrap();
            });
        }
    });
    for n in 1..=5 {
        let name = format!("/epoch-{n}.safetensors");
        let item = rig.wait("it has a point", |rig| newest(rig, &name).filter(|item| item["whole_at"].is_string()));
        assert_eq!(item["epoch"], n, "{item}");
        let pin = format!("pins/{}.safetensors", item["weights_digest"].as_str().unwrap());
        assert!(rig.state().join(&pin).is_file(), "{pin} is not there\n{item}");
    }
    assert_eq!(rig.count("jobs where kind = 'pin' and state = 'running'"), 1, "it still hangs\n{}", rig.log_text());
}

/// The newest checkpoint of that name.
fn newest(rig: &Rig, name: &str) -> Option<Value> {
    all(rig, name).pop()
}

/// All rows of a path, oldest first.
fn all(rig: &Rig, name: &str) -> Vec<Value> {
    let mut rows = rig.all_checkpoints();
    rows.retain(|row| row["path"].as_str().unwrap().ends_with(name));
    rows
}

/// What a trainer's epoch leaves at its path: larger each time, and silent about what it is.
fn content(epoch: u32) -> Vec<u8> {
    checkpoint(u64::from(epoch) + 1, &[("note", "x".repeat(64 * epoch as usize))])
}

fn weights_of(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    inspect(file.path(), &Options::default()).weights_digest.unwrap().to_string()
}

fn write(path: &Path, bytes: &[u8], in_place: bool) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let there = if in_place { path.to_path_buf() } else { path.with_extension("part") };
    fs::write(&there, bytes).unwrap();
    fs::rename(there, path).unwrap();
}

/// Posts an epoch with its loss, as a trainer does; returns the status and the row's id.
fn announce(rig: &Rig, path: &Path, epoch: u32) -> (u16, i64) {
    let (status, answer) = rig.post(
        "/checkpoints",
        json!({"path": path, "epoch": epoch, "context": {"train_loss": 1.0 / f64::from(epoch + 1)}}),
    );
    (status, answer["id"].as_i64().unwrap_or_else(|| panic!("{answer}\n{}", rig.log_text())))
}

/// The row of an epoch with its own weights and its own loss.
fn assert_own(row: &Value, epoch: u32) {
    assert_eq!(row["epoch"], epoch, "{row}");
    assert_eq!(row["context"], json!({"train_loss": 1.0 / f64::from(epoch + 1)}), "{row}");
    assert_eq!(row["weights_digest"], weights_of(&content(epoch)), "{row}");
}

#[test]
fn a_path_used_again_keeps_each_epoch_with_its_weights_and_its_loss() {
    let rig = Rig::start("[intake]\nsettle = \"700ms\"\n[queue]\nevery_n_epochs = 100\n");
    for (name, in_place) in [("renamed/last.ckpt", false), ("in-place/last.ckpt", true)] {
        let path = rig.checkpoints().join(name);
        for epoch in 0..3 {
            write(&path, &content(epoch), in_place);
            let (status, id) = announce(&rig, &path, epoch);
            assert_eq!(status, 202, "{name} of epoch {epoch}");
            rig.wait("it has a point", |rig| {
                rig.get(&format!("/checkpoints/{id}")).1["whole_at"].is_string().then_some(())
            });
        }
        let rows = all(&rig, name);
        assert_eq!(rows.len(), 3, "{rows:#?}");
        (0..).zip(&rows).for_each(|(epoch, row)| assert_own(row, epoch));
    }
}

#[test]
fn what_is_overwritten_before_it_was_read_is_vanished_and_lends_nothing_to_the_next() {
    let rig = Rig::start("[intake]\nsettle = \"1500ms\"\n[queue]\nevery_n_epochs = 100\n");
    for (name, in_place, noted) in
        [("renamed/last.ckpt", false, false), ("in-place/last.ckpt", true, false), ("grown/last.ckpt", true, true)]
    {
        let path = rig.checkpoints().join(name);
        for epoch in 0..3 {
            write(&path, &content(epoch), in_place);
            if noted {
                // A file that grew may be the same content, written further: until it is posted as another.
                let size = content(epoch).len();
                rig.wait("its size is noted", |rig| newest(rig, name).filter(|row| row["size"] == size));
            }
            assert_eq!(announce(&rig, &path, epoch).0, 202, "{name} of epoch {epoch}");
        }
        let last = rig.wait("the last has a point", |rig| newest(rig, name).filter(|row| row["whole_at"].is_string()));
        assert_own(&last, 2);
        let rows = all(&rig, name);
        assert_eq!(rows.len(), 3, "{rows:#?}");
        for row in &rows[..2] {
            assert_eq!((&row["state"], &row["reason"]), (&json!("vanished"), &json!("overwritten")), "{row}");
            assert_eq!(row["weights_digest"], json!(null), "{row}");
        }
    }
}

#[test]
fn a_path_that_is_away_for_a_moment_keeps_its_announcement() {
    let rig = Rig::start("[intake]\nsettle = \"700ms\"\ngive_up = \"4s\"\n[queue]\nevery_n_epochs = 100\n");
    let path = rig.checkpoints().join("last.ckpt");
    let is_whole = |row: &Value| row["whole_at"].is_string();
    write(&path, &content(0), false);
    announce(&rig, &path, 0);
    rig.wait("epoch 0 has a point", |rig| newest(rig, "last.ckpt").filter(is_whole));
    // Lightning 2.6 removes, then writes.
    fs::remove_file(&path).unwrap();
    let (status, id) = announce(&rig, &path, 1);
    assert_eq!((status, &newest(&rig, "last.ckpt").unwrap()["state"]), (202, &json!("seen")));
    write(&path, &content(1), true);
    rig.wait("epoch 1 has a point", |rig| newest(rig, "last.ckpt").filter(is_whole));
    let rows = all(&rig, "last.ckpt");
    assert_eq!((rows.len(), rows[1]["id"].as_i64()), (2, Some(id)), "{rows:#?}");
    (0..).zip(&rows).for_each(|(epoch, row)| assert_own(row, epoch));

    // Posted while it was there, away before it was read; what comes then was never posted.
    let moment = rig.checkpoints().join("moment-epoch-7.ckpt");
    write(&moment, &content(5), false);
    assert_eq!(announce(&rig, &moment, 5).0, 202);
    fs::remove_file(&moment).unwrap();
    rig.until("moment-epoch-7.ckpt", "seen");
    write(&moment, &content(7), false);
    let row = rig.wait("its content has a point", |rig| newest(rig, "moment-epoch-7.ckpt").filter(is_whole));
    assert_eq!((&row["epoch"], &row["context"]), (&json!(7), &json!({})), "{row}");
    assert_eq!(all(&rig, "moment-epoch-7.ckpt")[0]["reason"], "overwritten");

    // Announced, and nothing ever comes; and there for a moment, and never again.
    fs::remove_file(&path).unwrap();
    assert_eq!(announce(&rig, &path, 2).0, 202);
    let gone = rig.checkpoints().join("gone.ckpt");
    write(&gone, &content(3), false);
    assert_eq!(announce(&rig, &gone, 3).0, 202);
    fs::remove_file(&gone).unwrap();
    for name in ["last.ckpt", "gone.ckpt"] {
        assert_eq!(rig.until(name, "vanished")["reason"], "missing");
    }
}

#[test]
fn a_post_against_the_file_is_refused_once_the_file_is_read() {
    let rig = Rig::start("[intake]\nsettle = \"700ms\"\n");
    let path = rig.save("epoch-4.safetensors", 4, 40);
    let wrong = json!({"path": path, "epoch": 5});
    assert_eq!(rig.post("/checkpoints", wrong.clone()).0, 202, "it is not read yet");
    assert_eq!(rig.until("epoch-4.safetensors", "rejected")["reason"], "contradicts-post");
    let (status, problem) = rig.post("/checkpoints", wrong);
    assert_eq!(status, 409, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("`epoch` was posted as `5`, but is `4`"), "{problem}");
    let right = json!({"path": path, "epoch": 4, "context": {"lr": 0.1}});
    assert_eq!(rig.post("/checkpoints", right.clone()).0, 202);
    let done = rig.until("epoch-4.safetensors", "done");
    assert_eq!((&done["epoch"], &done["context"]["lr"]), (&json!(4), &json!(0.1)), "{done}");
    for (fact, other) in
        [("run", json!("another")), ("attempt", json!(1)), ("epoch", json!(5)), ("global_step", json!(41))]
    {
        let (status, problem) = rig.post("/checkpoints", json!({"path": path, fact: other}));
        assert_eq!(status, 409, "{fact}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(fact), "{problem}");
    }
    assert_eq!(rig.post("/checkpoints", right).0, 200);
    assert_eq!((rig.count("checkpoints"), rig.count("jobs where kind = 'probe'")), (1, 1));
}

#[test]
fn a_stray_file_does_not_hide_the_run_that_has_scores() {
    let rig = Rig::start("");
    rig.save("epoch-0.safetensors", 0, 1);
    rig.until("epoch-0.safetensors", "done");
    let stray = rig.checkpoints().join("stray/epoch-9.ckpt");
    write(&stray, b"<html>no such bucket</html>", false);
    rig.until("stray/epoch-9.ckpt", "rejected");
    let (_, series) = rig.get("/probes");
    assert_eq!((&series["items"][0]["run"], &series["items"][0]["epoch"]), (&json!("default"), &json!(0)), "{series}");
    assert!(series["items"][0]["value"].is_number(), "{series}");
    let (status, latest) = rig.get("/probes/latest");
    assert_eq!((status, &latest["run"], &latest["state"]), (200, &json!("default"), &json!("done")), "{latest}");
    let (_, runs) = rig.get("/runs");
    let names: Vec<_> = runs["items"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect();
    assert_eq!(names, ["stray", "default"]);
}

#[test]
fn a_name_that_is_not_utf8_is_refused_once() {
    let mut rig = Rig::start("");
    fs::write(rig.checkpoints().join(OsStr::from_bytes(b"epoch-1-\xff.ckpt")), content(1)).unwrap();
    let refused = rig.until(r"epoch-1-\xff.ckpt", "rejected");
    assert_eq!(refused["reason"], "name-not-utf8", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("rename it"), "{refused}");
    assert!(rig.stop());
    rig.restart();
    rig.save("epoch-2.safetensors", 2, 2);
    rig.until("epoch-2.safetensors", "done");
    assert_eq!((rig.count("checkpoints"), rig.count("events where reason = 'name-not-utf8'")), (2, 1));
}

#[test]
fn a_checkpoint_with_more_hyper_parameters_than_a_line_holds_is_probed() {
    let rig = Rig::start("");
    let mut save = Save::like(&golden("d16h2-newtorch"));
    let dict = |items: Vec<u8>| [b"}(".to_vec(), items, b"u".to_vec()].concat();
    let chips = |side: &str| {
        let chip = |n| [text(&format!("{side} {n}")), text(&"x".repeat(1000))].concat();
        [text(side), dict((0..1000).flat_map(chip).collect())].concat()
    };
    save.extra.extend([text("hyper_parameters"), dict([chips("train"), chips("test")].concat())].concat());
    assert!(save.pickle().len() > 2_000_000);
    fs::write(rig.checkpoints().join("epoch-1.ckpt"), save.bytes()).unwrap();
    let done = rig.until("epoch-1.ckpt", "done");
    assert!(done["about"].to_string().len() < 100_000, "{} bytes", done["about"].to_string().len());
    assert_eq!(done["about"]["file"]["lightning_version"], "2.1.4", "what is small is kept: {}", done["about"]);
}
