//! The child's side of a job: read it, take its place on the machine, do it, say how it ended.

use std::{any::Any, panic, process::ExitCode};

use super::{
    heartbeat::{self, Heartbeat, read_order, say},
    jobs::{Machine, do_job},
    protocol::{Event, Order, PROTOCOL},
};
use crate::{
    domain::{Failure, Fault, Reason},
    probe,
};

/// What this build can compute on.
const BUILT_FOR: &str = if cfg!(feature = "cuda") {
    "cuda"
} else if cfg!(feature = "metal") {
    "metal"
} else {
    "cpu"
};

/// Bytes of a failure's message that are told: a list of every refused chip would make the line too long.
const LONGEST_MESSAGE: usize = 16_384;

/// `clay-probe worker`: one job from standard input, events on standard output, logs on standard error.
pub fn main() -> ExitCode {
    // Before the job is read: a service of another version is told so, whatever its jobs look like.
    say(&Event::Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: probe::host(),
        device: BUILT_FOR.to_owned(),
    });
    let order = match read_order() {
        Ok(order) => order,
        Err(message) => {
            eprintln!("error: {message}\nhint: `clay-probe worker` is started by the service; see `worker.command`");
            return ExitCode::from(2);
        }
    };
    be_modest(&order);
    let heartbeat = Heartbeat::start(&order);
    let (job, try_, machine) = (order.job, order.try_, Machine { threads: order.threads });
    // A panic ends this job, as a failure with its message, not as a riddle.
    let done = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        do_job(order.kind, order.input, &machine, &mut |progress| heartbeat.progress(progress))
    }));
    heartbeat::rest();
    match done.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
        Ok(output) => say(&Event::Finished { job, try_, output }),
        Err(mut failure) => {
            failure.message.truncate(failure.message.floor_char_boundary(LONGEST_MESSAGE));
            say(&Event::Failed { job, try_, failure });
        }
    }
    ExitCode::SUCCESS
}

/// Leaves the machine to the trainer: niceness, and no core dump of gigabytes.
fn be_modest(order: &Order) {
    if let Err(error) = rustix::process::nice(i32::from(order.nice.min(19))) {
        eprintln!("niceness {} could not be taken: {error}", order.nice);
    }
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    Failure::new(Reason::Panic, Fault::Passing, format!("the worker panicked: {}", text.unwrap_or("no message")))
}
