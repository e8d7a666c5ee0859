//! The daemon: starts the parts, stops them in reverse order.

use std::{
    fs::{File, TryLockError},
    net::SocketAddr,
    path::Path,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    api::{self, ApiState, Facts, Later, Posting, Status},
    config::{self, Config},
    domain::{Failure, Pinned, Posted, PostedCheckpoint, RunName},
    error::{Error, Result},
    intake::{Desk, PinJobs, Places, Scanner},
    queue::Queue,
    store::{Store, now},
    worker::{
        Launcher, Pinner, Supervisor,
        lanes::{Lanes, Running},
        protocol::{Outcome, Scan, Scanned, Task},
    },
};

/// Job number of the scan of the data set; requests and checkpoints count from 1.
const SCAN_JOB: i64 = 0;

/// A running service: bound, migrated, watching.
pub struct Daemon {
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<Result<()>>,
    store: Store,
    /// Held as long as the daemon lives: one daemon per database.
    _lock: File,
}

impl Daemon {
    /// Opens the database, binds the address, starts the parts. The data set is scanned in the background; what is
    /// posted meanwhile is kept.
    ///
    /// # Errors
    /// A configuration that cannot work, an address in use, a database that another daemon holds.
    pub async fn start(config: Config) -> Result<Self> {
        let config = absolute(config)?;
        api::check_listen(&config.api)?;
        let store = Store::open(&config.store.path).await?;
        let lock = lock(&config.store.path)?;
        sweep(&config.store.pins)?;
        let listener = TcpListener::bind(config.api.listen).await.map_err(|error| {
            Error::Invalid(format!(
                "`api.listen`: {} cannot be bound: {error}; hint: choose another port, or 0 for a free one",
                config.api.listen
            ))
        })?;
        let addr = listener.local_addr().map_err(Error::io("api.listen"))?;

        let protocol = config.probe.protocol();
        let mut tx = store.write().await?;
        store.add_protocol(&mut tx, &protocol).await?;
        tx.commit().await?;
        let queue = Queue::new(store.clone(), config.queue.clone(), &protocol);
        let again = queue.recover().await?;
        if again > 0 {
            warn!(requests = again, "the last daemon went down while probing; its requests are queued again");
        }

        let stop = CancellationToken::new();
        let supervisor = Supervisor::new(Launcher::new(config.worker.clone()), stop.clone());
        let wake = Arc::new(Notify::new());
        let places = Places::new(&config.intake)?;
        let status = Arc::new(Status::default());
        status.update(|facts| facts.scanning = true);
        let running = Running::default();
        let desk = Desk { store: store.clone(), queue: queue.clone(), places: places.clone(), wake: wake.clone() };
        let state = ApiState {
            store: store.clone(),
            config: config::Api { listen: addr, ..config.api.clone() },
            intake: Arc::new(Door { desk, running: running.clone() }),
            status: status.clone(),
            results: config.store.results.clone(),
        };
        let router = api::router(state)?;
        info!(%addr, version = env!("CARGO_PKG_VERSION"), database = %config.store.path.display(), "listening");

        let mut tasks = JoinSet::new();
        let quiet = stop.clone();
        tasks.spawn(async move {
            let stopped = quiet.cancelled_owned();
            axum::serve(listener, router).with_graceful_shutdown(stopped).await.map_err(Error::io("api"))
        });
        let parts = Parts { config, store: store.clone(), queue, supervisor, places, wake, status, running };
        tasks.spawn(parts.run(stop.clone()));
        Ok(Self { addr, stop, tasks, store, _lock: lock })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Runs until `stop` resolves or a part fails, then stops the parts: jobs end, what they did goes on next time.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<()> {
        let first = tokio::select! {
            () = stop => Ok(()),
            ended = self.tasks.join_next() => flat(ended),
        };
        info!("stopping");
        self.stop.cancel();
        let mut outcome = first;
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                let ended = flat(Some(ended));
                if outcome.is_ok() {
                    outcome = ended;
                }
            }
        };
        if tokio::time::timeout(Duration::from_secs(15), all).await.is_err() {
            warn!("some connections or jobs did not end in time and are dropped");
            self.tasks.abort_all();
        }
        self.store.close().await;
        info!("stopped");
        outcome
    }
}

fn flat(ended: Option<std::result::Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    match ended {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(Error::Internal(format!("a part of the service failed: {error}"))),
    }
}

/// What runs behind the API.
struct Parts {
    config: Config,
    store: Store,
    queue: Queue,
    supervisor: Supervisor,
    places: Places,
    wake: Arc<Notify>,
    status: Arc<Status>,
    running: Running,
}

impl Parts {
    async fn run(self, stop: CancellationToken) -> Result<()> {
        let Some(scanned) = self.scan(&stop).await? else { return Ok(()) };
        let digest = scanned.dataset.digest;
        self.queue.set_dataset(digest).await?;
        info!(
            chips = scanned.dataset.chips,
            refused = scanned.dataset.refused.len(),
            dataset = digest.short(),
            "the data set is ready"
        );
        self.status.update(|facts: &mut Facts| {
            facts.scanning = false;
            facts.dataset = Some(scanned.dataset);
        });
        let status = self.status.clone();
        let pinner = Pinner {
            supervisor: self.supervisor,
            folder: self.config.store.pins.clone(),
            opaque_globals: self.config.probe.opaque_globals.clone(),
        };
        let lanes = Lanes {
            store: self.store.clone(),
            queue: self.queue.clone(),
            pinner: pinner.clone(),
            settings: self.config.probe.clone(),
            files: self.config.store.clone(),
            dataset: digest,
            running: self.running.clone(),
            on_device: Arc::new(move |device, reason| {
                status.update(|facts| {
                    facts.device = Some(device);
                    facts.device_reason = Some(reason);
                });
            }),
        };
        let mut tasks = JoinSet::new();
        for _ in 0..self.config.worker.max_parallel {
            let (lanes, stop) = (lanes.clone(), stop.clone());
            tasks.spawn(async move { lanes.run(&stop).await });
        }
        let scanner = Scanner {
            pins: pinner,
            store: self.store,
            queue: self.queue,
            config: self.config.intake,
            places: self.places,
            wake: self.wake,
        };
        tasks.spawn(async move { scanner.run(&stop).await });
        while let Some(ended) = tasks.join_next().await {
            flat(Some(ended))?;
        }
        Ok(())
    }

    /// Has the data set scanned by a worker. `None`: told to stop.
    async fn scan(&self, stop: &CancellationToken) -> Result<Option<Scanned>> {
        let results = self.config.store.results.clone();
        let settings = self.config.probe.clone();
        let data = settings.data.display().to_string();
        let task = Task::Scan(Scan { settings, pictures: results.join("datasets"), results });
        let outcome = match self.supervisor.run(SCAN_JOB, 1, task, stop, |_| {}).await {
            Ok(outcome) => outcome,
            Err(_) if stop.is_cancelled() => return Ok(None),
            Err(failure) => return Err(Error::Invalid(format!("`probe.data`: {}", failure.message))),
        };
        let Outcome::Scan { file, .. } = outcome else {
            return Err(Error::Internal("the worker finished another kind of job than the scan".into()));
        };
        let bytes = tokio::fs::read(&file).await.map_err(Error::io(&file))?;
        let scanned: Scanned =
            serde_json::from_slice(&bytes).map_err(|e| Error::Internal(format!("{}: {e}", file.display())))?;
        for refusal in &scanned.dataset.refused {
            warn!(path = refusal.path, reason = refusal.reason, message = refusal.message, "a chip cannot be used");
        }
        let mut tx = self.store.write().await?;
        self.store.add_dataset(&mut tx, &data, &scanned.dataset, &scanned.chips, &now()).await?;
        tx.commit().await?;
        Ok(Some(scanned))
    }
}

impl PinJobs for Pinner {
    async fn pin(&self, checkpoint: i64, try_: u32, path: &Path) -> Result<Pinned, Failure> {
        Self::pin(self, checkpoint, try_, path, &CancellationToken::new()).await
    }
}

/// The API's way in: the desk, and the jobs that can be stopped.
struct Door {
    desk: Desk,
    running: Running,
}

impl Posting for Door {
    fn post(&self, body: PostedCheckpoint) -> Later<'_, Posted> {
        Box::pin(self.desk.post(body))
    }

    fn cancel(&self, id: i64) -> Later<'_, ()> {
        Box::pin(async move {
            if let Some(request) = self.desk.cancel(id).await? {
                let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(job) = running.get(&request) {
                    job.cancel();
                }
            }
            Ok(())
        })
    }

    fn finish(&self, run: RunName) -> Later<'_, ()> {
        Box::pin(self.desk.finish(run))
    }
}

/// Paths as workers and later lives of the daemon can use them too, and what `data = ""` gets.
fn absolute(mut config: Config) -> Result<Config> {
    config.probe.needs_data().map_err(|error| Error::Invalid(error.to_string()))?;
    if config.probe.cache.as_os_str().is_empty() {
        config.probe.cache = config.store.path.parent().unwrap_or(Path::new("")).join("cache");
    }
    for path in [
        &mut config.probe.data,
        &mut config.probe.cache,
        &mut config.store.path,
        &mut config.store.pins,
        &mut config.store.results,
    ] {
        *path = std::path::absolute(&*path).map_err(Error::io(path.clone()))?;
    }
    for folder in [&config.store.pins, &config.store.results] {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    Ok(config)
}

/// Removes copies that a killed worker left half written; the lock is held, so none is being written now.
fn sweep(pins: &Path) -> Result<()> {
    for entry in std::fs::read_dir(pins).map_err(Error::io(pins))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(".tmp-") {
            std::fs::remove_file(entry.path()).map_err(Error::io(entry.path()))?;
        }
    }
    Ok(())
}

/// Takes the database for this process alone, until it ends.
fn lock(database: &Path) -> Result<File> {
    let path = database.with_extension("lock");
    let file = File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Invalid(format!(
            "another clay-probe works on `{}`; hint: stop it, or give this one its own `store.path`",
            database.display()
        ))),
        Err(TryLockError::Error(error)) => Err(Error::io(path)(error)),
    }
}
