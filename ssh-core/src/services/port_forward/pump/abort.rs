use std::io;
use std::sync::{Arc, Weak};

use crate::channel::{Channel, ChannelReader, ChannelWriter, ExitStatus, Handle};
use crate::protocol::wire::Write as _;

/// Tells the peer when it is dropped that the connection behind the channel broke: what it was sent is not whole, and not
/// all that it sent has got through. To be dropped before the channel is, and taken back once all has ended well.
///
/// Peers that do not know the request on such a channel pass over it, as it wants no answer.
#[derive(Debug)]
pub(in super::super) struct Abort {
    // Only a look: what wraps a channel decides when it closes.
    channel: Weak<Handle>,
    is_due: bool,
}

impl Abort {
    pub(in super::super) fn unless_whole(channel: &Channel) -> Self {
        Self { channel: Arc::downgrade(channel.handle()), is_due: true }
    }

    /// The halves with one of these, which is dropped first.
    pub(super) fn split(channel: Channel) -> (ChannelReader, ChannelWriter, Self) {
        let abort = Self::unless_whole(&channel);
        let (reader, writer) = channel.split();
        (reader, writer, abort)
    }

    pub(in super::super) fn take_back(mut self) {
        self.is_due = false;
    }

    /// Tells the end of the data from a break of what is behind the channel.
    ///
    /// # Errors
    /// [`ConnectionReset`](io::ErrorKind::ConnectionReset) if the peer has told of one.
    pub(in super::super) fn check_peer(&self) -> io::Result<()> {
        let Some(channel) = self.channel.upgrade() else { return Ok(()) };
        match channel.shared.with(|engine| engine.exit_status(channel.id)) {
            Some(ExitStatus::Signal { .. }) => Err(io::ErrorKind::ConnectionReset.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Abort {
    fn drop(&mut self) {
        let Some(channel) = self.channel.upgrade().filter(|_| self.is_due) else { return };
        let told =
            channel.shared.with(|engine| engine.channel_request(channel.id, "exit-signal", false, &fields()));
        // The channel or the session may be over already; then there is nobody to tell.
        drop(told);
    }
}

/// The fields of `exit-signal` (RFC 4254 §6.10).
fn fields() -> Vec<u8> {
    let mut fields = Vec::new();
    fields.put_string(b"ABRT");
    fields.put_bool(false);
    fields.put_string(b"the connection was reset");
    fields.put_string(b"");
    fields
}
