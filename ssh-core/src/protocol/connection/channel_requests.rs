//! Requests on a channel, both ways, and their answers (RFC 4254 §5.4).

use std::task::{Context, Poll};

use bytes::Bytes;

use super::channel::PeerRequest;
use super::wakers::Waiter;
use super::{Connection, GlobalReply};
use crate::error::Error;
use crate::protocol::messages::{ChannelFailure, ChannelRequest, ChannelSuccess, Rest};
use crate::protocol::transport::outbound::Outbound;

impl Connection {
    /// Sends a channel request; the number of its answer, if one is wanted.
    pub(crate) fn request(
        &mut self,
        id: u32,
        name: &str,
        want_reply: bool,
        fields: &[u8],
        out: &mut Outbound,
    ) -> Result<Option<u64>, Error> {
        let failure = self.failure();
        let row = self.open_row(id).ok_or(failure)?;
        let recipient = row.send.remote;
        let number = want_reply.then(|| row.sent_requests.push());
        out.send(|buffer| {
            ChannelRequest { recipient, name, want_reply, fields: Rest(fields) }.encode(buffer);
        })?;
        Ok(number)
    }

    /// `None` if the channel closed before an answer came.
    pub(crate) fn poll_reply(&mut self, id: u32, number: u64, cx: &mut Context<'_>) -> Poll<Option<bool>> {
        match self.rows.get_mut(&id) {
            Some(row) if self.failed.is_none() => row.sent_requests.poll(number, cx),
            _ => Poll::Ready(None),
        }
    }

    pub(crate) fn abandon_reply(&mut self, id: u32, number: u64) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.sent_requests.abandon(number);
        }
    }

    /// The peer's next request on a channel, or `None` when none will come any more.
    pub(crate) fn poll_peer_request(&mut self, id: u32, waiter: Waiter<'_>) -> Poll<Option<PeerRequest>> {
        let Some(row) = self.rows.get_mut(&id) else { return Poll::Ready(None) };
        if let Some(request) = row.unread_requests.pop_front() {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(request.fields.len());
            return Poll::Ready(Some(request));
        }
        // What comes behind our own close is dropped.
        if row.close_received || row.close_sent || self.failed.is_some() {
            return Poll::Ready(None);
        }
        row.request_waiters.wait(waiter);
        Poll::Pending
    }

    /// Answers a request of the peer on a channel.
    pub(crate) fn answer(
        &mut self,
        id: u32,
        slot: u64,
        accepted: bool,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        if self.failed.is_some() {
            return Ok(());
        }
        let Some(row) = self.open_row(id) else { return Ok(()) };
        let recipient = row.send.remote;
        let mut initial = None;
        for (number, accepted) in row.received_requests.answer(slot, accepted) {
            if row.initial.as_ref().is_some_and(|initial| initial.channel_slot == number) {
                initial = row.initial.take().map(|initial| (initial.session_slot, accepted));
                continue;
            }
            out.send(|buffer| {
                if accepted {
                    ChannelSuccess { recipient }.encode(buffer);
                } else {
                    ChannelFailure { recipient }.encode(buffer);
                }
            })?;
        }
        let Some((slot, accepted)) = initial else { return Ok(()) };
        let none = Bytes::new();
        self.global_answer(
            slot,
            if accepted { GlobalReply::Success(none) } else { GlobalReply::Failure(none) },
            out,
        )
    }

    /// From now on the peer's requests on this channel are refused as they come.
    pub(crate) fn refuse_requests(&mut self, id: u32, out: &mut Outbound) -> Result<(), Error> {
        let Some(row) = self.rows.get_mut(&id) else { return Ok(()) };
        row.refuses_requests = true;
        for request in std::mem::take(&mut row.unread_requests) {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(request.fields.len());
            if let Some(slot) = request.slot {
                self.answer(id, slot, false, out)?;
            }
        }
        Ok(())
    }
}
