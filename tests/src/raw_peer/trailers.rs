//! What payloads end in with `session-reconnect@microsoft.com`.

use super::RawPeer;

/// Whether payloads end in a trailer, and in which.
#[derive(Debug, Default)]
pub struct Trailers {
    /// In bytes: 8, or 12 with `session-latency@microsoft.com`. 0 leaves payloads as they are.
    pub len: usize,
    /// Whether ours do.
    pub ours: bool,
    /// Whether the engine's do, since it said so.
    pub theirs: bool,
    /// The last packet that the engine says to have received.
    pub acknowledged: Option<u64>,
}

/// The request from whose successor on payloads end in a trailer.
const ENABLE: &[u8] = b"enable-session-reconnect@microsoft.com";

impl RawPeer {
    /// A payload as it is sent now.
    pub(super) fn with_trailer(&self, payload: &[u8]) -> Vec<u8> {
        let mut payload = payload.to_vec();
        if self.trailers.ours {
            payload.extend(u64::from(self.receive_sequence.saturating_sub(1)).to_be_bytes());
            payload.extend(&[0, 0, 0, 8][..self.trailers.len - 8]);
        }
        payload
    }

    /// Takes the trailer off a payload of the engine.
    pub(super) fn without_trailer(&mut self, mut payload: Vec<u8>) -> Vec<u8> {
        if self.trailers.theirs {
            let trailer = payload.split_off(payload.len() - self.trailers.len);
            let number = trailer[..8].try_into().expect("8 bytes");
            self.trailers.acknowledged = Some(u64::from_be_bytes(number));
        }
        let is_enable = payload.get(5..5 + ENABLE.len()) == Some(ENABLE);
        self.trailers.theirs |= is_enable && self.trailers.len > 0;
        payload
    }
}
