//! Reading and writing a channel's data.

use std::io::IoSlice;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::channel::{Row, StderrMode, StderrQueue};
use super::spares::Spares;
use super::wakers::Waiter;
use super::window::Bounds;
use super::{Connection, KEEPALIVE, LEAST_WINDOW};
use crate::error::{ApiMisuse, Error};
use crate::protocol::messages::{ChannelData, ChannelExtendedData, ChannelWindowAdjust};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wide;
use crate::protocol::wire::Write as _;

/// We put no more data in a packet than this, whatever the peer allows, in bytes. The reference implementations' limit.
const MAX_DATA_OUT: usize = 32 * 1024;

impl Connection {
    /// Seals as much of `slices` as the window, the output and this channel's share of it have room for. Small slices
    /// are gathered into one packet. With a `code` it is extended data of that type (RFC 4254 §5.2).
    pub(crate) fn poll_write(
        &mut self,
        id: u32,
        waiter: Waiter<'_>,
        slices: &[IoSlice<'_>],
        code: Option<u32>,
        out: &mut Outbound,
    ) -> Poll<Result<usize, Error>> {
        let (round, quantum) = (self.round, self.quantum);
        let failure = self.failed.clone();
        let row = self.rows.get_mut(&id).filter(|row| {
            failure.is_none() && row.is_open() && !row.close_sent && !row.close_received && !row.send.eof_sent
        });
        let Some(row) = row else {
            return Poll::Ready(Err(failure.unwrap_or(Error::ApiMisuse(ApiMisuse::ChannelClosed))));
        };
        row.send.share.enter(round, quantum);
        let mut slices = Slices::new(slices);
        let mut written = 0_usize;
        while slices.left > 0 {
            let window = usize::try_from(row.send.window).unwrap_or(usize::MAX);
            // The output will not be taken while it is empty, so waiting for that would be for ever.
            let share = if out.pending() == 0 { quantum.max(1) } else { row.send.share.left() };
            let room = out.data_room().min(share);
            if window == 0 || room == 0 {
                if written > 0 {
                    break;
                }
                // The data and the extended data may be written by two tasks.
                row.send.waiters.wait(waiter);
                if window > 0 && share > 0 {
                    row.send.share.starve();
                }
                // Without window, the peer's WINDOW_ADJUST wakes; without room, the taking of the output.
                if window > 0 && !std::mem::replace(&mut row.send.parked, true) {
                    self.parked.push(id);
                }
                return Poll::Pending;
            }
            let packet = usize::try_from(row.send.max_packet).unwrap_or(usize::MAX).min(MAX_DATA_OUT);
            // A packet may go a little over the room, so that the last one is not a sliver. What a channel takes above
            // its share it has less of in the next round.
            let len = slices.left.min(window).min(packet);
            let recipient = row.send.remote;
            let before = out.pending();
            out.send(|buffer| {
                buffer.put_u8(if code.is_some() { ChannelExtendedData::NUMBER } else { ChannelData::NUMBER });
                buffer.put_u32(recipient);
                if let Some(code) = code {
                    buffer.put_u32(code);
                }
                buffer.put_len(len);
                slices.copy(len, buffer);
            })?;
            row.bytes_sent = row.bytes_sent.saturating_add(wide(len));
            row.send.window = row.send.window.saturating_sub(u32::try_from(len).unwrap_or(u32::MAX));
            // As it is on the wire: in small packets the frames weigh more than the data.
            let weight = out.pending().saturating_sub(before);
            row.send.share.spend(weight);
            written = written.saturating_add(len);
        }
        Poll::Ready(Ok(written))
    }

    /// Copies received data to `buffer`; 0 at the end.
    pub(crate) fn poll_read(
        &mut self,
        id: u32,
        waiter: Waiter<'_>,
        buffer: &mut [u8],
        out: &mut Outbound,
    ) -> Poll<Result<usize, Error>> {
        self.poll_queue(id, waiter, out, |row, spares| row.receive.queue.read(buffer, spares))
    }

    /// Takes received data without copying, up to `max_len` bytes in at most `max_chunks`; 0 at the end.
    pub(crate) fn poll_read_chunks(
        &mut self,
        id: u32,
        waiter: Waiter<'_>,
        max_len: usize,
        max_chunks: usize,
        chunks: &mut Vec<Bytes>,
        out: &mut Outbound,
    ) -> Poll<Result<usize, Error>> {
        self.poll_queue(id, waiter, out, |row, spares| {
            row.receive.queue.take_chunks(max_len, max_chunks, chunks, spares)
        })
    }

    fn poll_queue(
        &mut self,
        id: u32,
        waiter: Waiter<'_>,
        out: &mut Outbound,
        take: impl FnOnce(&mut Row, &mut Spares) -> usize,
    ) -> Poll<Result<usize, Error>> {
        let Some(row) = self.rows.get_mut(&id) else {
            return Poll::Ready(Err(self.failure()));
        };
        if !row.receive.queue.is_empty() {
            let n = take(row, &mut self.spares);
            return Poll::Ready(self.credit(id, n, out).map(|()| n));
        }
        if row.receive_ended() {
            return Poll::Ready(Ok(0));
        }
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(error.clone()));
        }
        if row.close_sent {
            return Poll::Ready(Err(Error::ApiMisuse(ApiMisuse::ChannelClosed)));
        }
        row.receive.waiters.wait(waiter);
        Poll::Pending
    }

    /// From now on stderr is kept for [`poll_read_stderr`](Self::poll_read_stderr).
    pub(crate) fn keep_stderr(&mut self, id: u32) {
        let Some(row) = self.rows.get_mut(&id) else { return };
        let mut stderr = match std::mem::take(&mut row.receive.stderr) {
            StderrMode::Undecided { kept, .. } => kept.unwrap_or_default(),
            StderrMode::Discard => Box::default(),
            StderrMode::Queue(stderr) => stderr,
            mode @ (StderrMode::AsData | StderrMode::All(_)) => {
                row.receive.stderr = mode;
                return;
            }
        };
        stderr.takers = stderr.takers.saturating_add(1);
        row.receive.stderr = StderrMode::Queue(stderr);
    }

    /// What came of stderr before anybody said what is to become of it.
    fn take_kept_stderr(&mut self, id: u32) -> Bytes {
        let row = self.rows.get_mut(&id);
        let Some(StderrMode::Undecided { kept, .. }) = row.map(|row| &mut row.receive.stderr) else {
            return Bytes::new();
        };
        let Some(mut kept) = kept.take() else { return Bytes::new() };
        let mut bytes = vec![0; kept.queue.len()];
        kept.queue.read(&mut bytes, &mut self.spares);
        bytes.into()
    }

    /// From now on extended data, whatever its type, comes as data, unless stderr has been taken.
    pub(crate) fn read_extended_as_data(&mut self, id: u32) {
        let kept = self.take_kept_stderr(id);
        let Some(row) = self.rows.get_mut(&id) else { return };
        if matches!(row.receive.stderr, StderrMode::Undecided { .. } | StderrMode::Discard) {
            row.receive.stderr = StderrMode::AsData;
            if !kept.is_empty() {
                row.receive.queue.push(kept, &mut self.spares);
                row.receive.waiters.wake(&mut self.wakes);
            }
        }
    }

    /// One of those who took stderr has gone. With the last of them it is dropped again, and what waits of it is credited.
    pub(crate) fn discard_stderr(&mut self, id: u32, out: &mut Outbound) -> Result<(), Error> {
        let Some(row) = self.rows.get_mut(&id) else { return Ok(()) };
        let StderrMode::Queue(stderr) = &mut row.receive.stderr else { return Ok(()) };
        stderr.takers = stderr.takers.saturating_sub(1);
        if stderr.takers > 0 {
            return Ok(());
        }
        let unread = stderr.queue.len();
        row.receive.stderr = StderrMode::Discard;
        self.credit(id, unread, out)
    }

    /// Copies received stderr data to `buffer`; 0 at the end.
    pub(crate) fn poll_read_stderr(
        &mut self,
        id: u32,
        waiter: Waiter<'_>,
        buffer: &mut [u8],
        out: &mut Outbound,
    ) -> Poll<Result<usize, Error>> {
        let Some(row) = self.rows.get_mut(&id) else {
            return Poll::Ready(Err(self.failure()));
        };
        let (ended, close_sent) = (row.receive_ended(), row.close_sent);
        let StderrMode::Queue(stderr) = &mut row.receive.stderr else {
            return Poll::Ready(Ok(0));
        };
        let StderrQueue { queue, waiters, .. } = &mut **stderr;
        if !queue.is_empty() {
            let n = queue.read(buffer, &mut self.spares);
            return Poll::Ready(self.credit(id, n, out).map(|()| n));
        }
        if ended {
            return Poll::Ready(Ok(0));
        }
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(error.clone()));
        }
        if close_sent {
            return Poll::Ready(Err(Error::ApiMisuse(ApiMisuse::ChannelClosed)));
        }
        waiters.wait(waiter);
        Poll::Pending
    }

    /// The application has taken `len` bytes, or they were dropped for it.
    pub(super) fn credit(&mut self, id: u32, len: usize, out: &mut Outbound) -> Result<(), Error> {
        let limits = &self.common.limits;
        let session = u64::from(limits.session_window);
        let room = u32::try_from(session.saturating_sub(self.committed)).unwrap_or(u32::MAX);
        let share = session.checked_div(wide(self.rows.len())).unwrap_or(session);
        let share = u32::try_from(share).unwrap_or(u32::MAX).max(LEAST_WINDOW);
        // As much as a new channel gets is left for those with less than their share; once they have needed it, those
        // with more give some of theirs up.
        let reserve = limits.channel_window;
        let shrink_to = if room < reserve { share } else { u32::MAX };
        let most = if self.windows_stay { 0 } else { limits.max_channel_window };
        let (round_trip, now) = (self.round_trip.shortest(), self.now);
        let live = self.failed.is_none();
        let Some(row) = self.rows.get_mut(&id) else { return Ok(()) };
        if row.receive_ended() || row.close_sent || !live {
            return Ok(());
        }
        let size = row.receive.window.size();
        let may_take =
            if size < share { room.min(share.saturating_sub(size)) } else { room.saturating_sub(reserve) };
        let may_grow_by = most.saturating_sub(size).min(may_take);
        // What nobody may ever read is never credited. Past half of the window it would leave less than credit waits for.
        let shrink_to = shrink_to.max(row.receive.kept().saturating_mul(2));
        let bounds = Bounds { may_grow_by, shrink_to };
        let Some(credit) = row.receive.window.on_read(len, round_trip, now, bounds) else {
            return Ok(());
        };
        self.committed = self.committed.saturating_add(u64::from(credit.grown));
        self.committed = self.committed.saturating_sub(u64::from(credit.shrunk));
        let (recipient, bytes) = (row.send.remote, credit.bytes);
        out.send(|buffer| ChannelWindowAdjust { recipient, bytes }.encode(buffer))?;
        self.probe(out)
    }

    /// Windows grow by the round trip. Whoever opens channels sees it then; whoever only accepts them has to ask.
    fn probe(&mut self, out: &mut Outbound) -> Result<(), Error> {
        let is_known = match self.probed_at {
            Some(at) => self.now.saturating_duration_since(at) < PROBE_INTERVAL,
            None => self.round_trip.shortest().is_some(),
        };
        // A peer that does not answer is not asked again.
        if is_known || !self.sent_at.is_empty() {
            return Ok(());
        }
        self.probed_at = Some(self.now);
        if let Some(number) = self.send_global_request(KEEPALIVE, true, &[], self.now, out)? {
            self.abandon_global_reply(number);
        }
        Ok(())
    }
}

/// While data comes in the round trip is measured this often: a single sample may hold much waiting.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// Several slices read as one.
struct Slices<'a, 'b> {
    slices: &'a [IoSlice<'b>],
    /// Bytes already taken of the first.
    offset: usize,
    left: usize,
}

impl<'a, 'b> Slices<'a, 'b> {
    fn new(slices: &'a [IoSlice<'b>]) -> Self {
        let left = slices.iter().map(|slice| slice.len()).sum();
        Self { slices, offset: 0, left }
    }

    /// Appends the next `len` bytes.
    fn copy(&mut self, mut len: usize, out: &mut Vec<u8>) {
        self.left = self.left.saturating_sub(len);
        while let Some((first, others)) = self.slices.split_first() {
            let rest = first.get(self.offset..).unwrap_or_default();
            if rest.len() > len {
                out.put_bytes(rest.get(..len).unwrap_or_default());
                self.offset = self.offset.saturating_add(len);
                return;
            }
            out.put_bytes(rest);
            len = len.saturating_sub(rest.len());
            self.slices = others;
            self.offset = 0;
        }
    }
}
