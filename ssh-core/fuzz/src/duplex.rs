//! A client and a server that talk to each other, with connections that break, at a fuzzer's will.
//!
//! Whatever is done to them, what one application reads is what the other wrote, from its first byte on; and once nothing
//! is cut any more it is all of it.

use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ssh_core::Error;
use ssh_core::config::{Algorithms, Common, Extensions, Limits};
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::protocol::{
    AuthAnswer, ClientAuthRequest, ConnectionEvent, Engine, Event, Inbound, Input, ReconnectOffer,
};

use crate::provider::PROVIDER;
use crate::session::{byte, start_of_time};

/// Plays `input`: two bytes of settings, then acts of a byte and what belongs to it.
pub fn play(input: &[u8]) {
    let mut input = input;
    let settings = [byte(&mut input), byte(&mut input)];
    let mut duplex = Duplex::new(settings);
    duplex.log_in();
    duplex.open();
    while !input.is_empty() && !duplex.is_over() {
        duplex.act(&mut input);
        duplex.check();
    }
    duplex.finish();
}

struct Duplex {
    sides: [Side; 2],
    /// The ends of a connection that is to carry the session.
    attempt: [Option<Side>; 2],
    now: Instant,
    common: Common,
    host_key: Arc<[SigningKey]>,
    offers: [ReconnectOffer; 2],
    /// Whether the connection is cut: nothing arrives any more.
    is_cut: bool,
    channel: [Option<u32>; 2],
    written: [usize; 2],
    read: [usize; 2],
    eof: [bool; 2],
    ended: [bool; 2],
    rekeys: u32,
    /// Whether one of them does not count messages, so that a cut may be the end.
    may_fail: bool,
}

struct Side {
    engine: Engine,
    inbound: Inbound,
    /// What has been taken from the engine and is on its way.
    sent: Vec<u8>,
    authenticated: bool,
    asked_to_resume: bool,
    offered: Option<u32>,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;
/// Past this much the applications write no more, in bytes.
const MOST: usize = 200_000;

impl Duplex {
    fn new([first, second]: [u8; 2]) -> Self {
        let mut limits = Limits::default();
        limits.channel_window = [1 << 20, 5000, 300, 40][usize::from(first & 3)];
        limits.max_channel_window = limits.channel_window.max([1 << 20, 40][usize::from(first >> 2 & 1)]);
        limits.channel_packet = [32 * 1024, 100][usize::from(first >> 3 & 1)];
        if first & 16 != 0 {
            limits.rekey_bytes = 20_000;
        }
        let offer = |bits: u8| {
            let mut offer = ReconnectOffer::default();
            offer.window = [8 << 20, 20_000, 1000, 1][usize::from(bits & 3)];
            offer.latency = bits & 4 != 0;
            offer.count = bits & 8 == 0;
            offer
        };
        let offers = [offer(second), offer(second >> 4)];
        let common = Common {
            algorithms: Algorithms::default(),
            limits,
            extensions: Extensions::default(),
            provider: &PROVIDER,
        };
        let key = PROVIDER.signatures.generate(KeyKind::Ed25519, 0).expect("a key");
        let host_key: Arc<[SigningKey]> = [SigningKey::new(&key, &PROVIDER).expect("a host key")].into();
        let now = start_of_time();
        let mut client = Side::new(Engine::client(common.clone(), "ada".into(), now).expect("a client"));
        client.engine.offer_reconnect(offers[CLIENT].clone()).expect("an offer");
        let may_fail = offers.iter().any(|offer| !offer.count);
        let server = server(&common, &host_key, &offers[SERVER], now);
        Self {
            sides: [client, server],
            attempt: [None, None],
            now,
            common,
            host_key,
            offers,
            is_cut: false,
            channel: [None, None],
            written: [0, 0],
            read: [0, 0],
            eof: [false, false],
            ended: [false, false],
            rekeys: 0,
            may_fail,
        }
    }

    fn log_in(&mut self) {
        for _ in 0..1000 {
            if self.sides.iter().all(|side| side.authenticated) {
                return;
            }
            self.deliver(CLIENT, usize::MAX);
            self.deliver(SERVER, usize::MAX);
        }
        panic!("the login stalls: {:?}", self.ends());
    }

    /// One channel, which the client opens.
    fn open(&mut self) {
        let id = self.sides[CLIENT].engine.open_channel("session", b"", self.now).expect("an open");
        self.channel[CLIENT] = Some(id);
        for _ in 0..1000 {
            self.deliver(CLIENT, usize::MAX);
            self.deliver(SERVER, usize::MAX);
            if let Some(id) = self.sides[SERVER].offered.take() {
                self.sides[SERVER].engine.accept_channel(id, b"").expect("accepting");
                self.channel[SERVER] = Some(id);
            }
            if let Poll::Ready(opened) = self.sides[CLIENT].engine.poll_opened(id, &mut cx()) {
                return drop(opened.expect("the channel opens"));
            }
        }
        panic!("opening stalls: {:?}", self.ends());
    }

    fn act(&mut self, input: &mut &[u8]) {
        let choice = byte(input);
        let from = usize::from(choice & 1);
        match choice >> 1 {
            0..16 => self.write(from, usize::from(byte(input)) * usize::from(choice >> 1)),
            16..32 => self.read(from, usize::from(byte(input)) * 100),
            32..64 => self.deliver(from, usize::from(byte(input)) << (choice >> 3 & 7)),
            64..72 => self.deliver(from, usize::MAX),
            72..80 => self.cut([choice & 2 != 0, choice & 4 != 0]),
            80..100 => self.reconnect(),
            100..108 => self.pass(Duration::from_millis(u64::from(byte(input)) * 100)),
            108..112 if self.rekeys < 5 => {
                self.rekeys += 1;
                let _ = self.sides[from].engine.rekey(self.now);
            }
            112..114 => self.end_writing(from),
            // The other side notices only now.
            114..118 if self.is_cut => self.lose(from),
            _ => {}
        }
        self.settle();
    }

    fn write(&mut self, from: usize, len: usize) {
        let Some(id) = self.channel[from].filter(|_| !self.eof[from]) else { return };
        let len = len.min(MOST - self.written[from]);
        let data: Vec<u8> =
            (self.written[from]..self.written[from] + len).map(|at| pattern(from, at)).collect();
        if len == 0 {
            return;
        }
        match self.sides[from].engine.poll_write(id, &cx(), &[IoSlice::new(&data)]) {
            Poll::Ready(Ok(n)) => self.written[from] += n,
            Poll::Ready(Err(error)) => assert!(self.is_over(), "writing failed: {error}"),
            Poll::Pending => {}
        }
    }

    fn end_writing(&mut self, from: usize) {
        if let Some(id) = self.channel[from]
            && !std::mem::replace(&mut self.eof[from], true)
        {
            let _ = self.sides[from].engine.send_eof(id);
        }
    }

    fn read(&mut self, to: usize, len: usize) {
        let Some(id) = self.channel[to] else { return };
        let mut buffer = vec![0; len.max(1)];
        match self.sides[to].engine.poll_read(id, &cx(), &mut buffer) {
            Poll::Ready(Ok(0)) => {
                assert!(self.eof[1 - to] || self.is_over(), "an end that nobody sent");
                assert_eq!(self.read[to], self.written[1 - to], "an end before the last byte");
                self.ended[to] = true;
            }
            Poll::Ready(Ok(n)) => {
                for (at, byte) in buffer.iter().take(n).enumerate() {
                    assert_eq!(*byte, pattern(1 - to, self.read[to] + at), "other bytes arrived");
                }
                self.read[to] += n;
            }
            Poll::Ready(Err(error)) => assert!(self.is_over(), "reading failed: {error}"),
            Poll::Pending => {}
        }
    }

    /// Carries up to `most` bytes.
    fn deliver(&mut self, from: usize, most: usize) {
        let now = self.now;
        let sender = self.attempt[from].as_mut().unwrap_or(&mut self.sides[from]);
        if sender.sent.is_empty() && sender.engine.has_output() {
            sender.engine.take_output(&mut sender.sent, now);
        }
        let len = sender.sent.len().min(most);
        let bytes: Vec<u8> = sender.sent.drain(..len).collect();
        if self.is_cut || bytes.is_empty() {
            return;
        }
        let to = 1 - from;
        let receiver = self.attempt[to].as_mut().unwrap_or(&mut self.sides[to]);
        receiver.receive(&bytes, now);
        self.settle();
    }

    /// What is on its way is lost, and each side notices or does not.
    fn cut(&mut self, notices: [bool; 2]) {
        self.is_cut = true;
        self.attempt = [None, None];
        for side in [CLIENT, SERVER] {
            self.sides[side].sent.clear();
            if notices[side] {
                self.lose(side);
            }
        }
    }

    fn lose(&mut self, side: usize) {
        let engine = &mut self.sides[side].engine;
        if engine.detached().is_none() {
            engine.lose(Error::unexpected_end(), self.now);
        }
    }

    fn reconnect(&mut self) {
        let client = &mut self.sides[CLIENT].engine;
        if !self.is_cut || client.ended().is_some() || client.detached().is_none() {
            return;
        }
        let Ok(made) = client.reconnect(self.now) else { return };
        self.is_cut = false;
        let server = server(&self.common, &self.host_key, &self.offers[SERVER], self.now);
        self.attempt = [Some(Side::new(made)), Some(server)];
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for side in self.sides.iter_mut().chain(self.attempt.iter_mut().flatten()) {
            for _ in 0..10 {
                if side.engine.poll_timeout().is_none_or(|at| at > self.now) {
                    break;
                }
                let _ = side.engine.handle_timeout(self.now);
                side.settle(self.now);
            }
        }
    }

    /// Does for the ends what drivers do.
    fn settle(&mut self) {
        let now = self.now;
        for side in self.sides.iter_mut().chain(self.attempt.iter_mut().flatten()) {
            side.settle(now);
        }
        if self.attempt[SERVER].as_ref().is_some_and(|attempt| attempt.asked_to_resume)
            && let Some(mut attempt) = self.attempt[SERVER].take()
        {
            attempt.asked_to_resume = false;
            let session = &mut self.sides[SERVER];
            match session.engine.hand_over(&mut attempt.engine, now) {
                Ok(()) => session.take_stream(attempt, now),
                Err(failure) => {
                    let _ = attempt.engine.refuse_resume(failure, now);
                    self.attempt[SERVER] = Some(attempt);
                }
            }
        }
        if let Some(mut attempt) = self.attempt[CLIENT].take() {
            let session = &mut self.sides[CLIENT];
            if attempt.engine.is_claim_answered() {
                match session.engine.resume(&mut attempt.engine, now) {
                    Ok(()) => return session.take_stream(attempt, now),
                    Err(error) => drop(session.engine.end(error)),
                }
            } else if let Some(error) = attempt.engine.ended().cloned()
                && let Some(end) = session.engine.is_end_of_attempts(&attempt.engine, &error)
            {
                session.engine.end(end);
            }
            self.attempt[CLIENT] = Some(attempt);
        }
    }

    fn is_over(&self) -> bool {
        self.sides.iter().any(|side| side.engine.ended().is_some())
    }

    fn ends(&self) -> [Option<String>; 2] {
        [CLIENT, SERVER].map(|side| self.sides[side].engine.ended().map(ToString::to_string))
    }

    fn check(&self) {
        for (side, offer) in self.sides.iter().zip(&self.offers) {
            let (bytes, _) = side.engine.replay_bytes();
            assert!(bytes <= offer.window + 128 * 1024, "{bytes} bytes wait in a log of {}", offer.window);
        }
    }

    /// Nothing is cut any more: everything arrives, or somebody knows why not.
    fn finish(&mut self) {
        for from in [CLIENT, SERVER] {
            self.end_writing(from);
        }
        for round in 0..30_000 {
            if self.is_over() || self.ended.iter().all(|ended| *ended) {
                break;
            }
            let lost = [CLIENT, SERVER].map(|side| {
                self.attempt[side]
                    .as_ref()
                    .map_or(&self.sides[side], |attempt| attempt)
                    .engine
                    .ended()
                    .is_some()
                    || (self.attempt[side].is_none() && self.sides[side].engine.detached().is_some())
            });
            // An attempt that failed, or a side that knows of the cut: then the other does now.
            if self.is_cut || lost.contains(&true) {
                self.cut([true, true]);
                self.reconnect();
            }
            for side in [CLIENT, SERVER] {
                self.deliver(side, usize::MAX);
                self.read(side, 1 << 20);
            }
            if round % 100 == 99 {
                self.pass(Duration::from_millis(500));
            }
        }
        if self.is_over() {
            // Nothing but what cannot be resumed, silence or a storm of key exchanges may end it.
            let ends = self.sides.iter().filter_map(|side| side.engine.ended());
            for end in ends {
                let fits = match end {
                    Error::Reconnect(_) | Error::Timeout(_) | Error::Disconnected { .. } => true,
                    Error::PeerMisbehaved(_) => self.may_fail,
                    _ => false,
                };
                assert!(fits, "it ended with {end}");
            }
            return;
        }
        assert!(self.ended.iter().all(|ended| *ended), "it stalls: {:?} of {:?}", self.read, self.written);
        assert_eq!(self.read, [self.written[1], self.written[0]]);
    }
}

fn server(common: &Common, host_key: &Arc<[SigningKey]>, offer: &ReconnectOffer, now: Instant) -> Side {
    let server = Engine::server(common.clone(), Arc::clone(host_key), &["password"], now);
    let mut side = Side::new(server.expect("a server"));
    side.engine.offer_reconnect(offer.clone()).expect("an offer");
    side
}

impl Side {
    fn new((engine, inbound): (Engine, Inbound)) -> Self {
        Self {
            engine,
            inbound,
            sent: Vec::new(),
            authenticated: false,
            asked_to_resume: false,
            offered: None,
        }
    }

    fn take_stream(&mut self, attempt: Self, now: Instant) {
        (self.inbound, self.sent) = (attempt.inbound, attempt.sent);
        if self.engine.detached().is_none()
            && let Err(error) = self.dispatch(now)
        {
            self.engine.lose(error, now);
        }
    }

    /// As the driver's read loop does it.
    fn receive(&mut self, bytes: &[u8], now: Instant) {
        if self.engine.ended().is_some() || self.engine.detached().is_some() {
            return;
        }
        self.inbound.buffer().extend_from_slice(bytes);
        if self.engine.keeps_time() {
            self.engine.set_now(now);
        }
        if let Err(error) = self.dispatch(now) {
            self.engine.lose(error, now);
        }
    }

    fn dispatch(&mut self, now: Instant) -> Result<(), Error> {
        if let Some(next) = self.engine.take_opener() {
            self.inbound.install(next);
        }
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
            self.settle(now);
        }
    }

    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.engine.poll_event() {
            let acted = match event {
                Event::HostKey(_) => self.engine.accept_host_key(),
                Event::AuthReady => self.engine.auth_request(&ClientAuthRequest::Password("secret")),
                Event::AuthAttempt(_) => self.engine.auth_answer(AuthAnswer::Accept, now),
                Event::Authenticated => {
                    self.authenticated = true;
                    Ok(())
                }
                Event::ResumeRequested(_) => {
                    self.asked_to_resume = true;
                    Ok(())
                }
                _ => Ok(()),
            };
            if let Err(error) = acted {
                self.engine.end(error);
            }
        }
        while self.engine.poll_link_event().is_some() {}
        while let Poll::Ready(Some(event)) = self.engine.poll_incoming(&cx()) {
            if let ConnectionEvent::Offered(offer) = event {
                self.offered = Some(offer.id);
            }
        }
        let mut batch: [Option<Waker>; 4] = Default::default();
        while self.engine.take_wakes(&mut batch) {}
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// What a side writes as its byte `at`.
fn pattern(from: usize, at: usize) -> u8 {
    let number = (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(from as u64);
    (number >> 24) as u8
}
