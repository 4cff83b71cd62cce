//! What a relay is told when it starts.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::clock::WallClock;

/// How a relay works. [`Config::default`] keeps everything in memory and lets nobody make tunnels but the operator.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// Where tunnels and keys are kept; in memory alone if there is none.
    pub data_dir: Option<PathBuf>,
    /// How the relay is reached from outside, as `https://relay.example`; what requests name as their host otherwise.
    pub public_url: Option<String>,
    /// Names that it goes by beside that of `public_url`, addresses and `localhost`. Requests for others are refused (421),
    /// or a page could reach a relay behind a firewall by a name that its author points there.
    pub host_names: Vec<String>,
    /// Origins of pages that may use it, as `https://editor.example`; its own may always.
    pub origins: Vec<String>,
    /// Proxies in front of it. What they say in `X-Forwarded-For` counts, and nobody else's does; they are spared the limits
    /// for one address, which then hold for those behind them.
    pub proxies: Vec<IpNet>,
    /// It is reached by TLS; for URLs where there is no `public_url`.
    pub tls: bool,
    /// The operator's secret, for `Authorization: Bearer`. Without one nobody is the operator.
    pub admin_token: Option<AdminToken>,
    /// What it may cost.
    pub limits: Limits,
    /// What tells it the time of day.
    pub clock: WallClock,
}

/// The operator's secret.
#[derive(Clone)]
pub struct AdminToken(pub(crate) Zeroizing<String>);

impl AdminToken {
    /// At least 16 characters.
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Option<Self> {
        let secret = Zeroizing::new(secret.into());
        (secret.len() >= 16).then_some(Self(secret))
    }
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[..]")
    }
}

/// What a relay may cost. Whoever meets one is told its name, its value and when to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Tunnels of one owner.
    pub tunnels_per_owner: u32,
    /// Ports of one tunnel.
    pub ports_per_tunnel: u32,
    /// Clients of one tunnel at once.
    pub clients_per_tunnel: u32,
    /// Clients of all tunnels of one owner at once.
    pub clients_per_owner: u32,
    /// Connections of one address (a /64 of IPv6) at once.
    pub connections_per_address: u32,
    /// Connections at once.
    pub connections: u32,
    /// Requests of one address a minute.
    pub requests_per_minute: u32,
    /// From a connection's first byte to the end of its request's headers.
    pub header_time: Duration,
    /// A request's line and headers together, in bytes.
    pub header_bytes: usize,
    /// A request's body, in bytes.
    pub body_bytes: usize,
    /// For a request of the management API, from its headers to its answer.
    pub request_time: Duration,
    /// How long a client waits for its host before it is told to come back.
    pub host_wait: Duration,
    /// From the upgrade to the end of the SSH handshake.
    pub handshake_time: Duration,
    /// A tunnel that nobody uses goes after this.
    pub tunnel_lifetime: Duration,
    /// Payload of all tunnels of one owner, both ways and every connection together, in bytes a second. Whoever has more to
    /// send waits; nothing is dropped. As much as the machine carries if there is none.
    pub bytes_per_second_per_owner: Option<NonZeroU64>,
}

/// A limit cannot be set to this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// There is none of this name.
    #[error("there is no limit of this name; there are {}", Limits::NAMES.join(", "))]
    Unknown,
    /// It takes other values.
    #[error("it takes a number from 1 to {0}")]
    Value(u64),
}

impl Limits {
    /// What [`set`](Self::set) knows: the names that refusals give.
    pub const NAMES: [&str; 15] = [
        "tunnels_per_owner",
        "ports_per_tunnel",
        "clients_per_tunnel",
        "clients_per_owner",
        "connections_per_address",
        "connections",
        "requests_per_minute",
        "header_time",
        "header_bytes",
        "body_bytes",
        "request_time",
        "host_wait",
        "handshake_time",
        "tunnel_lifetime",
        "bytes_per_second_per_owner",
    ];

    /// Sets one by its name; times in seconds.
    ///
    /// # Errors
    /// [`LimitError`]; nothing has changed then.
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), LimitError> {
        let count = || match u32::try_from(value) {
            Ok(value @ 1..) => Ok(value),
            _ => Err(LimitError::Value(u32::MAX.into())),
        };
        let time = || Ok(Duration::from_secs(count()?.into()));
        let bytes = || count().map(|value| usize::try_from(value).unwrap_or(usize::MAX));
        match name {
            "tunnels_per_owner" => self.tunnels_per_owner = count()?,
            "ports_per_tunnel" => self.ports_per_tunnel = count()?,
            "clients_per_tunnel" => self.clients_per_tunnel = count()?,
            "clients_per_owner" => self.clients_per_owner = count()?,
            "connections_per_address" => self.connections_per_address = count()?,
            "connections" => self.connections = count()?,
            "requests_per_minute" => self.requests_per_minute = count()?,
            "header_time" => self.header_time = time()?,
            "header_bytes" => self.header_bytes = bytes()?,
            "body_bytes" => self.body_bytes = bytes()?,
            "request_time" => self.request_time = time()?,
            "host_wait" => self.host_wait = time()?,
            "handshake_time" => self.handshake_time = time()?,
            "tunnel_lifetime" => self.tunnel_lifetime = time()?,
            "bytes_per_second_per_owner" => {
                self.bytes_per_second_per_owner =
                    Some(NonZeroU64::new(value).ok_or(LimitError::Value(u64::MAX))?);
            }
            _ => return Err(LimitError::Unknown),
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tunnels_per_owner: 100,
            ports_per_tunnel: 32,
            clients_per_tunnel: 1000,
            clients_per_owner: 5000,
            connections_per_address: 256,
            connections: 20_000,
            requests_per_minute: 600,
            header_time: Duration::from_secs(10),
            header_bytes: 16 * 1024,
            body_bytes: 256 * 1024,
            request_time: Duration::from_secs(20),
            host_wait: Duration::from_secs(20),
            handshake_time: Duration::from_secs(15),
            tunnel_lifetime: Duration::from_secs(30 * 24 * 3600),
            bytes_per_second_per_owner: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_be_set_by_its_name() {
        for name in Limits::NAMES {
            let mut limits = Limits::default();
            assert!(limits.set(name, 0).is_err(), "{name}");
            assert_eq!(limits, Limits::default(), "{name}");
            limits.set(name, 12_345).unwrap();
            assert_ne!(limits, Limits::default(), "{name}");
        }
        let mut limits = Limits::default();
        assert_eq!(limits.set("header_lines", 1), Err(LimitError::Unknown));
        assert!(LimitError::Unknown.to_string().contains("clients_per_owner"));
        assert_eq!(limits.set("clients_per_owner", 1 << 32), Err(LimitError::Value(u32::MAX.into())));
        limits.set("host_wait", 7).unwrap();
        assert_eq!(limits.host_wait, Duration::from_secs(7));
    }
}
