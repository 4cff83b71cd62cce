//! How the peer ends a channel: exit status, EOF and CLOSE (RFC 4254 §5.3 and §6.10).
//!
//! Dev Tunnels' Go peers use a channel in a thread of its own, which may be ahead of the one that confirms it. Only their
//! data waits for that. So requests and the end of a channel may come before its confirmation, and count from then on.

use super::Connection;
use super::channel::{ExitStatus, Row, RowPhase};
use super::incoming::MAX_NAME;
use crate::error::{Error, escape_text};
use crate::protocol::messages::{ChannelClose, ChannelEof, ChannelRequest};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::wire::{Reader, WireError};
use crate::trace::tell;

/// Whether a request says how the program behind the channel ended.
pub(super) fn is_exit(name: &str) -> bool {
    matches!(name, "exit-status" | "exit-signal")
}

impl Connection {
    /// As [`row_for`](Self::row_for), for messages that may overtake the confirmation.
    pub(super) fn early_row(&mut self, message: u8, channel: u32) -> Result<Option<&mut Row>, Error> {
        let is_opening =
            self.rows.get(&channel).is_some_and(|row| matches!(row.phase, RowPhase::Opening { .. }));
        if is_opening {
            return Ok(self.rows.get_mut(&channel).map(|row| &mut **row));
        }
        self.row_for(message, channel)
    }

    pub(super) fn on_eof(&mut self, payload: &[u8]) -> Result<(), Error> {
        let message = ChannelEof::decode(payload)?;
        let Some(row) = self.early_row(ChannelEof::NUMBER, message.recipient)? else { return Ok(()) };
        row.receive.eof = true;
        tell!(ChannelEofReceived, channel = message.recipient, "the peer has sent all");
        let mut wakes = Vec::new();
        row.receive.wake(&mut wakes);
        self.wakes.append(&mut wakes);
        Ok(())
    }

    pub(super) fn on_close(&mut self, payload: &[u8], out: &mut Outbound) -> Result<(), Error> {
        let message = ChannelClose::decode(payload)?;
        let id = message.recipient;
        let Some(row) = self.early_row(ChannelClose::NUMBER, id)? else { return Ok(()) };
        row.close_received = true;
        if !row.is_open() {
            // Where the answer goes is what the confirmation says.
            return Ok(());
        }
        tell!(ChannelClosed, channel = id, "the peer closed a channel");
        let recipient = row.send.remote;
        let answer = !std::mem::replace(&mut row.close_sent, true);
        let unused = answer && row.offered && row.receive.window.is_untouched();
        let mut wakes = Vec::new();
        row.wake_all(&mut wakes);
        self.wakes.append(&mut wakes);
        if unused {
            self.churn.add(self.now, self.common.limits.abandoned_channels)?;
        }
        if answer {
            out.send(|buffer| ChannelClose { recipient }.encode(buffer))?;
        }
        self.refuse_initial(id, out)
    }

    /// The channel is confirmed now; if the peer has closed it already, that is answered.
    pub(super) fn answer_early_close(&mut self, id: u32, out: &mut Outbound) -> Result<(), Error> {
        let Some(row) = self.rows.get_mut(&id).filter(|row| row.close_received && !row.close_sent) else {
            return Ok(());
        };
        tell!(ChannelClosed, channel = id, "the peer closed a channel");
        row.close_sent = true;
        let recipient = row.send.remote;
        out.send(|buffer| ChannelClose { recipient }.encode(buffer))
    }

    /// Never answered, as RFC 4254 §6.10 says.
    pub(super) fn on_exit(&mut self, message: &ChannelRequest<'_>) -> Result<(), Error> {
        let Some(row) = self.early_row(ChannelRequest::NUMBER, message.recipient)? else { return Ok(()) };
        if !row.close_sent {
            row.exit = Some(exit_status(message)?);
        }
        Ok(())
    }
}

fn exit_status(message: &ChannelRequest<'_>) -> Result<ExitStatus, WireError> {
    let mut reader = Reader::new(message.fields.0);
    if message.name == "exit-status" {
        let code = reader.u32()?;
        reader.finish()?;
        return Ok(ExitStatus::Code(code));
    }
    let name = escape_text(reader.string_max(MAX_NAME)?);
    reader.boolean()?;
    let text = escape_text(reader.string()?);
    // Some peers leave out the language.
    if !reader.is_empty() {
        reader.string()?;
    }
    reader.finish()?;
    Ok(ExitStatus::Signal { name, message: text })
}
