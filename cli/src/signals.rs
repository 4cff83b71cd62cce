//! SIGINT and SIGTERM: the first asks for a clean end, the second ends at once.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// Waits for the first signal and names it. A second one then ends the process where it stands, with 128 and the signal's
/// number as shells do; unless it comes with the first, for `timeout` and some supervisors send theirs to a process and
/// to its group.
///
/// # Errors
/// If the system lets nobody listen to signals.
pub(crate) fn first() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut signals = Signals::new()?;
    Ok(async move {
        let (name, _) = signals.next().await;
        let first = Instant::now();
        tokio::spawn(async move {
            loop {
                let (_, number) = signals.next().await;
                if first.elapsed() >= SAME {
                    std::process::exit(128 + number);
                }
            }
        });
        name
    })
}

/// Signals that are no further apart are one. Nobody presses Ctrl-C twice as fast and means it.
const SAME: Duration = Duration::from_millis(100);

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", 2),
            _ = self.terminate.recv() => ("SIGTERM", 15),
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> (&'static str, i32) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        ("SIGINT", 2)
    }
}
