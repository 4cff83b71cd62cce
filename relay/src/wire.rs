//! The messages of the relay protocol's second version that SSH does not have.

use ssh_core::protocol::wire::{Reader, WireError, Write as _};

/// The fields of `tcpip-forward` towards the relay, which carry a token behind those of RFC 4254 §7.1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forward<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Empty in `cancel-tcpip-forward`.
    pub(crate) token: &'a str,
}

/// The fields of a `forwarded-tcpip` or `direct-tcpip` channel, with those of the relay behind them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Connection<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) originator: &'a [u8],
    pub(crate) originator_port: u32,
    pub(crate) token: &'a str,
    /// The client wants the stream encrypted between the ends.
    pub(crate) end_to_end: bool,
}

/// A host's name or address, and an address of whoever connected: in bytes.
const MAX_HOST: usize = 256;

impl<'a> Forward<'a> {
    pub(crate) fn decode(fields: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(fields);
        let (host, port) = (reader.text(MAX_HOST)?, port(&mut reader)?);
        let token = if reader.is_empty() { "" } else { reader.text(crate::tokens::MAX_TOKEN_LEN)? };
        Ok(Self { host, port, token })
    }

    /// As SSH has it, which is what clients are sent.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(self.host.as_bytes());
        out.put_u32(self.port.into());
        out
    }

    /// For the relay.
    pub(crate) fn encode_with_token(&self) -> Vec<u8> {
        let mut out = self.encode();
        out.put_string(self.token.as_bytes());
        out
    }
}

impl<'a> Connection<'a> {
    pub(crate) fn decode(fields: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(fields);
        let (host, port) = (reader.text(MAX_HOST)?, port(&mut reader)?);
        let (originator, originator_port) = (reader.string_max(MAX_HOST)?, reader.u32()?);
        let token = if reader.is_empty() { "" } else { reader.text(crate::tokens::MAX_TOKEN_LEN)? };
        let end_to_end = if reader.is_empty() { false } else { reader.boolean()? };
        Ok(Self { host, port, originator, originator_port, token, end_to_end })
    }

    /// Without the relay's fields, as a client's session with its host has it.
    pub(crate) fn encode_plain(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(LOOPBACK.as_bytes());
        out.put_u32(self.port.into());
        out.put_string(self.originator);
        out.put_u32(self.originator_port);
        out
    }

    /// For the host, which has no use for the token but needs its field.
    pub(crate) fn encode_for_host(&self) -> Vec<u8> {
        let mut out = self.encode_plain();
        out.put_string(b"");
        out.put_bool(self.end_to_end);
        out
    }
}

/// The type of channels to a port that the receiver has asked to be forwarded.
pub(crate) const FORWARDED: &str = "forwarded-tcpip";
/// The address that stands in every message; the ports are the tunnel's.
pub(crate) const LOOPBACK: &str = "127.0.0.1";

fn port(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    u16::try_from(reader.u32()?).map_err(|_| WireError::BadValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_messages_are_read() {
        // What an SDK host sent: `tcpip-forward` for port 46871 with the token HTOK.
        let fields = [&[0, 0, 0, 9][..], b"127.0.0.1", &[0, 0, 0xb7, 0x17], &[0, 0, 0, 4], b"HTOK"].concat();
        let forward = Forward::decode(&fields).unwrap();
        assert_eq!(forward, Forward { host: "127.0.0.1", port: 46871, token: "HTOK" });
        assert_eq!(forward.encode(), fields[..17]);
        assert_eq!(Forward::decode(&fields[..17]).unwrap().token, "");
        for cut in 0..17 {
            assert!(Forward::decode(&fields[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn the_hosts_message_has_every_field() {
        let connection = Connection {
            host: "127.0.0.1",
            port: 80,
            originator: b"",
            originator_port: 0,
            token: "secret",
            end_to_end: true,
        };
        let fields = connection.encode_for_host();
        let read = Connection::decode(&fields).unwrap();
        assert_eq!(read, Connection { token: "", ..connection });
        // A client of SSH alone leaves the relay's fields out.
        let read = Connection::decode(&fields[..fields.len() - 5]).unwrap();
        assert!(!read.end_to_end);
    }
}
