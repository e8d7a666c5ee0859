//! The service's side of a job: start the child, feed its lease, read its events, end it.

use std::{collections::VecDeque, process::ExitStatus, time::Duration};

use futures_util::StreamExt;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::{
    codec::{FramedRead, LinesCodec, LinesCodecError},
    sync::CancellationToken,
};
use tracing::{Instrument, info, info_span, warn};

use super::{
    Launcher,
    protocol::{Event, Job, MAX_LINE, Outcome, PROTOCOL, Task, ToWorker},
};
use crate::domain::{Failure, Progress};

/// Last lines of a worker's log that are kept for the reason of a failure.
const LAST_LINES: usize = 8;

/// Runs jobs, each in a process of its own.
#[derive(Clone, Debug)]
pub struct Supervisor {
    launcher: Launcher,
    stop: CancellationToken,
}

impl Supervisor {
    /// A supervisor whose jobs all end when `stop` is cancelled.
    pub fn new(launcher: Launcher, stop: CancellationToken) -> Self {
        Self { launcher, stop }
    }

    /// The launcher's settings.
    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// Runs one task. `cancel` ends this one alone; both ways of stopping end as the failure `stopped`.
    pub async fn run(
        &self,
        job: i64,
        try_: u32,
        task: Task,
        cancel: &CancellationToken,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<Outcome, Failure> {
        let config = self.launcher.config();
        let local = !matches!(task, Task::Probe(_));
        let mut child = self.launcher.command(local)?.spawn().map_err(|error| Failure {
            reason: "worker-start".into(),
            message: format!("the worker cannot be started: {error}; hint: see `worker.command` and `worker.launcher`"),
            retry: true,
        })?;
        let job = Job {
            job,
            try_,
            lease_seconds: config.lease.as_secs_f64(),
            threads: self.launcher.threads(),
            nice: config.nice,
            task,
        };
        let span = info_span!("job", job = job.job, try_, pid = child.id());
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(died("its pipes could not be opened".into()));
        };
        let feeder = tokio::spawn(feed(stdin, job.clone(), config.lease / 4));
        let log = tokio::spawn(read_log(stderr).instrument(span.clone()));
        let deadline = Instant::now() + config.timeout;
        let ended = tokio::select! {
            ended = listen(stdout, &job, config.lease, &mut progress).instrument(span) => ended,
            () = sleep_until(deadline) => Some(Err(Failure {
                reason: "timeout".into(),
                message: format!("the job took longer than `worker.timeout` ({:?})", config.timeout),
                retry: true,
            })),
            () = cancel.cancelled() => Some(Err(stopped())),
            () = self.stop.cancelled() => Some(Err(stopped())),
        };
        feeder.abort(); // closes its stdin, which asks it to go
        let status = end(&mut child).await;
        let last = finish_log(log).await;
        ended.unwrap_or_else(|| Err(died(how(status, &last))))
    }
}

/// Writes the job, then a lease every few seconds, until the pipe breaks.
async fn feed(mut stdin: ChildStdin, job: Job, every: Duration) {
    let Ok(first) = serde_json::to_string(&ToWorker::Job(Box::new(job))) else { return };
    let Ok(lease) = serde_json::to_string(&ToWorker::Lease) else { return };
    let mut ticks = interval(every.max(Duration::from_millis(50)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut line = first;
    loop {
        if stdin.write_all(format!("{line}\n").as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
        line.clone_from(&lease);
        ticks.tick().await;
    }
}

/// Reads events until the job's end. `None`: its stdout closed without one.
async fn listen(
    stdout: ChildStdout,
    job: &Job,
    lease: Duration,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Option<Result<Outcome, Failure>> {
    let mut lines = FramedRead::new(stdout, LinesCodec::new_with_max_length(MAX_LINE));
    let mut greeted = false;
    loop {
        let line = match timeout(lease, lines.next()).await {
            Err(_) => {
                let message = format!("the worker said nothing for `worker.lease` ({lease:?})");
                return Some(Err(Failure { reason: "lease".into(), message, retry: true }));
            }
            Ok(None) => return None,
            Ok(Some(Ok(line))) => line,
            Ok(Some(Err(LinesCodecError::MaxLineLengthExceeded))) => {
                warn!("the worker wrote a line over {MAX_LINE} bytes; skipped");
                continue;
            }
            Ok(Some(Err(LinesCodecError::Io(error)))) => {
                warn!(%error, "the worker's output broke");
                return None;
            }
        };
        let event: Event = match serde_json::from_str(&line) {
            Ok(event) => event,
            Err(error) => {
                warn!(%error, line = %line.chars().take(200).collect::<String>(), "not an event; skipped");
                continue;
            }
        };
        let mine = |j: i64, t: u32| greeted && j == job.job && t == job.try_;
        match event {
            Event::Hello { protocol, version, host, device } => {
                if protocol != PROTOCOL {
                    let message = format!(
                        "the worker speaks protocol {protocol} (version {version}), this service {PROTOCOL}; hint: install the same version of both"
                    );
                    return Some(Err(Failure { reason: "protocol".into(), message, retry: false }));
                }
                greeted = true;
                info!(version, host, device, "worker started");
            }
            Event::Progress { job: j, try_, progress: p } if mine(j, try_) => progress(p),
            Event::Finished { job: j, try_, outcome } if mine(j, try_) => return Some(Ok(outcome)),
            Event::Failed { job: j, try_, failure } if mine(j, try_) => return Some(Err(failure)),
            _ => warn!("an event of another job or try; dropped"),
        }
    }
}

/// Gives the child a moment to go by itself, then ends its whole group.
async fn end(child: &mut Child) -> Option<ExitStatus> {
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Ok(Ok(status)) = timeout(Duration::from_millis(500), child.wait()).await {
        // What it may have started is still in its group.
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        return Some(status);
    }
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::TERM);
    }
    if let Ok(Ok(status)) = timeout(Duration::from_secs(3), child.wait()).await {
        return Some(status);
    }
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait().await.ok()
}

/// Hands the child's log on; keeps the last lines.
async fn read_log(stderr: ChildStderr) -> VecDeque<String> {
    let mut last = VecDeque::new();
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        info!(target: "worker", "{line}");
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    last
}

async fn finish_log(log: JoinHandle<VecDeque<String>>) -> VecDeque<String> {
    timeout(Duration::from_secs(1), log).await.ok().and_then(Result::ok).unwrap_or_default()
}

fn how(status: Option<ExitStatus>, last: &VecDeque<String>) -> String {
    let status = status.map_or_else(|| "in an unknown way".to_owned(), |s| s.to_string());
    let tail = last.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let tail = if tail.is_empty() { "nothing".to_owned() } else { tail };
    format!("the worker ended ({status}) before it finished; its log ended with: {tail}")
}

fn died(message: String) -> Failure {
    Failure { reason: "worker-died".into(), message, retry: true }
}

fn stopped() -> Failure {
    Failure { reason: "stopped".into(), message: "the job was stopped".into(), retry: true }
}
