use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::channel::{Channel, ChannelWriter, Handle};
use crate::driver::Shared;

/// How a peer is told that our way has ended.
///
/// The Go library of Dev Tunnels keeps an EOF to itself. Its program would wait for ever for the end of what our target
/// has said, and its target for a client of ours that went long ago. It closes its own channels at the end of either way.
#[derive(Debug)]
pub(super) struct Ending {
    shared: Arc<Shared>,
    id: u32,
    manner: Manner,
    has_begun: AtomicBool,
    /// By closing we have dropped what the peer had still to say.
    has_cut: AtomicBool,
    begins: Notify,
}

#[derive(Debug, PartialEq, Eq)]
enum Manner {
    /// EOF is passed on, and the other way stays open.
    Eof,
    /// By CLOSE: our target has said all.
    Close,
    /// By CLOSE once nothing has come for [`PATIENCE`].
    CloseLater,
}

/// Whoever connected here may have ended its way only to wait for an answer, which could be on its way for so long. It
/// could also have gone, which looks the same.
const PATIENCE: Duration = Duration::from_secs(30);

impl Ending {
    pub(super) fn of(channel: &Channel) -> Self {
        let Handle { shared, id, .. } = &**channel.handle();
        let manner = shared.with(|engine| match engine.was_channel_offered(*id) {
            _ if !engine.peer_is_dev_tunnels_go() => Manner::Eof,
            true => Manner::Close,
            false => Manner::CloseLater,
        });
        Self {
            shared: Arc::clone(shared),
            id: *id,
            manner,
            has_begun: AtomicBool::new(false),
            has_cut: AtomicBool::new(false),
            begins: Notify::new(),
        }
    }

    /// The same for a pair of streams. Whoever holds them is not gone unseen, and can give up by itself.
    pub(super) fn of_streams(channel: &Channel) -> Self {
        let ending = Self::of(channel);
        match ending.manner {
            Manner::CloseLater => Self { manner: Manner::Eof, ..ending },
            Manner::Eof | Manner::Close => ending,
        }
    }

    /// Our way has ended, which EOF has said.
    pub(super) fn begin(&self, writer: &ChannelWriter) {
        if self.manner == Manner::Close {
            // Before the close, which the peer answers by an end.
            let had_ended = self.shared.with(|engine| engine.has_peer_ended(self.id));
            self.has_cut.store(!had_ended, Ordering::Release);
            writer.close();
        }
        self.has_begun.store(true, Ordering::Release);
        self.begins.notify_waiters();
    }

    /// Whether the end of the peer's data is one that we have made: what was read is not to be taken for whole.
    pub(super) fn has_cut(&self) -> bool {
        self.has_cut.load(Ordering::Acquire)
    }

    /// Whether this error only says that we have closed the channel.
    pub(super) fn is_ours(&self, error: &io::Error) -> bool {
        self.has_cut() && error.kind() == io::ErrorKind::BrokenPipe
    }

    /// Ready when our way has ended and the patience is over, counted from now.
    pub(super) async fn is_due(&self) {
        match self.manner {
            // Boxed, so that the many who never wait here are not larger for it.
            Manner::CloseLater => Box::pin(self.run_out_of_patience()).await,
            Manner::Eof | Manner::Close => std::future::pending().await,
        }
    }

    async fn run_out_of_patience(&self) {
        // Before the look at it, so that nothing is missed in between.
        let begins = self.begins.notified();
        if !self.has_begun.load(Ordering::Acquire) {
            begins.await;
        }
        tokio::time::sleep(PATIENCE).await;
    }
}
