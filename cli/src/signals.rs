//! SIGINT and SIGTERM: the first asks for a clean end, the second ends at once.

use std::future::Future;

/// Waits for the first signal and names it. From then on a second one ends the process where it stands, with 128 and
/// the signal's number as shells do.
///
/// # Errors
/// If the system lets nobody listen to signals.
pub(crate) fn first() -> std::io::Result<impl Future<Output = &'static str>> {
    let mut signals = Signals::new()?;
    Ok(async move {
        let (name, _) = signals.next().await;
        tokio::spawn(async move {
            let (_, number) = signals.next().await;
            std::process::exit(128 + number);
        });
        name
    })
}

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
