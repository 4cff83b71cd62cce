//! The fields of RFC 4254 §7. Dev Tunnels applications append fields of their own, so what follows is ignored.

use crate::error::escape_text;
use crate::protocol::wire::{Reader, WireError, Write as _};

/// The global request that asks the peer to listen (RFC 4254 §7.1).
pub(super) const TCPIP_FORWARD: &str = "tcpip-forward";
/// The global request that ends what [`TCPIP_FORWARD`] began.
pub(super) const CANCEL_TCPIP_FORWARD: &str = "cancel-tcpip-forward";
/// The channel to a target that the opener names (RFC 4254 §7.2).
pub(super) const DIRECT_TCPIP: &str = "direct-tcpip";
/// The channel for a connection to a port that the receiver asked to be listened on (RFC 4254 §7.2).
pub(super) const FORWARDED_TCPIP: &str = "forwarded-tcpip";

/// A DNS name has at most 255 bytes; scoped addresses are shorter.
const MAX_HOST: usize = 1024;

/// The fields of `tcpip-forward` and `cancel-tcpip-forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForwardRequest {
    /// Where to listen.
    pub(super) host: String,
    /// 0 lets the listener choose.
    pub(super) port: u16,
}

impl ForwardRequest {
    pub(super) fn decode(fields: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(fields);
        Ok(Self { host: reader.text(MAX_HOST)?.to_owned(), port: port(&mut reader)? })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(self.host.as_bytes());
        out.put_u32(self.port.into());
        out
    }
}

/// The fields of a `direct-tcpip` or `forwarded-tcpip` channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ChannelTarget {
    /// The target, or the address listened on.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whoever connected, for display. Peers put anything here, so it is not checked.
    pub(super) originator: String,
    pub(super) originator_port: u32,
}

impl ChannelTarget {
    pub(super) fn decode(fields: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(fields);
        Ok(Self {
            host: reader.text(MAX_HOST)?.to_owned(),
            port: port(&mut reader)?,
            originator: escape_text(reader.string()?),
            originator_port: reader.u32()?,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_string(self.host.as_bytes());
        out.put_u32(self.port.into());
        out.put_string(self.originator.as_bytes());
        out.put_u32(self.originator_port);
        out
    }
}

/// The port in a success reply, which we always write.
pub(super) fn encode_port(port: u16) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u32(port.into());
    out
}

/// The port in a success reply; none or 0 means "as requested".
pub(super) fn decode_port(fields: &[u8]) -> Result<Option<u16>, WireError> {
    if fields.is_empty() {
        return Ok(None);
    }
    Ok(Some(port(&mut Reader::new(fields))?).filter(|port| *port != 0))
}

fn port(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    u16::try_from(reader.u32()?).map_err(|_| WireError::BadValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4254_7_2_fields_are_laid_out_as_written_there() {
        let target = ChannelTarget { host: "a".into(), port: 80, originator: "b".into(), originator_port: 9 };
        let wire = b"\0\0\0\x01a\0\0\0\x50\0\0\0\x01b\0\0\0\x09";
        assert_eq!(target.encode(), wire);
        assert_eq!(ChannelTarget::decode(wire), Ok(target));
        let request = ForwardRequest { host: "a".into(), port: 80 };
        assert_eq!(request.encode(), &wire[..9]);
    }

    #[test]
    fn appended_fields_are_ignored_and_bad_ports_refused() {
        let mut wire = ForwardRequest { host: String::new(), port: 1 }.encode();
        wire.extend_from_slice(b"token");
        assert_eq!(ForwardRequest::decode(&wire).unwrap().port, 1);
        assert_eq!(ForwardRequest::decode(b"\0\0\0\0\0\x01\0\0"), Err(WireError::BadValue));
        assert_eq!(decode_port(b""), Ok(None));
        assert_eq!(decode_port(&[0, 0, 0, 0]), Ok(None));
        assert_eq!(decode_port(&[0, 0, 1, 0, 9]), Ok(Some(256)));
        assert_eq!(decode_port(&[0]), Err(WireError::Truncated));
    }
}
