//! The service's side of a job: start the child, feed its lease, read its events, end it.

use std::{collections::VecDeque, process::ExitStatus, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use super::{
    Launcher,
    jobs::{Job, misread},
    lines::{Line, Lines},
    protocol::{Event, MAX_LINE, Order, PROTOCOL, ToWorker},
};
use crate::domain::{Failure, Fault, JobId, Progress, Reason, Stage};

/// Last lines of a worker's log that are kept for the reason of a failure, and bytes of each.
const LAST_LINES: usize = 8;
const LAST_BYTES: usize = 1_000;

/// Runs jobs, each in a process of its own.
#[derive(Clone, Debug)]
pub struct Supervisor {
    launcher: Launcher,
    stop: CancellationToken,
}

/// Which run of a job it is, and how long it may take; what waits in a launcher's queue takes no time.
#[derive(Clone, Copy, Debug)]
pub struct RunOf {
    pub job: JobId,
    /// Counted from 1.
    pub try_: u32,
    pub timeout: Duration,
}

impl Supervisor {
    /// A supervisor whose jobs all end when `stop` is cancelled.
    pub fn new(launcher: Launcher, stop: CancellationToken) -> Self {
        Self { launcher, stop }
    }

    pub fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    /// Runs one job. `cancel` ends this one alone; both ways of stopping end as [`Reason::Stopped`], within 6 s.
    pub async fn run<J: Job>(
        &self,
        job: &J,
        of: RunOf,
        cancel: &CancellationToken,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<J::Output, Failure> {
        let config = self.launcher.config();
        let order = Order {
            job: of.job,
            try_: of.try_,
            lease_seconds: config.lease.as_secs_f64(),
            threads: self.launcher.threads(),
            nice: config.nice,
            kind: J::KIND,
            input: serde_json::to_value(job).map_err(|error| unsayable(&error))?,
        };
        let line = serde_json::to_string(&ToWorker::Job(order)).map_err(|error| unsayable(&error))?;
        let mut child = self.launcher.command(J::PLACE, of.job).spawn().map_err(|error| not_started(&error))?;
        let span = info_span!("job", job = %of.job, try_ = of.try_, kind = %J::KIND, pid = child.id());
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(died("its pipes could not be opened".into()));
        };
        let feeder = tokio::spawn(feed(stdin, line, config.lease / 4));
        let log = tokio::spawn(read_log(stderr).instrument(span.clone()));
        let launched = self.launcher.launches(J::PLACE);
        if launched {
            progress(Progress { stage: Stage::Launch, done: 0, total: 0 });
        }
        let talk = Talk { of, launched, lease: config.lease };
        let ended = tokio::select! {
            biased; // what has finished is not lost to a stop at the same moment
            ended = talk.listen(stdout, &mut progress).instrument(span) => ended,
            () = cancel.cancelled() => Ended::Broken(stopped()),
            () = self.stop.cancelled() => Ended::Broken(stopped()),
        };
        feeder.abort(); // closes its stdin, which asks it to go
        let scancel = async {
            if launched && !matches!(ended, Ended::Said(_)) {
                self.launcher.cancel_left(of.job).await;
            }
        };
        let (status, ()) = tokio::join!(end(&mut child), scancel);
        let last = finish_log(log).await;
        match ended {
            Ended::Said(output) => serde_json::from_value(output?).map_err(|error| misread(J::KIND, "service", &error)),
            Ended::Broken(failure) => Err(failure),
            Ended::Silent { greeted } => Err(gone(greeted, status, &last)),
        }
    }
}

/// How the talk with a worker ended.
enum Ended {
    /// By itself: with its output or its own failure.
    Said(Result<Value, Failure>),
    /// By us.
    Broken(Failure),
    /// Its stdout closed before it said how it ended, or even that it is there.
    Silent { greeted: bool },
}

/// What is listened by.
struct Talk {
    of: RunOf,
    launched: bool,
    lease: Duration,
}

impl Talk {
    /// Reads events until the job's end. Before a launched worker's `hello` no lease and no timeout counts.
    async fn listen(&self, stdout: ChildStdout, progress: &mut (impl FnMut(Progress) + Send)) -> Ended {
        let mut lines = Lines::new(stdout, MAX_LINE);
        let mut greeted = false;
        let mut deadline = Instant::now() + self.of.timeout;
        loop {
            let started = greeted || !self.launched;
            let line = tokio::select! {
                line = lines.next() => line,
                () = sleep(self.lease), if started => return Ended::Broken(silent(self.lease)),
                () = sleep_until(deadline), if started => return Ended::Broken(too_long(self.of.timeout)),
            };
            let line = match line {
                Ok(Some(Line::Text(line))) => line,
                Ok(Some(Line::TooLong(bytes))) => {
                    warn!(bytes, "the worker wrote a line over {MAX_LINE} bytes; skipped");
                    continue;
                }
                Ok(None) => return Ended::Silent { greeted },
                Err(error) => {
                    warn!(%error, "the worker's output broke");
                    return Ended::Silent { greeted };
                }
            };
            let event: Event = match serde_json::from_str(&line) {
                Ok(event) => event,
                Err(error) => {
                    warn!(%error, line = %line.chars().take(200).collect::<String>(), "not an event; skipped");
                    continue;
                }
            };
            let mine = |job: JobId, try_: u32| greeted && job == self.of.job && try_ == self.of.try_;
            match event {
                Event::Hello { protocol, version, .. } if protocol != PROTOCOL => {
                    return Ended::Broken(mismatch(protocol, &version));
                }
                Event::Hello { version, host, device, .. } => {
                    if self.launched && !greeted {
                        deadline = Instant::now() + self.of.timeout;
                    }
                    greeted = true;
                    info!(version, host, device, "worker started");
                }
                Event::Progress { job, try_, progress: p } if mine(job, try_) => progress(p),
                Event::Finished { job, try_, output } if mine(job, try_) => return Ended::Said(Ok(output)),
                Event::Failed { job, try_, failure } if mine(job, try_) => return Ended::Said(Err(failure)),
                _ => warn!("an event of another job or try; dropped"),
            }
        }
    }
}

/// Writes the job, then a lease every few seconds, until the pipe breaks.
async fn feed(mut stdin: ChildStdin, mut line: String, every: Duration) {
    let Ok(lease) = serde_json::to_string(&ToWorker::Lease) else { return };
    let mut ticks = interval(every.max(Duration::from_millis(50)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        line.push('\n');
        if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
        line.clone_from(&lease);
        ticks.tick().await;
    }
}

/// Gives the child half a second to go by itself, then ends it and all that it started, within 4 s in all.
async fn end(child: &mut Child) -> Option<ExitStatus> {
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let signal = |signal| group.map(|group| kill_process_group(group, signal));
    let mut status = gone_within(child, Duration::from_millis(500)).await;
    if status.is_none() {
        signal(Signal::TERM);
        status = gone_within(child, Duration::from_secs(2)).await;
    }
    // Also after its own end: what it may have started is still in its group.
    signal(Signal::KILL);
    match status {
        Some(status) => Some(status),
        None => gone_within(child, Duration::from_secs(1)).await,
    }
}

async fn gone_within(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    timeout(time, child.wait()).await.ok()?.ok()
}

/// Hands the child's log on; keeps the last lines.
async fn read_log(stderr: ChildStderr) -> VecDeque<String> {
    let mut last = VecDeque::new();
    let mut lines = Lines::new(stderr, MAX_LINE);
    while let Ok(Some(line)) = lines.next().await {
        let mut line = match line {
            Line::Text(line) => line,
            Line::TooLong(bytes) => format!("(a line of {bytes} bytes)"),
        };
        info!(target: "worker", "{line}");
        line.truncate(line.floor_char_boundary(LAST_BYTES));
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    last
}

async fn finish_log(log: JoinHandle<VecDeque<String>>) -> VecDeque<String> {
    timeout(Duration::from_millis(500), log).await.ok().and_then(Result::ok).unwrap_or_default()
}

/// A worker that ended without a word of its end. One that never greeted, and was not killed, never started: its program
/// is not what it should be, or the launcher refused.
fn gone(greeted: bool, status: Option<ExitStatus>, last: &VecDeque<String>) -> Failure {
    let how = status.map_or_else(|| "in an unknown way".to_owned(), |status| status.to_string());
    let last = match last.is_empty() {
        true => "nothing".to_owned(),
        false => last.iter().map(String::as_str).collect::<Vec<_>>().join("\n"),
    };
    if !greeted && status.is_some_and(|status| status.code().is_some()) {
        return not_started(&format!("it ended ({how}) before its first word; its log ended with: {last}"));
    }
    died(format!("the worker ended ({how}) before it finished; its log ended with: {last}"))
}

fn died(message: String) -> Failure {
    Failure::new(Reason::WorkerDied, Fault::Passing, message)
}

fn not_started(why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Reason::WorkerStart, Fault::Surroundings, format!("the worker cannot be started: {why}"))
        .hint("see `worker.command` and `worker.launcher`")
}

fn stopped() -> Failure {
    Failure::new(Reason::Stopped, Fault::Passing, "the job was stopped")
}

fn silent(lease: Duration) -> Failure {
    Failure::new(Reason::Lease, Fault::Passing, format!("the worker said nothing for `worker.lease` ({lease:?})"))
}

fn too_long(time: Duration) -> Failure {
    Failure::new(Reason::Timeout, Fault::Passing, format!("the job took longer than it may, {time:?}"))
        .hint("a pin may take `intake.give_up`, other jobs `worker.timeout`")
}

fn mismatch(protocol: u32, version: &str) -> Failure {
    let message =
        format!("the worker speaks protocol {protocol} (version {version}), this service protocol {PROTOCOL}");
    Failure::new(Reason::Protocol, Fault::Surroundings, message)
        .hint("install one version of both; where this program was replaced, restart the service")
}

/// A job that is no JSON: a path that is not UTF-8.
fn unsayable(error: &serde_json::Error) -> Failure {
    Failure::new(Reason::Internal, Fault::Final, format!("the job cannot be written as JSON: {error}"))
}

#[cfg(test)]
mod tests;
