use bytes::{Buf as _, Bytes, BytesMut};

use super::blocks::Blocks;
use super::ident::{MAX_BANNER_BYTES, MAX_BANNER_LINES, MAX_IDENT_LEN, PeerVersion};
use super::plain::Plain;
use crate::crypto::{CryptoError, Opener};
use crate::error::{Error, PeerMisbehaved};
use crate::protocol::Role;
use crate::protocol::messages::NewKeys;

/// The receiving half of a transport: bytes in, opened packets out, opened where they lie.
///
/// It belongs to whoever reads from the stream and shares nothing with the [`Engine`](crate::protocol::Engine), so
/// opening needs no lock. After a NEWKEYS it yields nothing until it is given the next key.
pub struct Inbound {
    blocks: Blocks,
    stage: Stage,
    opener: Box<dyn Opener>,
    /// Packet number since the last reset, for MACs and nonces.
    sequence: u32,
    packets_under_key: u64,
    max_packet: u32,
    max_sealed_packet: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waiting for the version line, after this many other lines and bytes.
    Ident { allow_lines: bool, lines: usize, bytes: usize },
    /// Waiting for the next packet's head.
    Head,
    /// The head has been opened; this much makes the packet, tag included.
    Body { total: usize },
    /// NEWKEYS came; its successor needs another key.
    AwaitKey,
}

/// What came in.
#[derive(Debug)]
pub enum Input {
    /// The version line.
    Ident(PeerVersion),
    /// A packet.
    Packet(Packet),
}

/// An opened packet.
pub struct Packet {
    /// The payload, type byte first, never empty.
    pub payload: BytesMut,
    /// Its number since the last reset, for UNIMPLEMENTED.
    pub sequence: u32,
    /// Bytes on the wire.
    pub wire_len: usize,
}

/// The key for what comes after NEWKEYS.
#[derive(Debug)]
pub struct NextOpener {
    pub(crate) opener: Box<dyn Opener>,
    pub(crate) reset_sequence: bool,
}

/// `packet_length` of a packet in the clear (RFC 4253 §6.1).
const MAX_PLAIN_PACKET: u32 = 35_000;

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Inbound {
    pub(crate) fn new(role: Role, max_sealed_packet: u32) -> Self {
        Self {
            blocks: Blocks::default(),
            stage: Stage::Ident { allow_lines: role == Role::Client, lines: 0, bytes: 0 },
            opener: Box::new(Plain),
            sequence: 0,
            packets_under_key: 0,
            max_packet: MAX_PLAIN_PACKET,
            max_sealed_packet,
        }
    }

    /// Where the driver puts what it reads, at the end, with room for at least `len` bytes.
    pub fn reserve(&mut self, len: usize) -> &mut BytesMut {
        self.blocks.reserve(len);
        self.blocks.current()
    }

    /// Where bytes go that the driver has already read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.blocks.current()
    }

    /// Gives memory back that a busy moment needed.
    pub fn shrink(&mut self) {
        self.blocks.shrink();
    }

    /// How many more bytes the packet at hand needs, at least. 0 if that is not known yet.
    #[must_use]
    pub fn missing(&self) -> usize {
        match self.stage {
            Stage::Body { total } => total.saturating_sub(self.blocks.len()),
            _ => 0,
        }
    }

    /// Continues after NEWKEYS.
    pub fn install(&mut self, next: NextOpener) {
        self.opener = next.opener;
        self.max_packet = self.max_sealed_packet;
        self.packets_under_key = 0;
        if next.reset_sequence {
            self.sequence = 0;
        }
        self.stage = Stage::Head;
    }

    /// The next version line or packet, or `None` until there are more bytes, or a key after NEWKEYS.
    ///
    /// # Errors
    /// [`Error::PeerMisbehaved`]; the stream is then useless.
    pub fn poll(&mut self) -> Result<Option<Input>, Error> {
        loop {
            match self.stage {
                Stage::Ident { allow_lines, lines, bytes } => match self.take_line(allow_lines, bytes)? {
                    None => return Ok(None),
                    Some(line) if line.starts_with(b"SSH-") => {
                        self.stage = Stage::Head;
                        return Ok(Some(Input::Ident(PeerVersion::parse(&line)?)));
                    }
                    Some(line) => {
                        let (lines, bytes) = (lines.saturating_add(1), bytes.saturating_add(line.len()));
                        if !allow_lines || lines > MAX_BANNER_LINES || bytes > MAX_BANNER_BYTES {
                            return Err(not_ssh(&line, allow_lines));
                        }
                        self.stage = Stage::Ident { allow_lines, lines, bytes };
                    }
                },
                Stage::Head => {
                    let Some(head) = self.blocks.current().get_mut(..self.opener.head_len()) else {
                        return Ok(None);
                    };
                    let length = self.opener.open_length(self.sequence, head);
                    let total = self.check_length(length)?;
                    self.stage = Stage::Body { total };
                }
                Stage::Body { total } => {
                    if self.blocks.len() < total {
                        return Ok(None);
                    }
                    return self.open(total).map(Some);
                }
                Stage::AwaitKey => return Ok(None),
            }
        }
    }

    /// A line without its end. A version line has its limit, and no more is looked at; other lines have one together, of
    /// which `used` is used up.
    fn take_line(&mut self, allow_lines: bool, used: usize) -> Result<Option<Bytes>, Error> {
        let buffer = self.blocks.current();
        let is_other = allow_lines && !buffer.starts_with(b"SSH-") && buffer.len() >= b"SSH-".len();
        let most =
            if is_other { MAX_BANNER_BYTES.saturating_sub(used).max(MAX_IDENT_LEN) } else { MAX_IDENT_LEN };
        let seen = buffer.get(..buffer.len().min(most)).unwrap_or_default();
        let Some(end) = seen.iter().position(|byte| *byte == b'\n') else {
            return match buffer.len() >= most {
                true if is_other => Err(not_ssh(seen, allow_lines)),
                true => Err(PeerMisbehaved::BadVersionLine.into()),
                false => Ok(None),
            };
        };
        let line = buffer.split_to(end.saturating_add(1)).freeze();
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        Ok(Some(Bytes::copy_from_slice(line.strip_suffix(b"\r").unwrap_or(line))))
    }

    /// Checks `packet_length` before anything is allocated or waited for; the whole packet's length.
    fn check_length(&self, length: u32) -> Result<usize, Error> {
        // Padding length, one byte of payload and four of padding are the least that a packet holds.
        if !(MIN_PACKET_LENGTH..=self.max_packet).contains(&length) {
            return Err(PeerMisbehaved::PacketLength(length).into());
        }
        let len = usize::try_from(length).map_err(|_| PeerMisbehaved::PacketLength(length))?;
        let framing = self.opener.framing();
        let aligned = if framing.length_is_separate { len } else { len.saturating_add(4) };
        if aligned.checked_rem(framing.block_len).unwrap_or(0) != 0 {
            return Err(PeerMisbehaved::Misaligned.into());
        }
        let total = len.saturating_add(4).saturating_add(framing.tag_len);
        if total < self.opener.head_len() {
            return Err(PeerMisbehaved::PacketLength(length).into());
        }
        Ok(total)
    }

    fn open(&mut self, total: usize) -> Result<Input, Error> {
        // A counter that comes round under one key would accept a replay.
        if self.packets_under_key > u64::from(u32::MAX) {
            return Err(PeerMisbehaved::CounterExhausted.into());
        }
        let mut packet = self.blocks.current().split_to(total);
        self.opener.open(self.sequence, &mut packet).map_err(|error| match error {
            CryptoError::Unauthentic => Error::PeerMisbehaved(PeerMisbehaved::BadMac),
            other => Error::Crypto(other),
        })?;
        let padding = packet.get(4).copied().map(usize::from).ok_or(PeerMisbehaved::Padding)?;
        let end = total.checked_sub(self.opener.framing().tag_len).and_then(|end| end.checked_sub(padding));
        let end = end.filter(|end| padding >= 4 && *end > 5).ok_or(PeerMisbehaved::Padding)?;

        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.packets_under_key = self.packets_under_key.saturating_add(1);
        let new_keys = packet.get(5) == Some(&NewKeys::NUMBER);
        self.stage = if new_keys { Stage::AwaitKey } else { Stage::Head };
        packet.truncate(end);
        packet.advance(5);
        if self.blocks.crowded() {
            packet = BytesMut::from(&packet[..]);
        }
        Ok(Input::Packet(Packet { payload: packet, sequence, wire_len: total }))
    }
}

/// Payloads stay out of logs.
impl std::fmt::Debug for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packet")
            .field("number", &self.payload.first())
            .field("wire_len", &self.wire_len)
            .finish()
    }
}

/// `u8 padding_length`, one byte of payload, four of padding. Dev Tunnels' Go peers may send this little in the clear.
const MIN_PACKET_LENGTH: u32 = 6;

fn not_ssh(line: &[u8], is_client: bool) -> Error {
    if is_client {
        return crate::error::PeerIncompatible::Version(crate::error::escape_text(line).into()).into();
    }
    PeerMisbehaved::BadVersionLine.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IGNORE without data, in the clear.
    const PACKET: [u8; 16] = [0, 0, 0, 12, 10, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn a_packet_counter_does_not_come_round_under_one_key() {
        let mut inbound = Inbound::new(Role::Server, 256 * 1024);
        inbound.stage = Stage::Head;
        inbound.packets_under_key = u64::from(u32::MAX);
        inbound.sequence = u32::MAX;
        inbound.reserve(64).extend_from_slice(&[PACKET, PACKET].concat());
        assert!(matches!(inbound.poll(), Ok(Some(Input::Packet(Packet { sequence: u32::MAX, .. })))));
        let error = inbound.poll().unwrap_err();
        assert!(matches!(error, Error::PeerMisbehaved(PeerMisbehaved::CounterExhausted)));
    }
}
