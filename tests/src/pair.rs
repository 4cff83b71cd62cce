//! Two engines in one thread: no runtime, a clock that is moved by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ssh_core::Error;
use ssh_core::config::{Algorithms, Common, Limits};
use ssh_core::crypto::CryptoProvider;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::protocol::{
    AuthAnswer, AuthReply, ClientAuthRequest, ConnectionEvent, Engine, Event, Inbound, Input,
};

use crate::backend;
use crate::link::Link;
use crate::random::{Dice, seeded_provider};

/// One end: an engine, its receiving half, and what its link has not taken yet.
#[derive(Debug)]
pub struct Side {
    /// The engine.
    pub engine: Engine,
    /// The engine's receiving half.
    pub inbound: Inbound,
    waiting: Vec<u8>,
    /// Channels and requests for the application.
    pub incoming: Vec<ConnectionEvent>,
    /// Whether the login is over.
    pub authenticated: bool,
    /// The largest output that ever waited, in bytes.
    pub most_waiting: usize,
}

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
    /// Who does the cryptography.
    pub provider: &'static CryptoProvider,
}

impl Default for Setup {
    fn default() -> Self {
        let algorithms = Algorithms::default().with_kex("curve25519-sha256").unwrap_or_default();
        Self {
            algorithms,
            client: Limits::default(),
            server: Limits::default(),
            provider: backend::current(),
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
            provider,
        };
        let client = Engine::client(common(&setup.client), "ada".into(), now);
        let server = Engine::server(common(&setup.server), Arc::new([key]), &["password"], now);
        Self {
            client: Side::new(client.expect("a client")),
            server: Side::new(server.expect("a server")),
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
            let (from, to, link) = if turn {
                (&mut self.client, &mut self.server, &mut self.to_server)
            } else {
                (&mut self.server, &mut self.client, &mut self.to_client)
            };
            moved |= from.send(link, self.now);
            let bytes = link.receive(self.now, &mut self.dice);
            moved |= to.receive(&bytes, self.now);
        }
        moved
    }

    /// Moves the clock to when something arrives.
    pub fn advance_to_arrival(&mut self) -> bool {
        let next = [&self.to_server, &self.to_client].into_iter().filter_map(Link::next_arrival).min();
        self.advance_to(next)
    }

    /// Moves the clock to the next deadline of an engine, and tells it.
    pub fn advance_to_timeout(&mut self) -> bool {
        let next =
            [&self.client, &self.server].into_iter().filter_map(|side| side.engine.poll_timeout()).min();
        let advanced = self.advance_to(next) || next.is_some_and(|at| at <= self.now);
        for side in [&mut self.client, &mut self.server] {
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

impl Side {
    fn new((engine, inbound): (Engine, Inbound)) -> Self {
        Self {
            engine,
            inbound,
            waiting: Vec::new(),
            incoming: Vec::new(),
            authenticated: false,
            most_waiting: 0,
        }
    }

    /// Gives the link what it takes. Like a driver, it takes new output only when the old one has gone.
    fn send(&mut self, link: &mut Link, now: Instant) -> bool {
        if self.waiting.is_empty() && self.engine.has_output() && link.room() > 0 {
            self.engine.take_output(&mut self.waiting, now);
            self.most_waiting = self.most_waiting.max(self.waiting.len());
            self.settle();
        }
        let sent = link.send(&self.waiting, now);
        self.waiting.drain(..sent);
        sent > 0
    }

    /// As the driver's read loop does it.
    fn receive(&mut self, bytes: &[u8], now: Instant) -> bool {
        if bytes.is_empty() || self.engine.ended().is_some() {
            return false;
        }
        self.inbound.buffer().extend_from_slice(bytes);
        if let Err(error) = self.dispatch(now) {
            self.engine.end(error);
        }
        self.settle();
        true
    }

    fn dispatch(&mut self, now: Instant) -> Result<(), Error> {
        loop {
            while let Some(input) = self.inbound.poll()? {
                match input {
                    Input::Ident(version) => self.engine.handle_ident(version),
                    Input::Packet(packet) => self.engine.handle_packet(packet, now)?,
                }
            }
            match self.engine.take_opener() {
                Some(next) => self.inbound.install(next),
                None => return Ok(()),
            }
            while let Some(event) = self.engine.poll_event() {
                self.on_event(event, now)?;
            }
        }
    }

    /// Acts on events and wakes whoever is to be woken.
    pub fn settle(&mut self) {
        let now = start_of_time();
        while let Some(event) = self.engine.poll_event() {
            if let Err(error) = self.on_event(event, now) {
                self.engine.end(error);
            }
        }
        let cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(event)) = self.engine.poll_incoming(&cx) {
            self.incoming.push(event);
        }
        let mut batch: [Option<Waker>; 8] = Default::default();
        loop {
            let more = self.engine.take_wakes(&mut batch);
            batch.iter_mut().filter_map(Option::take).for_each(Waker::wake);
            if !more {
                return;
            }
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) -> Result<(), Error> {
        match event {
            Event::HostKey(_) => self.engine.accept_host_key(),
            Event::AuthReady => self.engine.auth_request(&ClientAuthRequest::Password("secret")),
            Event::AuthReply(AuthReply::Success) => Ok(()),
            Event::AuthAttempt(_) => self.engine.auth_answer(AuthAnswer::Accept, now),
            Event::Authenticated => {
                self.authenticated = true;
                Ok(())
            }
            other => panic!("unexpected event {other:?}"),
        }
    }

    /// The next channel that the peer offers, its number here.
    pub fn offered(&mut self) -> Option<u32> {
        let at = self.incoming.iter().position(|event| matches!(event, ConnectionEvent::Offered(_)))?;
        match self.incoming.remove(at) {
            ConnectionEvent::Offered(offer) => Some(offer.id),
            ConnectionEvent::Request(_) => None,
        }
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
