//! The end of a channel: EOF, close, and being forgotten (RFC 4254 §5.3).

use std::task::Poll;

use super::Connection;
use super::channel::{OpenFailureReason, RowPhase};
use super::wakers::Waiter;
use crate::error::Error;
use crate::protocol::messages::{ChannelClose, ChannelEof};
use crate::protocol::transport::outbound::Outbound;

impl Connection {
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

    /// Whether the peer has sent EOF or CLOSE. It answers a CLOSE of ours by one, so that is to be asked before.
    pub(crate) fn has_peer_ended(&self, id: u32) -> bool {
        self.rows.get(&id).is_none_or(|row| row.receive_ended())
    }

    /// Whether either side has closed the channel, or the session is over.
    pub(crate) fn is_closed(&self, id: u32) -> bool {
        self.failed.is_some() || self.rows.get(&id).is_none_or(|row| row.close_sent || row.close_received)
    }

    /// Ready once the peer has closed the channel or the session is over.
    pub(crate) fn poll_closed(&mut self, id: u32, waiter: Waiter<'_>) -> Poll<()> {
        match self.rows.get_mut(&id) {
            Some(row) if !row.close_received && self.failed.is_none() => {
                row.closed_waiters.wait(waiter);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// This one waits for the channel no more.
    pub(crate) fn stop_waiting(&mut self, id: u32, number: u64) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.stop_waiting(number);
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        if let Some(mut row) = self.rows.remove(&id) {
            self.committed = self.committed.saturating_sub(u64::from(row.receive.window.size()));
            let unread: usize = row.unread_requests.iter().map(|request| request.fields.len()).sum();
            self.waiting_bytes = self.waiting_bytes.saturating_sub(unread);
            row.wake_all(&mut self.wakes);
        }
    }
}
