//! The entries of a policy.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::bind::Bind;
use crate::keys::{ForwardPermit, PermitHost};

/// Targets that the peer may connect to. As text: `any`, `HOST:PORT`, `HOST:*` or `*:PORT`, an IPv6 address in brackets.
///
/// A permit with an address admits whatever name leads to that address. A permit with a name admits that name only,
/// and not if it leads to this machine's loopback, which is to be permitted as `localhost` or by its address.
/// Link-local and cloud metadata addresses need a permit with that very address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermitTarget {
    host: Host,
    port: Port,
}

/// Addresses that the peer may make us listen on. As text: `any`, `PORT`, `HOST:PORT`, `HOST:*` or `*:PORT`, an IPv6
/// address in brackets. `PORT` alone means the loopback addresses. The host `*` means every address, and all interfaces
/// at once; other addresses than loopback need it or a permit of their own. Port 0, which lets the system choose, needs
/// the port `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermitListen {
    host: Host,
    port: Port,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    Localhost,
    Address(IpAddr),
    Name(Box<str>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Any,
    Only(u16),
}

/// A text that is no permit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPermit(String);

impl BadPermit {
    fn target(text: &str) -> Self {
        Self(format!("{text:?} is not HOST:PORT, HOST:*, or any; an IPv6 address goes in brackets"))
    }

    fn listen(text: &str) -> Self {
        Self(format!(
            "{text:?} is not PORT, ADDRESS:PORT, ADDRESS:*, or any; an IPv6 address goes in brackets"
        ))
    }

    fn listen_name(name: &str) -> Self {
        Self(format!(
            "a listener is not bound by name, so {name:?} would never be met; write its address, localhost or *"
        ))
    }
}

impl PermitTarget {
    /// Every target but link-local and cloud metadata addresses.
    #[must_use]
    pub fn any() -> Self {
        Self { host: Host::Any, port: Port::Any }
    }

    /// This port of localhost.
    #[must_use]
    pub fn local_port(port: u16) -> Self {
        Self { host: Host::Localhost, port: Port::Only(port) }
    }

    pub(super) fn admits_port(&self, port: u16) -> bool {
        self.port.admits(port)
    }

    /// Whether it admits `address`, which `host` was resolved to.
    pub(super) fn admits(&self, host: &str, address: SocketAddr) -> bool {
        let ip = normalise(address.ip());
        let forbidden = is_link_local_or_metadata(ip);
        self.port.admits(address.port())
            && match &self.host {
                Host::Address(permitted) => *permitted == ip,
                _ if forbidden => false,
                Host::Any => true,
                Host::Localhost => ip.is_loopback(),
                Host::Name(name) => {
                    let host = host.strip_suffix('.').unwrap_or(host);
                    host.eq_ignore_ascii_case(name) && !ip.is_loopback() && !ip.is_unspecified()
                }
            }
    }
}

impl FromStr for PermitTarget {
    type Err = BadPermit;

    fn from_str(text: &str) -> Result<Self, BadPermit> {
        if text.eq_ignore_ascii_case("any") {
            return Ok(Self::any());
        }
        let (host, port) = host_and_port(text).ok_or_else(|| BadPermit::target(text))?;
        Ok(Self { host, port })
    }
}

impl PermitListen {
    /// Every address and port.
    #[must_use]
    pub fn any() -> Self {
        Self { host: Host::Any, port: Port::Any }
    }

    /// Every port of the loopback addresses.
    #[must_use]
    pub fn loopback() -> Self {
        Self { host: Host::Localhost, port: Port::Any }
    }

    pub(super) fn admits(&self, bind: &Bind) -> bool {
        let host = match (&self.host, bind) {
            (_, Bind::Name(..)) => false,
            (Host::Any, _) | (Host::Localhost, Bind::Localhost(_)) => true,
            (Host::Localhost, Bind::Address(address)) => normalise(address.ip()).is_loopback(),
            (Host::Address(permitted), Bind::Address(address)) => *permitted == normalise(address.ip()),
            // Whoever permits 127.0.0.1 does not mind its twin.
            (Host::Address(permitted), Bind::Localhost(_)) => *permitted == Ipv4Addr::LOCALHOST,
            (Host::Address(permitted), Bind::AllInterfaces(_)) => permitted.is_unspecified(),
            (Host::Localhost, Bind::AllInterfaces(_)) | (Host::Name(_), _) => false,
        };
        host && self.port.admits(bind.port())
    }
}

impl FromStr for PermitListen {
    type Err = BadPermit;

    fn from_str(text: &str) -> Result<Self, BadPermit> {
        if text.eq_ignore_ascii_case("any") {
            return Ok(Self::any());
        }
        if let Ok(port) = text.parse() {
            return Ok(Self { host: Host::Localhost, port: Port::Only(port) });
        }
        match host_and_port(text).ok_or_else(|| BadPermit::listen(text))? {
            // Names are not resolved for a peer.
            (Host::Name(name), _) => Err(BadPermit::listen_name(&name)),
            (host, port) => Ok(Self { host, port }),
        }
    }
}

impl From<&ForwardPermit> for PermitTarget {
    /// A key's `permitopen=`. Other than in sshd, which compares the texts of requests, an address admits the names that
    /// lead to it.
    fn from(permit: &ForwardPermit) -> Self {
        Self { host: Host::from(permit.host()), port: Port::from(permit.port()) }
    }
}

impl From<&ForwardPermit> for PermitListen {
    /// A key's `permitlisten=`. Names other than `localhost` admit nothing, for they are not resolved for a peer.
    fn from(permit: &ForwardPermit) -> Self {
        Self { host: Host::from(permit.host()), port: Port::from(permit.port()) }
    }
}

impl From<&PermitHost> for Host {
    fn from(host: &PermitHost) -> Self {
        match host {
            PermitHost::Any => Self::Any,
            PermitHost::Address(address) => Self::Address(*address),
            PermitHost::Name(name) if &**name == "localhost" => Self::Localhost,
            PermitHost::Name(name) => Self::Name(name.clone()),
        }
    }
}

impl From<Option<u16>> for Port {
    fn from(port: Option<u16>) -> Self {
        port.map_or(Self::Any, Self::Only)
    }
}

fn host_and_port(text: &str) -> Option<(Host, Port)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = if port == "*" { Port::Any } else { Port::Only(port.parse().ok()?) };
    let host = if let Some(host) = host.strip_prefix('[') {
        Host::Address(normalise(host.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into()))
    } else if host == "*" {
        Host::Any
    } else {
        // A dot at the end says that a name is whole, and changes nothing.
        let name = host.strip_suffix('.').unwrap_or(host);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = name.bytes().all(fits) && name.split('.').all(|label| !label.is_empty());
        if name.eq_ignore_ascii_case("localhost") {
            Host::Localhost
        } else if let Ok(ip) = name.parse::<Ipv4Addr>() {
            Host::Address(ip.into())
        } else {
            Host::Name(Some(name).filter(|_| is_name)?.into())
        }
    };
    Some((host, port))
}

impl Port {
    fn admits(self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Only(only) => only == port,
        }
    }
}

macro_rules! permit_display {
    ($($permit:ident)*) => {$(
        impl fmt::Display for $permit {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match &self.host {
                    Host::Any => f.write_str("*"),
                    Host::Localhost => f.write_str("localhost"),
                    Host::Address(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
                    Host::Address(ip) => ip.fmt(f),
                    Host::Name(name) => f.write_str(name),
                }?;
                match self.port {
                    Port::Any => f.write_str(":*"),
                    Port::Only(port) => write!(f, ":{port}"),
                }
            }
        }
    )*};
}

permit_display! { PermitTarget PermitListen }

/// An IPv4 address in an IPv6 one's clothes is the IPv4 address.
fn normalise(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// Addresses that answer for the machine or its cloud to whoever can connect from here.
fn is_link_local_or_metadata(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || METADATA_V4.contains(&ip),
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local()
                || METADATA_V6.contains(&ip)
                || translated_v4(ip).is_some_and(|ip| is_link_local_or_metadata(ip.into()))
        }
    }
}

/// The IPv4 address that a gateway would make of it: NAT64 (RFC 6052 §2.1, and RFC 8215 with the same layout), 6to4
/// (RFC 3056 §2) and the old compatible form.
fn translated_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0x64, 0xff9b, 0 | 1, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, _, _, _, _, _] => {
            Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => None,
    }
}

/// Alibaba's metadata and Azure's host; the others use link-local addresses.
const METADATA_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
/// Amazon's and Google's.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_are_read_and_written_alike() {
        for text in ["localhost:80", "127.0.0.1:*", "[::1]:80", "db.example:5432", "*:*"] {
            assert_eq!(text.parse::<PermitTarget>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "host",
            ":80",
            "host:",
            "host:65536",
            "::1:80",
            "[::1]",
            "[::1:80",
            "a b:80",
            "[x]:1",
            "a..:1",
            ".a:1",
            "a..b:1",
        ] {
            assert!(bad.parse::<PermitTarget>().is_err(), "{bad}");
        }
        for (text, written) in
            [("localhost.:80", "localhost:80"), ("127.0.0.1.:*", "127.0.0.1:*"), ("db.:1", "db:1")]
        {
            let permit: PermitTarget = text.parse().unwrap();
            assert_eq!(permit.to_string(), written);
            assert_eq!(written.parse::<PermitTarget>().unwrap(), permit, "{text}");
        }
        assert_eq!("8080".parse::<PermitListen>().unwrap().to_string(), "localhost:8080");
        let named = "db.example:80".parse::<PermitListen>().unwrap_err().to_string();
        assert!(named.contains("\"db.example\" would never be met"), "{named}");
    }
}
