//! The engine's face of the connection protocol.

use std::io::IoSlice;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Engine;
use crate::config::OPEN_CHANNEL_REQUEST;
use crate::error::{ApiMisuse, Error};
use crate::metrics::{ChannelMetrics, SessionMetrics};
use crate::protocol::connection::{
    AcceptTicket, ChannelTerms, ConnectionEvent, ExitStatus, GlobalReply, OfferedChannel, OpenError,
    OpenFailureReason, PeerRequest, Piece, Progress, Waiter,
};
use crate::protocol::wide;
use crate::trace::tell;

/// Channels and requests. Each of these fails with the session's error once it is over, and with
/// [`ApiMisuse::NotAuthenticated`] before it has begun.
#[expect(missing_docs, reason = "the driver's methods of the same names are documented")]
impl Engine {
    /// The next channel or request of the peer; `None` when none will come any more.
    pub fn poll_incoming<'w>(&mut self, waiter: impl Into<Waiter<'w>>) -> Poll<Option<ConnectionEvent>> {
        self.connection.poll_event(waiter.into())
    }

    /// The next channel of the peer of this type, or of any; `None` when none will come any more.
    pub fn poll_offered(
        &mut self,
        kind: Option<&str>,
        ticket: &mut AcceptTicket,
        cx: &Context<'_>,
    ) -> Poll<Option<OfferedChannel>> {
        self.connection.poll_offered(kind, ticket, cx)
    }

    pub fn stop_accepting(&mut self, ticket: &AcceptTicket) {
        self.connection.stop_accepting(ticket);
    }

    pub fn open_channel(&mut self, kind: &str, fields: &[u8], now: Instant) -> Result<u32, OpenError> {
        let proof = self.authenticated()?;
        check_size(kind, fields)?;
        match self.connection.open(proof, kind, fields, now, &mut self.transport.out) {
            Err(OpenError::Session(error)) => Ok(self.fatal(Err(error))?),
            opened => opened,
        }
    }

    /// The first request of a channel, right behind its open; the number of its answer among the global ones.
    pub fn initial_request(
        &mut self,
        id: u32,
        name: &str,
        fields: &[u8],
        now: Instant,
    ) -> Result<Option<u64>, Error> {
        let proof = self.authenticated()?;
        check_size(name, fields)?;
        let sent = self.connection.initial_request(proof, id, name, fields, now, &mut self.transport.out);
        self.fatal(sent)
    }

    /// What the peer's EXT_INFO listed, with its values (RFC 8308 §2.3); `None` if none came.
    #[must_use]
    pub fn peer_extensions(&self) -> Option<&[(Box<str>, Bytes)]> {
        self.peer_extensions.as_deref()
    }

    /// Whether both sides take the first request of a channel with its open; `None` if the peer has not said, which the
    /// answer to such a request then tells.
    #[must_use]
    pub fn takes_initial_requests(&self) -> Option<bool> {
        if !self.common.extensions.open_channel_request {
            return Some(false);
        }
        let listed = self.peer_extensions.as_ref()?;
        Some(listed.iter().any(|(name, _)| &**name == OPEN_CHANNEL_REQUEST))
    }

    pub fn poll_opened(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<Bytes, OpenError>> {
        self.connection.poll_opened(id, cx)
    }

    pub fn accept_channel(&mut self, id: u32, fields: &[u8]) -> Result<(), Error> {
        self.authenticated()?;
        check_size("", fields)?;
        let accepted = self.connection.accept(id, fields, &mut self.transport.out);
        self.fatal(accepted)
    }

    pub fn reject_channel(&mut self, id: u32, reason: OpenFailureReason, text: &str) -> Result<(), Error> {
        self.authenticated()?;
        self.connection.reject(id, reason, text, &mut self.transport.out).map_err(|error| self.end(error))
    }

    pub fn poll_write<'w>(
        &mut self,
        id: u32,
        waiter: impl Into<Waiter<'w>>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        let written = self.connection.poll_write(id, waiter.into(), slices, None, &mut self.transport.out);
        self.written(written)
    }

    /// As [`poll_write`](Self::poll_write), for extended data of this type (RFC 4254 §5.2).
    pub fn poll_write_extended<'w>(
        &mut self,
        id: u32,
        code: u32,
        waiter: impl Into<Waiter<'w>>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        let written =
            self.connection.poll_write(id, waiter.into(), slices, Some(code), &mut self.transport.out);
        self.written(written)
    }

    fn written(&mut self, written: Poll<Result<usize, Error>>) -> Poll<Result<usize, Error>> {
        if written.is_pending()
            && let Err(error) = self.ask_how_far()
        {
            return Poll::Ready(self.fatal(Err(error)));
        }
        written.map(|written| self.fatal(written))
    }

    pub fn poll_read<'w>(
        &mut self,
        id: u32,
        waiter: impl Into<Waiter<'w>>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        let read = self.connection.poll_read(id, waiter.into(), buffer, &mut self.transport.out);
        read.map(|read| self.fatal(read))
    }

    pub fn poll_read_chunks<'w>(
        &mut self,
        id: u32,
        waiter: impl Into<Waiter<'w>>,
        max_len: usize,
        max_chunks: usize,
        chunks: &mut Vec<Bytes>,
    ) -> Poll<Result<usize, Error>> {
        let read = self.connection.poll_read_chunks(
            id,
            waiter.into(),
            max_len,
            max_chunks,
            chunks,
            &mut self.transport.out,
        );
        read.map(|read| self.fatal(read))
    }

    /// From now on all extended data is kept for [`poll_piece`](Self::poll_piece).
    pub fn keep_extended(&mut self, id: u32) {
        self.connection.keep_extended(id);
    }

    /// What comes next on a channel, data and requests in their order.
    pub fn poll_piece(
        &mut self,
        id: u32,
        progress: &mut Progress,
        cx: &Context<'_>,
    ) -> Poll<Result<Piece, Error>> {
        let piece = self.connection.poll_piece(id, progress, cx, &mut self.transport.out);
        piece.map(|piece| self.fatal(piece))
    }

    /// The next request that must not wait for data in front of it, such as a signal.
    pub fn poll_urgent(&mut self, id: u32, cx: &Context<'_>) -> Poll<PeerRequest> {
        self.connection.poll_urgent(id, cx)
    }

    pub fn keep_stderr(&mut self, id: u32) {
        self.connection.keep_stderr(id);
    }

    pub fn discard_stderr(&mut self, id: u32) {
        let discarded = self.connection.discard_stderr(id, &mut self.transport.out);
        // An error has ended the session, which everybody sees.
        let _ = self.fatal(discarded);
    }

    pub fn poll_read_stderr<'w>(
        &mut self,
        id: u32,
        waiter: impl Into<Waiter<'w>>,
        buffer: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        let read = self.connection.poll_read_stderr(id, waiter.into(), buffer, &mut self.transport.out);
        read.map(|read| self.fatal(read))
    }

    /// Whether it was the peer who opened the channel.
    #[must_use]
    pub fn was_channel_offered(&self, id: u32) -> bool {
        self.connection.was_offered(id)
    }

    /// Whether the peer has said that it sends no more data.
    #[must_use]
    pub fn has_peer_ended(&self, id: u32) -> bool {
        self.connection.has_peer_ended(id)
    }

    pub fn send_eof(&mut self, id: u32) -> Result<(), Error> {
        let sent = self.connection.send_eof(id, &mut self.transport.out);
        self.fatal(sent)
    }

    pub fn close_channel(&mut self, id: u32) -> Result<(), Error> {
        let closed = self.connection.close(id, &mut self.transport.out);
        self.note_close(&closed, id);
        self.fatal(closed)
    }

    pub fn release_channel(&mut self, id: u32) {
        let closed = self.connection.release(id, &mut self.transport.out);
        self.note_close(&closed, id);
        if let Err(error) = closed {
            self.end(error);
        }
    }

    fn note_close(&self, closed: &Result<(), Error>, id: u32) {
        if let Err(error) = closed {
            tell!(ChannelCloseFailed, channel = id, %error, "a channel was not closed");
        }
    }

    /// What the peer was told, and told us, when the channel was opened; `None` if it is gone or not open yet.
    #[must_use]
    pub fn channel_terms(&self, id: u32) -> Option<ChannelTerms> {
        self.connection.terms(id)
    }

    /// From now on extended data is read as data, whatever its type.
    pub fn read_extended_as_data(&mut self, id: u32) {
        self.connection.read_extended_as_data(id);
    }

    pub fn poll_channel_closed<'w>(&mut self, id: u32, waiter: impl Into<Waiter<'w>>) -> Poll<()> {
        self.connection.poll_closed(id, waiter.into())
    }

    /// Gives the places back of a [numbered](Waiter::numbered) waiter for a channel, or, without one, for
    /// what concerns the session.
    pub fn stop_waiting(&mut self, id: Option<u32>, number: u64) {
        match id {
            Some(id) => self.connection.stop_waiting(id, number),
            None => {
                self.connection.stop_waiting_for_events(number);
                self.stop_waiting_for_custom(number);
            }
        }
    }

    /// Whether either side has closed it, or everything is over.
    #[must_use]
    pub fn is_channel_closed(&self, id: u32) -> bool {
        self.connection.is_closed(id)
    }

    pub fn exit_status(&self, id: u32) -> Option<ExitStatus> {
        self.connection.exit_status(id)
    }

    pub fn channel_request(
        &mut self,
        id: u32,
        name: &str,
        want_reply: bool,
        fields: &[u8],
    ) -> Result<Option<u64>, Error> {
        self.authenticated()?;
        check_size(name, fields)?;
        let sent = self.connection.request(id, name, want_reply, fields, &mut self.transport.out);
        self.fatal(sent)
    }

    pub fn poll_channel_reply(&mut self, id: u32, number: u64, cx: &mut Context<'_>) -> Poll<Option<bool>> {
        self.connection.poll_reply(id, number, cx)
    }

    pub fn abandon_channel_reply(&mut self, id: u32, number: u64) {
        self.connection.abandon_reply(id, number);
    }

    pub fn poll_peer_request<'w>(
        &mut self,
        id: u32,
        waiter: impl Into<Waiter<'w>>,
    ) -> Poll<Option<PeerRequest>> {
        self.connection.poll_peer_request(id, waiter.into())
    }

    pub fn answer_peer_request(&mut self, id: u32, slot: u64, accepted: bool) -> Result<(), Error> {
        let answered = self.connection.answer(id, slot, accepted, &mut self.transport.out);
        self.fatal(answered)
    }

    pub fn refuse_peer_requests(&mut self, id: u32) -> Result<(), Error> {
        let refused = self.connection.refuse_requests(id, &mut self.transport.out);
        self.fatal(refused)
    }

    pub fn global_request(
        &mut self,
        name: &str,
        want_reply: bool,
        fields: &[u8],
        now: Instant,
    ) -> Result<Option<u64>, Error> {
        let proof = self.authenticated()?;
        check_size(name, fields)?;
        let sent =
            self.connection.global_request(proof, name, want_reply, fields, now, &mut self.transport.out);
        self.fatal(sent)
    }

    pub fn poll_global_reply(&mut self, number: u64, cx: &mut Context<'_>) -> Poll<Option<GlobalReply>> {
        self.connection.poll_global_reply(number, cx)
    }

    pub fn abandon_global_reply(&mut self, number: u64) {
        self.connection.abandon_global_reply(number);
    }

    pub fn answer_global_request(&mut self, slot: u64, reply: GlobalReply) -> Result<(), Error> {
        let answered = self.connection.global_answer(slot, reply, &mut self.transport.out);
        self.fatal(answered)
    }

    /// What went through the session so far.
    #[must_use]
    pub fn metrics(&self) -> SessionMetrics {
        let sent = self.transport.out.total();
        // The line with its CR LF.
        let ident = self.peer_version().map(|version| wide(version.as_str().len().saturating_add(2)));
        let (ident_messages, ident_bytes) = (u64::from(ident.is_some()), ident.unwrap_or_default());
        SessionMetrics {
            messages_sent: self.earlier.messages_sent.saturating_add(sent.packets),
            messages_received: (self.earlier.messages_received)
                .saturating_add(self.transport.packets)
                .saturating_add(ident_messages),
            bytes_sent: self.earlier.bytes_sent.saturating_add(sent.bytes),
            bytes_received: (self.earlier.bytes_received)
                .saturating_add(self.transport.bytes)
                .saturating_add(ident_bytes),
            reconnections: self.reconnections(),
            latency: self.latency(),
        }
    }

    /// What went through a channel so far; nothing if it is gone.
    #[must_use]
    pub fn channel_metrics(&self, id: u32) -> ChannelMetrics {
        self.connection.channel_metrics(id)
    }

    /// Our numbers of the channels that are open.
    #[must_use]
    pub fn channel_ids(&self) -> Vec<u32> {
        self.connection.open_ids()
    }

    /// A round trip that the driver has seen, for pacing windows.
    pub fn add_round_trip(&mut self, sample: Duration) {
        self.connection.add_round_trip(sample);
    }
}

/// Keeps what the application gives within what every peer takes in a packet.
pub(super) fn check_size(name: &str, fields: &[u8]) -> Result<(), Error> {
    let fits = name.len().saturating_add(fields.len()) <= MAX_FIELDS;
    if fits { Ok(()) } else { Err(Error::ApiMisuse(ApiMisuse::TooLong)) }
}

/// A name and the fields of a request or an open may have this many bytes together.
const MAX_FIELDS: usize = 32 * 1024;
