//! What a peer may make us connect to and listen on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use super::bind::Bind;
use super::dial::{Resolver, SystemResolver};
use super::permit::{PermitListen, PermitTarget};
use super::permit_path::PermitPath;
use crate::server::Permissions;

/// What the peer may ask of us. Unless it is said otherwise, nothing.
///
/// The policy speaks of *addresses*: a name in a peer's request is resolved once, each address is checked, and the very
/// address that was checked is connected to. What this side asks of the peer needs no permission here.
#[derive(Debug, Clone)]
pub struct ForwardPolicy {
    open: Vec<PermitTarget>,
    listen: Vec<PermitListen>,
    open_sockets: Vec<PermitPath>,
    listen_sockets: Vec<PermitPath>,
    /// What the peer's own permissions leave of that.
    principal: Limited,
    pub(super) resolver: Arc<dyn Resolver>,
    pub(super) max_listeners: usize,
    pub(super) max_connections: usize,
}

/// The permissions of a principal; each limit applies beside the policy.
#[derive(Debug, Clone, Default)]
struct Limited {
    open: Option<Vec<PermitTarget>>,
    listen: Option<Vec<PermitListen>>,
    expires: Option<SystemTime>,
}

impl Limited {
    #[expect(clippy::disallowed_methods, reason = "permissions end by the wall clock")]
    fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= SystemTime::now())
    }
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
            open_sockets: Vec::new(),
            listen_sockets: Vec::new(),
            principal: Limited::default(),
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

    /// Lets the peer connect to these Unix sockets too (`direct-streamlocal@openssh.com`). No other permit includes one.
    #[must_use]
    pub fn permit_open_socket(mut self, path: PermitPath) -> Self {
        self.open_sockets.push(path);
        self
    }

    /// Lets the peer listen on these Unix sockets too (`streamlocal-forward@openssh.com`). No other permit includes one.
    #[must_use]
    pub fn permit_listen_socket(mut self, path: PermitPath) -> Self {
        self.listen_sockets.push(path);
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

    /// What is left of the policy for somebody with these permissions. They can only take from it.
    /// [`PortForwarding`](super::PortForwarding) does it for the session's
    /// [principal](crate::session::Session::principal) by itself.
    #[must_use]
    pub fn for_permissions(mut self, permissions: &Permissions) -> Self {
        let none = !permissions.port_forwarding;
        self.principal = Limited {
            open: if none { Some(Vec::new()) } else { permissions.permit_open.clone() },
            listen: if none { Some(Vec::new()) } else { permissions.permit_listen.clone() },
            expires: permissions.expires,
        };
        self
    }

    /// Whether the permissions of the peer's login are over.
    pub(super) fn has_expired(&self) -> bool {
        self.principal.has_expired()
    }

    /// Whether a target is worth resolving: no permit can be met if none names the port.
    pub(super) fn may_open(&self, port: u16) -> bool {
        let names = |permits: &Vec<PermitTarget>| permits.iter().any(|permit| permit.admits_port(port));
        names(&self.open) && self.principal.open.as_ref().is_none_or(names) && !self.principal.has_expired()
    }

    /// Whether the peer may connect to `address`, which is what the `host` of its request was resolved to.
    #[must_use]
    pub fn permits_open(&self, host: &str, address: SocketAddr) -> bool {
        let admits = |permits: &Vec<PermitTarget>| permits.iter().any(|permit| permit.admits(host, address));
        admits(&self.open) && self.principal.open.as_ref().is_none_or(admits) && !self.principal.has_expired()
    }

    /// Whether the peer may connect to a Unix socket. A principal that is limited to some targets is limited to those.
    #[must_use]
    pub fn permits_open_socket(&self, path: &str) -> bool {
        let unlimited = self.principal.open.is_none() && !self.principal.has_expired();
        unlimited && self.open_sockets.iter().any(|permit| permit.admits(path))
    }

    /// Whether the peer may make us listen on a Unix socket. A principal that is limited to some ports is limited to those.
    #[must_use]
    pub fn permits_listen_socket(&self, path: &str) -> bool {
        let unlimited = self.principal.listen.is_none() && !self.principal.has_expired();
        unlimited && self.listen_sockets.iter().any(|permit| permit.admits(path))
    }

    /// Where to listen for a request, if that is permitted (RFC 4254 §7.1). An empty host means all interfaces, or
    /// just localhost if that is all that is permitted. Names other than `localhost` are not resolved for a peer.
    pub(super) fn listen_on(&self, host: &str, port: u16) -> Option<Bind> {
        let permits = |bind: &Bind| {
            let admits = |permits: &Vec<PermitListen>| permits.iter().any(|permit| permit.admits(bind));
            admits(&self.listen)
                && self.principal.listen.as_ref().is_none_or(admits)
                && !self.principal.has_expired()
        };
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
            ("any", "x", "[64:ff9b:1::a9fe:a9fe]:80", false),
            ("any", "x", "[2002:a9fe:a9fe::1]:80", false),
            ("any", "x", "[2002:0a00:0001::1]:80", true),
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
    fn permissions_take_and_never_add() {
        let address = |text: &str| text.parse().unwrap();
        let policy = ForwardPolicy::deny_all()
            .permit_open("127.0.0.1:*".parse().unwrap())
            .permit_listen(PermitListen::loopback());
        let local = |port| Some(Bind::Localhost(port));

        let all = policy.clone().for_permissions(&Permissions::default());
        assert!(all.may_open(80) && all.permits_open("x", address("127.0.0.1:80")));
        assert_eq!(all.listen_on("localhost", 5), local(5));

        let none = policy.clone().for_permissions(&Permissions::restricted());
        assert!(!none.may_open(80) && !none.permits_open("x", address("127.0.0.1:80")));
        assert_eq!(none.listen_on("localhost", 5), None);

        let some = Permissions {
            permit_open: Some(vec!["127.0.0.1:80".parse().unwrap(), "10.0.0.1:80".parse().unwrap()]),
            permit_listen: Some(vec!["localhost:5".parse().unwrap(), "0.0.0.0:5".parse().unwrap()]),
            ..Permissions::default()
        };
        let limited = policy.clone().for_permissions(&some);
        assert!(limited.may_open(80) && !limited.may_open(81));
        assert!(limited.permits_open("x", address("127.0.0.1:80")));
        // Not beyond the policy.
        assert!(!limited.permits_open("x", address("10.0.0.1:80")));
        assert_eq!((limited.listen_on("localhost", 5), limited.listen_on("localhost", 6)), (local(5), None));
        assert_eq!(limited.listen_on("0.0.0.0", 5), None);

        for (expires, open) in [(SystemTime::UNIX_EPOCH, false), (far_future(), true)] {
            let expiring = Permissions { expires: Some(expires), ..Permissions::default() };
            let policy = policy.clone().for_permissions(&expiring);
            assert_eq!(policy.permits_open("x", address("127.0.0.1:80")), open);
            assert_eq!(policy.listen_on("localhost", 5).is_some(), open);
        }
    }

    #[test]
    fn sockets_need_permits_of_their_own() {
        let all = ForwardPolicy::allow_all();
        assert!(!all.permits_open_socket("/run/s") && !all.permits_listen_socket("/run/s"));
        let policy = ForwardPolicy::deny_all()
            .permit_open_socket("/run/s".parse().unwrap())
            .permit_listen_socket("/run/l/*".parse().unwrap());
        assert!(policy.permits_open_socket("/run/s") && !policy.permits_listen_socket("/run/s"));
        assert!(policy.permits_listen_socket("/run/l/x") && !policy.permits_open_socket("/run/l/x"));
        let limited = Permissions { permit_open: Some(vec![PermitTarget::any()]), ..Permissions::default() };
        let limited = policy.clone().for_permissions(&limited);
        assert!(!limited.permits_open_socket("/run/s") && limited.permits_listen_socket("/run/l/x"));
        let none = policy.for_permissions(&Permissions::restricted());
        assert!(!none.permits_open_socket("/run/s") && !none.permits_listen_socket("/run/l/x"));
    }

    fn far_future() -> SystemTime {
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1 << 34)
    }
}
