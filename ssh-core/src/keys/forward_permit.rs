use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A host and a port that a key may be used for, as in `permitopen=` and `permitlisten=` of sshd(8). The services turn
/// it into entries of their policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardPermit {
    host: PermitHost,
    port: Option<u16>,
}

/// The host of a [`ForwardPermit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PermitHost {
    /// `*`: any.
    Any,
    /// An address.
    Address(IpAddr),
    /// A name, in lower case, without the dot of the root.
    Name(Box<str>),
}

impl ForwardPermit {
    /// `HOST:PORT`, `HOST:*` or `*:PORT`, an IPv6 address in brackets. `None` if it is nothing of the kind.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self { host: PermitHost::parse(host)?, port: parse_port(port)? })
    }

    /// The same, or `PORT`, which is `*:PORT`.
    pub(super) fn parse_listen(text: &str) -> Option<Self> {
        if text.contains(':') {
            return Self::parse(text);
        }
        Some(Self { host: PermitHost::Any, port: parse_port(text)? })
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &PermitHost {
        &self.host
    }

    /// The port, or any if there is none.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

impl PermitHost {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        if let Some(host) = text.strip_prefix('[') {
            let host = host.strip_suffix(']')?;
            return match host.parse::<Ipv6Addr>() {
                Ok(address) => Some(Self::Address(IpAddr::V6(address).to_canonical())),
                // sshd lets any host stand in brackets.
                Err(_) if host.starts_with('[') => None,
                Err(_) => Self::parse(host),
            };
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            // An IPv6 address without brackets is too easily one whose last part is the port.
            return address.is_ipv4().then_some(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        (!name.is_empty() && name.bytes().all(fits)).then(|| Self::Name(name.to_ascii_lowercase().into()))
    }
}

/// The port, `None` for `*`.
fn parse_port(text: &str) -> Option<Option<u16>> {
    if text == "*" {
        return Some(None);
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0).map(Some)
}

impl fmt::Display for ForwardPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            PermitHost::Any => f.write_str("*"),
            PermitHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            PermitHost::Address(address) => address.fmt(f),
            PermitHost::Name(name) => f.write_str(name),
        }?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_read_and_written() {
        for (text, shown) in [
            ("db.example.:5432", "db.example:5432"),
            ("DB:*", "db:*"),
            ("*:80", "*:80"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[127.0.0.1]:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1:80"),
        ] {
            let permit = ForwardPermit::parse(text).unwrap();
            assert_eq!(permit.to_string(), shown);
            assert_eq!(ForwardPermit::parse_listen(text), Some(permit));
        }
        assert_eq!(ForwardPermit::parse_listen("80").unwrap().to_string(), "*:80");
        assert_eq!(ForwardPermit::parse("80"), None);
        for text in [
            "",
            ":",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:+1",
            "a b:1",
            "::1:80",
            "[::1:80",
            "[[::1]]:80",
            "a/b:1",
            "é:1",
        ] {
            assert_eq!(ForwardPermit::parse(text), None, "{text}");
            assert_eq!(ForwardPermit::parse_listen(text), None, "{text}");
        }
    }
}
