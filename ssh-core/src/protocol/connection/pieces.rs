//! What comes on a channel in the order in which it came, for passing it on.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::Connection;
use super::channel::{PeerRequest, StderrMode};
use super::extended_queue::ExtendedQueue;
use super::incoming::STDERR;
use crate::error::Error;
use crate::protocol::transport::outbound::Outbound;

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
    eof: bool,
}

/// Data that is taken at a time, in bytes and in chunks: what a pipe holds besides the windows of its two ends.
const MAX_DATA: usize = 128 * 1024;
const MAX_CHUNKS: usize = 16;

impl Connection {
    /// From now on all extended data is kept for [`poll_piece`](Self::poll_piece), what waits of stderr too. Whoever was
    /// to read that is told that nothing will come any more.
    pub(crate) fn keep_extended(&mut self, id: u32) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        let mut all = Box::<ExtendedQueue>::default();
        match std::mem::take(&mut row.receive.stderr) {
            StderrMode::Undecided { kept: Some(mut stderr), .. } | StderrMode::Queue(mut stderr) => {
                let (len, mut chunks) = (stderr.queue.len(), Vec::new());
                stderr.queue.take_chunks(len, len, &mut chunks, &mut self.spares);
                chunks.into_iter().for_each(|chunk| all.push(STDERR, chunk, &mut self.spares));
                stderr.waiters.wake(&mut self.wakes);
            }
            StderrMode::All(queue) => all = queue,
            StderrMode::Undecided { kept: None, .. } | StderrMode::Discard | StderrMode::AsData => {}
        }
        row.receive.stderr = StderrMode::All(all);
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
        // Somebody may have read before, so it is not counted here.
        let taken = self.rows.get(&id).map_or(0, |row| row.data_taken());
        if let Some(request) = self.next_request(id, |request| request.data_before <= taken) {
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
            let most = usize::try_from(next.saturating_sub(taken)).unwrap_or(usize::MAX);
            let mut chunks = Vec::new();
            let len =
                row.receive.queue.take_chunks(most.min(MAX_DATA), MAX_CHUNKS, &mut chunks, &mut self.spares);
            return Poll::Ready(self.credit(id, len, out).map(|()| Piece::Data(chunks)));
        }
        // A close alone is none.
        if row.receive.eof && !std::mem::replace(&mut progress.eof, true) {
            return Poll::Ready(Ok(Piece::Eof));
        }
        if row.close_received || row.close_sent || self.failed.is_some() {
            return Poll::Ready(Ok(Piece::Closed));
        }
        row.receive.waiters.wait(cx.into());
        row.request_waiters.wait(cx.into());
        row.closed_waiters.wait(cx.into());
        Poll::Pending
    }

    /// The next request that must not wait for data in front of it.
    pub(crate) fn poll_urgent(&mut self, id: u32, cx: &Context<'_>) -> Poll<PeerRequest> {
        if let Some(request) = self.next_request(id, |_| false) {
            return Poll::Ready(request);
        }
        if let Some(row) = self.rows.get_mut(&id) {
            row.request_waiters.wait(cx.into());
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

#[cfg(all(test, feature = "rustcrypto"))]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::config::{Algorithms, Common, Extensions, Limits};
    use crate::protocol::auth::Authenticated;
    use crate::protocol::messages::{ChannelClose, ChannelData, ChannelEof, ChannelOpen, Rest};

    /// What comes of these messages on a channel that the peer has opened.
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn pieces(messages: impl FnOnce(&mut dyn FnMut(&dyn Fn(&mut Vec<u8>)))) -> Vec<&'static str> {
        let provider = &crate::crypto::rustcrypto::PROVIDER;
        let (algorithms, limits) = (Algorithms::default(), Limits::default());
        let common = Common { algorithms, limits, extensions: Extensions::default(), provider };
        let (mut out, now) = (Outbound::new(provider.random).unwrap(), std::time::Instant::now());
        let mut connection = Connection::new(common.into(), now);
        let say = |connection: &mut Connection, out: &mut Outbound, encode: &dyn Fn(&mut Vec<u8>)| {
            let mut payload = Vec::new();
            encode(&mut payload);
            connection.handle(Authenticated::without_security(), &payload.into(), now, out).unwrap();
        };
        let open = ChannelOpen { kind: "x", sender: 5, window: 9, max_packet: 9, fields: Rest(b"") };
        say(&mut connection, &mut out, &|payload| open.encode(payload));
        connection.accept(0, b"", &mut out).unwrap();
        let mut say = |encode: &dyn Fn(&mut Vec<u8>)| say(&mut connection, &mut out, encode);
        messages(&mut say);
        let (cx, mut progress) = (Context::from_waker(Waker::noop()), Progress::default());
        let mut all = Vec::new();
        while let Poll::Ready(piece) = connection.poll_piece(0, &mut progress, &cx, &mut out) {
            all.push(match piece.unwrap() {
                Piece::Data(_) => "data",
                Piece::Eof => "eof",
                Piece::Closed => "closed",
                Piece::Extended(..) | Piece::Request(_) => "other",
            });
            if all.last() == Some(&"closed") {
                break;
            }
        }
        all
    }

    #[test]
    fn a_close_is_no_end_that_somebody_meant() {
        let data = ChannelData { recipient: 0, data: b"x" };
        let (eof, close) = (ChannelEof { recipient: 0 }, ChannelClose { recipient: 0 });
        let all = pieces(|say| {
            say(&|payload| data.encode(payload));
            say(&|payload| eof.encode(payload));
            say(&|payload| close.encode(payload));
        });
        assert_eq!(all, ["data", "eof", "closed"]);
        let cut = pieces(|say| {
            say(&|payload| data.encode(payload));
            say(&|payload| close.encode(payload));
        });
        assert_eq!(cut, ["data", "closed"]);
    }
}
