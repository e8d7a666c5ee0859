//! The child's life line: it ends when the service does, and it shows the service that it lives.

use std::{
    io::{BufRead, Write, stdin, stdout},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::protocol::{Event, Order, ToWorker};
use crate::domain::{JobId, Progress, Stage};

/// Exit code of a worker whose service went away.
const ABANDONED: i32 = 3;

/// How long the job may take to come: a killed `srun` leaves its step behind with standard input open.
const FIRST_WORD: Duration = Duration::from_secs(300);

/// Writes one event as one line; the only writer of stdout.
pub fn say(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        let mut out = stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            process::exit(ABANDONED);
        }
    }
}

/// Reads the job, then watches the lease in the background: at end-of-file or after silence the process ends.
pub fn read_order() -> Result<Order, String> {
    let (send, receive) = channel::<String>();
    thread::spawn(move || {
        for line in stdin().lock().lines() {
            let Ok(line) = line else { break };
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let first = receive.recv_timeout(FIRST_WORD).map_err(|error| match error {
        RecvTimeoutError::Disconnected => "standard input ended before a job came".to_owned(),
        RecvTimeoutError::Timeout => format!("no job came for {FIRST_WORD:?}"),
    })?;
    match serde_json::from_str(&first) {
        Ok(ToWorker::Job(order)) => {
            let lease = Duration::from_secs_f64(order.lease_seconds.clamp(0.1, 1e6));
            thread::spawn(move || watch(&receive, lease));
            Ok(order)
        }
        Ok(ToWorker::Lease) => Err("the first line is a lease, not a job".to_owned()),
        Err(error) => Err(format!("the first line is not a job: {error}")),
    }
}

/// Set when the work is over: the service closes the pipe then, and that is no news.
static RESTING: AtomicBool = AtomicBool::new(false);

/// Stops minding the lease: the work is over, and the process ends by itself.
pub fn rest() {
    RESTING.store(true, Ordering::SeqCst);
}

fn watch(lines: &Receiver<String>, lease: Duration) {
    loop {
        match lines.recv_timeout(lease) {
            Ok(_) => {}
            Err(_) if RESTING.load(Ordering::SeqCst) => return,
            Err(RecvTimeoutError::Timeout) => {
                eprintln!("no word from the service for {lease:?}: stopping");
                process::exit(ABANDONED);
            }
            Err(RecvTimeoutError::Disconnected) => {
                eprintln!("the service is gone: stopping");
                process::exit(ABANDONED);
            }
        }
    }
}

/// Tells progress: at once when a stage begins or ends, else at most five times a second; and again every quarter of
/// the lease, so that a long step is not taken for death.
#[derive(Clone)]
pub struct Heartbeat {
    job: JobId,
    try_: u32,
    /// What was told last, and when.
    last: Arc<Mutex<(Progress, Option<Instant>)>>,
}

impl Heartbeat {
    /// Starts to beat for a job.
    pub fn start(order: &Order) -> Self {
        let beginning = Progress { stage: Stage::Load, done: 0, total: 0 };
        let heartbeat = Self { job: order.job, try_: order.try_, last: Arc::new(Mutex::new((beginning, None))) };
        let every = Duration::from_secs_f64((order.lease_seconds / 4.0).clamp(0.05, 1e6));
        let again = heartbeat.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(every);
                let progress = again.lock().0;
                again.say(progress);
            }
        });
        heartbeat
    }

    /// Tells how far it is.
    pub fn progress(&self, progress: Progress) {
        let mut last = self.lock();
        let edge = progress.done == 0 || progress.done == progress.total || last.0.stage != progress.stage;
        let rested = last.1.is_none_or(|at| at.elapsed() >= Duration::from_millis(200));
        last.0 = progress;
        if edge || rested {
            last.1 = Some(Instant::now());
            drop(last);
            self.say(progress);
        }
    }

    fn say(&self, progress: Progress) {
        say(&Event::Progress { job: self.job, try_: self.try_, progress });
    }

    fn lock(&self) -> MutexGuard<'_, (Progress, Option<Instant>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
