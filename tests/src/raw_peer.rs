//! A peer without an engine, which can say anything: it frames, exchanges keys and seals by itself and breaks
//! whatever rule a test wants to see enforced.
//!
//! Only the primitives (X25519, AES-GCM and so on) come from the crypto provider; messages, exchange hash and key
//! derivation are written out here once more.

mod engine_side;
mod exchange;
mod messages;
mod packets;
mod trailers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ssh_core::Error;
use ssh_core::config::{Algorithms, Common, Extensions, Limits};
use ssh_core::crypto::{CryptoProvider, Opener, Sealer, SignatureAlgorithm};
use ssh_core::error::PeerMisbehaved;
use ssh_core::keys::{HostKey, KeyKind, PublicKey, SigningKey};
use ssh_core::protocol::{
    AuthAnswer, AuthReply, Engine, Inbound, Method, OfferedChannel, Refusal, Role, ServerAttempt,
};

use crate::backend;
use crate::pair::start_of_time;
use exchange::Exchange;
pub use exchange::Reply;
pub use messages::{Field, Offer, data, message, open, password, plain_packet, put_string};
pub use trailers::Trailers;

/// The engine under test and the peer that it talks to.
#[derive(Debug)]
pub struct RawPeer {
    /// The engine under test.
    pub engine: Engine,
    /// The engine's clock.
    pub now: Instant,
    /// Everything that the engine said and nobody has taken yet, one payload each.
    pub received: Vec<Vec<u8>>,
    /// The engine's version line, without CR LF.
    pub ident: Option<String>,
    /// Channels offered to the engine's application.
    pub offered: Vec<OfferedChannel>,
    /// Requests to the engine's application.
    pub requests: Vec<ssh_core::protocol::GlobalPeerRequest>,
    /// What a server's application was asked, and what it answers.
    pub attempts: Vec<String>,
    /// Why attempts were refused without asking a server's application.
    pub refused: Vec<Refusal>,
    /// How many of them only asked if a key would do.
    pub refused_queries: usize,
    /// The same in full, the first of each attempt first.
    pub asked: Vec<ServerAttempt>,
    /// The answers to the next attempts, before [`answer`](Self::answer).
    pub answers: VecDeque<AuthAnswer>,
    /// The users whose methods a server's application was asked for.
    pub begun: Vec<String>,
    /// What each user may try, once [`ask_methods`](Self::ask_methods) says so; `None` leaves it open.
    pub methods: Option<fn(&str) -> Vec<Method>>,
    /// The answer to every attempt; `None` leaves them undecided.
    pub answer: Option<AuthAnswer>,
    /// How often a server was asked for another session. Each time it says that it does not have it, unless the test
    /// [looks for it](Self::finds_sessions).
    pub resume_requests: usize,
    /// The test decides what becomes of a connection that asks for another session.
    pub finds_sessions: bool,
    /// How a client tries to log in.
    pub client_try: ClientTry,
    /// The server's answers to a client.
    pub replies: Vec<AuthReply>,
    /// What a server made a client show before the login.
    pub banners: Vec<String>,
    /// How often the engine said that it is authenticated.
    pub authenticated: usize,
    /// Whether a client was shown a host key.
    pub host_key_seen: Option<HostKey>,
    /// As a server: what stands in for the blob of `host_key` in replies, such as a certificate.
    pub host_blob: Option<Vec<u8>>,
    /// The application looks at what it is offered as soon as it is there, unless a test plays one that does not.
    pub looks: bool,
    /// Output is taken as soon as it is there, unless a test plays a peer that does not read.
    pub reads: bool,
    /// The exchange hash of the first exchange.
    pub session_id: Vec<u8>,
    /// Whether the last KEXINIT offered strict key exchange.
    pub strict: bool,
    /// The key that a raw server proves.
    pub host_key: Arc<SigningKey>,
    /// What it signs with.
    pub host_algorithm: SignatureAlgorithm,
    /// The method of the exchange, where that is not the first of our offer.
    pub chosen_kex: Option<String>,
    /// The MAC keys of the first exchange, the client's and the server's, for tokens.
    pub mac_keys: [Vec<u8>; 2],
    /// What stands behind payloads.
    pub trailers: Trailers,
    /// Packets in the clear are padded without regard to their length field.
    pub aligns_without_length: bool,
    /// The engine's receiving half.
    pub inbound: Inbound,
    ours: Role,
    provider: &'static CryptoProvider,
    version: String,
    output: Vec<u8>,
    sealer: Option<Box<dyn Sealer>>,
    send_sequence: u32,
    opener: Option<Box<dyn Opener>>,
    receive_sequence: u32,
    exchange: Option<Exchange>,
    kexinit_sent: Vec<u8>,
    kexinit_received: Vec<u8>,
}

/// How a client under test tries to log in.
#[derive(Debug, Clone)]
pub enum ClientTry {
    /// Not at all.
    Nothing,
    /// With `secret`.
    Password,
    /// It asks whether this Ed25519 key would do.
    Query(PublicKey),
}

impl RawPeer {
    /// Against an engine in the role `ours`, with default limits.
    #[must_use]
    pub fn against(ours: Role) -> Self {
        Self::with(ours, Algorithms::default(), Limits::default())
    }

    /// Against an engine with these settings.
    ///
    /// # Panics
    /// If the engine cannot be made.
    #[must_use]
    pub fn with(ours: Role, algorithms: Algorithms, limits: Limits) -> Self {
        Self::with_provider(ours, algorithms, limits, backend::current())
    }

    /// Against an engine with these settings and this cryptography.
    ///
    /// # Panics
    /// If the engine cannot be made.
    #[must_use]
    pub fn with_provider(
        ours: Role,
        algorithms: Algorithms,
        limits: Limits,
        provider: &'static CryptoProvider,
    ) -> Self {
        let now = start_of_time();
        let common = Common { algorithms, limits, extensions: Extensions::default(), provider };
        let key = || {
            let key = provider.signatures.generate(KeyKind::Ed25519, 0).expect("a key");
            SigningKey::new(&key, provider).expect("a host key")
        };
        let made = match ours {
            Role::Client => Engine::client(common, "ada".into(), now),
            Role::Server => Engine::server(common, Arc::new([key()]), &["password", "publickey"], now),
        };
        let (engine, inbound) = made.expect("an engine");
        let mut peer = Self {
            engine,
            now,
            received: Vec::new(),
            ident: None,
            offered: Vec::new(),
            requests: Vec::new(),
            attempts: Vec::new(),
            refused: Vec::new(),
            refused_queries: 0,
            asked: Vec::new(),
            answers: VecDeque::new(),
            begun: Vec::new(),
            methods: None,
            answer: Some(AuthAnswer::Accept),
            resume_requests: 0,
            finds_sessions: false,
            client_try: ClientTry::Password,
            replies: Vec::new(),
            banners: Vec::new(),
            authenticated: 0,
            host_key_seen: None,
            host_blob: None,
            reads: true,
            looks: true,
            session_id: Vec::new(),
            strict: false,
            host_key: Arc::new(key()),
            host_algorithm: SignatureAlgorithm::Ed25519,
            chosen_kex: None,
            mac_keys: [Vec::new(), Vec::new()],
            trailers: Trailers::default(),
            aligns_without_length: false,
            inbound,
            ours,
            provider,
            version: "SSH-2.0-Raw_1.0".into(),
            output: Vec::new(),
            sealer: None,
            send_sequence: 0,
            opener: None,
            receive_sequence: 0,
            exchange: None,
            kexinit_sent: Vec::new(),
            kexinit_received: Vec::new(),
        };
        peer.pull();
        peer
    }

    /// Against a client's engine that wants `session` to go on over another connection. We are the same host.
    ///
    /// # Panics
    /// If the session does not want another connection.
    #[must_use]
    pub fn against_reconnect(session: &Self) -> Self {
        let (engine, inbound) = session.engine.reconnect(session.now).expect("a session without a stream");
        let mut peer = Self::against(Role::Client);
        peer.host_key = Arc::clone(&session.host_key);
        (peer.engine, peer.inbound, peer.now) = (engine, inbound, session.now);
        peer.ident = None;
        peer.receive_sequence = 0;
        peer.output.clear();
        peer.received.clear();
        peer.pull();
        peer
    }

    /// Has the engine's application asked what each user may try.
    #[must_use]
    pub fn ask_methods(mut self, methods: fn(&str) -> Vec<Method>) -> Self {
        self.engine.ask_auth_methods();
        self.methods = Some(methods);
        self
    }

    /// Packets that we have sent and received on this connection, unless the exchange was strict.
    #[must_use]
    pub fn packets(&self) -> (u64, u64) {
        (self.send_sequence.into(), self.receive_sequence.into())
    }

    /// Which role we play.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.ours {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }

    /// A whole connection up to a successful login.
    ///
    /// # Panics
    /// If the engine does not let us in.
    pub fn log_in(&mut self) {
        self.connect();
        self.authenticate();
    }

    /// After [`connect`](Self::connect): the login.
    ///
    /// # Panics
    /// If the engine does not let us in.
    pub fn authenticate(&mut self) {
        match self.role() {
            Role::Client => {
                self.send(&message(5, &[Field::Str("ssh-userauth")]));
                self.send(&password("ada", "secret"));
            }
            Role::Server => {
                self.send(&message(6, &[Field::Str("ssh-userauth")]));
                self.send(&[52]);
            }
        }
        assert_eq!(self.authenticated, 1, "not logged in: {:?}", self.error());
        self.received.clear();
    }

    /// After the login: a channel that we opened and the engine's application accepted. Its number at the engine;
    /// ours is `ours`.
    ///
    /// # Panics
    /// If the engine refuses it.
    pub fn open_channel(&mut self, ours: u32, window: u32, max_packet: u32) -> u32 {
        self.send(&open("session", ours, window, max_packet));
        let offer = self.offered.pop().expect("an offer");
        self.engine.accept_channel(offer.id, b"").expect("accepting");
        self.pull();
        assert!(self.take(91).is_some(), "no confirmation");
        offer.id
    }

    /// A key exchange in the middle of the session, started by us.
    pub fn rekey(&mut self) {
        self.send_kexinit(&Offer::without_strict());
        self.exchange_keys();
    }

    /// Time passes; every deadline on the way is kept.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            let _ = self.engine.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    /// How the session ended, if it has.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        self.engine.ended()
    }

    /// The reason of the DISCONNECT that the engine sent.
    #[must_use]
    pub fn disconnect(&self) -> Option<u32> {
        let last = self.received.last().filter(|payload| payload.first() == Some(&1))?;
        let reason = last.get(1..5)?.try_into().ok()?;
        Some(u32::from_be_bytes(reason))
    }

    /// The session has ended for this reason, and the peer was told.
    ///
    /// # Panics
    /// If that is not so.
    #[track_caller]
    pub fn assert_refused(&self, rule: PeerMisbehaved, reason: u32) {
        match self.error() {
            Some(Error::PeerMisbehaved(found)) => assert_eq!(*found, rule),
            other => panic!("expected {rule:?}, found {other:?}"),
        }
        assert_eq!(self.disconnect(), Some(reason), "the reason on the wire");
    }

    /// The session goes on.
    ///
    /// # Panics
    /// If it has ended.
    #[track_caller]
    pub fn assert_alive(&self) {
        assert!(self.error().is_none(), "the session ended: {:?}", self.error());
    }

    /// Takes the first message with this number.
    pub fn take(&mut self, number: u8) -> Option<Vec<u8>> {
        let at = self.received.iter().position(|payload| payload.first() == Some(&number))?;
        Some(self.received.remove(at))
    }

    /// How many messages with this number wait to be taken.
    #[must_use]
    pub fn count(&self, number: u8) -> usize {
        self.received.iter().filter(|payload| payload.first() == Some(&number)).count()
    }
}
