//! What comes in: whether a message may come now, and who acts on it.

use std::time::Instant;

use bytes::BytesMut;
use zeroize::Zeroize as _;

use super::reconnect::Stream;
use super::{Auth, Engine};
use crate::error::{Error, PeerMisbehaved, escape_text};
use crate::protocol::connection::KEEPALIVE;
use crate::protocol::messages::{
    Disconnect, ExtInfo, GlobalRequest, Ignore, Phase, RequestFailure, Rest, Unimplemented, phase,
};
use crate::protocol::reconnect::trailer::Trailer;
use crate::protocol::reconnect::{is_enable, is_reconnect};
use crate::protocol::transport::inbound::Packet;
use crate::protocol::wide;
use crate::trace::tell;

const CHANNEL_DATA: u8 = 94;
const CHANNEL_EXTENDED_DATA: u8 = 95;

impl Engine {
    /// A packet. If it was NEWKEYS, [`take_opener`](Self::take_opener) then has the key for the next one.
    ///
    /// # Errors
    /// The session is over.
    pub fn handle_packet(&mut self, packet: Packet, now: Instant) -> Result<(), Error> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if let Stream::Detached(detached) = &self.stream {
            return Err(detached.cause.clone());
        }
        self.dispatch(packet, now).map_err(|error| {
            if !matches!(error, Error::Disconnected { .. }) {
                tell!(HandleMessageFailed, %error, "a message was not acted on");
            }
            self.fail(error, now)
        })
    }

    fn dispatch(&mut self, packet: Packet, now: Instant) -> Result<(), Error> {
        let Packet { mut payload, sequence, wire_len } = packet;
        self.on_sign_of_life(now);
        let is_first_packet = self.transport.packets == 0;
        self.transport.out.acks.on_received(self.transport.packets, wire_len, now);
        self.transport.packets = self.transport.packets.saturating_add(1);
        self.transport.bytes = self.transport.bytes.saturating_add(wide(wire_len));
        self.transport.rekey.on_received(wire_len);
        if let Some(form) = self.transport.incoming {
            let (len, trailer) = Trailer::split(&payload, form)?;
            payload.truncate(len);
            self.on_trailer(&trailer, now)?;
        }
        // What says how this connection speaks does not wait for whose it is. A Go client may send its EXT_INFO last.
        let of_the_connection = payload.first() == Some(&ExtInfo::NUMBER) || is_enable(&payload);
        if self.waiting.is_some() && !of_the_connection {
            return self.wait(payload, sequence);
        }
        self.route(payload, sequence, is_first_packet, now)?;
        self.say_how_far()?;
        self.maybe_rekey(now)
    }

    /// Acts on a message, its trailer gone.
    pub(super) fn route(
        &mut self,
        mut payload: BytesMut,
        sequence: u32,
        is_first_packet: bool,
        now: Instant,
    ) -> Result<(), Error> {
        let number = payload.first().copied().unwrap_or_default();
        if !matches!(number, CHANNEL_DATA | CHANNEL_EXTENDED_DATA) {
            tell!(ReceivingMessage, number, len = payload.len(), "received");
        } else if self.common.limits.trace_channel_data {
            tell!(ReceivingChannelData, number, len = payload.len(), "received");
        }
        if self.is_early_keepalive(&payload) {
            return self.check_allowed(Ignore::NUMBER);
        }
        self.check_allowed(number)?;
        if number == GlobalRequest::NUMBER && self.resumption.is_some() {
            if is_enable(&payload) {
                return self.on_enable();
            }
            if is_reconnect(&payload) {
                return self.on_resume_request(&payload);
            }
        }
        self.count_received(&payload);
        match phase(number) {
            Phase::Connection => match self.auth {
                Auth::Done(proof) => {
                    self.transport.kex.on_earlier_message(now);
                    let payload = payload.freeze();
                    let out = &mut self.transport.out;
                    if !self.connection.handle(proof, &payload, now, out)? && !self.on_custom(&payload) {
                        self.unimplemented(sequence)?;
                    }
                }
                Auth::Claim(_) if self.is_claim_answer(number) => self.on_claim_answer(&payload)?,
                Auth::Client(_) | Auth::Server(_) | Auth::Claim(_) => self.on_pre_auth_request(&payload)?,
            },
            Phase::Transport => self.on_transport(&payload)?,
            Phase::Kex => self.on_kex(&payload, is_first_packet, now)?,
            Phase::ExtInfo => self.on_ext_info(&payload)?,
            Phase::Service | Phase::Auth => {
                let handled = self.on_auth(&payload, now);
                // It may have held a password.
                payload.as_mut().zeroize();
                handled?;
            }
            Phase::Unknown if matches!(self.auth, Auth::Done(_)) && self.on_custom(&payload) => {}
            Phase::Unknown => self.unimplemented(sequence)?,
        }
        Ok(())
    }

    /// What may come now (default deny). Before the first NEWKEYS only the exchange itself, and the transport's
    /// messages unless the exchange is strict; before authentication nothing of the connection protocol.
    pub(super) fn check_allowed(&self, number: u8) -> Result<(), Error> {
        let limits = &self.common.limits;
        if !matches!(self.auth, Auth::Done(_))
            && (self.transport.packets > limits.pre_auth_packets
                || self.transport.bytes > limits.pre_auth_bytes)
        {
            return Err(PeerMisbehaved::PreAuthTraffic.into());
        }
        let kex = &self.transport.kex;
        if kex.is_first() {
            return match phase(number) {
                Phase::Kex => Ok(()),
                Phase::Transport if !kex.is_strict() || number == Disconnect::NUMBER => Ok(()),
                Phase::Transport => Err(PeerMisbehaved::StrictKex.into()),
                _ => Err(PeerMisbehaved::UnexpectedMessage(number).into()),
            };
        }
        // RFC 4253 §7.1: from its KEXINIT to its NEWKEYS a peer sends nothing but the exchange. Dev Tunnels' Go peers
        // go on with whatever they were at, which is borne; of others only the connection protocol is.
        let not_in_exchange = matches!(phase(number), Phase::Service | Phase::ExtInfo | Phase::Auth);
        if not_in_exchange && kex.peer_is_exchanging() && !kex.peer_is_dev_tunnels_go() {
            return Err(PeerMisbehaved::UnexpectedMessage(number).into());
        }
        Ok(())
    }

    /// The timer of a Dev Tunnels' Go client outlives its streams. When the client comes back it may ask for a sign of life in
    /// the clear, or ahead of its session, whose answer any answer would be taken for. It is content with any message.
    fn is_early_keepalive(&self, payload: &[u8]) -> bool {
        matches!(self.auth, Auth::Server(_))
            && self.transport.kex.peer_is_dev_tunnels_go()
            && GlobalRequest::decode(payload).is_ok_and(|request| request.name == KEEPALIVE)
    }

    /// RFC 4252 §6: nothing above authentication may come before it. A keepalive alone is borne.
    fn on_pre_auth_request(&mut self, payload: &[u8]) -> Result<(), Error> {
        let number = payload.first().copied().unwrap_or_default();
        let refused = Error::from(PeerMisbehaved::NotAuthenticated(number));
        if number != GlobalRequest::NUMBER {
            return Err(refused);
        }
        let request = GlobalRequest::decode(payload)?;
        if request.name != KEEPALIVE {
            return Err(refused);
        }
        if request.want_reply {
            self.transport.out.send(|buffer| RequestFailure { fields: Rest(&[]) }.encode(buffer))?;
        }
        Ok(())
    }

    fn on_transport(&mut self, payload: &[u8]) -> Result<(), Error> {
        if payload.first() == Some(&Disconnect::NUMBER) {
            let message = Disconnect::decode(payload)?;
            return Err(Error::Disconnected {
                reason: crate::error::DisconnectReason(message.reason),
                text: escape_text(message.text).into(),
            });
        }
        // IGNORE, DEBUG and UNIMPLEMENTED ask for nothing.
        Ok(())
    }

    fn unimplemented(&mut self, sequence: u32) -> Result<(), Error> {
        self.transport.out.send(|buffer| Unimplemented { sequence }.encode(buffer))
    }
}
