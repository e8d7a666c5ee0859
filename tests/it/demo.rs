//! The demo, whole: daemon, trainer in a process of its own, and the table; and that nothing of it is left.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

fn clay_probe() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clay-probe"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CLAY_PROBE")) {
        command.env_remove(name);
    }
    command
}

/// Process ids whose command line holds `word`.
#[cfg(target_os = "linux")]
fn processes_with(word: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(word) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn once_ends_by_itself_with_scores() {
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().join("demo");
    let mut command = clay_probe();
    command.args(["demo", "--once", "--epochs", "3", "--every", "2", "--no-accident", "--keep"]).arg(&keep);
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert!(out.contains("no pre-training set"), "it says what it shows:\n{out}");
    assert!(out.contains("3 quick scores and 2 full probes"), "every epoch, and 0 and 2 in full:\n{out}");
    for epoch in 0..3 {
        let row = out.lines().find(|line| line.trim_start().starts_with(&format!("{epoch}  ")));
        assert!(row.is_some_and(|row| row.matches('.').count() == 3), "loss, R² and rank of epoch {epoch}:\n{out}");
    }
    for told in
        ["random encoders (three)", "bands' own mean", "everything water", "best single index", "nothing was reported"]
    {
        assert!(out.contains(told), "{told}:\n{out}");
    }
    assert!(out.contains("clay-probe check --data DIR") && out.contains("clay-probe serve --data DIR"), "{out}");
    for left in ["clay-probe-data/clay-probe.db", "data/manifest.csv", "trainer.log"] {
        assert!(keep.join(left).exists(), "--keep keeps {left}");
    }
    assert_eq!(std::fs::read_dir(keep.join("checkpoints/demo")).unwrap().count(), 3);
}

/// Waits until the child has printed a line that holds `word`.
fn wait_for(child: &mut Child, word: &str) -> String {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if line.contains(word) {
            return line;
        }
    }
    panic!("it ended before it said `{word}`");
}

#[cfg(target_os = "linux")]
#[test]
fn killed_it_leaves_no_trainer() {
    let dir = tempfile::tempdir().unwrap();
    let keep = dir.path().join("demo");
    let mut command = clay_probe();
    command.args(["demo", "--keep"]).arg(&keep).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mark = keep.display().to_string();
    // The heading of the table: the trainer was started before it, and nothing is printed until a score is there.
    wait_for(&mut child, "effective rank");
    let started = Instant::now();
    let trainers = |mark: &str| processes_with(mark).len();
    while trainers(&mark) < 2 {
        assert!(started.elapsed() < Duration::from_secs(20), "no trainer was started");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Not asked to stop: killed, so that nothing of it can clean up.
    child.kill().unwrap();
    child.wait().unwrap();
    let killed = Instant::now();
    while trainers(&mark) > 0 {
        assert!(killed.elapsed() < Duration::from_secs(20), "left behind: {:?}", processes_with(&mark));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(Path::new(&keep).exists());
}
