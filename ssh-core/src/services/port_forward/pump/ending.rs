use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::channel::{Channel, Handle};

/// When to close a channel because the peer cannot be told by EOF that our way has ended.
///
/// The Go library of Dev Tunnels keeps an EOF to itself. Its program would wait for ever for the end of what our target
/// has said, and its target for a client of ours that went long ago. It closes its own channels at the end of either way.
#[derive(Debug)]
pub(super) struct Ending {
    /// For so long nothing may come once our way has ended; `None` where EOF is passed on.
    patience: Option<Duration>,
    has_begun: AtomicBool,
    begins: Notify,
}

/// Whoever connected here may have ended its way only to wait for an answer, which could be on its way for so long. It
/// could also have gone, which looks the same.
const PATIENCE: Duration = Duration::from_secs(30);

impl Ending {
    pub(super) fn of(channel: &Channel) -> Self {
        let Handle { shared, id, .. } = &**channel.handle();
        let patience = shared.with(|engine| {
            let is_target = engine.was_channel_offered(*id);
            engine.peer_is_dev_tunnels_go().then_some(if is_target { Duration::ZERO } else { PATIENCE })
        });
        Self { patience, has_begun: AtomicBool::new(false), begins: Notify::new() }
    }

    /// Our way has ended.
    pub(super) fn has_begun(&self) {
        self.has_begun.store(true, Ordering::Release);
        self.begins.notify_waiters();
    }

    /// Ready when our way has ended and the patience is over, counted from now.
    ///
    /// # Errors
    /// What was waited for may have been on its way, so it is not to be taken for whole.
    pub(super) async fn is_due(&self) -> io::Result<()> {
        let Some(patience) = self.patience else { return std::future::pending().await };
        // Before the look at it, so that nothing is missed in between.
        let begins = self.begins.notified();
        if !self.has_begun.load(Ordering::Acquire) {
            begins.await;
        }
        tokio::time::sleep(patience).await;
        if patience.is_zero() { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}
