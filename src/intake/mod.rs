//! Finds checkpoint files, lets them settle, asks for their pins, and puts what is proven on its curve.
//!
//! Discovery, settling and placing are tasks of their own: none waits for another, and none for a pin.

mod content;
mod discovery;
mod files;
mod placing;
mod roots;
mod settling;
mod submissions;
mod watch;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use roots::Roots;
pub use submissions::{Posted, Submissions};

use self::watch::Watcher;
use crate::{
    config,
    error::Result,
    queue::Queue,
    status::{Status, keep_running},
    store::Store,
    telemetry::Metrics,
};

/// What the tasks of the intake share; cheap to clone.
#[derive(Clone)]
pub struct Intake {
    pub store: Store,
    pub queue: Queue,
    pub roots: Roots,
    pub config: config::Intake,
    pub status: Status,
    pub metrics: Metrics,
    /// Rung by file events and by posts.
    pub wake: Arc<Notify>,
}

impl Intake {
    /// Starts the tasks; they run until `stop`.
    ///
    /// # Errors
    /// File events that `intake.watch` asks for and that cannot be had.
    pub fn start(&self, tasks: &TaskTracker, stop: &CancellationToken) -> Result<()> {
        let watcher = Watcher::start(self.config.watch, self.roots.dirs(), self.wake.clone())?;
        let watcher = Arc::new(Mutex::new(watcher));
        let (intake, token) = (self.clone(), stop.clone());
        tasks.spawn(keep_running(self.status.clone(), "discovery", stop.clone(), move || {
            let (intake, watcher, stop) = (intake.clone(), watcher.clone(), token.clone());
            async move { intake.discover(&watcher, &stop).await }
        }));
        let (intake, token) = (self.clone(), stop.clone());
        tasks.spawn(keep_running(self.status.clone(), "settling", stop.clone(), move || {
            let (intake, stop) = (intake.clone(), token.clone());
            async move { intake.settle(&stop).await }
        }));
        let (intake, token) = (self.clone(), stop.clone());
        tasks.spawn(keep_running(self.status.clone(), "placing", stop.clone(), move || {
            let (intake, stop) = (intake.clone(), token.clone());
            async move { intake.place(&stop).await }
        }));
        Ok(())
    }
}

/// Waits at least `least`, then until something changes in the queue, `most` has passed, or it is told to stop. After a
/// long look (`began` tells when it began) that is longer: many open files take no whole core.
async fn rest(
    changed: impl Future<Output = ()>,
    stop: &CancellationToken,
    began: Instant,
    least: Duration,
    most: Duration,
) {
    let least = least.max((began.elapsed() * 4).min(Duration::from_secs(2)));
    tokio::select! {
        () = stop.cancelled() => {}
        () = async {
            tokio::time::sleep(least).await;
            let _ = tokio::time::timeout(most.saturating_sub(least), changed).await;
        } => {}
    }
}
