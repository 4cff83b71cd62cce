//! The first request of a channel, sent right behind its open: `initial-channel-request@microsoft.com`.
//!
//! It is a global request that holds a whole CHANNEL_REQUEST, and names the channel by the opener's number, since the
//! opener does not know the other one yet. Its answer is the answer of a global request.

use std::time::Instant;

use bytes::Bytes;

use super::channel::RowPhase;
use super::{Connection, GlobalReply, MAX_WAITING};
use crate::error::Error;
use crate::protocol::auth::Authenticated;
use crate::protocol::messages::{ChannelRequest, GlobalRequest, Rest};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::{Reader, WireError, Write as _};

/// The name of the global request.
pub(super) const INITIAL_CHANNEL_REQUEST: &str = "initial-channel-request@microsoft.com";
/// Request names may not be longer, in bytes.
const MAX_NAME: usize = 256;

/// Where the answers to a channel's first request are expected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Initial {
    /// Its place among the channel's requests.
    pub(super) channel_slot: u64,
    /// Its place among those of the session.
    pub(super) session_slot: u64,
}

impl Connection {
    /// Sends the first request of a channel that is being opened; the number of its answer among those of the session.
    pub(crate) fn initial_request(
        &mut self,
        proof: Authenticated,
        id: u32,
        name: &str,
        fields: &[u8],
        now: Instant,
        out: &mut Outbound,
    ) -> Result<Option<u64>, Error> {
        let mut inner = Vec::new();
        inner.put_u32(id);
        ChannelRequest { recipient: 0, name, want_reply: true, fields: Rest(fields) }.encode(&mut inner);
        self.global_request(proof, INITIAL_CHANNEL_REQUEST, true, &inner, now, out)
    }

    /// The peer's first request on a channel that it opens. It is put to the application like the channel's other
    /// requests. What the inner message says about its recipient and its answer is of no meaning.
    pub(super) fn on_initial_request(
        &mut self,
        message: &GlobalRequest<'_>,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        let mut reader = Reader::new(message.fields.0);
        let sender = reader.u32()?;
        let request = ChannelRequest::decode(reader.rest())?;
        if request.name.len() > MAX_NAME {
            return Err(WireError::TooLong.into());
        }
        let session_slot = message.want_reply.then(|| self.received_requests.push());
        let is_negotiated = self.common.extensions.open_channel_request;
        let limit = self.common.limits.pending_requests;
        let waiting = self.waiting_bytes.saturating_add(request.fields.0.len());
        let fits = waiting <= MAX_WAITING && self.received_requests.len() <= limit;
        // The latest with this number: it is the opener's, which may use it again.
        let found = self.rows.iter_mut().filter(|(_, row)| {
            row.offered && row.send.remote == sender && !row.close_sent && !row.close_received
        });
        let found = found.max_by_key(|(id, _)| **id).map(|(_, row)| row).filter(|row| {
            let undecided = matches!(row.phase, RowPhase::Offered | RowPhase::Open { .. });
            undecided && is_negotiated && fits && !row.refuses_requests && row.initial.is_none()
        });
        let Some(row) = found else {
            return match session_slot {
                // A peer that fills the queue of answers without reading them is stopped as by any other request.
                Some(_) if self.received_requests.len() > limit.saturating_mul(4) => {
                    Err(crate::error::PeerMisbehaved::OutputNotRead.into())
                }
                Some(slot) => self.global_answer(slot, GlobalReply::Failure(Bytes::new()), out),
                None => Ok(()),
            };
        };
        let slot = session_slot.map(|session_slot| {
            let channel_slot = row.received_requests.push();
            row.initial = Some(Box::new(Initial { channel_slot, session_slot }));
            channel_slot
        });
        let mut wakes = Vec::new();
        row.queue_request(&request, slot, &mut wakes);
        self.wakes.append(&mut wakes);
        self.waiting_bytes = waiting;
        Ok(())
    }

    /// The channel goes: nobody will answer its first request any more, and the answers of the session behind it must
    /// not wait for one.
    pub(super) fn refuse_initial(&mut self, id: u32, out: &mut Outbound) -> Result<(), Error> {
        match self.rows.get_mut(&id).and_then(|row| row.initial.take()) {
            Some(initial) => {
                self.global_answer(initial.session_slot, GlobalReply::Failure(Bytes::new()), out)
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "rustcrypto")]
mod tests {
    use super::*;
    use crate::config::{Algorithms, Common, Extensions, Limits};
    use crate::protocol::messages::ChannelOpen;

    /// `exec` of `ls` on the opener's channel 5, as Dev Tunnels' Go and TypeScript peers write it.
    const EXEC_LS: &[u8] = b"\x50\0\0\0\x25initial-channel-request@microsoft.com\x01\0\0\0\x05\
        \x62\0\0\0\0\0\0\0\x04exec\x01\0\0\0\x02ls";

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn connection(extensions: Extensions) -> (Connection, Outbound, Instant) {
        let provider = &crate::crypto::rustcrypto::PROVIDER;
        let common =
            Common { algorithms: Algorithms::default(), limits: Limits::default(), extensions, provider };
        let now = Instant::now();
        (Connection::new(common.into(), now), Outbound::new(provider.random).unwrap(), now)
    }

    /// The payloads that are to be sent.
    fn sent(out: &mut Outbound, now: Instant) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        out.swap(&mut taken, now);
        let mut payloads = Vec::new();
        // The first output begins with the version line.
        let version =
            taken.starts_with(b"SSH-").then(|| taken.iter().position(|byte| *byte == b'\n')).flatten();
        let mut left = &taken[version.map_or(0, |end| end + 1)..];
        while let Some((length, rest)) = left.split_first_chunk() {
            let (packet, behind) = rest.split_at(u32::from_be_bytes(*length) as usize);
            payloads.push(packet[1..packet.len() - usize::from(packet[0])].to_vec());
            left = behind;
        }
        payloads
    }

    fn numbers(out: &mut Outbound, now: Instant) -> Vec<u8> {
        sent(out, now).iter().map(|payload| payload[0]).collect()
    }

    #[test]
    fn the_bytes_are_those_of_the_reference() {
        let (mut connection, mut out, now) = connection(Extensions::default());
        connection
            .initial_request(Authenticated::without_security(), 5, "exec", b"\0\0\0\x02ls", now, &mut out)
            .unwrap();
        assert_eq!(sent(&mut out, now), [EXEC_LS]);
    }

    #[test]
    fn it_reaches_the_channel_of_the_openers_number_with_its_fields() {
        let (mut connection, mut out, now) = connection(Extensions::default());
        let mut open = Vec::new();
        ChannelOpen { kind: "session", sender: 5, window: 9, max_packet: 9, fields: Rest(b"") }
            .encode(&mut open);
        connection.handle(Authenticated::without_security(), &open.into(), now, &mut out).unwrap();
        connection
            .handle(Authenticated::without_security(), &Bytes::from_static(EXEC_LS), now, &mut out)
            .unwrap();
        assert!(numbers(&mut out, now).is_empty());
        let row = &connection.rows[&0];
        let request = row.unread_requests.front().unwrap();
        assert_eq!((request.name.as_str(), &request.fields[..]), ("exec", &b"\0\0\0\x02ls"[..]));
        let slot = request.slot.unwrap();
        connection.accept(0, b"", &mut out).unwrap();
        connection.answer(0, slot, true, &mut out).unwrap();
        // The answer is one of the session's, REQUEST_SUCCESS and not CHANNEL_SUCCESS.
        assert_eq!(numbers(&mut out, now), [91, 81]);
    }

    #[test]
    fn without_its_channel_or_the_extension_it_is_refused() {
        for extensions in [Extensions::default(), Extensions::none()] {
            let opened = extensions == Extensions::none();
            let (mut connection, mut out, now) = connection(extensions);
            if opened {
                let open =
                    ChannelOpen { kind: "session", sender: 5, window: 9, max_packet: 9, fields: Rest(b"") };
                let mut payload = Vec::new();
                open.encode(&mut payload);
                connection.handle(Authenticated::without_security(), &payload.into(), now, &mut out).unwrap();
            }
            connection
                .handle(Authenticated::without_security(), &Bytes::from_static(EXEC_LS), now, &mut out)
                .unwrap();
            assert_eq!(connection.received_requests.len(), 0);
            assert_eq!(numbers(&mut out, now), [82]);
        }
    }
}
