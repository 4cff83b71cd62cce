use std::sync::Arc;

use crate::error::{Error, PeerIncompatible, PeerMisbehaved, escape_text};

/// Our version line, without CR LF (RFC 4253 §4.2).
pub(crate) const OUR_IDENT: &str = concat!("SSH-2.0-Adit_", env!("CARGO_PKG_VERSION"));

/// A version line may not be longer, CR LF included (RFC 4253 §4.2).
pub(crate) const MAX_IDENT_LEN: usize = 255;
/// A server may send this many lines before its version. Dev Tunnels peers bear 20.
pub(crate) const MAX_BANNER_LINES: usize = 20;
/// And this many bytes in all, so that a silent flood of long lines ends.
pub(crate) const MAX_BANNER_BYTES: usize = 8 * 1024;

/// The peer's version line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerVersion(Arc<str>);

impl PeerVersion {
    pub(crate) fn parse(line: &[u8]) -> Result<Self, Error> {
        let fits = line.len().saturating_add(2) <= MAX_IDENT_LEN;
        let printable = line.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        let text = std::str::from_utf8(line).ok().filter(|_| fits && printable);
        let text = text.ok_or(PeerMisbehaved::BadVersionLine)?;
        let speaks_2 = text.strip_prefix("SSH-2.0-").or_else(|| text.strip_prefix("SSH-1.99-"));
        if speaks_2.is_none_or(str::is_empty) {
            return Err(PeerIncompatible::Version(escape_text(line).into()).into());
        }
        Ok(Self(text.into()))
    }

    /// The line without CR LF, for instance `SSH-2.0-OpenSSH_9.9`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the line says, as far as it can be told.
    #[must_use]
    pub fn info(&self) -> VersionInfo<'_> {
        let mut parts = self.0.splitn(3, '-');
        let protocol = parts.nth(1).unwrap_or_default();
        let software = parts.next().unwrap_or_default();
        let software = software.split(' ').next().unwrap_or_default();
        let (name, version) = match software.rsplit_once('_') {
            Some((name, version)) => (name, Some(version)),
            None => (software, None),
        };
        VersionInfo { protocol, name, version }
    }

    /// Whether the peer is one of Microsoft's Dev Tunnels implementations. They cannot answer a key exchange that
    /// they did not start.
    #[must_use]
    pub fn is_dev_tunnels(&self) -> bool {
        const NAMES: [&str; 4] =
            ["Microsoft.VisualStudio.Ssh", "Microsoft.DevTunnels.Ssh", "vs-ssh", "dev-tunnels-ssh"];
        NAMES.contains(&self.info().name) || self.is_dev_tunnels_go()
    }

    /// Whether the peer is Dropbear, which has neither AES-GCM nor a MAC over what is sealed.
    pub(crate) fn is_dropbear(&self) -> bool {
        self.info().name == "dropbear"
    }

    /// Whether it is the one in Go, which has ways of its own in a key exchange, and whose streams and forwards end with a
    /// channel's CLOSE only.
    #[must_use]
    pub fn is_dev_tunnels_go(&self) -> bool {
        self.info().name == "dev-tunnels-ssh-go"
    }

    /// Whether it is the one in TypeScript, whose streams and forwards too end with a channel's CLOSE only.
    #[must_use]
    pub fn is_dev_tunnels_typescript(&self) -> bool {
        self.info().name == "dev-tunnels-ssh"
    }
}

/// The parts of a version line (RFC 4253 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionInfo<'a> {
    /// For instance `2.0`.
    pub protocol: &'a str,
    /// The software, for instance `OpenSSH`.
    pub name: &'a str,
    /// Its version, if the line names one behind a `_`.
    pub version: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_dev_tunnels_recognised() {
        for (line, dev_tunnels) in [
            ("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u6", false),
            ("SSH-2.0-dev-tunnels-ssh-go_0.1", true),
            ("SSH-2.0-dev-tunnels-ssh_3.12.42", true),
            ("SSH-2.0-Microsoft.DevTunnels.Ssh_3.12", true),
            ("SSH-1.99-x", false),
        ] {
            let version = PeerVersion::parse(line.as_bytes()).unwrap();
            assert_eq!(version.is_dev_tunnels(), dev_tunnels, "{line}");
            assert_eq!(version.is_dev_tunnels_go(), line.contains("-go"), "{line}");
            assert_eq!(version.is_dev_tunnels_typescript(), line.contains("-ssh_"), "{line}");
            assert_eq!(version.as_str(), line);
            let info = version.info();
            assert!(line.contains(info.name) && info.version.is_none_or(|part| line.contains(part)));
            assert_eq!(info.protocol, if line.starts_with("SSH-1.99") { "1.99" } else { "2.0" });
        }
    }

    #[test]
    fn other_protocols_and_bad_lines_are_refused() {
        for line in [&b"SSH-1.5-old"[..], b"SSH-2.0-", b"SSH-3.0-x", b"HTTP/1.1 400 Bad Request"] {
            assert!(matches!(
                PeerVersion::parse(line),
                Err(Error::PeerIncompatible(PeerIncompatible::Version(_)))
            ));
        }
        let long = [&b"SSH-2.0-"[..], &[b'x'; 250]].concat();
        for line in [&b"SSH-2.0-a\0b"[..], b"SSH-2.0-\xff", &long] {
            assert!(matches!(
                PeerVersion::parse(line),
                Err(Error::PeerMisbehaved(PeerMisbehaved::BadVersionLine))
            ));
        }
    }
}
