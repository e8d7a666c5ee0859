//! Troubles of the surroundings: a full disk, a locked database, a replaced program, data that go away, workers that die.
//! The daemon outlives them, tells them, uses up no retry, and goes on by itself.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use clay_probe::worker::protocol::PROTOCOL;
use rustix::process::Signal;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use crate::rig::{Rig, fixture, sample_data, signal};

/// A small file system of its own; detached at the end.
struct Disk<'a>(&'a Path);

impl Disk<'_> {
    const FILL: &'static str = "fill";

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join(Self::FILL)).unwrap();
        let full = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        fs::remove_file(self.0.join(Self::FILL)).unwrap();
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        run(Command::new("umount").arg("--lazy").arg(self.0));
    }
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status} (mounting needs root)");
}

#[test]
#[ignore = "mounts a tmpfs, which needs root"]
fn root_a_full_disk_is_told_and_forgotten_once_it_is_freed() {
    let mut rig = Rig::start("[probe]\nheads = [\"conv\"]\nfit_steps = 30\n");
    assert!(rig.stop());
    let state = rig.state();
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=96m", "tmpfs"]).arg(&state));
    let disk = Disk(&state);
    rig.restart();
    rig.save("epoch=1.safetensors", 1, 10);
    rig.until_stage("epoch=1.safetensors", "fit");

    disk.fill();
    let announce = |n: u32| rig.post("/checkpoints", json!({"path": format!("{}{n}.ckpt", "x/".repeat(1900))}));
    let refused = (0..50).map(announce).find(|(status, _)| *status != 202);
    assert_eq!(refused.unwrap().0, 500);
    assert!(rig.until_problem("cannot-write").contains("clay-probe.db"));
    // The probe ends on the full disk, too.
    rig.wait("its report cannot be written", |rig| {
        rig.log_text().contains("a job could not be put back").then_some(())
    });
    rig.until_problem("cannot-write");

    disk.free();
    let (status, answer) = announce(99);
    assert_eq!(status, 202, "{answer}");
    rig.until("epoch=1.safetensors", "done");
    assert_eq!(rig.count("jobs where kind = 'probe' and state = 'done' and tries = 0"), 1, "{}", rig.log_text());
    rig.until_ready();
}

/// A client of the database beside the daemon.
struct Client(tokio::runtime::Runtime, SqliteConnection);

impl Client {
    fn of(rig: &Rig) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = format!("sqlite://{}", rig.state().join("clay-probe.db").display());
        let connection = runtime.block_on(SqliteConnection::connect(&url)).unwrap();
        Self(runtime, connection)
    }

    fn execute(&mut self, sql: &'static str) {
        self.0.block_on(sqlx::query(sql).execute(&mut self.1)).unwrap();
    }
}

#[test]
fn a_database_that_another_process_holds_while_a_probe_ends() {
    let rig = Rig::start("[probe]\nheads = [\"conv\"]\nfit_steps = 30\n");
    rig.save("epoch=1.safetensors", 1, 10);
    rig.until_stage("epoch=1.safetensors", "fit");
    let mut other = Client::of(&rig);
    other.execute("begin immediate");
    // Longer than the daemon waits for a lock.
    let untold = "what a job gave could not be stored";
    rig.wait("the result cannot be stored", |rig| rig.log_text().contains(untold).then_some(()));
    rig.until_problem("cannot-write");
    assert_eq!(fs::read_dir(rig.state().join("results")).unwrap().count(), 1, "the report is safe on disk");
    other.execute("rollback");

    rig.until("epoch=1.safetensors", "done");
    rig.until_ready();
    let started = rig.log_text().lines().filter(|l| l.contains("kind=probe") && l.contains("worker started")).count();
    assert_eq!((started, rig.count("jobs where kind = 'probe' and tries = 0")), (1, 1), "{}", rig.log_text());
    assert_eq!(fs::read_dir(rig.state().join("results")).unwrap().count(), 0, "it is in the database now");
}

#[test]
fn the_program_is_replaced_under_the_daemon() {
    let mut rig = Rig::start("");
    assert!(rig.stop());
    let copy = rig.dir.path().join("clay-probe");
    // By another process: a file that this one has open for writing cannot be started while it forks.
    run(Command::new("cp").arg(&rig.program).arg(&copy));
    rig.program.clone_from(&copy);
    rig.restart();
    rig.until_ready();
    replace(&copy, "#!/bin/sh\nexit 1\n");
    run(Command::new("chmod").arg("755").arg(&copy));
    rig.save("epoch=1.safetensors", 1, 10);
    rig.until("epoch=1.safetensors", "done");
    assert_eq!(rig.count("jobs where tries > 0"), 0);
}

/// Renames a new file over another, as an installation does.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

/// A daemon on a copy of the sample.
fn with_data_of_its_own() -> (Rig, PathBuf) {
    let mut rig = Rig::start("");
    assert!(rig.stop());
    let data = rig.dir.path().join("data");
    run(Command::new("cp").arg("-r").arg(sample_data()).arg(&data));
    rig.configure(&format!("[probe]\ndata = \"{}\"\n", data.display()));
    rig.restart();
    rig.until_ready();
    (rig, data)
}

#[test]
fn data_that_are_away_are_waited_for() {
    let (rig, data) = with_data_of_its_own();
    let away = data.with_extension("away");
    fs::rename(&data, &away).unwrap();
    rig.save("epoch=1.safetensors", 1, 10);
    let message = rig.until_problem("no-data");
    assert!(message.contains(data.to_str().unwrap()), "{message}");
    rig.wait("it is tried again", |rig| (rig.count("events where change = 'interrupted'") > 1).then_some(()));
    rig.until("epoch=1.safetensors", "queued");
    fs::rename(&away, &data).unwrap();
    rig.until("epoch=1.safetensors", "done");
    rig.until_ready();
    assert_eq!(rig.count("jobs where tries > 0"), 0);
}

#[test]
fn a_chip_that_is_added_begins_a_new_line() {
    let (rig, data) = with_data_of_its_own();
    rig.save("epoch=1.safetensors", 1, 10);
    rig.until("epoch=1.safetensors", "done");
    let before = rig.get("/probes").1["items"][0].clone();
    let event = data.join("sen1floods11-india-2016");
    for file in fs::read_dir(&event).unwrap().map(|entry| entry.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if let Some((start, end)) = name.split_once("y032x006") {
            fs::copy(&file, event.join(format!("{start}y032x007{end}"))).unwrap();
        }
    }
    rig.save("epoch=2.safetensors", 2, 20);
    rig.until("epoch=2.safetensors", "done");
    let ready = rig.until_ready();
    assert_eq!(ready["dataset"]["chips"], 7, "{ready}");
    let (_, series) = rig.get("/probes");
    let (old, new) = (&series["items"][0], &series["items"][1]);
    assert_eq!((&old["state"], &old["reason"], &old["value"]), (&json!("done"), &json!("other-line"), &json!(null)));
    assert!(new["value"].is_number() && new["line"] != before["line"], "{new}");
    assert_eq!(new["dataset_digest"], ready["dataset"]["digest"]);
    assert_eq!(rig.count("jobs where tries > 0"), 0);
}

#[test]
fn workers_that_die_one_after_the_other_burn_no_queue() {
    let rig = Rig::start("[worker]\ncommand = [\"sh\", \"-c\", \"exec sh $CLAY_PROBE_RIG/worker\"]\n");
    let (script, go) = (rig.dir.path().join("worker"), rig.dir.path().join("go"));
    let hello = format!(r#"{{"type":"hello","protocol":{PROTOCOL},"version":"1","host":"h","device":"cpu"}}"#);
    replace(&script, &format!("echo '{hello}'\nuntil [ -e {} ]; do sleep 0.05; done\nexit 1\n", go.display()));
    for epoch in 1..=7 {
        rig.save(&format!("epoch={epoch}.safetensors"), epoch, u64::from(epoch));
    }
    rig.wait("all are queued", |rig| (rig.count("jobs where kind = 'probe'") == 7).then_some(()));
    fs::write(go, "").unwrap();
    let message = rig.until_problem("worker-died");
    assert!(message.contains("exit status: 1"), "{message}");
    rig.wait("it is tried again", |rig| (rig.count("events where change = 'interrupted'") > 1).then_some(()));
    assert_eq!(rig.count("jobs where kind = 'probe' and state in ('queued', 'running')"), 7, "none is burnt");
    assert_eq!(rig.count("events where change = 'retried'"), 4, "the fifth pauses");

    replace(&script, &format!("exec {} worker\n", rig.program.display()));
    for epoch in 1..=7 {
        rig.until(&format!("epoch={epoch}.safetensors"), "done");
    }
    rig.until_ready();
}

#[test]
fn a_restart_beside_a_daemon_that_is_just_killed_waits_for_it() {
    let mut rig = Rig::start("");
    rig.until_ready();
    rig.replace();
    rig.save("epoch=1.safetensors", 1, 10);
    rig.until("epoch=1.safetensors", "done");
}

#[test]
fn a_second_daemon_is_refused_and_touches_nothing() {
    let mut rig = Rig::start("");
    let copy = rig.state().join("pins/.tmp-half");
    fs::write(&copy, "half").unwrap();
    let second =
        Command::new(&rig.program).args(["serve", "--config"]).arg(rig.dir.path().join("config.toml")).output();
    let second = second.unwrap();
    let text = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.code() == Some(1) && text.contains("another clay-probe works on"), "{text}");
    assert!(text.contains("waiting for it to end") && text.contains("store.dir"), "{text}");
    assert!(copy.exists(), "it may be of the first one");
    assert!(rig.stop());
    rig.restart();
    assert!(!copy.exists(), "nobody writes it any more");
}

#[test]
fn requests_that_are_half_sent_delay_no_end() {
    let mut rig = Rig::start("");
    rig.until_ready();
    let mut open = Vec::new();
    for half in [
        "POST /checkpoints HTTP/1.1\r\nHos",
        "POST /checkpoints HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: \
         application/json\r\nContent-Length: 100\r\n\r\n{\"path\"",
        "GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(&rig.addr).unwrap();
        stream.write_all(half.as_bytes()).unwrap();
        open.push(stream);
    }
    let mut answer = [0; 12];
    open[2].read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let since = Instant::now();
    assert!(rig.stop(), "{}", rig.log_text());
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn a_worker_that_hears_nothing_ends_itself() {
    let rig = Rig::start("[worker]\nlease = \"2s\"\n[probe]\nfit_steps = 100000\n");
    rig.save("epoch=1.safetensors", 1, 10);
    let worker = rig.until_stage("epoch=1.safetensors", "fit");
    rig.signal(Signal::STOP);
    rig.wait("the worker ends itself", |_| is_over(worker).then_some(()));
    rig.signal(Signal::CONT);
    rig.wait("it is tried again", |rig| (rig.count("jobs where kind = 'probe' and tries = 1") == 1).then_some(()));
    let next = rig.until_stage("epoch=1.safetensors", "fit");
    // A stopped worker is silent: the daemon ends it.
    signal(next, Signal::STOP);
    rig.wait("the lease is over", |rig| (rig.count("events where reason = 'lease'") == 1).then_some(()));
    assert!(is_over(next));
}

/// Whether a process is gone, or only waits to be reaped.
fn is_over(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// What the daemon says as it refuses to start.
fn refusal(rig: &Rig) -> String {
    let output =
        Command::new(&rig.program).args(["serve", "--config"]).arg(rig.dir.path().join("config.toml")).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

#[test]
fn a_database_of_an_earlier_package_is_refused_by_name() {
    let mut rig = Rig::start("");
    assert!(rig.stop());
    Client::of(&rig).execute("update _sqlx_migrations set checksum = x'00'");
    let text = refusal(&rig);
    assert!(text.contains("clay-probe.db") && text.contains("was never released"), "{text}");
    assert!(text.contains("hint: move it away"), "{text}");

    // The schema that the package before this one wrote.
    let file = rig.state().join("clay-probe.db");
    fs::remove_file(&file).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let migrations = sqlx::migrate::Migrator::new(fixture("database/first")).await.unwrap();
        let url = format!("sqlite://{}?mode=rwc", file.display());
        migrations.run(&mut SqliteConnection::connect(&url).await.unwrap()).await.unwrap();
    });
    let text = refusal(&rig);
    assert!(text.contains("was written by clay-probe 0.1.0 of 2026-11-24, which kept one score"), "{text}");
    assert!(text.contains("hint: move it away, or give this daemon another `store.dir`"), "{text}");
    assert!(file.exists(), "it is left as it is");
}
