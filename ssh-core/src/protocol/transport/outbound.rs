use std::time::{Duration, Instant};

use chacha20::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::acks::Acks;
use super::ident::OUR_IDENT;
use super::plain::Plain;
use crate::crypto::{Sealer, SecureRandom};
use crate::error::{Error, PeerMisbehaved};
use crate::protocol::messages::{Phase, phase};
use crate::protocol::reconnect::replay_log::ReplayLog;
use crate::protocol::reconnect::{is_counted, put_enable, trailer::TrailerForm};
use crate::protocol::wide;
use crate::protocol::wire::Write as _;
use crate::trace::tell;

/// The sending half of a transport: payloads in, sealed packets out, all in one buffer.
pub(crate) struct Outbound {
    /// Sealed packets that the driver has not taken yet.
    buffer: Vec<u8>,
    batch: Batch,
    sealer: Box<dyn Sealer>,
    link: Link,
    /// Packet number since the last reset, for MACs and nonces (RFC 4253 §6.4).
    sequence: u32,
    /// Whether a full turn of `sequence` under one key must be refused.
    since_key: Counters,
    /// Since the stream began, the version line included.
    total: Counters,
    /// Whether messages with channel data are told of in the log.
    pub(crate) trace_channel_data: bool,
    padding: Padding,
    pub(crate) acks: Acks,
    /// What the peer may still have to be sent again; without reconnecting there is none. It outlives the stream.
    pub(crate) log: Option<Box<ReplayLog>>,
}

/// What may be sent.
enum Link {
    /// Everything.
    Open,
    /// Only messages of the key exchange and of the transport; the rest waits here (RFC 4253 §7.1).
    Exchanging { held: Vec<Zeroizing<Vec<u8>>>, held_bytes: usize },
    /// Nothing: there is no stream. The log takes what is said.
    Detached,
}

/// What went through one direction under its present key.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
}

/// How much data may wait to be sent. Much of it makes few system calls and wake-ups; little of it keeps a control message
/// from being long behind data. So it follows how fast the stream takes it.
#[derive(Debug)]
struct Batch {
    /// Data writers wait while this much is waiting, in bytes.
    high_water: usize,
    taken_at: Option<Instant>,
}

const LOW_BATCH: usize = 128 * 1024;
const FIRST_BATCH: usize = 256 * 1024;
pub(crate) const HIGH_BATCH: usize = 1024 * 1024;
/// A full batch that is gone in less may be larger: over 250 MB/s at the start.
const FAST: Duration = Duration::from_millis(2);
/// One that takes longer should be smaller: what comes behind it waits that long.
const SLOW: Duration = Duration::from_millis(20);

impl Default for Batch {
    fn default() -> Self {
        Self { high_water: FIRST_BATCH, taken_at: None }
    }
}

impl Batch {
    /// `len` bytes are taken now. What was taken before has been written meanwhile.
    fn on_taken(&mut self, len: usize, now: Instant) {
        let took = self.taken_at.replace(now).map(|before| now.saturating_duration_since(before));
        if len < self.high_water {
            return;
        }
        match took {
            Some(took) if took < FAST => self.high_water = self.high_water.saturating_mul(2).min(HIGH_BATCH),
            Some(took) if took > SLOW => self.high_water = (self.high_water / 2).max(LOW_BATCH),
            _ => {}
        }
    }
}

/// Room for a message to be held back, in bytes: more than a password or a key takes, so that no copy of one is left behind
/// by a growing buffer.
const HELD_ROOM: usize = 4096;
/// Control messages held back during a key exchange may not be more, in bytes.
const MAX_HELD: usize = 1024 * 1024;

impl Outbound {
    /// Starts with our version line in the buffer.
    pub(crate) fn new(random: &dyn SecureRandom) -> Result<Self, Error> {
        let mut buffer = Vec::with_capacity(1024);
        buffer.extend_from_slice(OUR_IDENT.as_bytes());
        buffer.extend_from_slice(b"\r\n");
        let buffer_len = wide(buffer.len());
        Ok(Self {
            buffer,
            batch: Batch::default(),
            sealer: Box::new(Plain),
            link: Link::Open,
            sequence: 0,
            since_key: Counters::default(),
            total: Counters { bytes: buffer_len, packets: 1 },
            trace_channel_data: false,
            padding: Padding::new(random)?,
            acks: Acks::default(),
            log: None,
        })
    }

    /// Bytes that wait to be taken.
    pub(crate) fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// What one channel may write until the output is taken again, when `waiting` others wait too.
    pub(crate) fn share(&self, waiting: usize) -> usize {
        if matches!(self.link, Link::Detached) {
            return usize::MAX;
        }
        self.batch.high_water.checked_div(waiting).unwrap_or(self.batch.high_water)
    }

    /// How many more bytes data writers may put in now.
    pub(crate) fn data_room(&self) -> usize {
        let log = self.log.as_ref().map_or(usize::MAX, |log| log.room());
        match self.link {
            Link::Open => self.batch.high_water.saturating_sub(self.buffer.len()).min(log),
            Link::Exchanging { .. } => 0,
            Link::Detached => log,
        }
    }

    /// Everything since the stream began.
    pub(crate) fn total(&self) -> Counters {
        self.total
    }

    pub(crate) fn since_key(&self) -> Counters {
        self.since_key
    }

    /// Exchanges the buffer for an empty one.
    pub(crate) fn swap(&mut self, taken: &mut Vec<u8>, now: Instant) {
        self.batch.on_taken(self.buffer.len(), now);
        taken.clear();
        std::mem::swap(&mut self.buffer, taken);
    }

    /// Sends a message, or holds it back until the key exchange is over or there is a stream again.
    pub(crate) fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let Link::Exchanging { held, held_bytes } = &mut self.link else {
            let detached = matches!(self.link, Link::Detached);
            return match &mut self.log {
                Some(log) if detached || log.has_unsent() => {
                    let mut payload = Vec::new();
                    write(&mut payload);
                    if is_counted(&payload) {
                        log.push(&payload, None).map_err(Error::Reconnect)?;
                        return self.pump();
                    }
                    if detached { Ok(()) } else { self.seal(|out| out.put_bytes(&payload)) }
                }
                None if detached => Ok(()),
                _ => self.seal(write),
            };
        };
        let mut payload = Zeroizing::new(Vec::with_capacity(HELD_ROOM));
        write(&mut payload);
        match payload.first().map(|number| phase(*number)) {
            Some(Phase::Transport | Phase::Kex) => self.seal(|out| out.put_bytes(&payload)),
            _ => {
                let payload = Zeroizing::new(payload.to_vec());
                *held_bytes = held_bytes.saturating_add(payload.len()).saturating_add(size_of::<Vec<u8>>());
                if *held_bytes > MAX_HELD {
                    return Err(PeerMisbehaved::OutputNotRead.into());
                }
                held.push(payload);
                Ok(())
            }
        }
    }

    /// From our KEXINIT on, only the key exchange goes out.
    pub(crate) fn begin_exchange(&mut self) {
        if matches!(self.link, Link::Open) {
            self.link = Link::Exchanging { held: Vec::new(), held_bytes: 0 };
        }
    }

    /// Right behind our NEWKEYS: the next packet is under the new key.
    pub(crate) fn set_sealer(&mut self, sealer: Box<dyn Sealer>, reset_sequence: bool) {
        self.sealer = sealer;
        self.since_key = Counters::default();
        if reset_sequence {
            self.sequence = 0;
        }
    }

    /// The exchange is over: `first` goes out, then what was held back, then data again.
    pub(crate) fn end_exchange(&mut self, first: Option<Vec<u8>>) -> Result<(), Error> {
        let link = std::mem::replace(&mut self.link, Link::Open);
        if let Some(payload) = first {
            self.seal(|out| out.put_bytes(&payload))?;
        }
        self.send_enable()?;
        self.pump()?;
        if let Link::Exchanging { held, .. } = link {
            for payload in held {
                self.send(|out| out.put_bytes(&payload))?;
            }
        }
        Ok(())
    }

    // ---- Reconnecting -------------------------------------------------------------------------------

    /// The number of the packet that is sealed next: from 0 at KEXINIT, never reset on a connection.
    pub(crate) fn next_number(&self) -> u64 {
        self.acks.sent
    }

    /// Tells the peer that from the next packet on ours end in a trailer, as soon as that may be said.
    pub(crate) fn enable_trailer(&mut self, form: TrailerForm) -> Result<(), Error> {
        if self.acks.want_trailer(form) && matches!(self.link, Link::Open) {
            return self.send_enable();
        }
        Ok(())
    }

    fn send_enable(&mut self) -> Result<(), Error> {
        if let Some(form) = self.acks.take_wanted_trailer() {
            self.seal(put_enable)?;
            self.acks.set_trailer(form);
        }
        Ok(())
    }

    /// The stream has gone. What is not acknowledged stays in the log; what waited goes behind it.
    pub(crate) fn detach(&mut self) -> Result<(), Error> {
        self.buffer = Vec::new();
        self.sealer = Box::new(Plain);
        let link = std::mem::replace(&mut self.link, Link::Detached);
        if let Link::Exchanging { held, .. } = link {
            for payload in held {
                self.send(|out| out.put_bytes(&payload))?;
            }
        }
        if let Some(log) = &mut self.log {
            log.shrink();
        }
        Ok(())
    }

    /// Seals what was said before and has not been sent on this connection, as far as there is room.
    pub(crate) fn pump(&mut self) -> Result<(), Error> {
        if !matches!(self.link, Link::Open) || self.log.as_ref().is_none_or(|log| !log.has_unsent()) {
            return Ok(());
        }
        let Some(mut log) = self.log.take() else { return Ok(()) };
        let pumped = self.pump_from(&mut log);
        self.log = Some(log);
        pumped
    }

    fn pump_from(&mut self, log: &mut ReplayLog) -> Result<(), Error> {
        while self.buffer.len() < self.batch.high_water {
            let number = self.acks.sent;
            let Some((first, second)) = log.next_unsent() else { break };
            self.seal(|out| {
                out.put_bytes(first);
                out.put_bytes(second);
            })?;
            log.mark_sent(number, self.acks.now);
        }
        Ok(())
    }

    /// Nothing more can be sealed, as after 2^32 packets under one key.
    #[cfg(test)]
    pub(crate) fn exhaust(&mut self) {
        self.since_key.packets = u64::from(u32::MAX).saturating_add(1);
    }

    /// Frames and seals one packet at the end of the buffer (RFC 4253 §6).
    pub(crate) fn seal(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        let start = self.buffer.len();
        let sealed = self.seal_at(start, write);
        if let Err(error) = &sealed {
            tell!(SendMessageFailed, %error, "a message was not sealed");
            // What could not be sealed must not leave in the clear.
            if let Some(packet) = self.buffer.get_mut(start..) {
                packet.zeroize();
            }
            self.buffer.truncate(start);
        }
        sealed
    }

    /// Tells of the message that begins at `start`.
    fn trace(&self, start: usize) {
        let len = self.buffer.len().saturating_sub(start);
        let Some(number) = self.buffer.get(start) else { return };
        if !matches!(number, 94 | 95) {
            tell!(SendingMessage, number, len, "sent");
        } else if self.trace_channel_data {
            tell!(SendingChannelData, number, len, "sent");
        }
    }

    fn seal_at(&mut self, start: usize, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        // A counter that comes round under one key would repeat a nonce.
        if self.since_key.packets > u64::from(u32::MAX) {
            return Err(PeerMisbehaved::CounterExhausted.into());
        }
        self.buffer.extend_from_slice(&[0; HEADER_LEN]);
        write(&mut self.buffer);
        self.trace(start.saturating_add(HEADER_LEN));
        if let Some(log) = &mut self.log {
            let payload = self.buffer.get(start.saturating_add(HEADER_LEN)..).unwrap_or_default();
            if is_counted(payload) {
                log.push(payload, Some((self.acks.sent, self.acks.now))).map_err(Error::Reconnect)?;
            }
        }
        self.acks.put_trailer(&mut self.buffer);

        let framing = self.sealer.framing();
        let separate = if framing.length_is_separate { 4 } else { 0 };
        let aligned = self.buffer.len().saturating_sub(start).saturating_sub(separate);
        let padding = padding_len(aligned, framing.block_len);
        let tag = [0; MAX_TAG_LEN];
        let tag = tag.get(..framing.tag_len).ok_or(Error::Bug("a tag is longer than any known"))?;
        self.buffer.extend_from_slice(self.padding.take(padding));
        let length = self.buffer.len().saturating_sub(start).saturating_sub(4);
        self.buffer.extend_from_slice(tag);

        let packet = self.buffer.get_mut(start..).ok_or(Error::Bug("the packet left its buffer"))?;
        let header = packet.first_chunk_mut::<HEADER_LEN>().ok_or(Error::Bug("a packet has no header"))?;
        let length = u32::try_from(length).map_err(|_| Error::Bug("a packet is over 4 GiB"))?;
        let [a, b, c, d] = length.to_be_bytes();
        *header = [a, b, c, d, u8::try_from(padding).map_err(|_| Error::Bug("padding is over 255"))?];
        self.sealer.seal(self.sequence, packet)?;

        self.since_key.bytes = self.since_key.bytes.saturating_add(wide(packet.len()));
        self.since_key.packets = self.since_key.packets.saturating_add(1);
        self.total.bytes = self.total.bytes.saturating_add(wide(packet.len()));
        self.total.packets = self.total.packets.saturating_add(1);
        self.sequence = self.sequence.wrapping_add(1);
        self.acks.sent = self.acks.sent.saturating_add(1);
        Ok(())
    }
}

/// `u32 packet_length ‖ u8 padding_length`.
const HEADER_LEN: usize = 5;
/// HMAC-SHA-512's.
const MAX_TAG_LEN: usize = 64;

/// The smallest padding of at least 4 bytes that makes `len` a multiple of `block`.
fn padding_len(len: usize, block: usize) -> usize {
    let over = len.checked_rem(block).unwrap_or(0);
    let padding = block.saturating_sub(over);
    if padding < 4 { padding.saturating_add(block) } else { padding }
}

/// Keys and payloads stay out of logs.
impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("pending", &self.buffer.len()).finish_non_exhaustive()
    }
}

/// Padding bytes from a generator that is seeded once: a system call for each packet would cost as much as sealing
/// 3 KiB.
struct Padding {
    rng: ChaCha20Rng,
    block: [u8; 512],
    used: usize,
}

impl Padding {
    fn new(random: &dyn SecureRandom) -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        random.fill(&mut *seed)?;
        Ok(Self { rng: ChaCha20Rng::from_seed(*seed), block: [0; 512], used: 512 })
    }

    fn take(&mut self, len: usize) -> &[u8] {
        if self.used.saturating_add(len) > self.block.len() {
            self.rng.fill_bytes(&mut self.block);
            self.used = 0;
        }
        let start = self.used;
        self.used = start.saturating_add(len);
        self.block.get(start..self.used).unwrap_or_default()
    }
}

impl std::fmt::Debug for Padding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Padding[..]")
    }
}

#[cfg(test)]
mod tests {
    use super::padding_len;

    #[test]
    fn rfc4253_6_padding_is_at_least_4_and_aligns() {
        for block in [8, 16] {
            for len in 5..200 {
                let padding = padding_len(len, block);
                assert!((4..4 + block).contains(&padding));
                assert_eq!((len + padding) % block, 0);
            }
        }
    }

    /// A session may wait for minutes; the memory of a busy moment before is not its own.
    #[cfg(feature = "rustcrypto")]
    #[test]
    fn what_waits_without_a_stream_takes_little_more_than_its_bytes() {
        use super::ReplayLog;
        let mut out = super::Outbound::new(crate::crypto::rustcrypto::PROVIDER.random).unwrap();
        out.log = Some(Box::new(ReplayLog::new(8 << 20)));
        for _ in 0..200 {
            out.seal(|buffer| buffer.extend([94; 30_000])).unwrap();
        }
        let log = out.log.as_mut().unwrap();
        log.acknowledge(197);
        assert!(log.capacity() > 4 << 20, "nothing to give back");
        out.detach().unwrap();
        let log = out.log.as_ref().unwrap();
        assert!(log.capacity() <= 3 * log.size(), "{} bytes for {}", log.capacity(), log.size());
    }

    #[cfg(feature = "rustcrypto")]
    #[test]
    fn a_packet_counter_does_not_come_round_under_one_key() {
        let mut out = super::Outbound::new(crate::crypto::rustcrypto::PROVIDER.random).unwrap();
        out.since_key.packets = u64::from(u32::MAX);
        out.sequence = u32::MAX;
        out.seal(|buffer| buffer.push(2)).unwrap();
        assert_eq!(out.sequence, 0);
        let told = crate::trace::capture::told(|| {
            let error = out.seal(|buffer| buffer.push(2)).unwrap_err();
            assert!(matches!(error, super::Error::PeerMisbehaved(super::PeerMisbehaved::CounterExhausted)));
        });
        assert_eq!(told, [(9004, tracing::Level::ERROR)]);
    }
}
