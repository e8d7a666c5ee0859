//! The daemon: starts the parts, stops them in reverse order.

use std::{fs::File, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    api::{self, ApiState, View},
    config::{self, Config},
    domain::{HeadName, HeadSettings},
    error::{Error, Result},
    intake::{Intake, Roots, Submissions},
    queue::{Plan, Queue},
    status::Status,
    store::{Folder, Limits, Store},
    telemetry::Metrics,
    worker::{Launcher, Room, Runner, Supervisor, preparer},
};

/// Jobs end within 6 seconds; containers are killed after 10.
const JOBS_PATIENCE: Duration = Duration::from_secs(7);
/// Requests that are under way get so long; a half-sent one is dropped then.
const REQUESTS_PATIENCE: Duration = Duration::from_secs(1);
/// While the database cannot be written, it is tried so often.
const TRIAL: Duration = Duration::from_secs(2);

/// A running service: bound, migrated, watching.
pub struct Daemon {
    addr: SocketAddr,
    stop: CancellationToken,
    api: JoinHandle<std::io::Result<()>>,
    tasks: TaskTracker,
    store: Store,
    /// Held as long as the daemon lives: one daemon per folder.
    _lock: File,
}

impl Daemon {
    /// Takes the folder of state, opens the database, binds the address, starts the parts. The data set is scanned in the
    /// background; what appears or is posted meanwhile is kept.
    ///
    /// # Errors
    /// A configuration that cannot work, an address in use, a folder that another daemon holds. Later troubles do not end
    /// it: they show in `/readyz`.
    pub async fn start(config: Config) -> Result<Self> {
        let config = checked(config)?;
        let folder = Folder::create(&config.store.dir)?;
        let waiting = folder.clone();
        let lock = tokio::task::spawn_blocking(move || waiting.lock());
        let lock = lock.await.map_err(|error| Error::Internal(error.to_string()))??;
        folder.sweep()?;
        let store = Store::open(&folder).await?;
        let listener = TcpListener::bind(config.api.listen).await.map_err(|error| {
            Error::invalid(format!("`api.listen`: {} cannot be bound: {error}", config.api.listen))
                .with_hint("choose another port, or 0 for a free one")
        })?;
        let addr = listener.local_addr().map_err(Error::io("api.listen"))?;

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (status, metrics, wake) = (Status::default(), Metrics::default(), Arc::new(Notify::new()));
        let launcher = Launcher::new(config.worker.clone(), folder.path()).map_err(Error::io("this executable"))?;
        let plan = Plan {
            heads: config.probe.head_settings().into(),
            quick: HeadSettings::closed_form(HeadName::Ridge),
            prepare: preparer(config.probe.clone()),
        };
        let queue = Queue::new(store.clone(), config.queue.clone(), config.intake.give_up, plan);
        recover(&queue, &launcher).await?;
        let roots = Roots::new(&config.intake)?;
        let submissions =
            Submissions { store: store.clone(), queue: queue.clone(), roots: roots.clone(), wake: wake.clone() };
        let router = api::router(ApiState {
            store: store.clone(),
            config: config::Api { listen: addr, ..config.api.clone() },
            // `Config::load` refuses an empty list.
            view: View { head: config.probe.heads[0], interval: config.probe.interval, margin: config.probe.margin },
            submissions,
            status: status.clone(),
            metrics: metrics.clone(),
            stop: stop.clone(),
        })?;
        info!(%addr, version = env!("CARGO_PKG_VERSION"), folder = %folder.path().display(), "listening");
        let quiet = stop.clone().cancelled_owned();
        let api = tokio::spawn(async move { axum::serve(listener, router).with_graceful_shutdown(quiet).await });

        let intake = Intake {
            store: store.clone(),
            queue: queue.clone(),
            roots,
            config: config.intake.clone(),
            status: status.clone(),
            metrics: metrics.clone(),
            wake,
        };
        intake.start(&tasks, &stop)?;
        let limits = Limits {
            max_bytes: config.store.max_bytes.0,
            keep_last: config.store.keep_last,
            keep_best: config.store.keep_best,
        };
        let room = Room::new(store.clone(), status.clone(), limits, config.store.keep_events);
        let supervisor = Supervisor::new(launcher, stop.clone());
        let config = Arc::new(config);
        Runner { store: store.clone(), queue, supervisor, config, status, metrics, room }.start(&tasks, &stop);
        tasks.spawn(retry_writing(store.clone(), stop.clone()));
        Ok(Self { addr, stop, api, tasks, store, _lock: lock })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Runs until `stop` resolves, then stops the parts: jobs end, what they did goes on next time.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Result<()> {
        let ended = tokio::select! {
            () = stop => Ok(()),
            ended = &mut self.api => match ended {
                Ok(served) => served.map_err(Error::io("api")),
                Err(error) => Err(Error::Internal(format!("the API failed: {error}"))),
            },
        };
        info!("stopping");
        self.stop.cancel();
        self.tasks.close();
        let requests = async {
            if !self.api.is_finished() && tokio::time::timeout(REQUESTS_PATIENCE, &mut self.api).await.is_err() {
                self.api.abort();
            }
        };
        let ((), jobs) = tokio::join!(requests, tokio::time::timeout(JOBS_PATIENCE, self.tasks.wait()));
        if jobs.is_err() {
            warn!("some jobs did not end in time; the next start finds them running, and queues them again");
        }
        self.store.close().await;
        info!("stopped");
        ended
    }
}

/// What the last daemon left running is queued again, after what is left of it on a cluster was ended.
async fn recover(queue: &Queue, launcher: &Launcher) -> Result<()> {
    let left = queue.recover().await?;
    if !left.is_empty() {
        warn!(jobs = left.len(), "the last daemon went down while it worked; its jobs are queued again");
    }
    for job in left {
        launcher.cancel_left(job).await;
    }
    queue.queue_scan().await
}

/// Finds out when the database can be written again; what waits for it tries by itself.
async fn retry_writing(store: Store, stop: CancellationToken) {
    while !stop.is_cancelled() {
        tokio::select! { () = stop.cancelled() => {}, () = tokio::time::sleep(TRIAL) => {} }
        if store.problem().is_some() && store.try_writing().await.is_ok() {
            info!("the database can be written again");
        }
    }
}

/// What would fail for sure is refused at the start; paths become those that workers can use too.
fn checked(mut config: Config) -> Result<Config> {
    api::check_listen(&config.api)?;
    if let Err(error) = config.probe.needs_data() {
        return Err(Error::invalid(error.to_string()).with_hint(error.hint().unwrap_or_default()));
    }
    if !config.probe.data.is_dir() {
        return Err(Error::invalid(format!("`probe.data`: `{}` is not a folder", config.probe.data.display()))
            .with_hint("give the folder of the labelled flood chips; `clay-probe check` looks at all settings"));
    }
    for path in [&mut config.probe.data, &mut config.store.dir] {
        *path = std::path::absolute(&*path).map_err(Error::io(path.clone()))?;
    }
    Ok(config)
}
