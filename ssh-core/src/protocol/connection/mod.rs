//! The connection protocol (RFC 4254): channels, windows and requests. It outlives its transport.

mod accept;
mod channel;
mod channel_requests;
mod churn;
mod closing;
mod ends;
mod extended_queue;
mod global_requests;
mod incoming;
mod initial_request;
mod open;
mod pieces;
mod receive_queue;
mod requests;
mod spares;
mod streams;
mod wakers;
mod window;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use channel::Row;
use requests::{ReceivedRequests, SentRequests};
use spares::Spares;
use window::RoundTrip;

use crate::config::Common;
use crate::error::{ApiMisuse, Error};
use crate::metrics::ChannelMetrics;
use crate::protocol::transport::outbound::Outbound;

pub use accept::AcceptTicket;
pub use channel::{ChannelTerms, ExitStatus, OpenFailure, OpenFailureReason, PeerRequest};
use churn::Churn;
pub use global_requests::{GlobalPeerRequest, GlobalReply};
pub(crate) use incoming::KEEPALIVE;
pub use open::OpenError;
pub use pieces::{Piece, Progress};
pub use wakers::Waiter;
pub(crate) use wakers::Waiters;

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
    /// The first window of a channel is all that it gets.
    windows_stay: bool,
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
    event_waiters: Waiters,
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
            windows_stay: false,
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
            event_waiters: Waiters::default(),
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
        self.event_waiters.wake(&mut self.wakes);
        self.accepting.wake_all(&mut self.wakes);
    }

    /// What the application is to decide next; `None` when nothing will come any more.
    pub(crate) fn poll_event(&mut self, waiter: Waiter<'_>) -> Poll<Option<ConnectionEvent>> {
        if let Some(event) = self.events.pop_front() {
            let (ConnectionEvent::Offered(OfferedChannel { fields, .. })
            | ConnectionEvent::Request(GlobalPeerRequest { fields, .. })) = &event;
            self.waiting_bytes = self.waiting_bytes.saturating_sub(fields.len());
            return Poll::Ready(Some(event));
        }
        if self.failed.is_some() {
            return Poll::Ready(None);
        }
        self.event_waiters.wait(waiter);
        Poll::Pending
    }

    /// This one waits for events no more.
    pub(crate) fn stop_waiting_for_events(&mut self, number: u64) {
        self.event_waiters.leave(number);
    }

    fn push_event(&mut self, event: ConnectionEvent) {
        if let ConnectionEvent::Offered(offer) = &event {
            self.accepting.wake(&offer.kind, &mut self.wakes);
        }
        self.events.push_back(event);
        self.event_waiters.wake(&mut self.wakes);
    }

    /// No window grows over what its channel began with.
    pub(crate) fn keep_windows(&mut self) {
        self.windows_stay = true;
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
                row.send.waiters.wake(&mut self.wakes);
            }
        }
    }

    /// Gives memory back that a busy moment needed.
    pub(crate) fn shrink(&mut self) {
        self.spares.clear();
    }

    /// What has come on all channels and was not read, in bytes.
    pub(crate) fn unread_bytes(&self) -> usize {
        self.rows.values().map(|row| row.receive.unread()).sum()
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

    /// Whether it was the peer who opened the channel.
    pub(crate) fn was_offered(&self, id: u32) -> bool {
        self.rows.get(&id).is_some_and(|row| row.offered)
    }

    /// How the program behind the channel ended, if the peer said so.
    pub(crate) fn exit_status(&self, id: u32) -> Option<ExitStatus> {
        self.rows.get(&id).and_then(|row| row.exit.clone())
    }

    /// An open channel that neither side has closed.
    fn open_row(&mut self, id: u32) -> Option<&mut Row> {
        if self.failed.is_some() {
            return None;
        }
        self.rows.get_mut(&id).map(|row| &mut **row).filter(|row| row.is_open() && !row.close_sent)
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
