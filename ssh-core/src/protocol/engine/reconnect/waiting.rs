//! What comes on a connection while it is decided whose it is.

use std::time::Instant;

use bytes::BytesMut;

use crate::error::{Error, PeerMisbehaved};
use crate::protocol::Role;
use crate::protocol::engine::Engine;
use crate::protocol::messages::{Ignore, NewKeys};
use crate::protocol::reconnect::ReconnectRequest;

/// What comes while it is decided whose connection this is.
#[derive(Debug, Default)]
pub(in crate::protocol::engine) struct Waiting {
    /// A server's: what the client asked.
    pub(super) request: Option<ReconnectRequest>,
    packets: Vec<(BytesMut, u32)>,
    bytes: usize,
}

/// With this much waiting, in bytes, nothing more is read.
const WAITING_PAUSE: usize = 256 * 1024;
/// A driver that reads on nevertheless is stopped here, in bytes. A read is at most 1 MiB.
const MAX_WAITING: usize = 4 * 1024 * 1024;

impl Waiting {
    pub(super) fn on_request(request: ReconnectRequest) -> Self {
        Self { request: Some(request), ..Self::default() }
    }

    pub(in crate::protocol::engine) fn is_full(&self) -> bool {
        self.bytes >= WAITING_PAUSE
    }
}

impl Engine {
    /// Keeps a packet until it is known whose it is.
    pub(in crate::protocol::engine) fn wait(
        &mut self,
        payload: BytesMut,
        sequence: u32,
    ) -> Result<(), Error> {
        if self.role == Role::Server {
            // The limits of a connection that has not logged in hold.
            self.check_allowed(Ignore::NUMBER)?;
        }
        // We take part in no key exchange meanwhile, so the peer cannot have come to the end of one. Behind it nothing could
        // be opened, nor counted, before the decision.
        if payload.first() == Some(&NewKeys::NUMBER) {
            return Err(PeerMisbehaved::UnexpectedMessage(NewKeys::NUMBER).into());
        }
        let Some(waiting) = &mut self.waiting else { return Ok(()) };
        waiting.bytes = waiting.bytes.saturating_add(payload.len()).saturating_add(size_of::<BytesMut>());
        if waiting.bytes > MAX_WAITING {
            return Err(PeerMisbehaved::OutputNotRead.into());
        }
        waiting.packets.push((payload, sequence));
        Ok(())
    }

    pub(super) fn route_waiting(&mut self, waiting: Waiting, now: Instant) -> Result<(), Error> {
        let mut packets = waiting.packets.into_iter();
        for (payload, sequence) in packets.by_ref() {
            self.route(payload, sequence, false, now)?;
            if let Some(again) = &mut self.waiting {
                // The client asked once more.
                again.packets.extend(packets);
                return Ok(());
            }
        }
        Ok(())
    }
}
