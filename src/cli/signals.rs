//! When to stop: SIGINT (Ctrl-C) or SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ends at the first of both signals that comes from this call on. A second one ends the process at once.
pub fn stop() -> impl Future<Output = ()> {
    let handlers = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        // Without handlers the signals keep their default: they end the process.
        let (Ok(interrupt), Ok(terminate)) = handlers else { return std::future::pending().await };
        wait(interrupt, terminate).await;
    }
}

async fn wait(mut interrupt: Signal, mut terminate: Signal) {
    let name = tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    };
    tracing::info!(signal = name, "stopping; the same signal again ends the process at once");
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
}
