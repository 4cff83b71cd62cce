mod channels;
mod custom;
mod reconnect;

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use zeroize::{Zeroize as _, Zeroizing};

use crate::config::Common;
use crate::connection_info::{Addresses, ConnectionInfo, SessionId};
use crate::error::{ApiMisuse, Error, PeerMisbehaved, ReconnectFailure, Timeout, escape_text};
use crate::keys::{HostKey, PublicKey, SigningKey};
use crate::metrics::SessionMetrics;
use crate::protocol::auth::{
    AuthAnswer, AuthReply, Authenticated, ClientAuth, ClientAuthRequest, ClientProgress, Method,
    RefusedAttempt, ServerAttempt, ServerAuth, ServerProgress, ToSign,
};
use crate::protocol::connection::{Connection, KEEPALIVE};
use crate::protocol::messages::{
    Disconnect, ExtInfo, GlobalRequest, OptionalText, Phase, RequestFailure, Rest, Unimplemented, phase,
};
use crate::protocol::reconnect::trailer::{Trailer, TrailerForm};
use crate::protocol::reconnect::{Extensions, SessionIndex, is_enable, is_reconnect, put_ext_info};
use crate::protocol::transport::ident::OUR_IDENT;
use crate::protocol::transport::inbound::{Inbound, NextOpener, Packet};
use crate::protocol::transport::kex::{Kex, KexProgress, Negotiated};
use crate::protocol::transport::outbound::{HIGH_BATCH, Outbound};
use crate::protocol::transport::rekey::RekeyPolicy;
use crate::protocol::wire::{Reader, WireError};
use crate::protocol::{PeerVersion, Role};
use crate::trace::TraceEvent;
pub use reconnect::LinkEvent;
use reconnect::{Claim, Resumption, Stream, Waiting};

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

/// The number of a failure that ends a session and has one of its own.
fn failure_event(error: &Error) -> Option<TraceEvent> {
    Some(match error {
        Error::HostKey(_) => TraceEvent::ServerAuthenticationFailed,
        Error::Auth(_) => TraceEvent::ClientAuthenticationFailed,
        Error::Timeout(Timeout::Login) | Error::PeerMisbehaved(PeerMisbehaved::TooManyAuthAttempts) => {
            TraceEvent::AuthenticationError
        }
        Error::Bug(_) => TraceEvent::UnknownError,
        _ => return None,
    })
}

const CHANNEL_DATA: u8 = 94;
const CHANNEL_EXTENDED_DATA: u8 = 95;

#[derive(Debug)]
struct KeepAlive {
    last_heard: Instant,
    /// Asked for in a row without an answer.
    unanswered: u32,
    /// Answered in a row.
    answered: u32,
}

impl KeepAlive {
    fn new(now: Instant) -> Self {
        Self { last_heard: now, unanswered: 0, answered: 0 }
    }
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

/// Taking this much output, in bytes, is a sign that the stream moves; a keepalive alone is not.
const REAL_BATCH: usize = 16 * 1024;

/// EXT_INFO may not hold more entries. OpenSSH sends three.
const MAX_EXT_INFO: u32 = 64;
/// Past this much output that the peer does not take, in bytes, the driver should stop reading from it.
/// Data alone never gets there, or two peers that both send much would each wait for the other to read.
const MAX_OUTPUT: usize = HIGH_BATCH + 64 * 1024 + 1024 * 1024;

impl Engine {
    /// A client's engine and its receiving half.
    ///
    /// # Errors
    /// [`ApiMisuse::Algorithms`] if nothing can be offered, or no randomness.
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
        let inbound = Inbound::new(role, common.limits.packet_bytes);
        let mut out = Outbound::new(common.provider.random)?;
        out.trace_channel_data = common.limits.trace_channel_data;
        tracing::debug!(event = TraceEvent::SessionConnecting.id(), ?role, "connecting");
        let mut kex = Kex::new(role, Arc::clone(&common), host_keys);
        // Behind the version line without waiting for the peer's, which saves a round trip.
        kex.start(&mut out, now)?;
        let engine = Self {
            role,
            auth: auth(&common),
            transport: Transport {
                out,
                kex,
                rekey: RekeyPolicy::new(&common.limits, now),
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
        tracing::debug!(event = TraceEvent::ProtocolVersion.id(), version = version.as_str(), "peer version");
        if version.is_dev_tunnels() {
            self.transport.rekey.be_last_resort();
            if let Auth::Server(auth) = &mut self.auth {
                auth.put_flags_last();
            }
        }
        self.transport.ident_seen = true;
        self.transport.kex.set_peer_version(version);
    }

    /// A packet. If it was NEWKEYS, [`take_opener`](Self::take_opener) then has the key for the next one.
    ///
    /// # Errors
    /// The session is over.
    pub fn handle_packet(&mut self, packet: Packet, now: Instant) -> Result<(), Error> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if let Stream::Detached(detached) = &self.stream {
            return Err(detached.cause.clone());
        }
        self.dispatch(packet, now).map_err(|error| {
            if !matches!(error, Error::Disconnected { .. }) {
                tracing::debug!(event = TraceEvent::HandleMessageFailed.id(), %error, "a message was not acted on");
            }
            self.fail(error, now)
        })
    }

    fn dispatch(&mut self, packet: Packet, now: Instant) -> Result<(), Error> {
        let Packet { mut payload, sequence, wire_len } = packet;
        self.on_sign_of_life(now);
        let is_first_packet = self.transport.packets == 0;
        self.transport.out.acks.on_received(self.transport.packets, wire_len, now);
        self.transport.packets = self.transport.packets.saturating_add(1);
        self.transport.bytes = self.transport.bytes.saturating_add(wire_len as u64);
        self.transport.rekey.on_received(wire_len);
        if let Some(form) = self.transport.incoming {
            let (len, trailer) = Trailer::split(&payload, form)?;
            payload.truncate(len);
            self.on_trailer(&trailer, now)?;
        }
        if self.waiting.is_some() && !is_enable(&payload) {
            return self.wait(payload, sequence);
        }
        self.route(payload, sequence, is_first_packet, now)?;
        self.say_how_far()?;
        self.maybe_rekey(now)
    }

    fn on_sign_of_life(&mut self, now: Instant) {
        let KeepAlive { unanswered, answered, .. } = self.keepalive;
        self.keepalive = KeepAlive { answered, ..KeepAlive::new(now) };
        // Anything that comes after a question is an answer.
        if unanswered > 0 {
            self.keepalive.answered = answered.saturating_add(1);
            self.link_events.push_back(LinkEvent::KeepAliveSucceeded(self.keepalive.answered));
        }
    }

    /// Acts on a message, its trailer gone.
    fn route(
        &mut self,
        mut payload: BytesMut,
        sequence: u32,
        is_first_packet: bool,
        now: Instant,
    ) -> Result<(), Error> {
        let number = payload.first().copied().unwrap_or_default();
        if !matches!(number, CHANNEL_DATA | CHANNEL_EXTENDED_DATA) {
            tracing::trace!(
                event = TraceEvent::ReceivingMessage.id(),
                number,
                len = payload.len(),
                "received"
            );
        } else if self.common.limits.trace_channel_data {
            tracing::trace!(
                event = TraceEvent::ReceivingChannelData.id(),
                number,
                len = payload.len(),
                "received"
            );
        }
        self.check_allowed(number)?;
        if number == GlobalRequest::NUMBER && self.resumption.is_some() {
            if is_enable(&payload) {
                return self.on_enable();
            }
            if is_reconnect(&payload) {
                return self.on_resume_request(&payload);
            }
        }
        self.count_received(&payload);
        match phase(number) {
            Phase::Connection => match self.auth {
                Auth::Done(proof) => {
                    self.transport.kex.on_earlier_message(now);
                    let payload = payload.freeze();
                    let out = &mut self.transport.out;
                    if !self.connection.handle(proof, &payload, now, out)? && !self.on_custom(&payload) {
                        self.unimplemented(sequence)?;
                    }
                }
                Auth::Claim(_) if self.is_claim_answer(number) => self.on_claim_answer(&payload)?,
                Auth::Client(_) | Auth::Server(_) | Auth::Claim(_) => self.on_pre_auth_request(&payload)?,
            },
            Phase::Transport => self.on_transport(&payload)?,
            Phase::Kex => self.on_kex(&payload, is_first_packet, now)?,
            Phase::ExtInfo => self.on_ext_info(&payload)?,
            Phase::Service | Phase::Auth => {
                let handled = self.on_auth(&payload, now);
                // It may have held a password.
                payload.as_mut().zeroize();
                handled?;
            }
            Phase::Unknown if matches!(self.auth, Auth::Done(_)) && self.on_custom(&payload) => {}
            Phase::Unknown => self.unimplemented(sequence)?,
        }
        Ok(())
    }

    /// What may come now (default deny). Before the first NEWKEYS only the exchange itself, and the transport's
    /// messages unless the exchange is strict; before authentication nothing of the connection protocol.
    fn check_allowed(&self, number: u8) -> Result<(), Error> {
        let limits = &self.common.limits;
        if !matches!(self.auth, Auth::Done(_))
            && (self.transport.packets > limits.pre_auth_packets
                || self.transport.bytes > limits.pre_auth_bytes)
        {
            return Err(PeerMisbehaved::PreAuthTraffic.into());
        }
        let kex = &self.transport.kex;
        if kex.is_first() {
            return match phase(number) {
                Phase::Kex => Ok(()),
                Phase::Transport if !kex.is_strict() || number == Disconnect::NUMBER => Ok(()),
                Phase::Transport => Err(PeerMisbehaved::StrictKex.into()),
                _ => Err(PeerMisbehaved::UnexpectedMessage(number).into()),
            };
        }
        // RFC 4253 §7.1: from its KEXINIT to its NEWKEYS a peer sends nothing but the exchange. Dev Tunnels' Go peers
        // go on with the connection protocol, which is borne.
        let not_in_exchange = matches!(phase(number), Phase::Service | Phase::ExtInfo | Phase::Auth);
        if not_in_exchange && kex.peer_is_exchanging() {
            return Err(PeerMisbehaved::UnexpectedMessage(number).into());
        }
        Ok(())
    }

    /// RFC 4252 §6: nothing above authentication may come before it. A keepalive alone is borne.
    fn on_pre_auth_request(&mut self, payload: &[u8]) -> Result<(), Error> {
        let number = payload.first().copied().unwrap_or_default();
        let refused = Error::from(PeerMisbehaved::NotAuthenticated(number));
        if number != GlobalRequest::NUMBER {
            return Err(refused);
        }
        let request = GlobalRequest::decode(payload)?;
        if request.name != KEEPALIVE {
            return Err(refused);
        }
        if request.want_reply {
            self.transport.out.send(|buffer| RequestFailure { fields: Rest(&[]) }.encode(buffer))?;
        }
        Ok(())
    }

    fn on_transport(&mut self, payload: &[u8]) -> Result<(), Error> {
        if payload.first() == Some(&Disconnect::NUMBER) {
            let message = Disconnect::decode(payload)?;
            return Err(Error::Disconnected {
                reason: crate::error::DisconnectReason(message.reason),
                text: escape_text(message.text).into(),
            });
        }
        // IGNORE, DEBUG and UNIMPLEMENTED ask for nothing.
        Ok(())
    }

    fn on_kex(&mut self, payload: &[u8], is_first_packet: bool, now: Instant) -> Result<(), Error> {
        let was_idle = self.transport.kex.is_idle();
        let progress = self.transport.kex.handle(payload, is_first_packet, &mut self.transport.out, now)?;
        match progress {
            KexProgress::Going => {}
            KexProgress::PeerStarted => {
                debug_assert!(was_idle);
                let authenticated = matches!(self.auth, Auth::Done(_));
                self.transport.rekey.on_peer_start(self.transport.out.since_key(), authenticated, now)?;
            }
            KexProgress::HostKey(key) => self.on_host_key(key)?,
            KexProgress::Insecure => self.on_authenticated(Authenticated::without_security()),
            KexProgress::Done { next, first } => {
                self.next_opener = Some(next);
                self.transport.rekey.on_keys(now);
                let ext_info =
                    (first && self.transport.kex.peer_takes_ext_info()).then(|| self.our_ext_info());
                self.transport.out.end_exchange(ext_info)?;
                if first {
                    tracing::debug!(event = TraceEvent::SessionEncrypted.id(), "keys exchanged");
                    tracing::debug!(event = TraceEvent::SessionAuthenticating.id(), "authenticating");
                    self.claim()?;
                }
                self.connection.on_room(&self.transport.out);
            }
        }
        Ok(())
    }

    /// RFC 8308 §2.3. Both sides say which signatures they take; Dev Tunnels peers expect it of both.
    fn our_ext_info(&self) -> Vec<u8> {
        let algorithms = match self.role {
            Role::Client => self.common.algorithms.host_keys(),
            Role::Server => self.common.algorithms.user_keys(),
        };
        let names = algorithms.iter().map(|algorithm| algorithm.name());
        put_ext_info(names, self.common.extensions.names(), self.our_extensions())
    }

    fn on_ext_info(&mut self, payload: &[u8]) -> Result<(), Error> {
        let message = ExtInfo::decode(payload)?;
        if message.count > MAX_EXT_INFO {
            return Err(WireError::TooLong.into());
        }
        let mut reader = Reader::new(message.entries.0);
        let mut extensions = Extensions::default();
        let mut listed = Vec::new();
        for _ in 0..message.count {
            let (name, value) = (reader.string()?, reader.string()?);
            extensions.note(name);
            if let Ok(name) = std::str::from_utf8(name) {
                listed.push((name.into(), Bytes::copy_from_slice(value)));
            }
            // An empty list says nothing: Go peers send one.
            if name == b"server-sig-algs" && !value.is_empty() {
                let names = crate::protocol::wire::NameList::parse(value)?;
                self.server_sig_algs = Some(names.iter().map(str::to_owned).collect());
            }
        }
        reader.finish()?;
        self.peer_extensions = Some(listed);
        self.on_extensions(extensions)
    }

    fn on_auth(&mut self, payload: &[u8], now: Instant) -> Result<(), Error> {
        let number = payload.first().copied().unwrap_or_default();
        let session_id = self.transport.kex.session_id().unwrap_or_default();
        match &mut self.auth {
            Auth::Client(auth) => {
                let from_dev_tunnels =
                    self.transport.kex.peer_version().is_some_and(PeerVersion::is_dev_tunnels);
                match auth.handle(payload, from_dev_tunnels)? {
                    ClientProgress::Nothing => {}
                    ClientProgress::Banner(text) => self.events.push_back(Event::Banner(text)),
                    ClientProgress::Reply(reply) => {
                        let proof = Authenticated::by_client(&reply);
                        self.events.push_back(Event::AuthReply(reply));
                        if let Some(proof) = proof {
                            self.on_authenticated(proof);
                        }
                    }
                }
                Ok(())
            }
            Auth::Server(auth) => {
                let progress = auth.handle(payload, session_id, now, &mut self.transport.out)?;
                self.on_server_auth(progress, now)
            }
            // RFC 4252 §5.1: further requests are silently ignored.
            Auth::Done(_) if self.role == Role::Server && number == 50 => Ok(()),
            // Dev Tunnels clients ask for the service that authentication has already implied.
            Auth::Done(_) if self.role == Role::Server && number == 5 => {
                let message = crate::protocol::messages::ServiceRequest::decode(payload)?;
                if message.name != crate::protocol::auth::CONNECTION_SERVICE {
                    return match self.on_service_request(message.name)? {
                        true => Ok(()),
                        false => Err(PeerMisbehaved::UnknownService.into()),
                    };
                }
                let name = OptionalText(message.name.as_bytes());
                self.transport
                    .out
                    .send(|buffer| crate::protocol::messages::ServiceAccept { name }.encode(buffer))
            }
            Auth::Done(_) if self.role == Role::Client && number == 6 => self.on_service_accept(payload),
            Auth::Done(_) | Auth::Claim(_) => Err(PeerMisbehaved::UnexpectedMessage(number).into()),
        }
    }

    fn on_server_auth(&mut self, progress: ServerProgress, now: Instant) -> Result<(), Error> {
        let mut progress = progress;
        loop {
            match progress {
                ServerProgress::Nothing => {}
                ServerProgress::Begin(user) => self.events.push_back(Event::AuthBegin(user)),
                ServerProgress::Ask(attempt) => self.events.push_back(Event::AuthAttempt(attempt)),
                ServerProgress::Refused(attempt) => {
                    tracing::debug!(
                        event = TraceEvent::ClientAuthenticationFailed.id(),
                        "an attempt was refused"
                    );
                    self.events.push_back(Event::AuthRefused(attempt));
                }
                ServerProgress::Authenticated(proof) => {
                    self.on_authenticated(proof);
                    return Ok(());
                }
            }
            let session_id = self.transport.kex.session_id().unwrap_or_default();
            let Auth::Server(auth) = &mut self.auth else { return Ok(()) };
            let Some(payload) = auth.next_queued() else { return Ok(()) };
            progress = auth.handle(&payload, session_id, now, &mut self.transport.out)?;
        }
    }

    fn on_authenticated(&mut self, proof: Authenticated) {
        tracing::debug!(event = TraceEvent::SessionAuthenticated.id(), "authenticated");
        self.auth = Auth::Done(proof);
        self.login_deadline = None;
        self.settle_resumption();
        self.events.push_back(Event::Authenticated);
    }

    fn unimplemented(&mut self, sequence: u32) -> Result<(), Error> {
        self.transport.out.send(|buffer| Unimplemented { sequence }.encode(buffer))
    }

    // ---- Output -------------------------------------------------------------------------------------

    /// Exchanges `taken` for everything that is to be sent. Its old content is dropped, its capacity is used.
    pub fn take_output(&mut self, taken: &mut Vec<u8>, now: Instant) {
        self.transport.out.acks.now = Some(now);
        if self.ended.is_none()
            && let Err(error) = self.maybe_rekey(now).and_then(|()| self.ask_how_far())
        {
            self.end(error);
        }
        if self.transport.out.pending() >= REAL_BATCH && self.keepalive.unanswered > 0 {
            // The driver comes back for more because the stream took what it had: slow, but alive. A dead one stops
            // taking when its buffers are full.
            let unanswered = self.keepalive.unanswered.saturating_sub(1);
            self.keepalive = KeepAlive { last_heard: now, unanswered, ..self.keepalive };
        }
        self.transport.out.swap(taken, now);
        if self.ended.is_none()
            && let Err(error) = self.transport.out.pump()
        {
            self.end(error);
        }
        self.connection.on_room(&self.transport.out);
    }

    /// Whether there is something to send.
    #[must_use]
    pub fn has_output(&self) -> bool {
        self.transport.out.pending() > 0
    }

    /// The peer does not read what it makes us say: read nothing from it until the output has been taken.
    #[must_use]
    pub fn wants_input_paused(&self) -> bool {
        self.transport.out.pending() > MAX_OUTPUT
            || self.waiting.as_ref().is_some_and(|waiting| waiting.is_full())
    }

    /// The key for what follows NEWKEYS, for [`Inbound::install`].
    pub fn take_opener(&mut self) -> Option<NextOpener> {
        self.next_opener.take()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Moves tasks to wake into `batch`, to be woken once the engine is not borrowed any more. Whether there are more.
    pub fn take_wakes(&mut self, batch: &mut [Option<Waker>]) -> bool {
        for slot in batch {
            *slot = self.connection.wakes.pop();
        }
        !self.connection.wakes.is_empty()
    }

    /// Gives memory back that a busy moment needed.
    pub fn shrink(&mut self) {
        self.connection.shrink();
    }

    // ---- Time ---------------------------------------------------------------------------------------

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        if let Stream::Detached(detached) = &self.stream {
            return detached.until;
        }
        let auth = match &self.auth {
            Auth::Server(auth) => auth.deadline(),
            Auth::Client(_) | Auth::Claim(_) | Auth::Done(_) => None,
        };
        let kex = &self.transport.kex;
        let rekey = self.transport.rekey.deadline().filter(|_| kex.is_idle() && kex.negotiated().is_some());
        [self.login_deadline, kex.deadline(), rekey, auth, self.keepalive_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    ///
    /// # Errors
    /// The session is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        self.on_timeout(now).map_err(|error| self.fail(error, now))
    }

    fn on_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|at| now >= at);
        if let Stream::Detached(detached) = &self.stream {
            let expired = Error::Reconnect(ReconnectFailure::Expired);
            return if passed(detached.until) { Err(expired) } else { Ok(()) };
        }
        if passed(self.login_deadline) {
            return Err(Error::Timeout(Timeout::Login));
        }
        if passed(self.transport.kex.deadline()) {
            return Err(Error::Timeout(Timeout::KeyExchange));
        }
        if let Auth::Server(auth) = &mut self.auth {
            auth.on_timeout(now, &mut self.transport.out)?;
            self.on_server_auth(ServerProgress::Nothing, now)?;
        }
        if let Auth::Done(proof) = self.auth
            && passed(self.keepalive_deadline())
        {
            // Nothing has come for long.
            self.connection.shrink();
            if self.keepalive.unanswered >= self.keepalive_rule().1 {
                self.link_events.push_back(LinkEvent::KeepAliveFailed(self.keepalive.unanswered));
                return Err(Error::Timeout(Timeout::KeepAlive));
            }
            if self.keepalive.unanswered > 0 {
                let misses = self.keepalive.unanswered;
                self.keepalive.answered = 0;
                self.link_events.push_back(LinkEvent::KeepAliveFailed(misses));
                let event = TraceEvent::KeepAliveResponseNotReceived.id();
                tracing::debug!(event, misses, "no answer to a keepalive");
            }
            self.keepalive.unanswered = self.keepalive.unanswered.saturating_add(1);
            if let Some(log) = &mut self.transport.out.log {
                log.shrink();
            }
            let asked =
                self.connection.global_request(proof, KEEPALIVE, true, &[], now, &mut self.transport.out);
            let number = asked.inspect_err(|error| {
                tracing::debug!(event = TraceEvent::KeepAliveFailed.id(), %error, "no keepalive sent");
            })?;
            // Either answer is a sign of life; it takes its place among the others and is dropped.
            if let Some(number) = number {
                self.connection.abandon_global_reply(number);
            }
        }
        self.maybe_rekey(now)
    }

    fn keepalive_deadline(&self) -> Option<Instant> {
        if !matches!(self.auth, Auth::Done(_)) {
            return None;
        }
        let silences = self.keepalive.unanswered.saturating_add(1);
        let silence = self.keepalive_rule().0?.saturating_mul(silences);
        self.keepalive.last_heard.checked_add(silence)
    }

    fn maybe_rekey(&mut self, now: Instant) -> Result<(), Error> {
        let Transport { out, kex, rekey, .. } = &mut self.transport;
        if matches!(self.stream, Stream::Attached)
            && !kex.is_first()
            && kex.is_idle()
            && kex.negotiated().is_some()
            && rekey.is_due(out.since_key(), now)
        {
            tracing::debug!("starting a key exchange");
            kex.start(out, now)?;
        }
        Ok(())
    }

    /// Starts a key exchange now.
    ///
    /// # Errors
    /// The session is over.
    pub fn rekey(&mut self, now: Instant) -> Result<(), Error> {
        self.alive()?;
        let Transport { out, kex, .. } = &mut self.transport;
        if kex.is_first() || kex.negotiated().is_none() || matches!(self.stream, Stream::Detached(_)) {
            return Ok(());
        }
        kex.start(out, now)
    }

    // ---- Ending -------------------------------------------------------------------------------------

    /// Ends the session: the peer is told why where there is a peer to tell. The first error counts and is returned.
    pub fn end(&mut self, error: Error) -> Error {
        if let Some(first) = &self.ended {
            return first.clone();
        }
        if let Some(event) = failure_event(&error) {
            tracing::debug!(event = event.id(), %error, "the session failed");
        }
        tracing::debug!(event = TraceEvent::SessionClosing.id(), %error, "session ended");
        if let Some(reason) = error.disconnect_reason().filter(|_| matches!(self.stream, Stream::Attached)) {
            let text = error.disconnect_text();
            // If even this cannot be sealed, the stream just closes.
            let _ = self.transport.out.seal(|buffer| {
                Disconnect { reason: reason.0, text: text.as_bytes(), language: OptionalText(b"") }
                    .encode(buffer);
            });
        }
        self.connection.fail(&error);
        self.fail_custom();
        self.ended = Some(error.clone());
        error
    }

    /// Why the session is over, if it is.
    #[must_use]
    pub fn ended(&self) -> Option<&Error> {
        self.ended.as_ref()
    }

    /// Ends the session on every failure but a misuse: what could not be sealed or counted cannot be made good.
    fn fatal<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| match error {
            Error::ApiMisuse(_) => error,
            error => self.end(error),
        })
    }

    fn alive(&self) -> Result<(), Error> {
        self.ended.as_ref().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn authenticated(&self) -> Result<Authenticated, Error> {
        self.alive()?;
        match self.auth {
            Auth::Done(proof) => Ok(proof),
            _ => Err(Error::ApiMisuse(ApiMisuse::NotAuthenticated)),
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

    // ---- Authentication -----------------------------------------------------------------------------

    /// Client: the host key is trusted; authentication begins.
    ///
    /// # Errors
    /// The session is over.
    pub fn accept_host_key(&mut self) -> Result<(), Error> {
        self.alive()?;
        let Auth::Client(auth) = &mut self.auth else {
            return Err(Error::Bug("a server was given a host key"));
        };
        auth.start(&mut self.transport.out)?;
        self.events.push_back(Event::AuthReady);
        Ok(())
    }

    /// Client: makes an attempt. One at a time; the answer is [`Event::AuthReply`].
    ///
    /// # Errors
    /// The session is over.
    pub fn auth_request(&mut self, request: &ClientAuthRequest<'_>) -> Result<(), Error> {
        self.alive()?;
        match &mut self.auth {
            Auth::Client(auth) => auth.send(request, &mut self.transport.out),
            Auth::Server(_) | Auth::Claim(_) | Auth::Done(_) => {
                Err(Error::Bug("authentication without a client"))
            }
        }
    }

    /// Client: what the signature of this request has to cover (RFC 4252 §7 and §9). It holds the session id.
    #[must_use]
    pub fn auth_data_to_sign(&self, what: &ToSign<'_>) -> Option<Zeroizing<Vec<u8>>> {
        match (&self.auth, self.transport.kex.session_id()) {
            (Auth::Client(auth), Some(session_id)) => Some(auth.data_to_sign(session_id, what)),
            _ => None,
        }
    }

    /// Server: each user's methods are asked for ([`Event::AuthBegin`]), instead of the list that the engine was made with.
    pub fn ask_auth_methods(&mut self) {
        if let Auth::Server(auth) = &mut self.auth {
            auth.ask_for_methods();
        }
    }

    /// Server: the answer to [`Event::AuthBegin`]: what the user may try before its first step.
    ///
    /// # Errors
    /// The session is over.
    pub fn auth_begin(&mut self, methods: Vec<Method>, now: Instant) -> Result<(), Error> {
        self.alive()?;
        let Auth::Server(auth) = &mut self.auth else { return Err(Error::Bug("methods without a server")) };
        auth.begin(methods)
            .and_then(|()| self.on_server_auth(ServerProgress::Nothing, now))
            .map_err(|error| self.end(error))
    }

    /// Server: words for the user before it is let in (RFC 4252 §5.4), at most 4 KiB. Dev Tunnels peers are not told.
    ///
    /// # Errors
    /// The session is over.
    pub fn auth_banner(&mut self, text: &str) -> Result<(), Error> {
        self.alive()?;
        let Auth::Server(auth) = &mut self.auth else { return Err(Error::Bug("a banner without a server")) };
        auth.banner(text, &mut self.transport.out).map_err(|error| self.end(error))
    }

    /// Server: the answer to the last [`Event::AuthAttempt`].
    ///
    /// # Errors
    /// The session is over.
    pub fn auth_answer(&mut self, answer: AuthAnswer, now: Instant) -> Result<(), Error> {
        self.alive()?;
        let Auth::Server(auth) = &mut self.auth else { return Err(Error::Bug("an answer without a server")) };
        auth.answer(answer, now, &mut self.transport.out)
            .and_then(|progress| self.on_server_auth(progress, now))
            .map_err(|error| self.end(error))
    }
}
