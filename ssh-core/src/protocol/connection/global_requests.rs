//! Requests of the session, both ways, and their answers (RFC 4254 §4).

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::Connection;
use crate::error::Error;
use crate::protocol::auth::Authenticated;
use crate::protocol::messages::{GlobalRequest, RequestFailure, RequestSuccess, Rest};
use crate::protocol::transport::outbound::Outbound;

/// A request of the peer of the session.
#[derive(Debug)]
pub struct GlobalPeerRequest {
    /// Its name, for instance `tcpip-forward`.
    pub name: String,
    /// What follows, as its name says.
    pub fields: Bytes,
    /// The slot of the answer, if one is wanted.
    pub slot: Option<u64>,
}

/// An answer to a global request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlobalReply {
    /// SSH_MSG_REQUEST_SUCCESS with its fields.
    Success(Bytes),
    /// SSH_MSG_REQUEST_FAILURE with its fields, of which only Dev Tunnels peers send any.
    Failure(Bytes),
}

impl Connection {
    /// Sends a global request; the number of its answer, if one is wanted.
    pub(crate) fn global_request(
        &mut self,
        _proof: Authenticated,
        name: &str,
        want_reply: bool,
        fields: &[u8],
        now: Instant,
        out: &mut Outbound,
    ) -> Result<Option<u64>, Error> {
        self.send_global_request(name, want_reply, fields, now, out)
    }

    /// As [`global_request`](Self::global_request), for what only an open channel leads to.
    pub(super) fn send_global_request(
        &mut self,
        name: &str,
        want_reply: bool,
        fields: &[u8],
        now: Instant,
        out: &mut Outbound,
    ) -> Result<Option<u64>, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        out.send(|buffer| GlobalRequest { name, want_reply, fields: Rest(fields) }.encode(buffer))?;
        if want_reply {
            self.sent_at.push_back(now);
        }
        Ok(want_reply.then(|| self.requests.push()))
    }

    /// `None` if the session ended before an answer came.
    pub(crate) fn poll_global_reply(
        &mut self,
        number: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<GlobalReply>> {
        self.requests.poll(number, cx)
    }

    /// Whether somebody waits for an answer of the peer.
    pub(crate) fn awaits_global_reply(&self) -> bool {
        self.requests.are_awaited()
    }

    pub(crate) fn abandon_global_reply(&mut self, number: u64) {
        self.requests.abandon(number);
    }

    /// Answers a global request of the peer.
    pub(crate) fn global_answer(
        &mut self,
        slot: u64,
        reply: GlobalReply,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        if self.failed.is_some() {
            return Ok(());
        }
        for (_, reply) in self.received_requests.answer(slot, reply) {
            out.send(|buffer| match &reply {
                GlobalReply::Success(fields) => RequestSuccess { fields: Rest(fields) }.encode(buffer),
                GlobalReply::Failure(fields) => RequestFailure { fields: Rest(fields) }.encode(buffer),
            })?;
        }
        Ok(())
    }
}
