//! Two engines in one thread: no runtime, a clock that is moved by hand.

mod side;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use ssh_core::Error;
use ssh_core::config::{Algorithms, Common, Extensions, Limits};
use ssh_core::crypto::CryptoProvider;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::protocol::{Engine, ReconnectOffer};

pub use side::Side;

use crate::backend;
use crate::link::Link;
use crate::random::{Dice, seeded_provider};

/// Both ends and the links between them.
#[derive(Debug)]
pub struct Pair {
    /// The client.
    pub client: Side,
    /// The server.
    pub server: Side,
    /// What the client sends.
    pub to_server: Link,
    /// What the server sends.
    pub to_client: Link,
    /// The time.
    pub now: Instant,
    /// Every choice comes from here.
    pub dice: Dice,
    /// The two ends of a connection that is to carry the session, as long as they do not.
    pub attempt: (Option<Side>, Option<Side>),
    server_config: ServerConfig,
}

/// What a server's end is made of.
#[derive(Debug, Clone)]
struct ServerConfig {
    common: Common,
    host_key: Arc<[SigningKey]>,
    offer: Option<ReconnectOffer>,
}

impl ServerConfig {
    fn side(&self, now: Instant) -> Side {
        let server = Engine::server(self.common.clone(), Arc::clone(&self.host_key), &["password"], now);
        let mut side = Side::new(server.expect("a server"));
        if let Some(offer) = &self.offer {
            side.engine.offer_reconnect(offer.clone()).expect("an offer");
        }
        side
    }
}

/// What makes a [`Pair`].
#[derive(Debug, Clone)]
pub struct Setup {
    /// Both sides' algorithms.
    pub algorithms: Algorithms,
    /// The client's limits.
    pub client: Limits,
    /// The server's limits.
    pub server: Limits,
    /// Both sides' extensions.
    pub extensions: Extensions,
    /// Who does the cryptography.
    pub provider: &'static CryptoProvider,
    /// What the client and the server offer for reconnecting.
    pub reconnect: [Option<ReconnectOffer>; 2],
}

impl Default for Setup {
    fn default() -> Self {
        let algorithms = Algorithms::default().with_kex("curve25519-sha256").unwrap_or_default();
        Self {
            algorithms,
            client: Limits::default(),
            server: Limits::default(),
            extensions: Extensions::default(),
            provider: backend::current(),
            reconnect: [None, None],
        }
    }
}

impl Pair {
    /// Two ends that have not exchanged a byte.
    ///
    /// # Panics
    /// If an engine cannot be made.
    #[must_use]
    pub fn new(setup: &Setup, seed: u64) -> Self {
        let now = start_of_time();
        let provider = seeded_provider(setup.provider, seed);
        let key = provider.signatures.generate(KeyKind::Ed25519, 0).expect("a key");
        let key = SigningKey::new(&key, provider).expect("a host key");
        let common = |limits: &Limits| Common {
            algorithms: setup.algorithms.clone(),
            limits: limits.clone(),
            extensions: setup.extensions.clone(),
            provider,
        };
        let client = Engine::client(common(&setup.client), "ada".into(), now);
        let server_config = ServerConfig {
            common: common(&setup.server),
            host_key: Arc::new([key]),
            offer: setup.reconnect[1].clone(),
        };
        let mut client = Side::new(client.expect("a client"));
        if let Some(offer) = &setup.reconnect[0] {
            client.engine.offer_reconnect(offer.clone()).expect("an offer");
        }
        Self {
            client,
            server: server_config.side(now),
            attempt: (None, None),
            server_config,
            to_server: Link::default(),
            to_client: Link::default(),
            now,
            dice: Dice::new(seed),
        }
    }

    /// Moves bytes until both are logged in.
    ///
    /// # Panics
    /// If they do not get there in a minute of virtual time.
    pub fn login(&mut self) {
        let deadline = self.now + Duration::from_secs(60);
        while !(self.client.authenticated && self.server.authenticated) {
            assert!(self.step(), "the login stalls: {:?}", self.ends());
            assert!(self.now < deadline, "the login takes a minute: {:?}", self.ends());
        }
    }

    /// Moves bytes until nothing moves without the clock's keepalives.
    pub fn settle(&mut self) {
        while self.move_bytes() || self.advance_to_arrival() {}
    }

    /// Something happens: bytes move, or else time passes. `false` if nothing ever will.
    pub fn step(&mut self) -> bool {
        self.move_bytes() || self.advance_to_arrival() || self.advance_to_timeout()
    }

    /// Moves what can be moved now.
    pub fn move_bytes(&mut self) -> bool {
        let client_first = self.dice.once_in(2);
        let mut moved = false;
        for turn in [client_first, !client_first] {
            let client = self.attempt.0.as_mut().unwrap_or(&mut self.client);
            let server = self.attempt.1.as_mut().unwrap_or(&mut self.server);
            let (from, to, link) = if turn {
                (client, server, &mut self.to_server)
            } else {
                (server, client, &mut self.to_client)
            };
            moved |= from.send(link, self.now);
            let bytes = link.receive(self.now, &mut self.dice);
            moved |= to.receive(&bytes, self.now);
            self.settle_attempt();
        }
        moved
    }

    /// The connection breaks: what is on its way is lost. Each side notices, or only later: by its keepalives, or when
    /// the other comes back.
    pub fn cut(&mut self, client_notices: bool, server_notices: bool) {
        for link in [&mut self.to_server, &mut self.to_client] {
            link.sever();
        }
        self.attempt = (None, None);
        let now = self.now;
        for (side, notices) in [(&mut self.client, client_notices), (&mut self.server, server_notices)] {
            side.waiting.clear();
            if notices {
                side.engine.lose(Error::unexpected_end(), now);
                side.settle();
            }
        }
    }

    /// The client connects again, to the server that knows the session.
    ///
    /// # Panics
    /// If the client's session cannot be resumed.
    pub fn reconnect(&mut self) {
        for link in [&mut self.to_server, &mut self.to_client] {
            link.reset();
        }
        let attempt = self.client.engine.reconnect(self.now).expect("a session without a stream");
        self.attempt = (Some(Side::new(attempt)), Some(self.server_config.side(self.now)));
    }

    /// Whether the connection is gone.
    #[must_use]
    pub fn is_severed(&self) -> bool {
        self.to_server.is_severed() && self.to_client.is_severed()
    }

    /// Whether the connection is going to break.
    #[must_use]
    pub fn has_planned_cut(&self) -> bool {
        self.to_server.has_planned_cut() || self.to_client.has_planned_cut()
    }

    /// Whether an end of the connection that was to carry the session has given it up, or the server's end of the session
    /// has.
    #[must_use]
    pub fn attempt_is_over(&self) -> bool {
        let over = |side: &Option<Side>| side.as_ref().is_some_and(|side| side.engine.ended().is_some());
        let lost =
            |side: &Side, attempt: &Option<Side>| attempt.is_none() && side.engine.detached().is_some();
        over(&self.attempt.0)
            || over(&self.attempt.1)
            || lost(&self.client, &self.attempt.0)
            || lost(&self.server, &self.attempt.1)
    }

    /// Does for an attempt what drivers do.
    fn settle_attempt(&mut self) {
        let now = self.now;
        if let Some(attempt) = &mut self.attempt.1
            && std::mem::take(&mut attempt.asked_to_resume)
        {
            match self.server.engine.hand_over(&mut attempt.engine, now) {
                Ok(()) => {
                    let attempt = self.attempt.1.take().expect("it was there");
                    self.server.take_stream(attempt, now);
                }
                Err(failure) => {
                    let _ = attempt.engine.refuse_resume(failure, now);
                }
            }
        }
        if let Some(attempt) = &mut self.attempt.0 {
            if attempt.engine.is_claim_answered() {
                match self.client.engine.resume(&mut attempt.engine, now) {
                    Ok(()) => {
                        let attempt = self.attempt.0.take().expect("it was there");
                        self.client.take_stream(attempt, now);
                    }
                    Err(error) => drop(self.client.engine.end(error)),
                }
            } else if let Some(error) = attempt.engine.ended().cloned()
                && let Some(end) = self.client.engine.is_end_of_attempts(&attempt.engine, &error)
            {
                self.client.engine.end(end);
            }
        }
    }

    /// Moves the clock to when something arrives.
    pub fn advance_to_arrival(&mut self) -> bool {
        let next = [&self.to_server, &self.to_client].into_iter().filter_map(Link::next_arrival).min();
        self.advance_to(next)
    }

    /// Moves the clock to the next deadline of an engine, and tells it.
    pub fn advance_to_timeout(&mut self) -> bool {
        let sides = [&self.client, &self.server].into_iter();
        let sides = sides.chain(&self.attempt.0).chain(&self.attempt.1);
        let next = sides.filter_map(|side| side.engine.poll_timeout()).min();
        let advanced = self.advance_to(next) || next.is_some_and(|at| at <= self.now);
        let (client, server) = (self.attempt.0.as_mut(), self.attempt.1.as_mut());
        for side in [&mut self.client, &mut self.server].into_iter().chain(client).chain(server) {
            if side.engine.poll_timeout().is_some_and(|at| at <= self.now) {
                let _ = side.engine.handle_timeout(self.now);
                side.settle();
            }
        }
        advanced
    }

    fn advance_to(&mut self, at: Option<Instant>) -> bool {
        let Some(at) = at.filter(|at| *at > self.now) else { return false };
        self.now = at;
        true
    }

    /// How each session ended, if it has.
    #[must_use]
    pub fn ends(&self) -> (Option<&Error>, Option<&Error>) {
        (self.client.engine.ended(), self.server.engine.ended())
    }
}

/// Some instant. The protocol only ever looks at differences.
#[expect(clippy::disallowed_methods, reason = "tests need an instant to count from")]
#[must_use]
pub fn start_of_time() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}

/// Counts how often it was woken.
#[derive(Debug, Default)]
pub struct Wakes(AtomicUsize);

impl Wakes {
    /// A counter and a waker for it.
    #[must_use]
    pub fn new() -> (Arc<Self>, Waker) {
        let wakes = Arc::new(Self::default());
        (Arc::clone(&wakes), wakes.into())
    }

    /// Whether it was woken since this was asked last.
    pub fn take(&self) -> bool {
        self.0.swap(0, Ordering::Relaxed) > 0
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
