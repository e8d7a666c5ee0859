//! The supervisor against workers that are a few lines of shell.

use std::{
    io::Write,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    config::{self, Config},
    domain::JobKind,
    worker::jobs::{Machine, Place},
};

/// A job whose worker is a script; its output is a text.
#[derive(Serialize, Deserialize)]
struct Script {
    text: String,
}

impl Job for Script {
    const KIND: JobKind = JobKind::Probe;
    const PRIORITY: u8 = 0;
    const PLACE: Place = Place::Launcher;
    type Output = String;

    fn work(&self, _: &Machine, _: &mut dyn FnMut(Progress)) -> Result<String, Failure> {
        unreachable!("a script does it")
    }
}

const HELLO: &str = r#"echo '{"type":"hello","protocol":4,"version":"1","host":"h","device":"cpu"}'; "#;
const FINISH: &str = r#"echo '{"type":"finished","job":7,"try":1,"output":"well"}'"#;

fn supervisor(script: &str, change: impl FnOnce(&mut config::Worker)) -> Supervisor {
    let mut config = Config::load(None, &[]).unwrap().worker;
    config.command = ["sh", "-c", script].map(str::to_owned).to_vec();
    change(&mut config);
    Supervisor::new(Launcher::new(config, Path::new("/store")).unwrap(), CancellationToken::new())
}

async fn run_for(time: Duration, supervisor: &Supervisor) -> (Result<String, Failure>, Vec<Stage>) {
    let (job, mut stages) = (Script { text: "ü".to_owned() }, Vec::new());
    let of = RunOf { job: JobId(7), try_: 1, timeout: time };
    let output = supervisor.run(&job, of, &CancellationToken::new(), |progress| stages.push(progress.stage)).await;
    (output, stages)
}

async fn run(script: &str) -> Result<String, Failure> {
    run_for(Duration::from_secs(60), &supervisor(script, |_| {})).await.0
}

fn failed(output: Result<String, Failure>) -> (Reason, Fault, String) {
    let failure = output.unwrap_err();
    (failure.reason, failure.fault, failure.message)
}

#[tokio::test]
async fn the_output_is_what_the_worker_gives() {
    // What is of another try does not count.
    let script = r#"echo '{"type":"finished","job":7,"try":2,"output":"other"}'
        head -n 1 | sed 's/.*"text":\("[^"]*"\).*/{"type":"finished","job":7,"try":1,"output":\1}/'"#;
    let script = format!("{HELLO} {script}");
    assert_eq!(run(&script).await.unwrap(), "ü");
}

#[tokio::test]
async fn an_output_of_another_type_is_a_matter_of_versions() {
    let script = format!(r#"{HELLO} echo '{{"type":"finished","job":7,"try":1,"output":[3]}}'"#);
    let (reason, fault, message) = failed(run(&script).await);
    assert_eq!((reason, fault), (Reason::Protocol, Fault::Surroundings));
    assert!(message.contains("the service does not understand the `probe` job"), "{message}");
}

#[tokio::test]
async fn another_protocol_fails_by_name() {
    let script = r#"echo '{"type":"hello","protocol":99,"version":"9.9","host":"h","device":"cpu","more":1}'; sleep 9"#;
    let (reason, fault, message) = failed(run(script).await);
    assert_eq!((reason, fault), (Reason::Protocol, Fault::Surroundings));
    assert!(message.contains("protocol 99 (version 9.9)"), "{message}");
}

#[tokio::test]
async fn a_line_that_is_too_long_or_no_json_is_skipped() {
    let long = format!("head -c {} /dev/zero | tr '\\0' x; echo", 3 * MAX_LINE);
    assert_eq!(run(&format!("{HELLO} {long}; echo hm; {FINISH}")).await.unwrap(), "well");
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_close_no_pipe() {
    let bad = r"printf '\377\376 bad\n' >&2; printf '\377\n'; sleep 0.2; echo more >&2 || exit 1;";
    assert_eq!(run(&format!("{HELLO} {bad} {FINISH}")).await.unwrap(), "well");
    // The end of the log is told, from after such a line too.
    let (reason, fault, message) = failed(run(&format!("{HELLO} {bad} exit 4")).await);
    assert_eq!((reason, fault), (Reason::WorkerDied, Fault::Passing));
    assert!(message.contains("exit status: 4") && message.ends_with("\u{fffd}\u{fffd} bad\nmore"), "{message}");
}

#[tokio::test]
async fn a_worker_that_never_greets_was_not_started() {
    let (reason, fault, message) = failed(run("echo 'libcuda.so.1: cannot open' >&2; exit 127").await);
    assert_eq!((reason, fault), (Reason::WorkerStart, Fault::Surroundings));
    assert!(message.contains("libcuda.so.1"), "{message}");
    let nowhere = supervisor("", |config| config.command = vec!["/nowhere/worker".into()]);
    let (reason, fault, _) = failed(run_for(Duration::from_secs(60), &nowhere).await.0);
    assert_eq!((reason, fault), (Reason::WorkerStart, Fault::Surroundings));
    // One that was killed died.
    assert_eq!(failed(run("kill -9 $$").await).0, Reason::WorkerDied);
}

#[tokio::test]
async fn silence_ends_a_job_and_so_does_its_timeout() {
    let progress = r#"echo '{"type":"progress","job":7,"try":1,"progress":{"stage":"fit","done":1,"total":2}}'"#;
    let brief = |config: &mut config::Worker| config.lease = Duration::from_millis(400);
    let silent = supervisor(&format!("{HELLO} {progress}; sleep 9"), brief);
    let (output, stages) = run_for(Duration::from_secs(60), &silent).await;
    let (reason, fault, message) = failed(output);
    assert_eq!((reason, fault), (Reason::Lease, Fault::Passing), "{message}");
    assert_eq!(stages, [Stage::Fit]);

    let busy = supervisor(&format!("{HELLO} while :; do {progress}; sleep 0.1; done"), brief);
    let (reason, fault, _) = failed(run_for(Duration::from_millis(900), &busy).await.0);
    assert_eq!((reason, fault), (Reason::Timeout, Fault::Passing));
}

#[tokio::test]
async fn a_launcher_may_let_a_job_wait_longer_than_lease_and_timeout() {
    let slurm = supervisor(&format!("{HELLO} {FINISH}"), |config| {
        config.lease = Duration::from_millis(200);
        config.launcher = ["sh", "-c", "sleep 1; exec \"$@\"", "launcher"].map(str::to_owned).to_vec();
    });
    let (output, stages) = run_for(Duration::from_millis(500), &slurm).await;
    assert_eq!(output.unwrap(), "well");
    assert_eq!(stages, [Stage::Launch]);
}

/// A folder with an `srun` that runs what it is given, and a `scancel` of these lines.
fn cluster(scancel: &str) -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    symlink("/bin/sh", dir.path().join("srun")).unwrap();
    // Written by another process: a program that this one has open cannot be started while it forks.
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat >scancel; chmod 755 scancel"]).current_dir(&dir).stdin(Stdio::piped());
    let mut writer = writer.spawn().unwrap();
    write!(writer.stdin.take().unwrap(), "#!/bin/sh\n{scancel}\n").unwrap();
    assert!(writer.wait().unwrap().success());
    let srun = dir.path().join("srun").display().to_string();
    (dir, vec![srun, "-c".into(), "exec \"$@\"".into(), "srun".into()])
}

#[tokio::test]
async fn slurm_is_told_to_end_what_did_not_end_by_itself() {
    let (dir, launcher) = cluster("echo \"$*\" >>\"${0%/*}/cancelled\"");
    let name = format!("echo \"$SLURM_JOB_NAME\" >>{}/names", dir.path().display());
    let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap_or_default();
    let well = supervisor(&format!("{name}; {HELLO} {FINISH}"), |config| config.launcher = launcher.clone());
    assert_eq!(run_for(Duration::from_secs(60), &well).await.0.unwrap(), "well");
    assert_eq!(read("cancelled"), "");

    let stuck = supervisor(&format!("{name}; {HELLO} sleep 60"), |config| config.launcher = launcher);
    let (reason, ..) = failed(run_for(Duration::from_millis(200), &stuck).await.0);
    assert_eq!(reason, Reason::Timeout);
    let tag = &blake3::hash(b"/store").to_hex()[..8];
    assert_eq!(read("names"), format!("clay-probe-{tag}-7\n").repeat(2));
    let user = rustix::process::getuid().as_raw();
    assert_eq!(read("cancelled"), format!("--name clay-probe-{tag}-7 --user {user}\n"));

    stuck.launcher().cancel_left(JobId(8)).await;
    assert!(read("cancelled").ends_with(&format!("--name clay-probe-{tag}-8 --user {user}\n")));
}

/// Whether a process is gone, or only waits to be reaped.
fn is_gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[tokio::test]
async fn a_stop_takes_less_than_six_seconds_and_leaves_nothing() {
    let (dir, launcher) = cluster("sleep 60");
    let pids = dir.path().join("pids");
    let script = format!(
        "trap '' TERM; sleep 60 & echo $$ $! >{0}.part; mv {0}.part {0}; {HELLO} while :; do sleep 1; done",
        pids.display()
    );
    let stubborn = supervisor(&script, |config| config.launcher = launcher);
    let running = tokio::spawn({
        let stubborn = stubborn.clone();
        async move { run_for(Duration::from_secs(60), &stubborn).await.0 }
    });
    while !pids.exists() {
        sleep(Duration::from_millis(10)).await;
    }
    let start = Instant::now();
    stubborn.stop.cancel();
    let (reason, fault, _) = failed(running.await.unwrap());
    assert_eq!((reason, fault), (Reason::Stopped, Fault::Passing));
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    let pids = std::fs::read_to_string(&pids).unwrap();
    while !pids.split_whitespace().all(is_gone) {
        assert!(start.elapsed() < Duration::from_secs(10), "{pids} live on");
        sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn jobs_that_run_here_are_done_by_the_running_program_whatever_is_configured() {
    let supervisor = supervisor("exit 1", |config| config.launcher = vec!["srun".into()]);
    let command = supervisor.launcher().command(Place::Here, JobId(7));
    assert_eq!(command.as_std().get_program(), "/proc/self/exe");
    assert_eq!(command.as_std().get_args().collect::<Vec<_>>(), ["worker"]);
    let command = supervisor.launcher().command(Place::Launcher, JobId(7));
    let words: Vec<_> = command.as_std().get_args().collect();
    assert_eq!(
        (command.as_std().get_program(), words),
        ("srun".as_ref(), vec!["sh".as_ref(), "-c".as_ref(), "exit 1".as_ref()])
    );
}
