//! The connection protocol (RFC 4254): channels, windows and requests. It outlives its transport.

mod accept;
mod channel;
mod incoming;
mod initial_request;
mod pieces;
mod receive_queue;
mod requests;
mod spares;
mod streams;
mod window;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

pub use accept::AcceptTicket;
pub use channel::{ExitStatus, OpenFailure, OpenFailureReason, PeerRequest};
use channel::{Row, RowPhase, StderrMode};
pub(crate) use incoming::KEEPALIVE;
pub use pieces::{Piece, Progress};
use requests::{ReceivedRequests, SentRequests};
use spares::Spares;
use window::RoundTrip;

use crate::config::Common;
use crate::error::{ApiMisuse, Error};
use crate::metrics::ChannelMetrics;
use crate::protocol::auth::Authenticated;
use crate::protocol::messages::{
    ChannelClose, ChannelEof, ChannelFailure, ChannelOpen, ChannelOpenConfirmation, ChannelOpenFailure,
    ChannelRequest, ChannelSuccess, GlobalRequest, OptionalText, RequestFailure, RequestSuccess, Rest,
};
use crate::protocol::transport::outbound::Outbound;
use crate::trace::TraceEvent;

/// All channels and requests of a session. They come to be by [`Connection::handle`], [`Connection::open`] and
/// [`Connection::global_request`] alone, which ask for the proof that the login is over.
#[derive(Debug)]
pub(crate) struct Connection {
    common: Arc<Common>,
    /// Boxed, so that the table's empty places are small.
    rows: HashMap<u32, Box<Row>>,
    /// Numbers are never used twice, so a late message can not reach the wrong channel.
    next_id: u32,
    /// The windows of all channels together.
    committed: u64,
    requests: SentRequests<GlobalReply>,
    sent_at: VecDeque<Instant>,
    received_requests: ReceivedRequests<GlobalReply>,
    /// Keepalives are in `requests` like any other; these are their numbers.
    round_trip: RoundTrip,
    /// When the round trip was last asked for.
    probed_at: Option<Instant>,
    /// The time of the last input, good enough to pace windows by.
    now: Instant,
    /// Channels that wait for room in the output.
    parked: Vec<u32>,
    /// How often the output has been taken, and what each channel may write until it is taken again.
    round: u64,
    quantum: usize,
    churn: Churn,
    pub(crate) wakes: Vec<Waker>,
    /// What the application has not looked at yet. Offers are bounded by the table, requests by their limit.
    events: VecDeque<ConnectionEvent>,
    event_wakers: Vec<Waker>,
    /// Those who wait for a channel of one type, or of any.
    accepting: accept::Accepting,
    /// Bytes of requests and offers that nobody has looked at.
    waiting_bytes: usize,
    spares: Spares,
    failed: Option<Error>,
    /// Those that its end has cut.
    open_at_end: Vec<u32>,
}

/// What the application is to decide.
#[derive(Debug)]
pub enum ConnectionEvent {
    /// The peer wants a channel.
    Offered(OfferedChannel),
    /// The peer wants something of the session.
    Request(GlobalPeerRequest),
}

/// A channel that the peer wants.
#[derive(Debug)]
pub struct OfferedChannel {
    /// Our number for it.
    pub id: u32,
    /// Its type, for instance `direct-tcpip`.
    pub kind: String,
    /// What follows, as its type says.
    pub fields: Bytes,
}

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

/// What both sides said when a channel was opened (RFC 4254 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelTerms {
    /// The peer's number for the channel.
    pub remote_id: u32,
    /// The window that the peer has from us, in bytes; it grows with use.
    pub window_bytes: u32,
    /// Data that the peer takes in one packet, in bytes.
    pub packet_bytes: u32,
}

/// An answer to a global request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlobalReply {
    /// SSH_MSG_REQUEST_SUCCESS with its fields.
    Success(Bytes),
    /// SSH_MSG_REQUEST_FAILURE with its fields, of which only Dev Tunnels peers send any.
    Failure(Bytes),
}

/// Requests and offers of the peer that nobody has looked at may hold this much together, in bytes; they come outside of
/// any window.
const MAX_WAITING: usize = 1024 * 1024;
/// New channels get this much when the session's windows are all given away, in bytes.
const LEAST_WINDOW: u32 = 64 * 1024;

impl Connection {
    pub(crate) fn new(common: Arc<Common>, now: Instant) -> Self {
        Self {
            common,
            rows: HashMap::new(),
            next_id: 0,
            committed: 0,
            requests: SentRequests::default(),
            sent_at: VecDeque::new(),
            received_requests: ReceivedRequests::default(),
            round_trip: RoundTrip::default(),
            probed_at: None,
            now,
            parked: Vec::new(),
            round: 0,
            quantum: usize::MAX,
            churn: Churn::new(now),
            wakes: Vec::new(),
            events: VecDeque::new(),
            event_wakers: Vec::new(),
            accepting: accept::Accepting::default(),
            waiting_bytes: 0,
            spares: Spares::default(),
            failed: None,
            open_at_end: Vec::new(),
        }
    }

    /// Everything ends with `error`. What has been received can still be read.
    pub(crate) fn fail(&mut self, error: &Error) {
        if self.failed.is_none() {
            self.open_at_end = self.open_ids();
            self.failed = Some(error.clone());
        }
        for row in self.rows.values_mut() {
            row.wake_all(&mut self.wakes);
        }
        self.requests.fail_all(&mut self.wakes);
        self.wakes.append(&mut self.event_wakers);
        self.accepting.wake_all(&mut self.wakes);
    }

    /// What the application is to decide next; `None` when nothing will come any more.
    pub(crate) fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<ConnectionEvent>> {
        if let Some(event) = self.events.pop_front() {
            let (ConnectionEvent::Offered(OfferedChannel { fields, .. })
            | ConnectionEvent::Request(GlobalPeerRequest { fields, .. })) = &event;
            self.waiting_bytes = self.waiting_bytes.saturating_sub(fields.len());
            return Poll::Ready(Some(event));
        }
        if self.failed.is_some() {
            return Poll::Ready(None);
        }
        add_waker(&mut self.event_wakers, &mut self.wakes, cx);
        Poll::Pending
    }

    fn push_event(&mut self, event: ConnectionEvent) {
        if let ConnectionEvent::Offered(offer) = &event {
            self.accepting.wake(&offer.kind, &mut self.wakes);
        }
        self.events.push_back(event);
        self.wakes.append(&mut self.event_wakers);
    }

    pub(crate) fn channels(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn add_round_trip(&mut self, sample: std::time::Duration) {
        self.round_trip.add(sample);
    }

    /// The output has been taken: those who wait for room may write again, each its share.
    pub(crate) fn on_room(&mut self, out: &Outbound) {
        self.round = self.round.wrapping_add(1);
        self.quantum = out.share(self.parked.len());
        for id in self.parked.drain(..) {
            if let Some(row) = self.rows.get_mut(&id) {
                row.send.parked = false;
                self.wakes.append(&mut row.send.wakers);
            }
        }
    }

    /// Gives memory back that a busy moment needed.
    pub(crate) fn shrink(&mut self) {
        self.spares.clear();
    }

    /// Somebody waits for room.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    /// The time of the last input.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    fn failure(&self) -> Error {
        self.failed.clone().unwrap_or(Error::ApiMisuse(ApiMisuse::ChannelClosed))
    }

    /// The window for a new channel: all that the limits allow while there is plenty, less as it runs out.
    fn new_window(&mut self) -> u32 {
        let limits = &self.common.limits;
        let left = u64::from(limits.session_window).saturating_sub(self.committed);
        let share = u32::try_from(left.checked_div(8).unwrap_or(0)).unwrap_or(u32::MAX);
        let window = limits.channel_window.min(share).max(LEAST_WINDOW.min(limits.channel_window));
        self.committed = self.committed.saturating_add(u64::from(window));
        window
    }

    // ---- Opening ------------------------------------------------------------------------------------

    /// Asks the peer for a channel; our number for it.
    pub(crate) fn open(
        &mut self,
        _proof: Authenticated,
        kind: &str,
        fields: &[u8],
        now: Instant,
        out: &mut Outbound,
    ) -> Result<u32, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or(Error::Bug("channel numbers are used up"))?;
        let window = self.new_window();
        let max_packet = self.common.limits.channel_packet;
        out.send(|buffer| {
            ChannelOpen { kind, sender: id, window, max_packet, fields: Rest(fields) }.encode(buffer);
        })?;
        let phase = RowPhase::Opening { since: now, waker: None, abandoned: false };
        self.rows.insert(id, Box::new(Row::new(phase, 0, 0, 0, window)));
        Ok(id)
    }

    /// As if the peer had confirmed it.
    #[cfg(test)]
    pub(crate) fn confirm_for_test(&mut self, id: u32) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.phase = RowPhase::Open { confirmation: Bytes::new() };
        }
    }

    /// The peer's answer to an open: the fields of its confirmation.
    pub(crate) fn poll_opened(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Result<Bytes, OpenError>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(OpenError::Session(error.clone())));
        }
        let Some(row) = self.rows.get_mut(&id) else {
            return Poll::Ready(Err(OpenError::Session(Error::ApiMisuse(ApiMisuse::ChannelClosed))));
        };
        match &mut row.phase {
            RowPhase::Opening { waker, .. } => {
                set_waker(waker, cx);
                Poll::Pending
            }
            RowPhase::Open { confirmation } => Poll::Ready(Ok(std::mem::take(confirmation))),
            RowPhase::Refused(failure) => {
                let failure = failure.clone();
                self.remove(id);
                Poll::Ready(Err(OpenError::Refused(failure)))
            }
            RowPhase::Offered => {
                Poll::Ready(Err(OpenError::Session(Error::Bug("an offer was polled as open"))))
            }
        }
    }

    /// Confirms a channel that the peer wants.
    pub(crate) fn accept(&mut self, id: u32, fields: &[u8], out: &mut Outbound) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let row = self.rows.get_mut(&id).filter(|row| matches!(row.phase, RowPhase::Offered));
        let row = row.ok_or(Error::ApiMisuse(ApiMisuse::ChannelClosed))?;
        row.phase = RowPhase::Open { confirmation: Bytes::new() };
        tracing::debug!(event = TraceEvent::ChannelOpened.id(), channel = id, "channel accepted");
        let (recipient, window) = (row.send.remote, row.receive.window.size());
        let max_packet = self.common.limits.channel_packet;
        out.send(|buffer| {
            ChannelOpenConfirmation { recipient, sender: id, window, max_packet, fields: Rest(fields) }
                .encode(buffer);
        })
    }

    /// Refuses a channel that the peer wants.
    pub(crate) fn reject(
        &mut self,
        id: u32,
        reason: OpenFailureReason,
        text: &str,
        out: &mut Outbound,
    ) -> Result<(), Error> {
        let offered = self.rows.get(&id).filter(|row| matches!(row.phase, RowPhase::Offered));
        let Some(recipient) = offered.map(|row| row.send.remote) else { return Ok(()) };
        if self.failed.is_some() {
            self.remove(id);
            return Ok(());
        }
        send_open_failure(recipient, reason, text, out)?;
        self.refuse_initial(id, out)?;
        self.remove(id);
        self.churn.add(self.now)
    }

    // ---- Requests -----------------------------------------------------------------------------------

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
    pub(crate) fn poll_peer_request(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<Option<PeerRequest>> {
        let Some(row) = self.rows.get_mut(&id) else { return Poll::Ready(None) };
        if let Some(request) = row.unread_requests.pop_front() {
            self.waiting_bytes = self.waiting_bytes.saturating_sub(request.fields.len());
            return Poll::Ready(Some(request));
        }
        if row.close_received || self.failed.is_some() {
            return Poll::Ready(None);
        }
        add_waker(&mut row.request_wakers, &mut self.wakes, cx);
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
    fn send_global_request(
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

    // ---- Closing ------------------------------------------------------------------------------------

    /// No more data from us. Everything written before is ahead of it.
    pub(crate) fn send_eof(&mut self, id: u32, out: &mut Outbound) -> Result<(), Error> {
        let failure = self.failure();
        let row = self.open_row(id).ok_or(failure)?;
        if !std::mem::replace(&mut row.send.eof_sent, true) {
            let recipient = row.send.remote;
            out.send(|buffer| ChannelEof { recipient }.encode(buffer))?;
        }
        Ok(())
    }

    /// Closes our side. What the peer sends from now on is dropped.
    pub(crate) fn close(&mut self, id: u32, out: &mut Outbound) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let Some(row) = self.open_row(id) else { return Ok(()) };
        row.close_sent = true;
        let recipient = row.send.remote;
        let mut wakes = Vec::new();
        row.wake_all(&mut wakes);
        self.wakes.append(&mut wakes);
        out.send(|buffer| ChannelClose { recipient }.encode(buffer))?;
        self.refuse_initial(id, out)
    }

    /// The last handle has gone: the channel is closed and forgotten. Numbers are never used twice, so what the
    /// peer still sends for it can be told from nonsense and dropped.
    pub(crate) fn release(&mut self, id: u32, out: &mut Outbound) -> Result<(), Error> {
        let Some(row) = self.rows.get_mut(&id) else { return Ok(()) };
        match &mut row.phase {
            RowPhase::Opening { abandoned, .. } => {
                *abandoned = true;
                Ok(())
            }
            RowPhase::Offered => self.reject(
                id,
                OpenFailureReason::ADMINISTRATIVELY_PROHIBITED,
                "the channel was not accepted",
                out,
            ),
            RowPhase::Open { .. } | RowPhase::Refused(_) => {
                // With the session everything is closed that was open.
                let closed = if self.failed.is_some() { Ok(()) } else { self.close(id, out) };
                self.remove(id);
                closed
            }
        }
    }

    pub(crate) fn channel_metrics(&self, id: u32) -> ChannelMetrics {
        let Some(row) = self.rows.get(&id) else { return ChannelMetrics::default() };
        ChannelMetrics {
            bytes_sent: row.bytes_sent,
            bytes_received: row.bytes_received,
            dropped_requests: row.dropped_requests.into(),
        }
    }

    pub(crate) fn terms(&self, id: u32) -> Option<ChannelTerms> {
        let row = self.rows.get(&id).filter(|row| row.is_open())?;
        Some(ChannelTerms {
            remote_id: row.send.remote,
            window_bytes: row.receive.window.size(),
            packet_bytes: row.send.max_packet,
        })
    }

    pub(crate) fn open_ids(&self) -> Vec<u32> {
        if self.failed.is_some() {
            return self.open_at_end.clone();
        }
        let mut ids: Vec<_> = self.rows.iter().filter(|(_, row)| row.is_open()).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// How the program behind the channel ended, if the peer said so.
    pub(crate) fn exit_status(&self, id: u32) -> Option<ExitStatus> {
        self.rows.get(&id).and_then(|row| row.exit.clone())
    }

    /// Whether either side has closed the channel, or the session is over.
    pub(crate) fn is_closed(&self, id: u32) -> bool {
        self.failed.is_some() || self.rows.get(&id).is_none_or(|row| row.close_sent || row.close_received)
    }

    /// Ready once the peer has closed the channel or the session is over.
    pub(crate) fn poll_closed(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<()> {
        match self.rows.get_mut(&id) {
            Some(row) if !row.close_received && self.failed.is_none() => {
                add_waker(&mut row.closed_wakers, &mut self.wakes, cx);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// An open channel that neither side has closed.
    fn open_row(&mut self, id: u32) -> Option<&mut Row> {
        if self.failed.is_some() {
            return None;
        }
        self.rows.get_mut(&id).map(|row| &mut **row).filter(|row| row.is_open() && !row.close_sent)
    }

    fn remove(&mut self, id: u32) {
        if let Some(mut row) = self.rows.remove(&id) {
            self.committed = self.committed.saturating_sub(u64::from(row.receive.window.size()));
            let unread: usize = row.unread_requests.iter().map(|request| request.fields.len()).sum();
            self.waiting_bytes = self.waiting_bytes.saturating_sub(unread);
            row.wake_all(&mut self.wakes);
        }
    }

    /// Whether `len` more bytes of requests and offers may wait to be looked at; they are then counted.
    fn may_wait(&mut self, len: usize) -> bool {
        let waiting = self.waiting_bytes.saturating_add(len);
        let fits = waiting <= MAX_WAITING;
        if fits {
            self.waiting_bytes = waiting;
        }
        fits
    }
}

/// Why a channel did not open.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// The peer refused.
    #[error("the peer refused the channel: {0}")]
    Refused(OpenFailure),
    /// The channel opened, but the peer denied the request that came with it; it is closed again.
    #[error("the initial channel request was denied")]
    RequestDenied,
    /// The session ended or cannot open channels.
    #[error(transparent)]
    Session(#[from] Error),
}

/// Counts channels that are refused, or that the peer opens and gives up before it used them, so that a flood of them
/// ends.
#[derive(Debug)]
struct Churn {
    since: Instant,
    count: u32,
}

/// A peer may cause this many failed opens in [`CHURN_TIME`].
const MAX_CHURN: u32 = 5000;
const CHURN_TIME: std::time::Duration = std::time::Duration::from_secs(5);

impl Churn {
    fn new(now: Instant) -> Self {
        Self { since: now, count: 0 }
    }

    fn add(&mut self, now: Instant) -> Result<(), Error> {
        if now.saturating_duration_since(self.since) > CHURN_TIME {
            *self = Self::new(now);
        }
        self.count = self.count.saturating_add(1);
        if self.count > MAX_CHURN {
            return Err(crate::error::PeerMisbehaved::ChannelChurn.into());
        }
        Ok(())
    }
}

/// Adds one of several waiters. Those whose future was dropped are not told apart, so a long list is woken and starts anew.
fn add_waker(list: &mut Vec<Waker>, wakes: &mut Vec<Waker>, cx: &Context<'_>) {
    if list.iter().any(|waker| waker.will_wake(cx.waker())) {
        return;
    }
    if list.len() >= MAX_WAITERS {
        wakes.append(list);
    }
    list.push(cx.waker().clone());
}

const MAX_WAITERS: usize = 32;

fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

fn send_open_failure(
    recipient: u32,
    reason: OpenFailureReason,
    text: &str,
    out: &mut Outbound,
) -> Result<(), Error> {
    out.send(|buffer| {
        ChannelOpenFailure {
            recipient,
            reason: reason.0,
            text: text.as_bytes(),
            language: OptionalText(b"en"),
        }
        .encode(buffer);
    })
}
