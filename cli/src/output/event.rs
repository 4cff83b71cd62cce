//! What there is to say, as a line for people and as an object for scripts.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use crate::error::without_lost;
use crate::lines::Weight;

/// What happened. In JSON the variant's name is the field `event`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// `serve` or `relay` takes connections.
    Listening {
        addr: String,
        /// How a relay is reached from outside.
        #[serde(skip_serializing_if = "Option::is_none")]
        public_url: Option<String>,
    },
    /// Where the operator's secret of a relay is.
    AdminToken { file: String, made: bool },
    /// A token was made or looked at.
    Token {
        #[serde(skip_serializing_if = "Option::is_none")]
        token: Option<&'a str>,
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        tunnel: Option<&'a str>,
        scopes: &'a str,
        subject: &'a str,
        expires: String,
    },
    /// A tunnel, as the relay shows it.
    Tunnel { tunnel: &'a serde_json::Value },
    /// A port of a tunnel.
    Port { port: &'a serde_json::Value },
    /// Who may use a tunnel.
    Access { tunnel: &'a str, entries: &'a [serde_json::Value] },
    /// What was asked for is done.
    Done { what: String },
    /// A forward takes connections.
    Forward {
        kind: Kind,
        listen: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
    },
    /// All forwards are there.
    Ready { kex: &'a str, cipher: &'a str, host_key: String, peer: &'a str },
    /// A tunnel is hosted.
    #[serde(rename = "ready")]
    Hosted { link: &'a str, tunnel: &'a str, ports: &'a [u16], management_uri: &'a str },
    /// The ports of a host are here.
    #[serde(rename = "ready")]
    Connected { ports: Vec<PortEvent> },
    /// The host at the other end, and how it is talked to.
    HostKey { fingerprint: String, pinned: bool, kex: &'a str, cipher: &'a str },
    /// Another port of the host is here.
    PortAdded(PortEvent),
    /// One is no more.
    PortRemoved(PortEvent),
    /// One that has come later cannot be here.
    PortFailed { remote: u16, local: SocketAddr, reason: String },
    /// The ports that a host offers from now on.
    Ports { ports: &'a [u16] },
    /// A client has come to a host.
    ClientConnected { client: u64 },
    /// It has gone for good.
    ClientGone { client: u64, reason: String },
    /// A first contact was taken down.
    HostKeyAdded { host: &'a str, host_key: String, file: String },
    /// A connection over a forward was refused; nothing else is touched.
    Refused { message: String },
    /// What the server wants the user to read before the login.
    Banner { text: &'a str },
    /// Something to know that ends nothing.
    Warning { message: String },
    /// Somebody logged in.
    LoggedIn {
        user: String,
        from: String,
        /// How, in order.
        methods: Vec<String>,
        /// Fingerprints of the keys that were used.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        keys: Vec<String>,
    },
    /// Somebody tried to log in and was refused; the peer is not told why.
    LoginFailed { user: String, from: String, method: String, reason: String },
    /// The end of a session, or of an attempt to have one.
    LoggedOut { from: String, reason: String },
    /// A key was made or looked at.
    Key {
        #[serde(rename = "type")]
        kind: &'a str,
        bits: usize,
        fingerprint: String,
        comment: String,
        file: String,
    },
    /// A certificate was made or looked at.
    Certificate {
        #[serde(rename = "type")]
        kind: &'a str,
        /// `user` or `host`.
        about: &'a str,
        fingerprint: String,
        authority: String,
        id: String,
        serial: u64,
        principals: Vec<String>,
        /// Seconds since 1970.
        valid_after: u64,
        valid_before: u64,
        critical_options: Vec<String>,
        extensions: Vec<String>,
        file: String,
    },
    /// A password was hashed.
    PasswordHash { hash: &'a str },
    /// The connection under a session was lost.
    Disconnected {
        /// Whose, on a server.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        reason: String,
        /// Whether the session goes on once there is another connection.
        resumable: bool,
    },
    /// Another connection is tried for, after a delay.
    Reconnecting {
        /// From 1 since the last one was lost.
        attempt: u32,
        delay_ms: u64,
        /// Why the attempt before has failed, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// There is another connection, and the forwards are there.
    Resumed {
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// Whether it took a new login, so that what was open is lost.
        new_session: bool,
        /// Left out where it is not known.
        #[serde(skip_serializing_if = "Option::is_none")]
        streams_lost: Option<usize>,
    },
    /// The clean end.
    Closed { reason: &'a str },
    /// The other end; or a file that is read again cannot be used, which ends nothing.
    Error { code: &'a str, message: &'a str },
}

/// A port of a host and where it is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct PortEvent {
    pub(crate) remote: u16,
    pub(crate) local: std::net::SocketAddr,
    /// Why it has not the same number, as it would have by itself. For people: programs see it by the numbers.
    #[serde(skip)]
    pub(crate) elsewhere: Option<Elsewhere>,
}

/// Why a port is not where it would be by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// Somebody listens there.
    Taken,
    /// The host's own program is to listen there.
    Beside,
}

/// Which way a forward goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Local,
    Remote,
    Dynamic,
}

impl Event<'_> {
    /// Whether it is only what was to be expected.
    pub(super) fn is_progress(&self) -> bool {
        matches!(
            self,
            Self::Banner { .. }
                | Self::Forward { .. }
                | Self::Ready { .. }
                | Self::Connected { .. }
                | Self::HostKey { .. }
                | Self::Reconnecting { .. }
                | Self::Closed { .. }
        )
    }

    /// A peer can cause any number of the light ones.
    pub(super) fn weight(&self) -> Weight {
        match self {
            Self::Banner { .. }
            | Self::Refused { .. }
            | Self::HostKey { .. }
            | Self::PortAdded(_)
            | Self::PortRemoved(_)
            | Self::PortFailed { .. }
            | Self::ClientConnected { .. }
            | Self::ClientGone { .. }
            | Self::Warning { .. }
            | Self::LoggedIn { .. }
            | Self::LoginFailed { .. }
            | Self::LoggedOut { .. }
            | Self::Disconnected { .. }
            | Self::Reconnecting { .. }
            | Self::Resumed { .. } => Weight::Light,
            Self::Listening { .. }
            | Self::AdminToken { .. }
            | Self::Token { .. }
            | Self::Tunnel { .. }
            | Self::Port { .. }
            | Self::Access { .. }
            | Self::Done { .. }
            | Self::Forward { .. }
            | Self::Ready { .. }
            | Self::Hosted { .. }
            | Self::Ports { .. }
            | Self::Connected { .. }
            | Self::HostKeyAdded { .. }
            | Self::Key { .. }
            | Self::PasswordHash { .. }
            | Self::Closed { .. }
            | Self::Certificate { .. }
            | Self::Error { .. } => Weight::Heavy,
        }
    }
}

/// A peer's lines, each marked, so that none can be taken for one of ours.
pub(crate) fn quoted(text: &str) -> String {
    let lines: Vec<String> = text.trim_end().lines().map(|line| format!("| {line}")).collect();
    lines.join("\n")
}

fn list(ports: &[u16]) -> String {
    match ports {
        [] => "no port".into(),
        _ => ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
    }
}

pub(super) fn json(event: &Event<'_>) -> String {
    serde_json::to_string(event).unwrap_or_default()
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { addr, public_url: None } => write!(f, "adit: listening on {addr}"),
            Self::Listening { addr, public_url: Some(url) } => {
                write!(f, "adit: listening on {addr} as {url}")
            }
            Self::AdminToken { file, made: true } => {
                write!(f, "adit: made a token for the relay's operator, in {file}")
            }
            Self::AdminToken { file, made: false } => write!(f, "adit: the operator's token is in {file}"),
            Self::Done { what } => write!(f, "adit: {what}"),
            // For scripts; people get the text on stdout.
            Self::Token { id, .. } => write!(f, "adit: token {id}"),
            Self::Tunnel { tunnel } => write!(f, "{tunnel}"),
            Self::Port { port } => write!(f, "{port}"),
            Self::Access { tunnel, .. } => write!(f, "adit: rules of {tunnel}"),
            Self::Forward { kind, listen, target } => match (kind, target) {
                (Kind::Local, Some(target)) => write!(f, "adit: {listen} leads to {target}"),
                (Kind::Remote, Some(target)) => {
                    write!(f, "adit: {listen} at the server leads to {target} here")
                }
                (Kind::Remote, None) => {
                    write!(
                        f,
                        "adit: {listen} at the server is a SOCKS and HTTP proxy that connects from here"
                    )
                }
                (_, None) | (Kind::Dynamic, _) => write!(f, "adit: {listen} is a SOCKS and HTTP proxy"),
            },
            Self::Ready { kex, cipher, host_key, peer } => {
                write!(f, "adit: connected to {peer} ({kex}, {cipher}, host key {host_key})")
            }
            Self::Hosted { tunnel, ports, management_uri, .. } => {
                write!(f, "adit: tunnel {tunnel} at {management_uri} offers {}", list(ports))
            }
            Self::Ports { ports } => write!(f, "adit: the tunnel now offers {}", list(ports)),
            Self::Connected { ports } if ports.is_empty() => {
                f.write_str("adit: connected; the host offers no port now")
            }
            Self::Connected { ports } => {
                let lines: Vec<String> = ports.iter().map(|port| format!("adit: {port}")).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::HostKey { fingerprint, pinned, kex, cipher } => {
                let word = if *pinned { "as the link says" } else { "which nobody has checked" };
                write!(f, "adit: connected to the host with key {fingerprint}, {word} ({kex}, {cipher})")
            }
            Self::PortAdded(port) => write!(f, "adit: {port}"),
            Self::PortRemoved(port) => {
                write!(f, "adit: port {} of the host is no longer offered", port.remote)
            }
            Self::PortFailed { remote, local, reason } => write!(
                f,
                "adit: cannot listen on {local} for port {remote} of the host: {reason}; it is tried again when the host's ports change"
            ),
            Self::ClientConnected { client } => write!(f, "adit: client {client} has connected"),
            Self::ClientGone { client, reason } => write!(f, "adit: client {client} is gone: {reason}"),
            Self::HostKeyAdded { host, host_key, file } => {
                write!(f, "adit: added the host key {host_key} of {host} to {file}")
            }
            Self::Refused { message } => write!(f, "adit: {message}"),
            Self::Banner { text } => f.write_str(&quoted(text)),
            Self::Warning { message } => write!(f, "adit: warning: {message}"),
            Self::LoggedIn { user, from, methods, keys } => {
                write!(f, "adit: {user} logged in from {from} by {}", methods.join(" and "))?;
                keys.iter().try_for_each(|key| write!(f, " {key}"))
            }
            Self::LoginFailed { user, from, method, reason } => {
                write!(f, "adit: {user} was refused a login from {from} by {method}: {reason}")
            }
            Self::LoggedOut { from, reason } => write!(f, "adit: {from} is gone: {reason}"),
            Self::Key { kind, bits, fingerprint, comment, file } => {
                write!(f, "adit: {file} holds the {kind} key {fingerprint} of {bits} bits")?;
                if comment.is_empty() { Ok(()) } else { write!(f, ", {comment}") }
            }
            Self::Certificate { about, fingerprint, authority, principals, file, .. } => write!(
                f,
                "adit: {file} certifies {fingerprint} for the {about} {}, signed by {authority}",
                principals.join(", ")
            ),
            Self::PasswordHash { hash } => f.write_str(hash),
            Self::Disconnected { from: Some(from), reason, .. } => {
                write!(f, "adit: the connection from {from} was lost: {reason}; its session waits")
            }
            Self::Disconnected { from: None, reason, resumable: true } => {
                write!(
                    f,
                    "adit: the connection was lost: {}; streams wait until there is another",
                    without_lost(reason)
                )
            }
            Self::Disconnected { from: None, reason, resumable: false } => {
                write!(
                    f,
                    "adit: the connection was lost: {}; open streams have ended, connecting again",
                    without_lost(reason)
                )
            }
            Self::Reconnecting { attempt, delay_ms, reason: None } => {
                write!(f, "adit: connecting again in {delay_ms} ms (attempt {attempt})")
            }
            Self::Reconnecting { attempt, delay_ms, reason: Some(reason) } => {
                write!(f, "adit: connecting again in {delay_ms} ms (attempt {attempt}): {reason}")
            }
            Self::Resumed { from: Some(from), .. } => write!(f, "adit: the session of {from} goes on"),
            Self::Resumed { new_session: false, .. } => {
                f.write_str("adit: connected again, nothing was lost")
            }
            Self::Resumed { streams_lost: None, .. } => {
                f.write_str("adit: connected again; connections that were open have ended")
            }
            Self::Resumed { streams_lost: Some(0), .. } => {
                f.write_str("adit: logged in again, no stream was open")
            }
            Self::Resumed { streams_lost: Some(streams_lost), .. } => write!(
                f,
                "adit: logged in again; {streams_lost} open {} lost",
                if *streams_lost == 1 { "stream was" } else { "streams were" }
            ),
            Self::Closed { reason } => write!(f, "adit: closed: {reason}"),
            Self::Error { message, .. } => write!(f, "adit: {message}"),
        }
    }
}

impl fmt::Display for PortEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leads to port {} of the host", self.local, self.remote)?;
        match self.elsewhere {
            None => Ok(()),
            Some(Elsewhere::Taken) => write!(f, " ({} is taken here)", self.remote),
            Some(Elsewhere::Beside) => write!(f, " (the host is on this machine)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_look_as_documented() {
        let forward = Event::Forward {
            kind: Kind::Local,
            listen: "127.0.0.1:1".into(),
            target: Some("db:5432".into()),
        };
        for (event, expected) in [
            (
                Event::Listening { addr: "127.0.0.1:2222".into(), public_url: None },
                r#"{"event":"listening","addr":"127.0.0.1:2222"}"#,
            ),
            (forward, r#"{"event":"forward","kind":"local","listen":"127.0.0.1:1","target":"db:5432"}"#),
            (
                Event::Error { code: "auth", message: "no" },
                r#"{"event":"error","code":"auth","message":"no"}"#,
            ),
            (
                Event::Disconnected { from: None, reason: "end of stream".into(), resumable: true },
                r#"{"event":"disconnected","reason":"end of stream","resumable":true}"#,
            ),
            (
                Event::Reconnecting { attempt: 2, delay_ms: 150, reason: None },
                r#"{"event":"reconnecting","attempt":2,"delay_ms":150}"#,
            ),
            (
                Event::Reconnecting { attempt: 3, delay_ms: 150, reason: Some("no relay".into()) },
                r#"{"event":"reconnecting","attempt":3,"delay_ms":150,"reason":"no relay"}"#,
            ),
            (
                Event::Resumed { from: None, new_session: true, streams_lost: Some(3) },
                r#"{"event":"resumed","new_session":true,"streams_lost":3}"#,
            ),
            (Event::Closed { reason: "SIGTERM" }, r#"{"event":"closed","reason":"SIGTERM"}"#),
        ] {
            assert_eq!(json(&event), expected);
        }
    }

    #[test]
    fn no_line_of_a_server_looks_like_one_of_ours() {
        let banner = Event::Banner { text: "Welcome\n\nadit: connected to bank\n" };
        assert_eq!(banner.to_string(), "| Welcome\n| \n| adit: connected to bank");
        assert_eq!(json(&banner), r#"{"event":"banner","text":"Welcome\n\nadit: connected to bank\n"}"#);
    }
}
