//! A peer without an engine, which can say anything: it frames, exchanges keys and seals by itself and breaks
//! whatever rule a test wants to see enforced.
//!
//! Only the primitives (X25519, AES-GCM and so on) come from the crypto provider; messages, exchange hash and key
//! derivation are written out here once more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use ssh_core::Error;
use ssh_core::config::{Algorithms, Common, Limits};
use ssh_core::crypto::{
    ActiveKeyExchange, CryptoProvider, MacKey, Opener, Sealer, ShareEncoding, SignatureAlgorithm,
};
use ssh_core::error::PeerMisbehaved;
use ssh_core::keys::{HostKey, KeyKind, PublicKey, SigningKey};
use ssh_core::protocol::{
    AuthAnswer, AuthReply, ClientAuthRequest, ConnectionEvent, Engine, Event, Inbound, Input, Method,
    OfferedChannel, Refusal, Role, ServerAttempt, ServerMethod,
};

use crate::backend;
use crate::pair::start_of_time;

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

/// An exchange under way.
#[derive(Debug)]
struct Exchange {
    active: Option<Box<dyn ActiveKeyExchange>>,
    sealer: Option<Box<dyn Sealer>>,
    opener: Option<Box<dyn Opener>>,
    offer: Offer,
}

/// A KEXINIT to send.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Key exchange methods, markers included.
    pub kex: String,
    /// Host key algorithms.
    pub host_key: String,
    /// Ciphers, both ways.
    pub cipher: String,
    /// MACs, both ways.
    pub mac: String,
    /// Compression, both ways.
    pub compression: String,
    /// `first_kex_packet_follows`.
    pub guess: bool,
}

impl Offer {
    /// What a sound client or server of today offers.
    #[must_use]
    pub fn sound(speaker: Role) -> Self {
        let strict = match speaker {
            Role::Client => "kex-strict-c-v00@openssh.com",
            Role::Server => "kex-strict-s-v00@openssh.com",
        };
        Self { kex: format!("curve25519-sha256,{strict}"), ..Self::without_strict() }
    }

    /// The same from a peer that does not know strict key exchange.
    #[must_use]
    pub fn without_strict() -> Self {
        Self {
            kex: "curve25519-sha256".into(),
            host_key: "ssh-ed25519".into(),
            cipher: "aes256-gcm@openssh.com".into(),
            mac: "hmac-sha2-256".into(),
            compression: "none".into(),
            guess: false,
        }
    }

    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![20];
        out.extend([7; 16]);
        let lists = [&self.kex, &self.host_key, &self.cipher, &self.cipher, &self.mac, &self.mac];
        for list in lists.into_iter().chain([&self.compression, &self.compression]) {
            put_string(&mut out, list.as_bytes());
        }
        out.extend([0; 8]);
        out.push(u8::from(self.guess));
        out.extend([0; 4]);
        out
    }
}

/// Appends a `string`.
pub fn put_string(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(u32::try_from(value.len()).expect("a short string").to_be_bytes());
    out.extend(value);
}

/// A message of a number, words and strings.
#[must_use]
pub fn message(number: u8, fields: &[Field<'_>]) -> Vec<u8> {
    let mut out = vec![number];
    for field in fields {
        match field {
            Field::U32(value) => out.extend(value.to_be_bytes()),
            Field::Bool(value) => out.push(u8::from(*value)),
            Field::Str(value) => put_string(&mut out, value.as_bytes()),
            Field::Bytes(value) => put_string(&mut out, value),
        }
    }
    out
}

/// A field of a [`message`].
#[derive(Debug, Clone, Copy)]
pub enum Field<'a> {
    /// `uint32`.
    U32(u32),
    /// `boolean`.
    Bool(bool),
    /// `string`.
    Str(&'a str),
    /// `string`.
    Bytes(&'a [u8]),
}

/// A packet in the clear with as much padding as asked for, whether or not it aligns.
#[must_use]
pub fn plain_packet(payload: &[u8], padding: u8) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload") + u32::from(padding) + 1;
    let mut out = length.to_be_bytes().to_vec();
    out.push(padding);
    out.extend(payload);
    out.extend(vec![0; usize::from(padding)]);
    out
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
        let common = Common { algorithms, limits, provider };
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
            asked: Vec::new(),
            answers: VecDeque::new(),
            begun: Vec::new(),
            methods: None,
            answer: Some(AuthAnswer::Accept),
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

    /// Has the engine's application asked what each user may try.
    #[must_use]
    pub fn ask_methods(mut self, methods: fn(&str) -> Vec<Method>) -> Self {
        self.engine.ask_auth_methods();
        self.methods = Some(methods);
        self
    }

    /// Which role we play.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.ours {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        }
    }

    // ---- Sending ------------------------------------------------------------------------------------

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        if self.engine.ended().is_some() {
            return;
        }
        self.inbound.buffer().extend_from_slice(bytes);
        if let Err(error) = self.dispatch() {
            self.engine.end(error);
        }
        self.settle();
    }

    /// The packet that [`send`](Self::send) would send. Its number is used up.
    ///
    /// # Panics
    /// If it cannot be sealed.
    pub fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let sequence = self.send_sequence;
        self.send_sequence = sequence.wrapping_add(1);
        let Some(sealer) = &mut self.sealer else {
            let over = (payload.len() + 5) % 8;
            let padding = if 8 - over < 4 { 16 - over } else { 8 - over };
            return plain_packet(payload, u8::try_from(padding).expect("short padding"));
        };
        let separate = if sealer.length_is_separate() { 4 } else { 0 };
        let block = sealer.block_len();
        let over = (payload.len() + 5 - separate) % block;
        let padding = if block - over < 4 { 2 * block - over } else { block - over };
        let mut packet = plain_packet(payload, u8::try_from(padding).expect("short padding"));
        packet.resize(packet.len() + sealer.tag_len(), 0);
        sealer.seal(sequence, &mut packet).expect("sealing");
        packet
    }

    /// Seals a whole packet that the caller has framed, well or badly.
    ///
    /// # Panics
    /// If it cannot be sealed.
    pub fn seal_framed(&mut self, framed: &[u8]) -> Vec<u8> {
        let sealer = self.sealer.as_mut().expect("keys");
        let mut packet = framed.to_vec();
        packet.resize(packet.len() + sealer.tag_len(), 0);
        sealer.seal(self.send_sequence, &mut packet).expect("sealing");
        self.send_sequence = self.send_sequence.wrapping_add(1);
        packet
    }

    /// Sends a packet.
    pub fn send(&mut self, payload: &[u8]) {
        let packet = self.seal(payload);
        self.send_bytes(&packet);
    }

    /// Sends our version line.
    pub fn send_version(&mut self) {
        let line = format!("{}\r\n", self.version);
        self.send_bytes(line.as_bytes());
    }

    /// Says that we are this software.
    #[must_use]
    pub fn with_version(mut self, version: &str) -> Self {
        self.version = version.into();
        self
    }

    /// Sends a KEXINIT.
    pub fn send_kexinit(&mut self, offer: &Offer) {
        self.kexinit_sent = offer.encode();
        self.strict |= offer.kex.contains("kex-strict");
        self.exchange = Some(Exchange { active: None, sealer: None, opener: None, offer: offer.clone() });
        let payload = self.kexinit_sent.clone();
        self.send(&payload);
    }

    // ---- Key exchange -------------------------------------------------------------------------------

    /// Version lines and a whole first exchange.
    ///
    /// # Panics
    /// If the engine does not play along.
    pub fn connect(&mut self) {
        self.connect_offering(&Offer::sound(self.role()));
    }

    /// The same with another offer.
    ///
    /// # Panics
    /// If the engine does not play along.
    pub fn connect_offering(&mut self, offer: &Offer) {
        self.send_version();
        self.send_kexinit(offer);
        self.exchange_keys();
        assert!(self.error().is_none(), "the exchange failed: {:?}", self.error());
        assert!(self.sealer.is_some() && self.opener.is_some(), "no keys");
    }

    /// From both KEXINITs to both NEWKEYS.
    pub fn exchange_keys(&mut self) {
        match self.role() {
            Role::Client => {
                self.send_share();
                self.send_new_keys();
            }
            Role::Server => {
                self.send_reply();
                self.send_new_keys();
            }
        }
    }

    /// As a client: sends a good share. The engine's reply makes the keys.
    ///
    /// # Panics
    /// Without an exchange.
    pub fn send_share(&mut self) {
        let exchange = self.exchange.as_mut().expect("an exchange");
        let name = exchange.offer.kex.split(',').next().expect("a method");
        let method = self.provider.key_exchange(name).expect("a method of the provider");
        let active = method.start(self.provider.random).expect("randomness");
        let share = active.share().to_vec();
        exchange.active = Some(active);
        self.send(&message(30, &[Field::Bytes(&share)]));
    }

    /// As a server: answers the engine's share with a good reply, and makes the keys.
    ///
    /// # Panics
    /// If the engine has sent no share.
    pub fn send_reply(&mut self) {
        let reply = self.reply(|_| {});
        self.send(&reply);
    }

    /// As [`send_reply`](Self::send_reply), but the reply's parts go through `spoil` first.
    ///
    /// # Panics
    /// If the engine has sent no share.
    pub fn reply(&mut self, spoil: impl FnOnce(&mut Reply)) -> Vec<u8> {
        let init = self.take(30).expect("the engine's share");
        let client_share = init[5..].to_vec();
        let name = self.exchange.as_ref().expect("an exchange").offer.kex.clone();
        let name = name.split(',').next().expect("a method");
        let method = self.provider.key_exchange(name).expect("a method of the provider");
        let (share, secret) = method.respond(&client_share, self.provider.random).expect("a share");
        let blob = self.host_blob.clone().unwrap_or_else(|| self.host_key.public_key().to_blob());
        let hash = self.exchange_hash(&blob, &client_share, &share, secret.encoded());
        let key = Arc::clone(&self.host_key);
        let signature = key.sign(SignatureAlgorithm::Ed25519, &hash).expect("a signature");
        let mut reply = Reply { host_key: blob, share, algorithm: "ssh-ed25519".into(), signature };
        spoil(&mut reply);
        self.make_keys(secret.encoded(), &hash);
        let mut signature = Vec::new();
        put_string(&mut signature, reply.algorithm.as_bytes());
        put_string(&mut signature, &reply.signature);
        message(31, &[Field::Bytes(&reply.host_key), Field::Bytes(&reply.share), Field::Bytes(&signature)])
    }

    /// Sends NEWKEYS and seals with the new keys from there on.
    pub fn send_new_keys(&mut self) {
        let packet = self.seal(&[21]);
        if let Some(sealer) = self.exchange.as_mut().and_then(|exchange| exchange.sealer.take()) {
            self.sealer = Some(sealer);
            if self.strict {
                self.send_sequence = 0;
            }
        }
        self.send_bytes(&packet);
    }

    fn exchange_hash(&self, host_key: &[u8], client: &[u8], server: &[u8], secret: &[u8]) -> Vec<u8> {
        let theirs = self.ident.as_deref().expect("the engine's version");
        let (us, them) = ((self.version.as_str(), &self.kexinit_sent), (theirs, &self.kexinit_received));
        let ((client_version, client_kexinit), (server_version, server_kexinit)) = match self.role() {
            Role::Client => (us, them),
            Role::Server => (them, us),
        };
        let mut seen = Vec::new();
        put_string(&mut seen, client_version.as_bytes());
        put_string(&mut seen, server_version.as_bytes());
        put_string(&mut seen, client_kexinit);
        put_string(&mut seen, server_kexinit);
        put_string(&mut seen, host_key);
        put_string(&mut seen, client);
        put_string(&mut seen, server);
        seen.extend(secret);
        Sha256::digest(&seen).to_vec()
    }

    fn make_keys(&mut self, secret: &[u8], hash: &[u8]) {
        if self.session_id.is_empty() {
            self.session_id = hash.to_vec();
        }
        let exchange = self.exchange.as_mut().expect("an exchange");
        let cipher = self.provider.cipher(&exchange.offer.cipher).expect("a cipher of the provider");
        let mac = self.provider.mac(&exchange.offer.mac).expect("a MAC of the provider");
        let session_id = &self.session_id;
        let derive = |letter: u8, len: usize| {
            let mut key: Vec<u8> =
                Sha256::digest([secret, hash, &[letter], session_id.as_slice()].concat()).to_vec();
            while key.len() < len {
                let more = Sha256::digest([secret, hash, &key].concat());
                key.extend(more);
            }
            key.truncate(len);
            key
        };
        let (out, back) = match self.ours {
            Role::Server => (*b"ACE", *b"BDF"),
            Role::Client => (*b"BDF", *b"ACE"),
        };
        let mac_key = derive(out[2], mac.key_len());
        let with = Some(MacKey { mac, key: &mac_key });
        let (iv, key) = (derive(out[0], cipher.iv_len()), derive(out[1], cipher.key_len()));
        exchange.sealer = Some(cipher.sealer(&key, &iv, with).expect("a sealer"));
        let mac_key = derive(back[2], mac.key_len());
        let with = Some(MacKey { mac, key: &mac_key });
        let (iv, key) = (derive(back[0], cipher.iv_len()), derive(back[1], cipher.key_len()));
        exchange.opener = Some(cipher.opener(&key, &iv, with).expect("an opener"));
    }

    // ---- Login --------------------------------------------------------------------------------------

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

    // ---- What came of it ----------------------------------------------------------------------------

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

    // ---- The engine's side --------------------------------------------------------------------------

    fn dispatch(&mut self) -> Result<(), Error> {
        loop {
            while let Some(input) = self.inbound.poll()? {
                match input {
                    Input::Ident(version) => self.engine.handle_ident(version),
                    Input::Packet(packet) => self.engine.handle_packet(packet, self.now)?,
                }
            }
            match self.engine.take_opener() {
                Some(next) => self.inbound.install(next),
                None => return Ok(()),
            }
        }
    }

    /// Acts on the engine's events, as an application would, and reads what it has to say.
    ///
    /// # Panics
    /// If what it says cannot be opened.
    pub fn settle(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            let done = match event {
                Event::HostKey(shown) => {
                    self.host_key_seen = Some(shown);
                    self.engine.accept_host_key()
                }
                Event::AuthReady => match self.client_try.clone() {
                    ClientTry::Nothing => Ok(()),
                    ClientTry::Password => self.engine.auth_request(&ClientAuthRequest::Password("secret")),
                    ClientTry::Query(key) => {
                        let (key, algorithm) = (&key.to_blob(), "ssh-ed25519");
                        self.engine.auth_request(&ClientAuthRequest::PublicKeyQuery { key, algorithm })
                    }
                },
                Event::AuthReply(reply) => {
                    self.replies.push(reply);
                    Ok(())
                }
                Event::Banner(text) => {
                    self.banners.push(text);
                    Ok(())
                }
                Event::AuthAttempt(attempt) => {
                    let method = match attempt.method {
                        ServerMethod::None => "none",
                        ServerMethod::Password(_) => "password",
                        ServerMethod::PasswordChange { .. } => "change",
                        ServerMethod::KeyboardInteractive { .. } => "keyboard-interactive",
                        ServerMethod::HostBased { .. } => "hostbased",
                        ServerMethod::PublicKeyQuery(_) => "query",
                        ServerMethod::PublicKey(_) => "publickey",
                        _ => "other",
                    };
                    self.attempts.push(format!("{} {method}", attempt.user));
                    self.asked.push(attempt);
                    let answer = self.answers.pop_front().or_else(|| self.answer.clone());
                    answer.map_or(Ok(()), |answer| self.engine.auth_answer(answer, self.now))
                }
                Event::AuthBegin(user) => {
                    let methods = self.methods.map(|methods| methods(&user));
                    self.begun.push(user);
                    methods.map_or(Ok(()), |methods| self.engine.auth_begin(methods, self.now))
                }
                Event::AuthRefused(refused) => {
                    self.refused.push(refused.reason);
                    Ok(())
                }
                Event::Authenticated => {
                    self.authenticated += 1;
                    Ok(())
                }
                other => panic!("unexpected event {other:?}"),
            };
            if let Err(error) = done {
                self.engine.end(error);
            }
        }
        while self.looks {
            let cx = Context::from_waker(Waker::noop());
            match self.engine.poll_incoming(&cx) {
                Poll::Ready(Some(ConnectionEvent::Offered(offer))) => self.offered.push(offer),
                Poll::Ready(Some(ConnectionEvent::Request(request))) => self.requests.push(request),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if self.reads {
            self.pull();
        }
    }

    /// Reads everything that the engine has to say.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn pull(&mut self) {
        let mut taken = Vec::new();
        while self.engine.has_output() {
            self.engine.take_output(&mut taken, self.now);
            self.output.extend_from_slice(&taken);
        }
        if self.ident.is_none() {
            let end = self.output.iter().position(|byte| *byte == b'\n').expect("a version line");
            let line: Vec<u8> = self.output.drain(..=end).collect();
            self.ident = Some(String::from_utf8(line).expect("ASCII").trim_end().to_owned());
        }
        while let Some(payload) = self.open_next() {
            match payload.first() {
                Some(20) => self.kexinit_received.clone_from(&payload),
                Some(31) => self.on_reply(&payload),
                Some(21) => {
                    if let Some(opener) = self.exchange.as_mut().and_then(|exchange| exchange.opener.take()) {
                        self.opener = Some(opener);
                    }
                    if self.strict {
                        self.receive_sequence = 0;
                    }
                }
                _ => {}
            }
            self.received.push(payload);
        }
    }

    fn open_next(&mut self) -> Option<Vec<u8>> {
        let (head_len, tag_len) =
            self.opener.as_ref().map_or((4, 0), |opener| (opener.head_len(), opener.tag_len()));
        let head = self.output.get_mut(..head_len)?;
        let length = match &mut self.opener {
            Some(opener) => opener.open_length(self.receive_sequence, head),
            None => u32::from_be_bytes(head.try_into().expect("4 bytes")),
        };
        let total = 4 + usize::try_from(length).expect("a length") + tag_len;
        assert!(self.output.len() >= total, "the engine sent half a packet");
        let mut packet: Vec<u8> = self.output.drain(..total).collect();
        if let Some(opener) = &mut self.opener {
            opener.open(self.receive_sequence, &mut packet).expect("a sound packet");
        }
        self.receive_sequence = self.receive_sequence.wrapping_add(1);
        let end = total - tag_len - usize::from(packet[4]);
        Some(packet[5..end].to_vec())
    }

    /// As a client: the engine's reply proves its host key and makes the keys.
    fn on_reply(&mut self, payload: &[u8]) {
        let mut rest = &payload[1..];
        let mut next = || {
            let len = u32::from_be_bytes(rest[..4].try_into().expect("4 bytes")) as usize;
            let value = rest[4..4 + len].to_vec();
            rest = &rest[4 + len..];
            value
        };
        let (host_key, share, signature) = (next(), next(), next());
        let Some(active) = self.exchange.as_mut().and_then(|exchange| exchange.active.take()) else { return };
        let client_share = active.share().to_vec();
        let secret = active.finish(&share).expect("a sound share");
        let hash = self.exchange_hash(&host_key, &client_share, &share, secret.encoded());
        let key = PublicKey::from_blob(&host_key).expect("a host key");
        let blob = &signature[signature.len() - 64..];
        self.provider
            .signatures
            .verify(SignatureAlgorithm::Ed25519, &key, &hash, blob)
            .expect("the engine's signature");
        self.make_keys(secret.encoded(), &hash);
    }

    /// Whether a method writes its share as a number.
    #[must_use]
    pub fn is_number_share(&self, method: &str) -> bool {
        let method = self.provider.key_exchange(method);
        method.is_some_and(|method| method.share_encoding() == ShareEncoding::Mpint)
    }
}

/// The parts of a KEXDH_REPLY.
#[derive(Debug)]
pub struct Reply {
    /// The key blob.
    pub host_key: Vec<u8>,
    /// The server's share.
    pub share: Vec<u8>,
    /// The name in front of the signature.
    pub algorithm: String,
    /// The signature's inner blob.
    pub signature: Vec<u8>,
}

/// A password attempt.
#[must_use]
pub fn password(user: &str, password: &str) -> Vec<u8> {
    message(
        50,
        &[
            Field::Str(user),
            Field::Str("ssh-connection"),
            Field::Str("password"),
            Field::Bool(false),
            Field::Str(password),
        ],
    )
}

/// CHANNEL_OPEN.
#[must_use]
pub fn open(kind: &str, sender: u32, window: u32, max_packet: u32) -> Vec<u8> {
    message(90, &[Field::Str(kind), Field::U32(sender), Field::U32(window), Field::U32(max_packet)])
}

/// CHANNEL_DATA.
#[must_use]
pub fn data(recipient: u32, data: &[u8]) -> Vec<u8> {
    message(94, &[Field::U32(recipient), Field::Bytes(data)])
}
