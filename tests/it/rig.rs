//! The rig: the real daemon as a process of its own, in a temporary folder, and a client for it.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

/// How long anything may take here before the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub fn sample_data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample")
}

/// A golden Lightning checkpoint by its folder's name.
pub fn golden(name: &str) -> PathBuf {
    let folder = fixture("clay/golden").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    files.map(|f| f.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "ckpt")).unwrap()
}

pub struct Rig {
    pub dir: tempfile::TempDir,
    /// What is started.
    pub program: PathBuf,
    daemon: Option<Child>,
    pub addr: String,
    log: Arc<Mutex<Vec<String>>>,
    agent: ureq::Agent,
}

impl Rig {
    /// A daemon with quick settings; `more` is TOML laid over them, section by section.
    pub fn start(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("checkpoints")).unwrap();
        let base: toml::Table = toml::from_str(&format!(
            r#"
            [intake]
            dirs = ["checkpoints"]
            settle = "200ms"
            poll = "500ms"
            [queue]
            every_n_epochs = 1
            controls = false
            [probe]
            data = "{}"
            fit_steps = 4
            [store]
            dir = "state"
            [worker]
            lease = "20s"
            threads = 1
            [api]
            listen = "127.0.0.1:0"
            "#,
            sample_data().display()
        ))
        .unwrap();
        let config = merged(base, toml::from_str(more).unwrap());
        fs::write(dir.path().join("config.toml"), toml::to_string(&config).unwrap()).unwrap();
        let settings = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
        let mut rig = Self {
            dir,
            program: env!("CARGO_BIN_EXE_clay-probe").into(),
            daemon: None,
            addr: String::new(),
            log: Arc::default(),
            agent: ureq::Agent::new_with_config(settings),
        };
        rig.restart();
        rig
    }

    /// Starts the daemon (again) on what is in the folder.
    pub fn restart(&mut self) {
        assert!(self.daemon.is_none());
        self.spawn();
        self.until_it_listens();
    }

    fn spawn(&mut self) {
        self.log.lock().unwrap().clear();
        let mut daemon = Command::new(&self.program)
            .args(["serve", "--config"])
            .arg(self.dir.path().join("config.toml"))
            .env("CLAY_PROBE_RIG", self.dir.path())
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = daemon.stderr.take().unwrap();
        let log = self.log.clone();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                log.lock().unwrap().push(line);
            }
        });
        self.daemon = Some(daemon);
    }

    fn until_it_listens(&mut self) {
        self.addr = self.wait("the daemon listens", |rig| {
            let log = rig.log.lock().unwrap();
            let line = log.iter().find(|line| line.contains("listening"))?;
            let addr = line.split("addr=").nth(1)?.split_whitespace().next()?;
            Some(addr.to_owned())
        });
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.dir.path().join("checkpoints")
    }

    /// Copies a file into the watched folder, the way `cp` does.
    pub fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.checkpoints().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, &to).unwrap();
        to
    }

    /// Writes a small checkpoint of that epoch, with weights of its own.
    pub fn save(&self, name: &str, epoch: u32, step: u64) -> PathBuf {
        let to = self.checkpoints().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, small_checkpoint(epoch, step)).unwrap();
        to
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.agent.get(format!("http://{}{path}", self.addr)).call();
        let mut answer = answer.unwrap_or_else(|e| panic!("GET {path}: {e}\n{}", self.log_text()));
        let body = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    pub fn get_bytes(&self, path: &str) -> (u16, Vec<u8>) {
        let mut answer = self.agent.get(format!("http://{}{path}", self.addr)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_vec().unwrap())
    }

    pub fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let mut answer = self.agent.post(format!("http://{}{path}", self.addr)).send_json(body).unwrap();
        let body = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    pub fn post_file(&self, path: &Path) -> (u16, Value) {
        self.post("/checkpoints", json!({ "path": path }))
    }

    pub fn delete(&self, path: &str) -> u16 {
        self.agent.delete(format!("http://{}{path}", self.addr)).call().unwrap().status().as_u16()
    }

    /// All checkpoints, oldest first.
    pub fn all_checkpoints(&self) -> Vec<Value> {
        let (status, body) = self.get("/checkpoints?limit=100");
        assert_eq!(status, 200, "{body}");
        let mut items = body["items"].as_array().unwrap().clone();
        items.sort_by_key(|item| item["id"].as_i64());
        items
    }

    /// The newest checkpoint of that file name, once it has the state.
    pub fn until(&self, name: &str, state: &str) -> Value {
        self.wait(&format!("`{name}` is {state}"), |rig| {
            let all = rig.all_checkpoints();
            let mine = all.iter().rev().find(|c| c["path"].as_str().is_some_and(|p| p.ends_with(name)))?;
            (mine["state"] == state).then(|| mine.clone())
        })
    }

    /// The checkpoint of that file name, once its probe is at that stage, and the worker that is at it.
    pub fn until_stage(&self, name: &str, stage: &str) -> i32 {
        self.wait(&format!("`{name}` is at `{stage}`"), |rig| {
            let all = rig.all_checkpoints();
            let mine = all.iter().rev().find(|c| c["path"].as_str().is_some_and(|p| p.ends_with(name)))?;
            (mine["progress"]["stage"] == stage).then(|| rig.workers().first().copied())?
        })
    }

    /// The folder of the daemon's state.
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// How many rows a query that begins with `select count(*)` counts, read from the daemon's own file.
    pub fn count(&self, table: &str) -> i64 {
        let path = self.state().join("clay-probe.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            use sqlx::Connection;
            let mut db = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
            let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
            sqlx::query_scalar(sql).fetch_one(&mut db).await.unwrap()
        })
    }

    /// Changes the configuration that the next start reads.
    pub fn configure(&self, more: &str) {
        let file = self.dir.path().join("config.toml");
        let base = toml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        fs::write(file, toml::to_string(&merged(base, toml::from_str(more).unwrap())).unwrap()).unwrap();
    }

    /// Waits until `look` sees something.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "waited too long until {what}\n{:#?}\n{}",
                self.get("/checkpoints?limit=100"),
                self.log_text()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn log_text(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Process ids of the workers that run now.
    pub fn workers(&self) -> Vec<i32> {
        self.processes().into_iter().filter(|pid| Some(*pid) != self.daemon.as_ref().map(|d| d.id() as i32)).collect()
    }

    /// All living processes that this rig's daemons started, found by their environment.
    fn processes(&self) -> Vec<i32> {
        let mark = format!("CLAY_PROBE_RIG={}", self.dir.path().display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|b| *b == 0).any(|v| v == mark.as_bytes())
            })
            .collect()
    }

    /// `kill -9` of the daemon alone.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// SIGTERM; returns whether it ended with success.
    pub fn stop(&mut self) -> bool {
        let mut daemon = self.daemon.take().unwrap();
        signal(daemon.id() as i32, Signal::TERM);
        let start = Instant::now();
        loop {
            if let Some(status) = daemon.try_wait().unwrap() {
                return status.success();
            }
            assert!(start.elapsed() < Duration::from_secs(9), "SIGTERM did not stop it\n{}", self.log_text());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Rig {
    /// Starts a second daemon on the same folder, and ends the first with `kill -9` once the second says that it waits.
    pub fn replace(&mut self) {
        let mut first = self.daemon.take().unwrap();
        self.spawn();
        self.wait("the second says that it waits", |rig| {
            rig.log_text().contains("waiting for it to end").then_some(())
        });
        first.kill().unwrap();
        first.wait().unwrap();
        self.until_it_listens();
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, which: Signal) {
        signal(self.daemon.as_ref().unwrap().id() as i32, which);
    }

    /// Waits until the daemon is ready.
    pub fn until_ready(&self) -> Value {
        self.wait("it is ready", |rig| Some(rig.get("/readyz")).filter(|answer| answer.0 == 200)).1
    }

    /// Waits until `/readyz` names a problem; returns its message.
    pub fn until_problem(&self, reason: &str) -> String {
        self.wait(&format!("`{reason}` is a problem"), |rig| {
            let (status, body) = rig.get("/readyz");
            let problem = body["problems"].as_array()?.iter().find(|problem| problem["reason"] == reason)?;
            assert_eq!((status, &body["status"]), (503, &json!("not ready")), "{body}");
            Some(problem["message"].as_str()?.to_owned())
        })
    }

    /// What `/events` tells after a change: the event's name and its data, until the client is dropped.
    pub fn events(&self, after: i64) -> impl Iterator<Item = (String, Value)> + use<> {
        let request = self.agent.get(format!("http://{}/events", self.addr)).header("last-event-id", after.to_string());
        let body = request.call().unwrap().into_body().into_reader();
        let mut lines = BufReader::new(body).lines().map_while(Result::ok);
        let mut name = String::new();
        std::iter::from_fn(move || {
            loop {
                let line = lines.next()?;
                if let Some(event) = line.strip_prefix("event: ") {
                    name = event.to_owned();
                } else if let Some(data) = line.strip_prefix("data: ") {
                    return Some((name.clone(), serde_json::from_str(data).unwrap()));
                }
            }
        })
    }
}

/// Sends a process a signal.
pub fn signal(pid: i32, which: Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), which).unwrap();
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // Their stdin closed with the daemon: they go by themselves.
        let start = Instant::now();
        while !self.processes().is_empty() && start.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(50));
        }
        let left = self.processes();
        if thread::panicking() {
            left.iter().for_each(|&pid| signal(pid, Signal::KILL));
        } else {
            assert!(left.is_empty(), "processes outlive the daemon: {left:?}");
        }
    }
}

fn merged(mut base: toml::Table, over: toml::Table) -> toml::Table {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => *old = merged(std::mem::take(old), new),
            (_, value) => drop(base.insert(key, value)),
        }
    }
    base
}

/// The smallest golden encoder as safetensors that tells its epoch; one weight depends on the step.
fn small_checkpoint(epoch: u32, step: u64) -> Vec<u8> {
    checkpoint(step, &[("epoch", epoch.to_string()), ("global_step", step.to_string())])
}

/// The smallest golden encoder as safetensors with that metadata; one weight is changed by `weights`.
pub fn checkpoint(weights: u64, about: &[(&str, String)]) -> Vec<u8> {
    use clay_probe::probe::weights::{Options, open};
    use safetensors::{Dtype, tensor::TensorView};

    let mut source = open(&golden("d16h2-newtorch"), &Options::default()).unwrap();
    let infos = source.tensors().clone();
    let mut data = Vec::new();
    for (name, info) in infos {
        let mut values = source.read_f32(&name).unwrap();
        if name == "latlon_embedding.bias" {
            values[0] += weights as f32 * 1e-3;
        }
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        data.push((format!("model.encoder.{name}"), info.shape, bytes));
    }
    let views = data.iter().map(|(n, s, b)| (n.clone(), TensorView::new(Dtype::F32, s.clone(), b).unwrap()));
    let about = about.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    safetensors::serialize(views, Some(about)).unwrap()
}
