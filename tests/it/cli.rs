//! The command line as a person meets it: help, refusals, exit codes.

use std::path::Path;

use assert_cmd::Command;

fn clay_probe() -> Command {
    let mut command = Command::cargo_bin("clay-probe").unwrap();
    // What the person running the tests has set is not to change them.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CLAY_PROBE")) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG");
    command
}

/// Exit code, standard output, standard error.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = clay_probe().args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn sample() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample").display().to_string()
}

#[test]
fn help_teaches() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for word in ["serve", "demo", "probe", "embed", "inspect", "check", "healthcheck", "Examples:", "Exit codes"] {
        assert!(out.contains(word), "`{word}` is missing:\n{out}");
    }
    assert!(!out.contains("demo-trainer"), "what is for programs only is hidden:\n{out}");
    for command in ["serve", "demo", "inspect", "check"] {
        let (code, out, _) = run(&[command, "--help"]);
        assert!(code == Some(0) && out.contains("Example"), "{command}:\n{out}");
    }
}

#[test]
fn wrong_usage_is_2() {
    assert_eq!(run(&["no-such-command"]).0, Some(2));
    assert_eq!(run(&["serve", "--every-n-epochs", "often"]).0, Some(2));
    let (code, _, err) = run(&["serve"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.starts_with("error: no data set") && err.contains("\nhint: "), "{err}");
}

#[test]
fn a_misspelt_setting_is_named_with_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clay-probe.toml");
    std::fs::write(&file, "[queue]\nevery_n_epoch = 2\n").unwrap();
    let (code, _, err) = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("unknown key `queue.every_n_epoch`"), "{err}");
    assert!(err.contains("\nhint: the nearest known key is `queue.every_n_epochs`"), "{err}");
}

#[test]
fn check_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clay-probe.toml");
    let text = |dirs: &str| {
        format!("[intake]\ndirs = [\"{dirs}\"]\n[probe]\ndata = {:?}\n[api]\nlisten = \"127.0.0.1:0\"\n", sample())
    };
    std::fs::write(&file, text("nowhere")).unwrap();
    let (code, out, err) = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("fail  watched") && out.contains("nowhere"), "{out}");

    std::fs::write(&file, text(".")).unwrap();
    let (code, out, err) = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("6 chips of 4 events"), "{out}");
    assert!(out.contains("ok    device") && !out.contains("fail"), "{out}");
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "check leaves nothing behind: {left:?}");
}

#[test]
fn a_healthcheck_of_nobody_fails() {
    // Port 9 of loopback: nobody listens there.
    let (code, _, err) = run(&["healthcheck", "--url", "http://127.0.0.1:9"]);
    assert_eq!(code, Some(1));
    assert!(err.starts_with("error: `http://127.0.0.1:9/livez` does not answer"), "{err}");
}

#[test]
fn inspect_dispatches_by_content() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = dir.path().join("epoch-1.ckpt");
    std::fs::write(&garbage, b"<html>not a checkpoint</html>").unwrap();
    let (code, out, err) = run(&["inspect", "--json", garbage.to_str().unwrap(), &sample()]);
    assert_eq!(code, Some(1), "{err}");
    let reports: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&reports[0]["kind"], &reports[0]["usable"]), (&"checkpoint".into(), &false.into()));
    assert_eq!((&reports[1]["kind"], &reports[1]["usable"]), (&"dataset".into(), &6.into()));
    let (code, out, _) = run(&["inspect", &sample()]);
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn a_worker_without_a_job_says_who_starts_it() {
    let output = clay_probe().arg("worker").write_stdin("").output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("hint: "), "{err}");
}
