//! Framing and sealing, written out once more.

use super::RawPeer;
use super::messages::plain_packet;

/// Sending.
impl RawPeer {
    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        if self.engine.ended().is_some() {
            return;
        }
        self.inbound.buffer().extend_from_slice(bytes);
        if let Err(error) = self.dispatch() {
            self.engine.end(error);
        }
        self.settle();
    }

    /// The packet that [`send`](Self::send) would send. Its number is used up.
    ///
    /// # Panics
    /// If it cannot be sealed.
    pub fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let payload = &self.with_trailer(payload);
        let sequence = self.send_sequence;
        self.send_sequence = sequence.wrapping_add(1);
        let Some(sealer) = &mut self.sealer else {
            let counted = if self.aligns_without_length { 1 } else { 5 };
            let over = (payload.len() + counted) % 8;
            let padding = if 8 - over < 4 { 16 - over } else { 8 - over };
            return plain_packet(payload, u8::try_from(padding).expect("short padding"));
        };
        let separate = if sealer.framing().length_is_separate { 4 } else { 0 };
        let block = sealer.framing().block_len;
        let over = (payload.len() + 5 - separate) % block;
        let padding = if block - over < 4 { 2 * block - over } else { block - over };
        let mut packet = plain_packet(payload, u8::try_from(padding).expect("short padding"));
        packet.resize(packet.len() + sealer.framing().tag_len, 0);
        sealer.seal(sequence, &mut packet).expect("sealing");
        packet
    }

    /// Seals a whole packet that the caller has framed, well or badly.
    ///
    /// # Panics
    /// If it cannot be sealed.
    pub fn seal_framed(&mut self, framed: &[u8]) -> Vec<u8> {
        let sealer = self.sealer.as_mut().expect("keys");
        let mut packet = framed.to_vec();
        packet.resize(packet.len() + sealer.framing().tag_len, 0);
        sealer.seal(self.send_sequence, &mut packet).expect("sealing");
        self.send_sequence = self.send_sequence.wrapping_add(1);
        packet
    }

    /// Sends a packet.
    pub fn send(&mut self, payload: &[u8]) {
        let packet = self.seal(payload);
        self.send_bytes(&packet);
    }

    /// Sends our version line.
    pub fn send_version(&mut self) {
        let line = format!("{}\r\n", self.version);
        self.send_bytes(line.as_bytes());
    }

    /// Says that we are this software.
    #[must_use]
    pub fn with_version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }
}
