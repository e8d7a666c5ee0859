//! What the folder of state holds: its bound, and runs that are removed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::rig::Rig;

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn bytes(folder: &Path) -> u64 {
    files(folder).iter().map(|file| fs::metadata(file).unwrap().len()).sum()
}

/// Predictions drawn, by computation, the most first.
fn pictures(rig: &Rig) -> Vec<usize> {
    let folders = fs::read_dir(rig.state().join("pictures")).unwrap().map(|entry| entry.unwrap().path());
    let mut counts: Vec<usize> = folders.map(|folder| files(&folder).len()).collect();
    counts.sort_by_key(|count| std::cmp::Reverse(*count));
    counts
}

#[test]
fn the_folder_is_bounded_and_nothing_is_lost() {
    let mut rig = Rig::start("[store]\nkeep_last = 1\nkeep_best = 1\n[probe]\nheads = [\"conv\"]\n");
    let (name, state) = (|epoch: u32| format!("epoch={epoch}.safetensors"), rig.state());
    let save = |rig: &Rig, epoch: u32| rig.save(&name(epoch), epoch, u64::from(epoch) * 10);
    for epoch in 1..=4 {
        save(&rig, epoch);
        rig.until(&name(epoch), "done");
    }
    rig.wait("spare pins go", |_| (files(&state.join("pins")).len() <= 2).then_some(()));
    assert_eq!(pictures(&rig), [6, 6, 6, 6]);
    assert!(rig.stop());

    // What is left when the caches go, and what the journal of the database takes.
    let kept = bytes(&state) - bytes(&state.join("cache"));
    let room = 7_000_000;
    assert!(bytes(&state) > kept + room, "{} bytes of caches", bytes(&state.join("cache")));
    rig.configure(&format!("[store]\nmax_bytes = \"{}\"\n", kept + room));
    rig.restart();
    rig.until_ready();
    rig.wait("caches go", |_| (bytes(&state) <= kept + room).then_some(()));
    assert_eq!(pictures(&rig), [6, 6, 6, 6], "caches were enough");
    rig.configure("[probe]\nheads = [\"conv\"]\nfit_steps = 30\n");
    assert!(rig.stop());
    rig.restart();
    let file = save(&rig, 5);
    rig.until_stage(&name(5), "fit");
    assert!(rig.stop());

    // Its copy is all that is left of it.
    fs::remove_file(file).unwrap();
    rig.configure("[store]\nmax_bytes = \"10kB\"\n");
    rig.restart();
    assert!(rig.until_problem("no-space").contains("store.max_bytes"));
    save(&rig, 6);
    let waiting = rig.wait("it waits", |rig| Some(rig.until(&name(6), "settling")).filter(|c| !c["reason"].is_null()));
    assert_eq!(waiting["reason"], "no-space", "{waiting}");
    let (status, posted) = rig.post("/checkpoints", json!({"path": name(6)}));
    assert_eq!(status, 202, "{posted}");
    rig.until(&name(5), "done");
    rig.wait("caches and spare pictures go", |rig| {
        (files(&state.join("cache")).is_empty() && pictures(rig).last() == Some(&5)).then_some(())
    });
    assert_eq!(pictures(&rig)[0], 6, "the newest and the best keep theirs");
    let waiting = rig.until(&name(6), "settling");
    assert_eq!((&waiting["reason"], &waiting["tries"]), (&json!("no-space"), &json!(0)));
    assert!(rig.stop());

    rig.configure("[store]\nmax_bytes = \"50GB\"\n");
    rig.restart();
    rig.until(&name(6), "done");
    rig.until_ready();
    assert_eq!(rig.count("jobs where state <> 'done'"), 0, "nothing failed");
}

#[test]
fn a_removed_run_is_gone_with_its_files() {
    let rig = Rig::start("[probe]\nheads = [\"conv\"]\nfit_steps = 30\n");
    let shared = rig.save("a/epoch=1.safetensors", 1, 10);
    rig.until("a/epoch=1.safetensors", "done");
    rig.copy(&shared, "b/epoch=1.safetensors");
    rig.until("b/epoch=1.safetensors", "done");
    rig.save("a/epoch=2.safetensors", 2, 20);
    rig.until("a/epoch=2.safetensors", "done");
    rig.save("a/epoch=3.safetensors", 3, 30);
    let running = rig.until("a/epoch=3.safetensors", "probing");
    let worker = rig.until_stage("a/epoch=3.safetensors", "fit");
    assert_eq!((files(&rig.state().join("pins")).len(), pictures(&rig)), (3, vec![6, 6]));
    let newest = rig.all_checkpoints().last().unwrap()["id"].as_i64().unwrap();

    assert_eq!(rig.delete("/runs/a"), 204);
    assert_eq!((rig.delete("/runs/a"), rig.get("/probes?run=a").0), (404, 404));
    rig.wait("its worker is ended", |rig| (!rig.workers().contains(&worker)).then_some(()));
    rig.wait("its files are gone", |rig| {
        (files(&rig.state().join("pins")).len() == 1 && pictures(rig) == [6]).then_some(())
    });
    for (rows, left) in [
        ("runs", 1),
        ("checkpoints", 1),
        ("points", 1),
        ("results", 1),
        ("heads", 1),
        ("summaries", 16),
        ("event_scores", 6),
        ("scores", 1),
        ("lines", 1),
    ] {
        assert_eq!(rig.count(rows), left, "{rows}");
    }
    assert_eq!(rig.count("jobs where kind <> 'scan'"), 2, "the pin and the probe of the other run");
    assert_eq!(rig.count("events where run_id is not null and run_id <> (select id from runs)"), 0);
    assert_eq!(rig.get("/probes/1?run=b").1["state"], "done", "what it shared stays");
    assert!(shared.exists(), "the trainer's files stay");

    // The service goes on, and no number is given a second time.
    rig.save("b/epoch=3.safetensors", 3, 30);
    let next = rig.until("b/epoch=3.safetensors", "done");
    assert!(next["id"].as_i64() > Some(newest), "{next}");
    assert!(next["job_id"].as_i64() > running["job_id"].as_i64(), "{next}");
    assert_eq!(rig.count("jobs where tries > 0"), 0);
}
