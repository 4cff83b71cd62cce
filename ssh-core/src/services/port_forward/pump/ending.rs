use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::moment::Moment;
use crate::channel::{Channel, ChannelReader, ChannelWriter, Handle};
use crate::driver::Shared;
use crate::protocol::transport::ident::PeerVersion;

/// How a peer is told that our way has ended.
///
/// The libraries of Dev Tunnels in Go and TypeScript keep an EOF to themselves. Their program would wait for ever for the end
/// of what our target has said, and their target for a client of ours that went long ago. They close their own channels at
/// the end of either way. The one in C# is told by EOF.
#[derive(Debug)]
pub(super) struct Ending {
    shared: Arc<Shared>,
    id: u32,
    manner: Manner,
    begun: Moment,
    /// By closing we have dropped what the peer had still to say.
    has_cut: AtomicBool,
}

#[derive(Debug, PartialEq, Eq)]
enum Manner {
    /// EOF is passed on, and the other way stays open.
    Eof,
    /// By CLOSE: our target has said all.
    Close,
    /// The same once nothing has come for [`QUIET`].
    CloseSoon,
    /// By CLOSE once nothing has come for [`PATIENCE`].
    CloseLater,
}

/// A target that has said all may still be reading, and what it is to read is in flight. On a CLOSE the library in TypeScript
/// also drops what its own program has not read yet, if that program writes on.
const QUIET: Duration = Duration::from_millis(500);

/// Whoever connected here may have ended its way only to wait for an answer, which could be on its way for so long. It
/// could also have gone, which looks the same.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

impl Ending {
    pub(super) fn of(channel: &Channel) -> Self {
        let Handle { shared, id, .. } = &**channel.handle();
        let manner = shared.with(|engine| {
            let is_go = engine.peer_is_dev_tunnels_go();
            let is_typescript = engine.peer_version().is_some_and(PeerVersion::is_dev_tunnels_typescript);
            match engine.was_channel_offered(*id) {
                _ if !is_go && !is_typescript => Manner::Eof,
                true if is_go => Manner::Close,
                true => Manner::CloseSoon,
                false => Manner::CloseLater,
            }
        });
        Self {
            shared: Arc::clone(shared),
            id: *id,
            manner,
            begun: Moment::default(),
            has_cut: AtomicBool::new(false),
        }
    }

    /// The same for a pair of streams. Whoever holds them is not gone unseen, and can give up by itself.
    pub(super) fn of_streams(channel: &Channel) -> Self {
        let ending = Self::of(channel);
        match ending.manner {
            Manner::CloseLater => Self { manner: Manner::Eof, ..ending },
            Manner::Eof | Manner::Close | Manner::CloseSoon => ending,
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
        self.begun.come();
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
            Manner::CloseSoon => Box::pin(self.begun.is_past(QUIET)).await,
            Manner::CloseLater => Box::pin(self.begun.is_past(PATIENCE)).await,
            Manner::Eof | Manner::Close => std::future::pending().await,
        }
    }

    /// Closes the channel, as [is due](Self::is_due). That is the end of the data, or the error that there was none.
    pub(super) fn cut(&self, reader: &ChannelReader) -> io::Result<()> {
        reader.close();
        if self.manner == Manner::CloseSoon {
            self.has_cut.store(true, Ordering::Release);
            return Ok(());
        }
        // What was waited for may have been on its way, so it is not to be taken for whole.
        Err(io::ErrorKind::TimedOut.into())
    }
}
