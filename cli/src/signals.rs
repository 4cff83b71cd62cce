//! SIGINT, SIGTERM and SIGHUP: the first asks for a clean end, the second ends at once.

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
    /// The terminal was closed. None where that is to end nothing.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = hangup_ends().then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.interrupt.recv() => ("SIGINT", 2),
            _ = self.terminate.recv() => ("SIGTERM", 15),
            () = received(self.hangup.as_mut()) => ("SIGHUP", 1),
        }
    }
}

#[cfg(unix)]
async fn received(signal: Option<&mut tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether SIGHUP is known to end the process. `nohup` has it ignored, and to listen to it would undo that. Where the
/// system does not say, the signal does what it did: nothing, or an end without a clean-up.
#[cfg(unix)]
fn hangup_ends() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    // A bit each, from signal 1 on.
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 0)
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
