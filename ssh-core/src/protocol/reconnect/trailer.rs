use crate::protocol::wire::{WireError, Write as _};

/// What stands behind a payload: decided for a connection by both EXT_INFOs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrailerForm {
    /// `u64 last_received_sequence`.
    Sequence,
    /// The same and `u32 microseconds_since_then`.
    SequenceAndTime,
}

/// The trailer of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// The number, from 0 at KEXINIT, of the last packet that the sender has received on this connection.
    pub(crate) last_received: u64,
    /// How long before, in microseconds. Without `session-latency`, `None`.
    pub(crate) micros: Option<u32>,
}

impl TrailerForm {
    /// In bytes.
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Sequence => 8,
            Self::SequenceAndTime => 12,
        }
    }

    pub(crate) fn put(self, last_received: u64, micros: u32, out: &mut Vec<u8>) {
        out.put_u64(last_received);
        if self == Self::SequenceAndTime {
            out.put_u32(micros);
        }
    }
}

impl Trailer {
    /// The trailer, and the length of the message before it, which is at least one byte.
    pub(crate) fn split(payload: &[u8], form: TrailerForm) -> Result<(usize, Self), WireError> {
        let len = payload.len().checked_sub(form.len()).filter(|len| *len > 0).ok_or(WireError::Truncated)?;
        let tail = payload.get(len..).unwrap_or_default();
        let (sequence, rest) = tail.split_first_chunk::<8>().ok_or(WireError::Truncated)?;
        let micros = rest.first_chunk::<4>().map(|micros| u32::from_be_bytes(*micros));
        Ok((len, Self { last_received: u64::from_be_bytes(*sequence), micros }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailer_is_read_back_from_behind_its_message() {
        for (form, micros) in [(TrailerForm::Sequence, None), (TrailerForm::SequenceAndTime, Some(8))] {
            let mut payload = vec![94, 1, 2];
            form.put(u64::MAX - 1, 8, &mut payload);
            assert_eq!(
                Trailer::split(&payload, form),
                Ok((3, Trailer { last_received: u64::MAX - 1, micros }))
            );
        }
        assert_eq!(Trailer::split(&[0; 8], TrailerForm::Sequence), Err(WireError::Truncated));
        assert_eq!(Trailer::split(&[0; 11], TrailerForm::SequenceAndTime), Err(WireError::Truncated));
    }

    /// Every trailer of the recording between two Go peers, which is in the clear.
    #[test]
    fn recorded_go_trailers_are_read() {
        let text = include_str!("../../../../tests/vectors/none-reconnect-session-go.json");
        let recording: serde_json::Value = serde_json::from_str(text).unwrap();
        let bytes = |value: &serde_json::Value| super::super::token::tests::bytes(value);
        let mut seen = 0;
        for record in recording["records"].as_array().unwrap() {
            if record["trailer_hex"].is_null() {
                continue;
            }
            let payload = bytes(&record["payload_hex"]);
            let (len, trailer) = Trailer::split(&payload, TrailerForm::SequenceAndTime).unwrap();
            assert_eq!(Some(trailer.last_received), record["trailer_last_received_seq"].as_u64());
            assert_eq!(trailer.micros.map(u64::from), record["trailer_usec_since_receive"].as_u64());
            let mut again = Vec::new();
            TrailerForm::SequenceAndTime.put(trailer.last_received, trailer.micros.unwrap(), &mut again);
            assert_eq!(again, bytes(&record["trailer_hex"]));
            assert_eq!(payload[len..], again);
            seen += 1;
        }
        assert!(seen >= 20, "{seen}");
    }
}
