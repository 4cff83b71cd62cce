//! What the peer says on the connection protocol.

use std::time::Instant;

use bytes::Bytes;

use super::channel::{OpenFailure, OpenFailureReason, Row, RowPhase, StderrMode};
use super::ends::is_exit;
use super::initial_request::INITIAL_CHANNEL_REQUEST;
use super::open::send_open_failure;
use super::{Connection, ConnectionEvent, GlobalPeerRequest, GlobalReply, MAX_WAITING, OfferedChannel};
use crate::error::{Error, PeerMisbehaved, escape_text};
use crate::protocol::auth::Authenticated;
use crate::protocol::messages::{
    ChannelClose, ChannelData, ChannelEof, ChannelExtendedData, ChannelFailure, ChannelOpen,
    ChannelOpenConfirmation, ChannelOpenFailure, ChannelRequest, ChannelSuccess, ChannelWindowAdjust,
    GlobalRequest, RequestFailure, RequestSuccess,
};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wide;
use crate::protocol::wire::WireError;
use crate::trace::tell;

/// Names of channel types and requests may not be longer, in bytes.
pub(super) const MAX_NAME: usize = 256;
/// The keepalive that OpenSSH and Dev Tunnels peers send, on channels and for the session.
pub(crate) const KEEPALIVE: &str = "keepalive@openssh.com";
pub(super) const STDERR: u32 = 1;

impl Connection {
    /// A message with a number from 80 to 100. `Ok(false)` if the number is nobody's.
    pub(crate) fn handle(
        &mut self,
        _proof: Authenticated,
        payload: &Bytes,
        now: Instant,
        out: &mut Outbound,
    ) -> Result<bool, Error> {
        self.now = now;
        match payload.first().copied().unwrap_or_default() {
            ChannelData::NUMBER => self.on_data(payload)?,
            ChannelWindowAdjust::NUMBER => self.on_window_adjust(payload)?,
            ChannelExtendedData::NUMBER => self.on_extended_data(payload, out)?,
            ChannelOpen::NUMBER => self.on_open(payload, out)?,
            ChannelOpenConfirmation::NUMBER => self.on_open_confirmation(payload, out)?,
            ChannelOpenFailure::NUMBER => self.on_open_failure(payload)?,
            ChannelEof::NUMBER => self.on_eof(payload)?,
            ChannelClose::NUMBER => self.on_close(payload, out)?,
            ChannelRequest::NUMBER => self.on_channel_request(payload, out)?,
            ChannelSuccess::NUMBER => {
                self.on_channel_reply(ChannelSuccess::decode(payload)?.recipient, true)?
            }
            ChannelFailure::NUMBER => {
                tell!(ChannelRequestFailed, "a request was refused");
                self.on_channel_reply(ChannelFailure::decode(payload)?.recipient, false)?
            }
            GlobalRequest::NUMBER => self.on_global_request(payload, out)?,
            RequestSuccess::NUMBER | RequestFailure::NUMBER => self.on_global_reply(payload),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The open channel that a message is for; `None` if it has been closed; an error if it never was.
    pub(super) fn row_for(&mut self, message: u8, channel: u32) -> Result<Option<&mut Row>, Error> {
        let unknown = PeerMisbehaved::UnknownChannel { message, channel };
        let was_used = channel < self.next_id;
        match self.rows.get_mut(&channel) {
            Some(row) if row.is_open() => Ok(Some(row)),
            // Dev Tunnels' TypeScript peers close what they have refused.
            Some(row) if matches!(row.phase, RowPhase::Refused(_)) => Ok(None),
            Some(_) => Err(unknown.into()),
            None if was_used => Ok(None),
            None => Err(unknown.into()),
        }
    }

    fn on_data(&mut self, payload: &Bytes) -> Result<(), Error> {
        let message = ChannelData::decode(payload)?;
        let data = payload.slice_ref(message.data);
        // Apart from the rows for a moment, which are borrowed at the same time.
        let mut spares = std::mem::take(&mut self.spares);
        let mut wakes = std::mem::take(&mut self.wakes);
        let accepted = self.accept_data(ChannelData::NUMBER, message.recipient, data.len()).map(|row| {
            if let Some(row) = row {
                row.data_received = row.data_received.saturating_add(wide(data.len()));
                row.receive.queue.push(data, &mut spares);
                row.receive.waiters.wake(&mut wakes);
            }
        });
        (self.spares, self.wakes) = (spares, wakes);
        accepted
    }

    /// Checks data against window and packet limit; `None` if it is to be dropped.
    fn accept_data(&mut self, message: u8, id: u32, len: usize) -> Result<Option<&mut Row>, Error> {
        let max_packet = usize::try_from(self.common.limits.channel_packet).unwrap_or(usize::MAX);
        let Some(row) = self.row_for(message, id)? else { return Ok(None) };
        if len > max_packet {
            return Err(PeerMisbehaved::PacketOverrun.into());
        }
        row.receive.window.on_data(len)?;
        row.bytes_received = row.bytes_received.saturating_add(wide(len));
        // Of what comes behind an end nobody is to know: the reader has been told that there is no more. Dev Tunnels' Go
        // peers send it when one of their threads ends a channel that another one is still writing to.
        Ok((len > 0 && !row.receive_ended() && !row.close_sent).then_some(row))
    }

    fn on_extended_data(&mut self, payload: &Bytes, out: &mut Outbound) -> Result<(), Error> {
        let message = ChannelExtendedData::decode(payload)?;
        let data = payload.slice_ref(message.data);
        let (id, len) = (message.recipient, data.len());
        let mut spares = std::mem::take(&mut self.spares);
        let mut wakes = std::mem::take(&mut self.wakes);
        let accepted = self.accept_data(ChannelExtendedData::NUMBER, id, len).map(|row| {
            row.map(|row| match &mut row.receive.stderr {
                StderrMode::Undecided { kept, is_over } if message.code == STDERR && !*is_over => {
                    let kept_len = kept.as_ref().map_or(0, |kept| kept.queue.len());
                    let half = usize::try_from(row.receive.window.size() / 2).unwrap_or(usize::MAX);
                    *is_over = kept_len.saturating_add(len) > half;
                    if *is_over {
                        return false;
                    }
                    kept.get_or_insert_default().queue.push(data, &mut spares);
                    true
                }
                StderrMode::Queue(stderr) if message.code == STDERR => {
                    stderr.queue.push(data, &mut spares);
                    stderr.waiters.wake(&mut wakes);
                    true
                }
                StderrMode::AsData => {
                    row.receive.queue.push(data, &mut spares);
                    row.receive.waiters.wake(&mut wakes);
                    true
                }
                StderrMode::All(queue) => {
                    queue.push(message.code, data, &mut spares);
                    row.receive.waiters.wake(&mut wakes);
                    true
                }
                _ => false,
            })
        });
        (self.spares, self.wakes) = (spares, wakes);
        match accepted? {
            // Nobody will read it; without credit the channel would stall.
            Some(false) => self.credit(id, len, out),
            Some(true) | None => Ok(()),
        }
    }

    fn on_window_adjust(&mut self, payload: &Bytes) -> Result<(), Error> {
        let message = ChannelWindowAdjust::decode(payload)?;
        let Some(row) = self.row_for(ChannelWindowAdjust::NUMBER, message.recipient)? else { return Ok(()) };
        row.send.window = row.send.window.checked_add(message.bytes).ok_or_else(|| {
            tell!(ChannelWindowAdjustFailed, "a window overflows");
            PeerMisbehaved::WindowOverflow
        })?;
        // The list keeps its room for the next time.
        if let Some(row) = self.rows.get_mut(&message.recipient) {
            row.send.waiters.wake(&mut self.wakes);
        }
        Ok(())
    }

    fn on_open(&mut self, payload: &Bytes, out: &mut Outbound) -> Result<(), Error> {
        let message = ChannelOpen::decode(payload)?;
        if message.kind.len() > MAX_NAME {
            return Err(WireError::TooLong.into());
        }
        let refusal = if self.rows.len() >= self.common.limits.channels {
            Some((OpenFailureReason::RESOURCE_SHORTAGE, "too many channels (limit channels)"))
        } else if message.max_packet == 0 {
            Some((OpenFailureReason::RESOURCE_SHORTAGE, "the packet limit is 0"))
        } else if !self.may_wait(message.fields.0.len()) {
            Some((
                OpenFailureReason::RESOURCE_SHORTAGE,
                "too much is waiting to be decided (limit pending_requests)",
            ))
        } else {
            None
        };
        if let Some((reason, text)) = refusal {
            self.churn.add(self.now, self.common.limits.abandoned_channels)?;
            return send_open_failure(message.sender, reason, text, out);
        }
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or(Error::Bug("channel numbers are used up"))?;
        let window = self.new_window();
        self.rows.insert(
            id,
            Box::new(Row::new(RowPhase::Offered, message.sender, message.window, message.max_packet, window)),
        );
        let (kind, fields) = (message.kind.to_owned(), Bytes::copy_from_slice(message.fields.0));
        self.push_event(ConnectionEvent::Offered(OfferedChannel { id, kind, fields }));
        Ok(())
    }

    fn on_open_confirmation(&mut self, payload: &Bytes, out: &mut Outbound) -> Result<(), Error> {
        let message = ChannelOpenConfirmation::decode(payload)?;
        let id = message.recipient;
        let Some(row) = self.rows.get_mut(&id) else {
            return Err(PeerMisbehaved::UnsolicitedOpenReply.into());
        };
        let RowPhase::Opening { since, waker, abandoned } = &mut row.phase else {
            return Err(PeerMisbehaved::UnsolicitedOpenReply.into());
        };
        let (since, waker, abandoned) = (*since, waker.take(), *abandoned);
        row.send.remote = message.sender;
        row.send.window = message.window;
        // A peer that takes no data cannot have meant it: one byte at a time is the least that works.
        row.send.max_packet = message.max_packet.max(1);
        row.phase = RowPhase::Open { confirmation: Bytes::copy_from_slice(message.fields.0) };
        tell!(ChannelOpened, channel = id, "channel opened");
        self.round_trip.add(self.now.saturating_duration_since(since));
        self.wakes.extend(waker);
        self.answer_early_close(id, out)?;
        if abandoned { self.release(id, out) } else { Ok(()) }
    }

    fn on_open_failure(&mut self, payload: &Bytes) -> Result<(), Error> {
        let message = ChannelOpenFailure::decode(payload)?;
        let id = message.recipient;
        let Some(row) = self.rows.get_mut(&id) else {
            return Err(PeerMisbehaved::UnsolicitedOpenReply.into());
        };
        let RowPhase::Opening { waker, abandoned, .. } = &mut row.phase else {
            return Err(PeerMisbehaved::UnsolicitedOpenReply.into());
        };
        let (waker, abandoned) = (waker.take(), *abandoned);
        tell!(ChannelOpenFailed, channel = id, "channel refused");
        row.phase = RowPhase::Refused(OpenFailure {
            reason: OpenFailureReason(message.reason),
            text: escape_text(message.text),
        });
        self.wakes.extend(waker);
        if abandoned {
            self.remove(id);
        }
        Ok(())
    }

    fn on_channel_request(&mut self, payload: &Bytes, out: &mut Outbound) -> Result<(), Error> {
        let message = ChannelRequest::decode(payload)?;
        if message.name.len() > MAX_NAME {
            return Err(WireError::TooLong.into());
        }
        let id = message.recipient;
        if is_exit(message.name) {
            return self.on_exit(&message);
        }
        let limit = self.common.limits.pending_requests;
        let waiting = self.waiting_bytes.saturating_add(message.fields.0.len());
        let Some(row) = self.early_row(ChannelRequest::NUMBER, id)? else { return Ok(()) };
        if row.close_sent {
            return Ok(());
        }
        let full = row.received_requests.len() >= limit
            || row.unread_requests.len() >= limit
            || waiting > MAX_WAITING;
        if full {
            row.dropped_requests = row.dropped_requests.saturating_add(1);
        }
        let slot = message.want_reply.then(|| row.received_requests.push());
        if row.refuses_requests || full || message.name == KEEPALIVE {
            if slot.is_some() && !row.is_open() {
                // Where a refusal goes is what the confirmation says.
                return Err(
                    PeerMisbehaved::UnknownChannel { message: ChannelRequest::NUMBER, channel: id }.into()
                );
            }
            // Bounded: a refusal leaves at once unless an earlier request is undecided, of which there are few.
            if row.received_requests.len() > limit.saturating_mul(4) {
                return Err(PeerMisbehaved::OutputNotRead.into());
            }
            return slot.map_or(Ok(()), |slot| self.answer(id, slot, false, out));
        }
        let mut wakes = Vec::new();
        row.queue_request(&message, slot, &mut wakes);
        self.wakes.append(&mut wakes);
        self.waiting_bytes = waiting;
        Ok(())
    }

    fn on_channel_reply(&mut self, id: u32, accepted: bool) -> Result<(), Error> {
        let mut wakes = Vec::new();
        if let Some(row) = self.row_for(if accepted { 99 } else { 100 }, id)? {
            // An answer that nobody waits for is dropped.
            row.sent_requests.answer(accepted, &mut wakes);
        }
        self.wakes.append(&mut wakes);
        Ok(())
    }

    fn on_global_request(&mut self, payload: &Bytes, out: &mut Outbound) -> Result<(), Error> {
        let message = GlobalRequest::decode(payload)?;
        if message.name.len() > MAX_NAME {
            return Err(WireError::TooLong.into());
        }
        if message.name == INITIAL_CHANNEL_REQUEST {
            return self.on_initial_request(&message, out);
        }
        if message.name == KEEPALIVE {
            tell!(KeepAliveRequestReceived, "asked for a sign of life");
        }
        let limit = self.common.limits.pending_requests;
        // A keepalive is answered at once; any answer is a sign of life.
        let full = message.name == KEEPALIVE
            || self.received_requests.len() >= limit
            || self.events.len() >= self.common.limits.channels.saturating_add(limit)
            || !self.may_wait(message.fields.0.len());
        let slot = message.want_reply.then(|| self.received_requests.push());
        if full {
            if self.received_requests.len() > limit.saturating_mul(4) {
                return Err(PeerMisbehaved::OutputNotRead.into());
            }
            let refusal = GlobalReply::Failure(Bytes::new());
            return slot.map_or(Ok(()), |slot| self.global_answer(slot, refusal, out));
        }
        let (name, fields) = (message.name.to_owned(), Bytes::copy_from_slice(message.fields.0));
        self.push_event(ConnectionEvent::Request(GlobalPeerRequest { name, fields, slot }));
        Ok(())
    }

    /// An answer that nobody waits for is dropped.
    fn on_global_reply(&mut self, payload: &Bytes) {
        let fields = Bytes::copy_from_slice(payload.get(1..).unwrap_or_default());
        let success = payload.first() == Some(&RequestSuccess::NUMBER);
        // To a keepalive, whose answer nobody waits for, a refusal is as good as any other.
        if !success && self.requests.is_awaited() {
            tell!(SessionRequestFailed, "a request was refused");
        }
        let reply = if success { GlobalReply::Success(fields) } else { GlobalReply::Failure(fields) };
        if self.requests.answer(reply, &mut self.wakes)
            && let Some(sent_at) = self.sent_at.pop_front()
        {
            self.round_trip.add(self.now.saturating_duration_since(sent_at));
        }
    }
}
