//! One side of a session as a value. Each module holds what the engine does for one part of the protocol.

mod channels;
mod custom;
mod dispatch;
mod ending;
mod key_exchange;
mod login;
mod output;
mod reconnect;
mod time;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use reconnect::{Claim, Resumption, Stream, Waiting};

use crate::config::Common;
use crate::connection_info::{Addresses, ConnectionInfo, SessionId};
use crate::error::Error;
use crate::keys::{HostKey, PublicKey, SigningKey};
use crate::metrics::SessionMetrics;
use crate::progress::{Progress, Stages};
use crate::protocol::auth::{
    AuthReply, Authenticated, ClientAuth, RefusedAttempt, ServerAttempt, ServerAuth,
};
use crate::protocol::connection::Connection;
use crate::protocol::reconnect::trailer::TrailerForm;
use crate::protocol::reconnect::{Extensions, SessionIndex};
use crate::protocol::transport::ident::OUR_IDENT;
use crate::protocol::transport::inbound::{Inbound, NextOpener};
use crate::protocol::transport::kex::{Kex, Negotiated};
use crate::protocol::transport::outbound::Outbound;
use crate::protocol::transport::rekey::RekeyPolicy;
use crate::protocol::{PeerVersion, Role};
use crate::trace::tell;

pub use reconnect::LinkEvent;
use time::KeepAlive;

/// One side of a session, without its stream.
///
/// The driver feeds it what [`Inbound`] yields, sends what [`take_output`](Self::take_output) gives, acts on
/// [`poll_event`](Self::poll_event), and calls [`handle_timeout`](Self::handle_timeout) at
/// [`poll_timeout`](Self::poll_timeout). After a failed call the session is over; the last output holds
/// SSH_MSG_DISCONNECT.
pub struct Engine {
    role: Role,
    common: Arc<Common>,
    transport: Transport,
    auth: Auth,
    connection: Connection,
    addresses: Addresses,
    events: VecDeque<Event>,
    next_opener: Option<NextOpener>,
    /// Why the session is over.
    ended: Option<Error>,
    login_deadline: Option<Instant>,
    keepalive: KeepAlive,
    /// What went through the streams before this one.
    earlier: SessionMetrics,
    custom: custom::Custom,
    /// What the peer's EXT_INFO listed, with its values; `None` until it came.
    peer_extensions: Option<Vec<(Box<str>, Bytes)>>,
    /// The server's `server-sig-algs` (RFC 8308 §3.1), if it sent any.
    server_sig_algs: Option<Vec<String>>,
    stream: Stream,
    /// What the session needs to outlive its stream; `None` if that is not offered, or not shared by the peer.
    resumption: Option<Box<Resumption>>,
    /// Packets that came for the session which this connection is going to carry.
    waiting: Option<Box<Waiting>>,
    link_events: VecDeque<LinkEvent>,
    stages: Stages,
    generation: u64,
}

/// Keys, payloads and session ids stay out of logs.
impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("role", &self.role).field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// What dies with the stream.
#[derive(Debug)]
struct Transport {
    out: Outbound,
    kex: Kex,
    rekey: RekeyPolicy,
    put_off: Option<key_exchange::PutOff>,
    /// Packets and bytes received since the stream began.
    packets: u64,
    bytes: u64,
    ident_seen: bool,
    /// What the peer's EXT_INFO lists, once it has come.
    extensions: Option<Extensions>,
    /// What the peer's payloads end in.
    incoming: Option<TrailerForm>,
}

/// How far authentication is. The connection protocol asks for the proof that only `Done` holds.
#[derive(Debug)]
enum Auth {
    Client(ClientAuth),
    Server(ServerAuth),
    /// Client: there is no login; the connection is to carry a session that has had one.
    Claim(Box<Claim>),
    Done(Authenticated),
}

/// What the engine wants the driver to know or decide.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Client: the server holds this host key. Nothing is sent for authentication before
    /// [`Engine::accept_host_key`].
    HostKey(HostKey),
    /// Client: [`Engine::auth_request`] may be called.
    AuthReady,
    /// Client: the answer to the last attempt.
    AuthReply(AuthReply),
    /// Client: what the server wants the user to read before the login (RFC 4252 §5.4). Control characters but line
    /// feeds are escaped, and it is cut at about 8 KiB and 100 lines.
    Banner(String),
    /// Server, if it is [asked](Engine::ask_auth_methods): say with [`Engine::auth_begin`] what this user may try.
    AuthBegin(String),
    /// Server: decide with [`Engine::auth_answer`].
    AuthAttempt(ServerAttempt),
    /// Server: an attempt was refused without asking.
    AuthRefused(RefusedAttempt),
    /// Server: the peer asks to have this connection carry an older session. Decide with
    /// [`Engine::hand_over`] or [`Engine::refuse_resume`]; until then nothing that comes is looked at. An Adit
    /// client says where the session is found.
    ResumeRequested(Option<SessionIndex>),
    /// Channels and requests may come and go.
    Authenticated,
}

impl Engine {
    /// A client's engine and its receiving half.
    ///
    /// # Errors
    /// [`ApiMisuse::Algorithms`](crate::error::ApiMisuse::Algorithms) if nothing can be offered, or no randomness.
    pub fn client(common: Common, user: String, now: Instant) -> Result<(Self, Inbound), Error> {
        Self::new(Role::Client, common, Arc::new([]), now, |_| Auth::Client(ClientAuth::new(user)))
    }

    /// A server's engine and its receiving half. `methods` is what FAILURE offers.
    ///
    /// # Errors
    /// As for [`client`](Self::client).
    pub fn server(
        common: Common,
        host_keys: Arc<[SigningKey]>,
        methods: &[&str],
        now: Instant,
    ) -> Result<(Self, Inbound), Error> {
        Self::new(Role::Server, common, host_keys, now, |common| {
            Auth::Server(ServerAuth::new(Arc::clone(common), methods))
        })
    }

    fn new(
        role: Role,
        mut common: Common,
        host_keys: Arc<[SigningKey]>,
        now: Instant,
        auth: impl FnOnce(&Arc<Common>) -> Auth,
    ) -> Result<(Self, Inbound), Error> {
        common.algorithms = common.algorithms.supported_by(common.provider)?;
        let common = Arc::new(common);
        let mut inbound = Inbound::new(role, common.limits.packet_bytes);
        if common.algorithms.is_insecure() {
            inbound = inbound.without_security();
        }
        let mut out = Outbound::new(common.provider.random)?;
        out.trace_channel_data = common.limits.trace_channel_data;
        tell!(SessionConnecting, ?role, "connecting");
        let mut kex = Kex::new(role, Arc::clone(&common), host_keys);
        kex.start(&mut out, now)?;
        let mut stages = Stages::default();
        stages.pass(Progress::OpeningSshSessionConnection);
        stages.pass(Progress::StartingProtocolVersionExchange);
        let engine = Self {
            role,
            auth: auth(&common),
            transport: Transport {
                out,
                kex,
                rekey: RekeyPolicy::new(&common.limits, now),
                put_off: None,
                packets: 0,
                bytes: 0,
                ident_seen: false,
                extensions: None,
                incoming: None,
            },
            connection: Connection::new(Arc::clone(&common), now),
            addresses: Addresses::default(),
            events: VecDeque::new(),
            next_opener: None,
            ended: None,
            login_deadline: now.checked_add(common.limits.login),
            keepalive: KeepAlive::new(now),
            earlier: SessionMetrics::default(),
            server_sig_algs: None,
            stream: Stream::Attached,
            resumption: None,
            waiting: None,
            link_events: VecDeque::new(),
            stages,
            generation: 0,
            peer_extensions: None,
            custom: custom::Custom::default(),
            common,
        };
        Ok((engine, inbound))
    }

    // ---- Input --------------------------------------------------------------------------------------

    /// The peer's version line.
    pub fn handle_ident(&mut self, version: PeerVersion) {
        tell!(ProtocolVersion, version = version.as_str(), "peer version");
        if version.is_dev_tunnels() {
            self.transport.rekey.be_last_resort();
            if let Auth::Server(auth) = &mut self.auth {
                auth.put_flags_last();
            }
        }
        self.transport.ident_seen = true;
        self.stages.pass(Progress::CompletedProtocolVersionExchange);
        self.stages.pass(Progress::StartingKeyExchange);
        if self.ended.is_none() {
            let Transport { kex, out, .. } = &mut self.transport;
            let said = kex.set_peer_version(version, out);
            // It has ended the session then, which the next call says.
            let _ = self.fatal(said);
        }
    }

    // ---- Facts --------------------------------------------------------------------------------------

    /// The algorithms of the last key exchange.
    #[must_use]
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.transport.kex.negotiated()
    }

    /// Whether the exchange is protected against packets cut out before it (OpenSSH PROTOCOL §1.9).
    #[must_use]
    pub fn is_strict_kex(&self) -> bool {
        self.transport.kex.is_strict()
    }

    /// The server's host key, on a client, once it has proved that it holds it.
    #[must_use]
    pub fn host_key(&self) -> Option<&PublicKey> {
        self.transport.kex.host_key()
    }

    /// The peer's version line.
    #[must_use]
    pub fn peer_version(&self) -> Option<&PeerVersion> {
        self.transport.kex.peer_version()
    }

    /// Whether the peer is the [Go library of Dev Tunnels](PeerVersion::is_dev_tunnels_go).
    #[must_use]
    pub fn peer_is_dev_tunnels_go(&self) -> bool {
        self.peer_version().is_some_and(PeerVersion::is_dev_tunnels_go)
    }

    /// Where both ends are, for [`connection_info`](Self::connection_info).
    pub fn set_addresses(&mut self, addresses: Addresses) {
        self.addresses = addresses;
    }

    /// What is known of the connection. Its session id and algorithms are there once the first key exchange is done.
    #[must_use]
    pub fn connection_info(&self) -> ConnectionInfo {
        let kex = &self.transport.kex;
        let theirs: Arc<str> = kex.peer_version().map_or("", PeerVersion::as_str).into();
        let (client_version, server_version) = match self.role {
            Role::Client => (OUR_IDENT.into(), theirs),
            Role::Server => (theirs, OUR_IDENT.into()),
        };
        ConnectionInfo {
            role: self.role,
            session_id: SessionId::new(kex.session_id().unwrap_or_default()),
            client_version,
            server_version,
            addresses: self.addresses,
            algorithms: kex.negotiated().copied(),
            strict_kex: kex.is_strict(),
            host_key: kex.host_key().cloned(),
        }
    }

    /// The names of the signature algorithms that the server takes, as far as it said (RFC 8308 §3.1).
    #[must_use]
    pub fn server_sig_algs(&self) -> Option<&[String]> {
        self.server_sig_algs.as_deref()
    }

    /// Channels that are open or being opened.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.connection.channels()
    }
}

#[cfg(all(test, feature = "rustcrypto"))]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests;
