//! What a peer may make us connect to and listen on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::bind::Bind;
use super::dial::{Resolver, SystemResolver};
use super::permit::{PermitListen, PermitTarget};
use crate::server::Permissions;

/// What the peer may ask of us. Unless it is said otherwise, nothing.
///
/// The policy speaks of *addresses*: a name in a peer's request is resolved once, each address is checked, and the very
/// address that was checked is connected to. What this side asks of the peer needs no permission here.
#[derive(Debug, Clone)]
pub struct ForwardPolicy {
    open: Vec<PermitTarget>,
    listen: Vec<PermitListen>,
    /// Each of these must admit what `open` admits.
    narrow_open: Vec<Vec<PermitTarget>>,
    /// And each of these what `listen` admits.
    narrow_listen: Vec<Vec<PermitListen>>,
    /// From then on nothing is permitted.
    expires: Option<SystemTime>,
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
            narrow_open: Vec::new(),
            narrow_listen: Vec::new(),
            expires: None,
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

    /// From here on the peer may connect only to what these admit too, whatever else is permitted: for a session whose
    /// user may do less than the others. Without any, to nothing.
    #[must_use]
    pub fn narrow_open(mut self, permits: impl IntoIterator<Item = PermitTarget>) -> Self {
        self.narrow_open.push(permits.into_iter().collect());
        self
    }

    /// From here on the peer may listen only on what these admit too, whatever else is permitted. Without any, on
    /// nothing.
    #[must_use]
    pub fn narrow_listen(mut self, permits: impl IntoIterator<Item = PermitListen>) -> Self {
        self.narrow_listen.push(permits.into_iter().collect());
        self
    }

    /// From here on the peer may do only what these permissions allow too, and nothing after they have expired.
    /// [`PortForwarding`](super::PortForwarding) does this by itself with those of the session's principal.
    #[must_use]
    pub fn limited_to(mut self, permissions: &Permissions) -> Self {
        if !permissions.port_forwarding {
            self = self.narrow_open([]).narrow_listen([]);
        }
        if let Some(permits) = &permissions.permit_open {
            self = self.narrow_open(permits.iter().cloned());
        }
        if let Some(permits) = &permissions.permit_listen {
            self = self.narrow_listen(permits.iter().cloned());
        }
        self.expires = self.expires.into_iter().chain(permissions.expires).min();
        self
    }

    /// Whether the time is over in which anything was permitted.
    pub(super) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= wall_clock())
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
        !self.has_expired()
            && self.open_lists().all(|permits| permits.iter().any(|permit| permit.admits_port(port)))
    }

    /// Whether the peer may connect to `address`, which is what the `host` of its request was resolved to.
    #[must_use]
    pub fn permits_open(&self, host: &str, address: SocketAddr) -> bool {
        !self.has_expired()
            && self.open_lists().all(|permits| permits.iter().any(|permit| permit.admits(host, address)))
    }

    fn open_lists(&self) -> impl Iterator<Item = &Vec<PermitTarget>> {
        std::iter::once(&self.open).chain(&self.narrow_open)
    }

    /// Where to listen for a request, if that is permitted (RFC 4254 §7.1). An empty host means all interfaces, or
    /// just localhost if that is all that is permitted. Names other than `localhost` are not resolved for a peer.
    pub(super) fn listen_on(&self, host: &str, port: u16) -> Option<Bind> {
        if self.has_expired() {
            return None;
        }
        let lists = || std::iter::once(&self.listen).chain(&self.narrow_listen);
        let permits = |bind: &Bind| lists().all(|permits| permits.iter().any(|permit| permit.admits(bind)));
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

#[expect(clippy::disallowed_methods, reason = "a service has the clock that the protocol has not")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

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
    fn what_is_narrowed_needs_both() {
        let to = |text: &str| text.parse::<PermitTarget>().unwrap();
        let on = |text: &str| text.parse::<PermitListen>().unwrap();
        let policy =
            ForwardPolicy::deny_all().permit_open(to("127.0.0.1:*")).permit_listen(on("localhost:*"));
        let narrow = policy.clone().narrow_open([to("*:80"), to("*:81")]).narrow_listen([on("*:5")]);
        let opens =
            |policy: &ForwardPolicy, address: &str| policy.permits_open("x", address.parse().unwrap());
        assert!(opens(&narrow, "127.0.0.1:80") && opens(&narrow, "127.0.0.1:81"));
        assert!(!opens(&narrow, "127.0.0.1:82") && !opens(&narrow, "10.0.0.1:80"));
        assert!(narrow.may_open(80) && !narrow.may_open(82));
        assert_eq!(narrow.listen_on("", 5), Some(Bind::Localhost(5)));
        assert_eq!(narrow.listen_on("0.0.0.0", 5), None);
        assert_eq!(narrow.listen_on("", 6), None);
        // Each step takes away, none gives back.
        let twice = narrow.narrow_open([to("*:81"), to("*:82")]);
        assert!(
            opens(&twice, "127.0.0.1:81") && !opens(&twice, "127.0.0.1:80") && !opens(&twice, "127.0.0.1:82")
        );
        let none = policy.narrow_open([]).narrow_listen([]);
        assert!(!opens(&none, "127.0.0.1:80") && !none.may_open(80) && none.listen_on("", 5).is_none());
    }

    #[test]
    fn permissions_narrow_and_expire() {
        let all = ForwardPolicy::allow_all();
        let opens = |policy: &ForwardPolicy| policy.permits_open("x", "10.0.0.1:80".parse().unwrap());
        let listens = |policy: &ForwardPolicy| policy.listen_on("localhost", 80).is_some();
        let hour = std::time::Duration::from_secs(3600);
        let mut permissions = Permissions::default();
        assert!(opens(&all.clone().limited_to(&permissions)));
        permissions.permit_open = Some(vec!["10.0.0.2:80".parse().unwrap()]);
        permissions.expires = Some(wall_clock() + hour);
        let limited = all.clone().limited_to(&permissions);
        assert!(!opens(&limited) && listens(&limited));
        permissions = Permissions::default();
        permissions.permit_listen = Some(Vec::new());
        let limited = all.clone().limited_to(&permissions);
        assert!(opens(&limited) && !listens(&limited));
        let limited = all.clone().limited_to(&Permissions::restricted());
        assert!(!opens(&limited) && !listens(&limited));
        permissions = Permissions::default();
        permissions.expires = Some(wall_clock() - hour);
        let limited = all.limited_to(&permissions);
        assert!(!opens(&limited) && !listens(&limited) && !limited.may_open(80) && limited.has_expired());
    }
}
