//! Channels come to be: asked for, offered, confirmed and refused (RFC 4254 §5.1).

use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::Connection;
use super::channel::{OpenFailure, OpenFailureReason, Row, RowPhase};
use super::wakers::set_waker;
use crate::error::{ApiMisuse, Error};
use crate::protocol::auth::Authenticated;
use crate::protocol::messages::{
    ChannelOpen, ChannelOpenConfirmation, ChannelOpenFailure, OptionalText, Rest,
};
use crate::protocol::transport::outbound::Outbound;
use crate::trace::tell;

/// Why a channel did not open.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// The peer refused.
    #[error("the peer refused the channel: {0}")]
    Refused(OpenFailure),
    /// The channel opened, but the peer denied the request that came with it; it is closed again.
    #[error("the initial channel request was denied")]
    RequestDenied,
    /// This side has as many channels as it may (limit `channels`), and the peer was not asked. The session goes on.
    #[error("there are as many channels as this side may have (limit channels, {limit})")]
    TooManyChannels {
        /// How many that is.
        limit: usize,
    },
    /// The session ended or cannot open channels.
    #[error(transparent)]
    Session(#[from] Error),
}

impl Connection {
    /// Asks the peer for a channel; our number for it.
    pub(crate) fn open(
        &mut self,
        _proof: Authenticated,
        kind: &str,
        fields: &[u8],
        now: Instant,
        out: &mut Outbound,
    ) -> Result<u32, OpenError> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        // Those that were given up stay until the peer has answered: it may still confirm them.
        let limit = self.common.limits.channels;
        if self.rows.len() >= limit {
            return Err(OpenError::TooManyChannels { limit });
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
        tell!(ChannelOpened, channel = id, "channel accepted");
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
        self.churn.add(self.now, self.common.limits.abandoned_channels)
    }
}

pub(super) fn send_open_failure(
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
