use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use super::extended_queue::ExtendedQueue;
use super::initial_request::Initial;
use super::receive_queue::ReceiveQueue;
use super::requests::{ReceivedRequests, SentRequests};
use super::wakers::Waiters;
use super::window::ReceiveWindow;
use crate::protocol::messages::ChannelRequest;
use crate::protocol::wide;

/// One channel's row in the table (RFC 4254 §5).
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) phase: RowPhase,
    /// The peer opened it.
    pub(super) offered: bool,
    pub(super) send: SendHalf,
    pub(super) receive: ReceiveHalf,
    /// Bytes of data and extended data so far.
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    /// Requests that were too many.
    pub(super) dropped_requests: u32,
    /// Bytes of data alone.
    pub(super) data_received: u64,
    pub(super) close_sent: bool,
    pub(super) close_received: bool,
    pub(super) exit: Option<ExitStatus>,
    pub(super) closed_waiters: Waiters,
    pub(super) sent_requests: SentRequests<bool>,
    pub(super) received_requests: ReceivedRequests<bool>,
    /// Requests of the peer that the application has not looked at yet.
    pub(super) unread_requests: VecDeque<PeerRequest>,
    pub(super) request_waiters: Waiters,
    /// The peer's first request came with its open and is not answered yet.
    pub(super) initial: Option<Box<Initial>>,
    /// The application does not look at requests: they are refused as they come.
    pub(super) refuses_requests: bool,
}

/// How far the opening is.
#[derive(Debug)]
pub(super) enum RowPhase {
    /// We asked; no answer yet. If the one who asked has gone, the channel is closed as soon as it is confirmed.
    Opening {
        since: Instant,
        waker: Option<Waker>,
        abandoned: bool,
    },
    /// The peer asked; the application has not decided.
    Offered,
    Open {
        confirmation: Bytes,
    },
    /// The peer refused.
    Refused(OpenFailure),
}

#[derive(Debug)]
pub(super) struct SendHalf {
    /// The peer's number for this channel.
    pub(super) remote: u32,
    /// What we may still send.
    pub(super) window: u32,
    /// Data in one packet, at most.
    pub(super) max_packet: u32,
    pub(super) eof_sent: bool,
    pub(super) waiters: Waiters,
    /// In the queue of those who wait for room in the output.
    pub(super) parked: bool,
    pub(super) share: Share,
}

/// What a channel may write until the output is taken again, in bytes on the wire. A packet may go over it; the debt is
/// carried to the next round, and so is what a channel had left when there was no room, so that over several rounds
/// nobody gets more than others (deficit round robin).
#[derive(Debug, Default)]
pub(super) struct Share {
    round: u64,
    quantum: usize,
    written: usize,
    /// It wanted to write and there was no room.
    starved: bool,
}

/// No more than this is saved up for later, in bytes, so that nobody who waited long pushes everybody else aside.
const MOST_SAVED: usize = 256 * 1024;

impl Share {
    /// Begins the round, if it is another than the last.
    pub(super) fn enter(&mut self, round: u64, quantum: usize) {
        let passed = round.saturating_sub(self.round);
        if passed > 0 {
            let due = self.quantum.saturating_mul(usize::try_from(passed).unwrap_or(usize::MAX));
            let debt = self.written.saturating_sub(due);
            let saved = if self.starved { due.saturating_sub(self.written).min(MOST_SAVED) } else { 0 };
            *self = Self { round, quantum: quantum.saturating_add(saved), written: debt, starved: false };
        }
    }

    pub(super) fn left(&self) -> usize {
        self.quantum.saturating_sub(self.written)
    }

    pub(super) fn starve(&mut self) {
        self.starved = true;
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes);
    }
}

#[derive(Debug)]
pub(super) struct ReceiveHalf {
    pub(super) window: ReceiveWindow,
    pub(super) queue: ReceiveQueue,
    pub(super) waiters: Waiters,
    pub(super) eof: bool,
    pub(super) stderr: StderrMode,
}

impl ReceiveHalf {
    /// What has come and was not read, in bytes.
    pub(super) fn unread(&self) -> usize {
        let stderr = match &self.stderr {
            StderrMode::Undecided { kept: Some(stderr), .. } | StderrMode::Queue(stderr) => {
                stderr.queue.len()
            }
            StderrMode::All(queue) => queue.len(),
            StderrMode::Undecided { kept: None, .. } | StderrMode::Discard | StderrMode::AsData => 0,
        };
        self.queue.len().saturating_add(stderr)
    }

    /// Everybody who reads.
    pub(super) fn wake(&mut self, wakes: &mut Vec<Waker>) {
        self.waiters.wake(wakes);
        if let StderrMode::Queue(stderr) = &mut self.stderr {
            stderr.waiters.wake(wakes);
        }
    }

    /// What is kept of stderr for somebody who may want it, in bytes.
    pub(super) fn kept(&self) -> u32 {
        match &self.stderr {
            StderrMode::Undecided { kept: Some(stderr), .. } => {
                u32::try_from(stderr.queue.len()).unwrap_or(u32::MAX)
            }
            _ => 0,
        }
    }
}

/// What happens to extended data of type 1.
#[derive(Debug)]
pub(super) enum StderrMode {
    /// Somebody may still want it: it is kept up to half a window, so that nobody stalls who does not; what comes once
    /// there was no room is credited and dropped.
    Undecided {
        kept: Option<Box<StderrQueue>>,
        is_over: bool,
    },
    /// Nobody reads it: it is credited and dropped.
    Discard,
    Queue(Box<StderrQueue>),
    /// It is read as data, whatever its type.
    AsData,
    /// All types are kept, to be passed on.
    All(Box<ExtendedQueue>),
}

impl Default for StderrMode {
    fn default() -> Self {
        Self::Undecided { kept: None, is_over: false }
    }
}

#[derive(Debug, Default)]
pub(super) struct StderrQueue {
    pub(super) queue: ReceiveQueue,
    pub(super) waiters: Waiters,
    /// How many have taken it; the last one to go drops what was not read.
    pub(super) takers: u32,
}

/// Why an open was refused (RFC 4254 §5.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {text}")]
pub struct OpenFailure {
    /// The reason code.
    pub reason: OpenFailureReason,
    /// The peer's words, escaped for display.
    pub text: String,
}

/// The reason code of SSH_MSG_CHANNEL_OPEN_FAILURE (RFC 4254 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpenFailureReason(pub u32);

#[expect(missing_docs, reason = "the names are the RFC's")]
impl OpenFailureReason {
    pub const ADMINISTRATIVELY_PROHIBITED: Self = Self(1);
    pub const CONNECT_FAILED: Self = Self(2);
    pub const UNKNOWN_CHANNEL_TYPE: Self = Self(3);
    pub const RESOURCE_SHORTAGE: Self = Self(4);
}

impl std::fmt::Display for OpenFailureReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::ADMINISTRATIVELY_PROHIBITED => f.write_str("administratively prohibited"),
            Self::CONNECT_FAILED => f.write_str("connect failed"),
            Self::UNKNOWN_CHANNEL_TYPE => f.write_str("unknown channel type"),
            Self::RESOURCE_SHORTAGE => f.write_str("resource shortage"),
            Self(other) => write!(f, "reason {other}"),
        }
    }
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

/// How the program behind a channel ended (RFC 4254 §6.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitStatus {
    /// `exit-status`.
    Code(u32),
    /// `exit-signal`.
    Signal {
        /// The signal's name without `SIG`.
        name: String,
        /// Words for the user, escaped for display.
        message: String,
    },
}

/// A request of the peer on a channel.
#[derive(Debug, Clone)]
pub struct PeerRequest {
    /// Its name, for instance `exec`.
    pub name: String,
    /// What follows, as its name says.
    pub fields: Bytes,
    /// The slot of the answer, if one is wanted.
    pub slot: Option<u64>,
    /// Bytes of data, extended data aside, that came on the channel before it.
    pub data_before: u64,
}

impl PeerRequest {
    /// Whether the peer waits for an answer.
    #[must_use]
    pub fn wants_reply(&self) -> bool {
        self.slot.is_some()
    }
}

impl Row {
    pub(super) fn new(
        phase: RowPhase,
        remote: u32,
        window: u32,
        max_packet: u32,
        receive_window: u32,
    ) -> Self {
        Self {
            offered: matches!(phase, RowPhase::Offered),
            phase,
            send: SendHalf {
                remote,
                window,
                max_packet,
                eof_sent: false,
                waiters: Waiters::default(),
                parked: false,
                share: Share { quantum: usize::MAX, ..Share::default() },
            },
            receive: ReceiveHalf {
                window: ReceiveWindow::new(receive_window),
                queue: ReceiveQueue::default(),
                waiters: Waiters::default(),
                eof: false,
                stderr: StderrMode::default(),
            },
            bytes_received: 0,
            bytes_sent: 0,
            dropped_requests: 0,
            data_received: 0,
            close_sent: false,
            close_received: false,
            exit: None,
            closed_waiters: Waiters::default(),
            sent_requests: SentRequests::default(),
            received_requests: ReceivedRequests::default(),
            unread_requests: VecDeque::new(),
            request_waiters: Waiters::default(),
            initial: None,
            refuses_requests: false,
        }
    }

    /// Keeps a request until the application looks at it, and wakes those who wait for one.
    pub(super) fn queue_request(
        &mut self,
        request: &ChannelRequest<'_>,
        slot: Option<u64>,
        wakes: &mut Vec<Waker>,
    ) {
        self.unread_requests.push_back(PeerRequest {
            name: request.name.to_owned(),
            fields: Bytes::copy_from_slice(request.fields.0),
            slot,
            data_before: self.data_received,
        });
        self.request_waiters.wake(wakes);
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, RowPhase::Open { .. })
    }

    /// Bytes of data that have been read.
    pub(super) fn data_taken(&self) -> u64 {
        self.data_received.saturating_sub(wide(self.receive.queue.len()))
    }

    /// No more bytes will come.
    pub(super) fn receive_ended(&self) -> bool {
        self.receive.eof || self.close_received
    }

    /// Everybody who waits for this channel.
    pub(super) fn wake_all(&mut self, wakes: &mut Vec<Waker>) {
        self.send.waiters.wake(wakes);
        self.receive.wake(wakes);
        self.closed_waiters.wake(wakes);
        self.request_waiters.wake(wakes);
        if let RowPhase::Opening { waker, .. } = &mut self.phase {
            wakes.extend(waker.take());
        }
        self.sent_requests.fail_all(wakes);
    }

    /// This one waits for the channel no more.
    pub(super) fn stop_waiting(&mut self, number: u64) {
        self.send.waiters.leave(number);
        self.receive.waiters.leave(number);
        self.closed_waiters.leave(number);
        self.request_waiters.leave(number);
        if let StderrMode::Queue(stderr) = &mut self.receive.stderr {
            stderr.waiters.leave(number);
        }
    }
}
