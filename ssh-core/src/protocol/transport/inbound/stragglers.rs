//! Packets that are under the previous key although they come behind NEWKEYS, as Dev Tunnels' Go peers send them.

use bytes::{Buf as _, BytesMut};

use super::{Inbound, Input, NextOpener, Stage};
use crate::error::Error;

/// The key that takes over when a packet is not under the previous one any more, which then opens nothing again.
///
/// With a length under encryption the previous key may make a credible one out of what is not its own, 4 times in
/// 1 million; the stream then ends.
pub(super) struct Successor {
    next: NextOpener,
    /// The head of the packet at hand as it came.
    pub(super) head: Vec<u8>,
    /// What may still come under the previous key, in bytes.
    left: usize,
}

/// More than is under way while the peer waits for our NEWKEYS, in bytes: 200 ms at 10 Gbit/s.
const MAX_STRAGGLERS: usize = 256 * 1024 * 1024;

impl Successor {
    pub(super) fn new(next: NextOpener) -> Self {
        Self { next, head: Vec::new(), left: MAX_STRAGGLERS }
    }
}

impl Inbound {
    /// A packet that is under the previous key still. The first that is not leaves the rest to the successor.
    pub(super) fn open_straggler(&mut self, total: usize) -> Result<Option<Input>, Error> {
        self.check_counter()?;
        let left = self.successor.as_mut().map(|successor| &mut successor.left);
        let in_time = left.is_some_and(|left| {
            *left = left.saturating_sub(total);
            *left > 0
        });
        // What fails to open may be left in any state.
        let sealed = self.blocks.current().get(..total).unwrap_or_default();
        let mut packet = BytesMut::from(sealed);
        if !in_time || self.opener.open(self.sequence, &mut packet).is_err() {
            self.succeed();
            return Ok(None);
        }
        self.blocks.current().advance(total);
        self.take_opened(packet).map(Some)
    }

    /// Leaves the packet at hand, and all that follow, to the next key. `None` if there is none.
    pub(super) fn succeed(&mut self) -> Option<()> {
        let Successor { next, head, .. } = *self.successor.take()?;
        if let Some(opened) = self.blocks.current().get_mut(..head.len()) {
            opened.copy_from_slice(&head);
        }
        self.use_key(next);
        self.stage = Stage::Head;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{CryptoError, Framing, Opener};
    use crate::error::PeerMisbehaved;
    use crate::protocol::Role;
    use crate::protocol::transport::plain::Plain;

    /// IGNORE without data, in the clear.
    const PACKET: [u8; 16] = [0, 0, 0, 12, 10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    /// A key under which nothing was ever sealed.
    #[derive(Debug)]
    struct Wrong;

    impl Opener for Wrong {
        fn framing(&self) -> Framing {
            Opener::framing(&Plain)
        }
        fn head_len(&self) -> usize {
            4
        }
        fn open_length(&mut self, sequence: u32, head: &mut [u8]) -> u32 {
            Plain.open_length(sequence, head)
        }
        fn open(&mut self, _sequence: u32, _packet: &mut [u8]) -> Result<(), CryptoError> {
            Err(CryptoError::Unauthentic)
        }
    }

    #[test]
    fn nobody_stays_with_the_previous_key() {
        let mut inbound = Inbound::new(Role::Server, 256 * 1024);
        let next = NextOpener { opener: Box::new(Wrong), reset_sequence: false, after_stragglers: true };
        inbound.install(next);
        let mut take = |left: Option<usize>| {
            inbound.successor.as_mut().unwrap().left = left.unwrap_or(MAX_STRAGGLERS);
            inbound.reserve(64).extend_from_slice(&PACKET);
            inbound.poll()
        };
        assert!(matches!(take(None), Ok(Some(Input::Packet(_)))));
        assert!(matches!(take(Some(PACKET.len() + 1)), Ok(Some(Input::Packet(_)))));
        let error = take(Some(PACKET.len())).unwrap_err();
        assert!(matches!(error, Error::PeerMisbehaved(PeerMisbehaved::BadMac)));
    }
}
