//! What both sides list, and how far each has heard the other.

use std::time::Instant;

use super::{LinkEvent, Stream};
use crate::error::Error;
use crate::protocol::engine::{Auth, Engine};
use crate::protocol::messages::{Ignore, Rest};
use crate::protocol::reconnect::trailer::Trailer;
use crate::protocol::reconnect::{Extensions, is_counted};
use crate::protocol::transport::acks::held_for;
use crate::trace::tell;

impl Engine {
    /// What our EXT_INFO lists: nothing that could not be kept.
    pub(in crate::protocol::engine) fn our_extensions(&self) -> Extensions {
        let offer = self.resumption.as_ref().map(|resumption| &resumption.offer);
        Extensions::offered(offer.filter(|_| self.transport.kex.token_keys().is_some()))
    }

    pub(in crate::protocol::engine) fn on_extensions(&mut self, theirs: Extensions) -> Result<(), Error> {
        // The first one counts: the trailer cannot change its form. Behind the login there is none, unless the connection
        // carries an older session and its peer is slow to say so.
        let logged_in = matches!(self.auth, Auth::Done(_));
        if self.transport.extensions.is_some() || (logged_in && !self.is_resumable()) {
            return Ok(());
        }
        // Nothing is agreed that we did not list.
        let listed = if logged_in { self.offered_extensions() } else { self.our_extensions() };
        self.transport.extensions = Some(theirs.and(listed));
        let both = self.shared_extensions();
        let Some(resumption) = self.resumption.as_mut().filter(|_| both.reconnect) else { return Ok(()) };
        if !logged_in {
            resumption.agreed = both;
        }
        self.transport.out.enable_trailer(both.trailer()).inspect_err(|error| {
            tell!(SessionReconnectInitFailed, %error, "reconnecting was not switched on");
        })
    }

    /// The peer's payloads end in a trailer from now on. Go peers say so twice.
    pub(in crate::protocol::engine) fn on_enable(&mut self) -> Result<(), Error> {
        if self.transport.incoming.is_none() {
            self.transport.incoming = Some(self.shared_extensions().trailer());
            if self.is_reconnect_enabled() {
                self.link_events.push_back(LinkEvent::Enabled);
            }
        }
        self.ask_how_far()
    }

    /// What both sides list on this connection.
    fn shared_extensions(&self) -> Extensions {
        self.offered_extensions().and(self.transport.extensions.unwrap_or_default())
    }

    fn offered_extensions(&self) -> Extensions {
        Extensions::offered(self.resumption.as_ref().map(|resumption| &resumption.offer))
    }

    /// The login is over: from now on the session can be resumed, or never.
    pub(in crate::protocol::engine) fn settle_resumption(&mut self) {
        self.transport.kex.drop_token_keys();
        if self.resumption.as_ref().is_none_or(|resumption| !resumption.agreed.reconnect) {
            self.resumption = None;
            self.transport.out.log = None;
        } else if self.peer_is_dev_tunnels_go() {
            // It keeps 1024 messages to say again, however many are under way. Its own windows do not grow, so that these
            // are enough for most.
            self.connection.keep_windows();
        }
        // The peer may have said so while the login went on.
        if self.is_reconnect_enabled() {
            self.link_events.push_back(LinkEvent::Enabled);
        }
    }

    pub(in crate::protocol::engine) fn count_received(&mut self, payload: &[u8]) {
        if let Some(resumption) = &mut self.resumption
            && is_counted(payload)
        {
            resumption.received = resumption.received.saturating_add(1);
        }
    }

    pub(in crate::protocol::engine) fn on_trailer(
        &mut self,
        trailer: &Trailer,
        now: Instant,
    ) -> Result<(), Error> {
        let out = &mut self.transport.out;
        let Some(number) = out.acks.on_trailer(trailer)? else { return Ok(()) };
        let Some(log) = &mut out.log else { return Ok(()) };
        let sent_at = log.acknowledge(number);
        if let Some((sent_at, held)) = sent_at.zip(held_for(trailer))
            && let Some(resumption) = &mut self.resumption
        {
            let round_trip = resumption.latency.add(sent_at, held, now);
            self.connection.add_round_trip(round_trip);
        }
        if self.connection.has_parked() && out.data_room() > 0 {
            self.connection.on_room(out);
        }
        self.ask_how_far()
    }

    /// Asks for an acknowledgement where the log fills up: the answer to a keepalive is one, from every peer.
    pub(in crate::protocol::engine) fn ask_how_far(&mut self) -> Result<(), Error> {
        let out = &mut self.transport.out;
        let Some(log) = &out.log else { return Ok(()) };
        if !log.wants_acknowledgement() {
            return Ok(());
        }
        let Auth::Done(proof) = self.auth else { return Ok(()) };
        let possible = matches!(self.stream, Stream::Attached)
            && self.transport.incoming.is_some()
            && self.ended.is_none();
        if !possible || log.has_unsent() || !out.acks.ask() {
            return Ok(());
        }
        let now = self.connection.now();
        self.ask_for_a_word(proof, now)
    }

    /// Tells a peer that has sent much, and heard nothing, how far we are.
    pub(in crate::protocol::engine) fn say_how_far(&mut self) -> Result<(), Error> {
        let out = &mut self.transport.out;
        if out.acks.owes_word() && self.transport.kex.is_idle() && matches!(self.stream, Stream::Attached) {
            return out.send(|buffer| Ignore { data: Rest(&[]) }.encode(buffer));
        }
        Ok(())
    }
}
