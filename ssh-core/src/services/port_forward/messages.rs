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

/// As [`TCPIP_FORWARD`], for Unix sockets (OpenSSH PROTOCOL §2.4).
pub(super) const STREAMLOCAL_FORWARD: &str = "streamlocal-forward@openssh.com";
/// The global request that ends what [`STREAMLOCAL_FORWARD`] began.
pub(super) const CANCEL_STREAMLOCAL_FORWARD: &str = "cancel-streamlocal-forward@openssh.com";
/// The channel to a Unix socket of the receiver.
pub(super) const DIRECT_STREAMLOCAL: &str = "direct-streamlocal@openssh.com";
/// The channel for a connection to a Unix socket that the receiver asked to be listened on.
pub(super) const FORWARDED_STREAMLOCAL: &str = "forwarded-streamlocal@openssh.com";

/// Systems take a hundred bytes or so.
const MAX_PATH: usize = 1024;
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

/// The path with which the fields of all four `streamlocal` messages begin; what follows is reserved. A path that is no
/// text is refused.
pub(super) fn decode_path(fields: &[u8]) -> Result<String, WireError> {
    let path = Reader::new(fields).text(MAX_PATH)?;
    if path.is_empty() || path.contains('\0') { Err(WireError::BadValue) } else { Ok(path.to_owned()) }
}

/// The fields of a streamlocal request.
pub(super) fn encode_path(path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_string(path.as_bytes());
    out
}

/// The fields of a [`DIRECT_STREAMLOCAL`] channel: two reserved ones behind the path.
pub(super) fn encode_direct_path(path: &str) -> Vec<u8> {
    let mut out = encode_path(path);
    out.put_string(b"");
    out.put_u32(0);
    out
}

/// The fields of a [`FORWARDED_STREAMLOCAL`] channel: a reserved one behind the path.
pub(super) fn encode_forwarded_path(path: &str) -> Vec<u8> {
    let mut out = encode_path(path);
    out.put_string(b"");
    out
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
    fn openssh_protocol_2_4_fields_are_laid_out_as_written_there() {
        assert_eq!(encode_direct_path("/s"), b"\0\0\0\x02/s\0\0\0\0\0\0\0\0");
        assert_eq!(encode_forwarded_path("/s"), b"\0\0\0\x02/s\0\0\0\0");
        assert_eq!(decode_path(&encode_path("/s")).as_deref(), Ok("/s"));
        assert_eq!(decode_path(&encode_path("")), Err(WireError::BadValue));
        assert_eq!(decode_path(&encode_path("/s\0x")), Err(WireError::BadValue));
        assert!(decode_path(&encode_path(&"/".repeat(2000))).is_err());
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
