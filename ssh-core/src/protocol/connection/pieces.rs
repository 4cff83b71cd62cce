//! What comes on a channel in the order in which it came, for passing it on.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::Connection;
use super::channel::{PeerRequest, StderrMode};
use super::extended_queue::ExtendedQueue;
use super::incoming::STDERR;
use super::wakers::{add_waker, set_waker};
use crate::error::Error;
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wide;

/// What comes next on a channel.
#[derive(Debug)]
pub enum Piece {
    /// Data.
    Data(Vec<Bytes>),
    /// Extended data of this type.
    Extended(u32, Bytes),
    /// A request, to be answered.
    Request(PeerRequest),
    /// No more data will come; requests still may.
    Eof,
    /// The channel is closed, or the session is over.
    Closed,
}

/// How far somebody is who passes a channel on.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of data taken.
    taken: u64,
    eof: bool,
}

/// Data that is taken at a time, in bytes and in chunks: what a pipe holds besides the windows of its two ends.
const MAX_DATA: usize = 128 * 1024;
const MAX_CHUNKS: usize = 16;

impl Connection {
    /// From now on all extended data is kept for [`poll_piece`](Self::poll_piece).
    pub(crate) fn keep_extended(&mut self, id: u32) {
        let kept = self.take_kept_stderr(id);
        if let Some(row) = self.rows.get_mut(&id) {
            let mut queue = Box::<ExtendedQueue>::default();
            queue.push(STDERR, kept, &mut self.spares);
            row.receive.stderr = StderrMode::All(queue);
        }
    }

    /// The next piece. A request comes behind the data that it followed, but for those that are to act on a program at
    /// once.
    pub(crate) fn poll_piece(
        &mut self,
        id: u32,
        progress: &mut Progress,
        cx: &Context<'_>,
        out: &mut Outbound,
    ) -> Poll<Result<Piece, Error>> {
        if let Some(request) = self.next_request(id, |request| request.data_before <= progress.taken) {
            return Poll::Ready(Ok(Piece::Request(request)));
        }
        let Some(row) = self.rows.get_mut(&id) else { return Poll::Ready(Ok(Piece::Closed)) };
        if let StderrMode::All(queue) = &mut row.receive.stderr
            && let Some((code, data)) = queue.pop(MAX_DATA, &mut self.spares)
        {
            return Poll::Ready(self.credit(id, data.len(), out).map(|()| Piece::Extended(code, data)));
        }
        if !row.receive.queue.is_empty() {
            let next = row.unread_requests.front().map_or(u64::MAX, |request| request.data_before);
            let most = usize::try_from(next.saturating_sub(progress.taken)).unwrap_or(usize::MAX);
            let mut chunks = Vec::new();
            let len =
                row.receive.queue.take_chunks(most.min(MAX_DATA), MAX_CHUNKS, &mut chunks, &mut self.spares);
            progress.taken = progress.taken.saturating_add(wide(len));
            return Poll::Ready(self.credit(id, len, out).map(|()| Piece::Data(chunks)));
        }
        if row.receive_ended() && !std::mem::replace(&mut progress.eof, true) {
            return Poll::Ready(Ok(Piece::Eof));
        }
        if row.close_received || row.close_sent || self.failed.is_some() {
            return Poll::Ready(Ok(Piece::Closed));
        }
        set_waker(&mut row.receive.waker, cx);
        add_waker(&mut row.request_wakers, &mut self.wakes, cx);
        add_waker(&mut row.closed_wakers, &mut self.wakes, cx);
        Poll::Pending
    }

    /// The next request that must not wait for data in front of it.
    pub(crate) fn poll_urgent(&mut self, id: u32, cx: &Context<'_>) -> Poll<PeerRequest> {
        if let Some(request) = self.next_request(id, |_| false) {
            return Poll::Ready(request);
        }
        if let Some(row) = self.rows.get_mut(&id) {
            add_waker(&mut row.request_wakers, &mut self.wakes, cx);
        }
        Poll::Pending
    }

    /// The first request if it is `due`, or the first that is urgent.
    fn next_request(&mut self, id: u32, due: impl Fn(&PeerRequest) -> bool) -> Option<PeerRequest> {
        let row = self.rows.get_mut(&id)?;
        let urgent = || row.unread_requests.iter().position(|request| is_urgent(&request.name));
        let first_is_due = row.unread_requests.front().is_some_and(due);
        let at = if first_is_due { 0 } else { urgent()? };
        let request = row.unread_requests.remove(at)?;
        self.waiting_bytes = self.waiting_bytes.saturating_sub(request.fields.len());
        Some(request)
    }
}

/// What interrupts a program or its terminal must reach it even if it does not read.
fn is_urgent(name: &str) -> bool {
    matches!(name, "signal" | "break" | "window-change")
}
