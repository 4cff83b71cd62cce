//! What a peer may make us connect to and listen on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use super::bind::Bind;
use super::dial::{Resolver, SystemResolver};

/// What the peer may ask of us. Unless it is said otherwise, nothing.
///
/// The policy speaks of *addresses*: a name in a peer's request is resolved once, each address is checked, and the very
/// address that was checked is connected to. What this side asks of the peer needs no permission here.
#[derive(Debug, Clone)]
pub struct ForwardPolicy {
    open: Vec<PermitTarget>,
    listen: Vec<PermitListen>,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) max_listeners: usize,
    pub(super) max_connections: usize,
}

impl Default for ForwardPolicy {
    fn default() -> Self {
        Self::deny_all()
    }
}

impl ForwardPolicy {
    /// The peer may do nothing.
    #[must_use]
    pub fn deny_all() -> Self {
        Self {
            open: Vec::new(),
            listen: Vec::new(),
            resolver: Arc::new(SystemResolver),
            max_listeners: 64,
            max_connections: 256,
        }
    }

    /// The peer may connect to every target but link-local and cloud metadata addresses, and listen on every address.
    #[must_use]
    pub fn allow_all() -> Self {
        Self::deny_all().permit_open(PermitTarget::any()).permit_listen(PermitListen::any())
    }

    /// Lets the peer connect to this too (`direct-tcpip`).
    #[must_use]
    pub fn permit_open(mut self, target: PermitTarget) -> Self {
        self.open.push(target);
        self
    }

    /// Lets the peer listen on this too (`tcpip-forward`).
    #[must_use]
    pub fn permit_listen(mut self, listen: PermitListen) -> Self {
        self.listen.push(listen);
        self
    }

    /// Who turns the names of a peer's targets into addresses; the system's resolver otherwise.
    #[must_use]
    pub fn resolver(mut self, resolver: impl Resolver + 'static) -> Self {
        self.resolver = Arc::new(resolver);
        self
    }

    /// Ports that the peer may make us listen on at once. 64.
    #[must_use]
    pub fn max_listeners(mut self, ports: usize) -> Self {
        self.max_listeners = ports;
        self
    }

    /// TCP connections that all our listeners together accept at once; further ones are reset. 256.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// Whether a target is worth resolving: no permit can be met if none names the port.
    pub(super) fn may_open(&self, port: u16) -> bool {
        self.open.iter().any(|permit| permit.port.admits(port))
    }

    /// Whether the peer may connect to `address`, which is what the `host` of its request was resolved to.
    #[must_use]
    pub fn permits_open(&self, host: &str, address: SocketAddr) -> bool {
        self.open.iter().any(|permit| permit.admits(host, address))
    }

    /// Where to listen for a request, if that is permitted (RFC 4254 §7.1). An empty host means all interfaces, or
    /// just localhost if that is all that is permitted. Names other than `localhost` are not resolved for a peer.
    pub(super) fn listen_on(&self, host: &str, port: u16) -> Option<Bind> {
        let permits = |bind: &Bind| self.listen.iter().any(|permit| permit.admits(bind));
        let bind = match host {
            "" => Bind::AllInterfaces(port),
            host => Bind::new(host, port),
        };
        if permits(&bind) {
            return Some(bind);
        }
        let local = Bind::Localhost(port);
        (host.is_empty() && permits(&local)).then_some(local)
    }
}

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
#[error("{0:?} is not HOST:PORT, HOST:*, or any; an IPv6 address goes in brackets")]
pub struct BadPermit(String);

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

    fn admits(&self, host: &str, address: SocketAddr) -> bool {
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
        let (host, port) = host_and_port(text).ok_or_else(|| BadPermit(text.to_owned()))?;
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

    fn admits(&self, bind: &Bind) -> bool {
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
        let bad = || BadPermit(text.to_owned());
        if text.eq_ignore_ascii_case("any") {
            return Ok(Self::any());
        }
        if let Ok(port) = text.parse() {
            return Ok(Self { host: Host::Localhost, port: Port::Only(port) });
        }
        match host_and_port(text).ok_or_else(bad)? {
            // Names are not resolved for a peer, so such a permit would never be met.
            (Host::Name(_), _) => Err(bad()),
            (host, port) => Ok(Self { host, port }),
        }
    }
}

fn host_and_port(text: &str) -> Option<(Host, Port)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = if port == "*" { Port::Any } else { Port::Only(port.parse().ok()?) };
    let host = if let Some(host) = host.strip_prefix('[') {
        Host::Address(normalise(host.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.into()))
    } else if host == "*" {
        Host::Any
    } else if host.eq_ignore_ascii_case("localhost") {
        Host::Localhost
    } else if let Ok(ip) = host.parse::<Ipv4Addr>() {
        Host::Address(ip.into())
    } else {
        let name = host.strip_suffix('.').unwrap_or(host);
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        Host::Name(Some(name).filter(|name| !name.is_empty() && name.bytes().all(fits))?.into())
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
pub(super) fn normalise(ip: IpAddr) -> IpAddr {
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

/// The IPv4 address that a gateway would make of it: NAT64 (RFC 6052 §2.1) and the old compatible form.
fn translated_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] => {
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
    fn targets_are_checked_by_address() {
        let table = [
            // permit, host asked for, address found, allowed
            ("any", "x", "127.0.0.1:1", true),
            ("any", "x", "10.0.0.1:1", true),
            ("any", "x", "169.254.169.254:80", false),
            ("any", "x", "[::ffff:169.254.169.254]:80", false),
            ("any", "x", "[64:ff9b::a9fe:a9fe]:80", false),
            ("any", "x", "[fe80::1]:80", false),
            ("any", "x", "[fd00:ec2::254]:80", false),
            ("169.254.169.254:80", "x", "169.254.169.254:80", true),
            ("[fe80::1]:*", "x", "[fe80::1]:80", true),
            ("127.0.0.1:80", "x", "127.0.0.1:80", true),
            ("127.0.0.1:80", "x", "[::ffff:127.0.0.1]:80", true),
            ("127.0.0.1:80", "x", "127.0.0.1:81", false),
            ("127.0.0.1:80", "x", "127.0.0.2:80", false),
            ("127.0.0.1:80", "0.0.0.0", "0.0.0.0:80", false),
            ("localhost:80", "localhost", "[::1]:80", true),
            ("localhost:80", "x", "127.0.0.1:80", true),
            ("localhost:80", "x", "1.2.3.4:80", false),
            ("db.example:*", "DB.example.", "10.0.0.1:5", true),
            ("db.example:*", "db.example", "127.0.0.1:5", false),
            ("db.example:*", "db.example", "169.254.1.1:5", false),
            ("db.example:*", "x", "10.0.0.1:5", false),
            ("*:443", "x", "1.2.3.4:443", true),
            ("*:443", "x", "1.2.3.4:80", false),
        ];
        for (permit, host, address, allowed) in table {
            let policy = ForwardPolicy::deny_all().permit_open(permit.parse().unwrap());
            let address = address.parse().unwrap();
            assert_eq!(policy.permits_open(host, address), allowed, "{permit} {host} {address}");
            assert!(!ForwardPolicy::default().permits_open(host, address));
        }
    }

    #[test]
    fn listening_is_on_loopback_unless_more_is_permitted() {
        let all = |port| Some(Bind::AllInterfaces(port));
        let local = |port| Some(Bind::Localhost(port));
        let address = |text: &str| Some(Bind::Address(text.parse().unwrap()));
        let table = [
            ("any", "", 0, all(0)),
            ("any", "0.0.0.0", 5, address("0.0.0.0:5")),
            ("5", "", 5, local(5)),
            ("5", "localhost", 5, local(5)),
            ("5", "127.0.0.1", 5, address("127.0.0.1:5")),
            ("5", "127.0.0.1", 6, None),
            ("5", "localhost", 0, None),
            ("5", "0.0.0.0", 5, None),
            ("5", "*", 5, None),
            ("5", "::", 5, None),
            ("5", "name.example", 5, None),
            ("any", "name.example", 5, None),
            ("localhost:*", "localhost", 0, local(0)),
            ("localhost:*", "::ffff:127.0.0.1", 1, address("[::ffff:127.0.0.1]:1")),
            ("*:5", "", 5, all(5)),
            ("10.0.0.1:*", "10.0.0.1", 5, address("10.0.0.1:5")),
            ("10.0.0.1:*", "", 5, None),
            ("0.0.0.0:5", "", 5, all(5)),
        ];
        for (permit, host, port, bind) in table {
            let policy = ForwardPolicy::deny_all().permit_listen(permit.parse().unwrap());
            assert_eq!(policy.listen_on(host, port), bind, "{permit} {host}:{port}");
            assert_eq!(ForwardPolicy::default().listen_on(host, port), None);
        }
    }

    #[test]
    fn permits_are_read_and_written_alike() {
        for text in ["localhost:80", "127.0.0.1:*", "[::1]:80", "db.example:5432", "*:*"] {
            assert_eq!(text.parse::<PermitTarget>().unwrap().to_string(), text);
        }
        for bad in ["", "host", ":80", "host:", "host:65536", "::1:80", "[::1]", "[::1:80", "a b:80", "[x]:1"]
        {
            assert!(bad.parse::<PermitTarget>().is_err(), "{bad}");
        }
        assert_eq!("8080".parse::<PermitListen>().unwrap().to_string(), "localhost:8080");
        assert!("db.example:80".parse::<PermitListen>().is_err());
    }
}
