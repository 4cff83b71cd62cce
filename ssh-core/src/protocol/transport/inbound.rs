mod stragglers;

use bytes::{Buf as _, Bytes, BytesMut};

use stragglers::Successor;

use super::blocks::Blocks;
use super::ident::{MAX_BANNER_BYTES, MAX_BANNER_LINES, MAX_IDENT_LEN, PeerVersion};
use super::plain::Plain;
use crate::crypto::{CryptoError, Opener};
use crate::error::{Error, IoError, PeerIncompatible, PeerMisbehaved, escape_text};
use crate::protocol::Role;
use crate::protocol::messages::NewKeys;

/// The receiving half of a transport: bytes in, opened packets out, opened where they lie.
///
/// It belongs to whoever reads from the stream and shares nothing with the [`Engine`](crate::protocol::Engine), so
/// opening needs no lock. After a NEWKEYS it yields nothing until it is given the next key.
pub struct Inbound {
    blocks: Blocks,
    stage: Stage,
    /// The first line that a server sent before its version, for display: what it has to say if it never sends one.
    said: Option<Box<str>>,
    opener: Box<dyn Opener>,
    successor: Option<Box<Successor>>,
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
    /// Whether the peer may go on with the previous key for a while: Dev Tunnels' Go peers seal with the new one only
    /// once they have our NEWKEYS.
    pub(crate) after_stragglers: bool,
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
            said: None,
            opener: Box::new(Plain),
            successor: None,
            sequence: 0,
            packets_under_key: 0,
            max_packet: MAX_PLAIN_PACKET,
            max_sealed_packet,
        }
    }

    /// For a session whose packets all come in the clear, and may be as large as others.
    pub(crate) fn without_security(mut self) -> Self {
        self.max_packet = self.max_sealed_packet;
        self
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
        self.stage = Stage::Head;
        if next.after_stragglers {
            self.successor = Some(Box::new(Successor::new(next)));
        } else {
            self.use_key(next);
        }
    }

    fn use_key(&mut self, next: NextOpener) {
        self.opener = next.opener;
        self.max_packet = self.max_sealed_packet;
        self.packets_under_key = 0;
        if next.reset_sequence {
            self.sequence = 0;
        }
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
                        self.said = None;
                        return Ok(Some(Input::Ident(PeerVersion::parse(&line)?)));
                    }
                    Some(line) => {
                        let (lines, bytes) = (lines.saturating_add(1), bytes.saturating_add(line.len()));
                        if !allow_lines {
                            return Err(PeerMisbehaved::BadVersionLine.into());
                        }
                        if self.said.is_none() && !line.is_empty() {
                            self.said = Some(escape_text(&line).into());
                        }
                        if lines > MAX_BANNER_LINES || bytes > MAX_BANNER_BYTES {
                            return Err(PeerIncompatible::Version(self.first_words().into()).into());
                        }
                        self.stage = Stage::Ident { allow_lines, lines, bytes };
                    }
                },
                Stage::Head => {
                    let Some(head) = self.blocks.current().get_mut(..self.opener.head_len()) else {
                        return Ok(None);
                    };
                    if let Some(successor) = &mut self.successor {
                        successor.head = head.to_vec();
                    }
                    let length = self.opener.open_length(self.sequence, head);
                    match self.check_length(length) {
                        Ok(total) => self.stage = Stage::Body { total },
                        Err(error) => self.succeed().ok_or(error)?,
                    }
                }
                Stage::Body { total } => {
                    if self.blocks.len() < total {
                        return Ok(None);
                    }
                    if self.successor.is_none() {
                        return self.open(total).map(Some);
                    }
                    if let Some(packet) = self.open_straggler(total)? {
                        return Ok(Some(packet));
                    }
                }
                Stage::AwaitKey => return Ok(None),
            }
        }
    }

    /// What to say when the stream has failed like this. What a server said instead of its version most often says why: it has
    /// too many connections, or is no SSH server.
    #[must_use]
    pub fn lost(&mut self, error: &std::io::Error) -> Error {
        let words = match self.stage {
            Stage::Ident { allow_lines: true, .. } => self.first_words(),
            _ => String::new(),
        };
        if words.is_empty() {
            IoError::from(error).into()
        } else {
            IoError::after_words(error, &words).into()
        }
    }

    /// The first line that was sent instead of a version, as far as it is there; empty if there is none.
    fn first_words(&mut self) -> String {
        match &self.said {
            Some(said) => said.as_ref().into(),
            None => escape_text(self.blocks.current()),
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
                true if is_other => Err(PeerIncompatible::Version(self.first_words().into()).into()),
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
        self.check_counter()?;
        let mut packet = self.blocks.current().split_to(total);
        self.opener.open(self.sequence, &mut packet).map_err(|error| match error {
            CryptoError::Unauthentic => Error::PeerMisbehaved(PeerMisbehaved::BadMac),
            other => Error::Crypto(other),
        })?;
        self.take_opened(packet)
    }

    /// A counter that comes round under one key would accept a replay.
    fn check_counter(&self) -> Result<(), PeerMisbehaved> {
        if self.packets_under_key > u64::from(u32::MAX) {
            return Err(PeerMisbehaved::CounterExhausted);
        }
        Ok(())
    }

    fn take_opened(&mut self, mut packet: BytesMut) -> Result<Input, Error> {
        let total = packet.len();
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

    #[test]
    fn what_a_server_says_instead_of_its_version_is_in_the_error() {
        let broken = || std::io::Error::other("broken");
        let after = |role, bytes: &[u8]| {
            let mut inbound = Inbound::new(role, 256 * 1024);
            inbound.reserve(bytes.len()).extend_from_slice(bytes);
            match inbound.poll() {
                Ok(_) => inbound.lost(&broken()).to_string(),
                Err(error) => error.to_string(),
            }
        };
        let lines = "HTTP/1.1 400 Bad Request\r\n".to_owned() + &"More: x\r\n".repeat(MAX_BANNER_LINES);
        let long = [&b"\r\n220 mail\r\n"[..], &[b'x'; MAX_BANNER_BYTES]].concat();
        for (role, bytes, expected) in [
            (Role::Client, lines.as_bytes(), "does not speak SSH 2.0, but says \"HTTP/1.1 400 Bad Request\""),
            (Role::Client, &long, "does not speak SSH 2.0, but says \"220 mail\""),
            (Role::Client, b"Too many\r\nof you\r\n", "lost: broken after the words \"Too many\""),
            (Role::Client, b"\r\ngo\x1b[2J", "lost: broken after the words \"go\\u{1b}[2J\""),
            (Role::Client, b"", "lost: broken"),
            (Role::Client, b"SSH-2.0-x\r\nab", "lost: broken"),
            (Role::Server, b"GET", "lost: broken"),
        ] {
            let said = after(role, bytes);
            assert!(said.ends_with(expected), "{said}");
        }
    }
}
