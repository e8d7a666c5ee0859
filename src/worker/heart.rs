//! The child's life line: it ends when the service does, and it shows the service that it lives.

use std::{
    io::{BufRead, Write, stdin, stdout},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use super::protocol::{Event, Job, ToWorker};
use crate::domain::Progress;

/// Exit code of a worker whose service went away.
const ABANDONED: i32 = 3;

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
pub fn read_job() -> Result<Job, String> {
    let (send, receive) = channel::<String>();
    thread::spawn(move || {
        for line in stdin().lock().lines() {
            let Ok(line) = line else { break };
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let first = receive.recv().map_err(|_| "standard input ended before a job came".to_owned())?;
    match serde_json::from_str(&first) {
        Ok(ToWorker::Job(job)) => {
            let lease = Duration::from_secs_f64(job.lease_seconds.clamp(0.1, 1e6));
            thread::spawn(move || watch(&receive, lease));
            Ok(*job)
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
pub struct Pulse {
    job: i64,
    try_: u32,
    last: Arc<Mutex<(Option<Progress>, Option<std::time::Instant>)>>,
}

impl Pulse {
    /// Starts the pulse of a job.
    pub fn start(job: &Job) -> Self {
        let pulse = Self { job: job.job, try_: job.try_, last: Arc::default() };
        let every = Duration::from_secs_f64((job.lease_seconds / 4.0).clamp(0.05, 1e6));
        let beat = pulse.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(every);
                let progress =
                    beat.lock().0.unwrap_or(Progress { stage: crate::domain::Stage::Load, done: 0, total: 0 });
                beat.say(progress);
            }
        });
        pulse
    }

    /// Tells how far it is.
    pub fn progress(&self, progress: Progress) {
        let mut last = self.lock();
        let edge =
            progress.done == 0 || progress.done == progress.total || last.0.is_none_or(|p| p.stage != progress.stage);
        let rested = last.1.is_none_or(|at| at.elapsed() >= Duration::from_millis(200));
        last.0 = Some(progress);
        if edge || rested {
            last.1 = Some(std::time::Instant::now());
            drop(last);
            self.say(progress);
        }
    }

    fn say(&self, progress: Progress) {
        say(&Event::Progress { job: self.job, try_: self.try_, progress });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Option<Progress>, Option<std::time::Instant>)> {
        self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
