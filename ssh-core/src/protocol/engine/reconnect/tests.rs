//! Positions that cannot be, connections that are gone, and what becomes of the session.

use super::*;
use crate::config::{Algorithms, Common, Extensions, Limits};
use crate::crypto::rustcrypto::PROVIDER;
use crate::error::{DisconnectReason, PeerMisbehaved, ReconnectFailure};
use crate::keys::{KeyKind, SigningKey};
use crate::protocol::auth::{AuthAnswer, ClientAuthRequest};
use crate::protocol::connection::KEEPALIVE;
use crate::protocol::engine::Event;
use crate::protocol::messages::{Ignore, NewKeys, Rest};
use crate::protocol::{Inbound, Input};
use std::sync::Arc;

/// An engine, and what it receives by.
struct End {
    engine: Engine,
    inbound: Inbound,
    asked_to_resume: bool,
}

impl End {
    fn new((engine, inbound): (Engine, Inbound)) -> Self {
        Self { engine, inbound, asked_to_resume: false }
    }

    /// Takes what `other` has to say.
    fn hear(&mut self, other: &mut Self, now: Instant) -> bool {
        let mut output = Vec::new();
        other.engine.take_output(&mut output, now);
        self.inbound.reserve(output.len()).extend_from_slice(&output);
        loop {
            while let Some(input) = self.inbound.poll().unwrap() {
                match input {
                    Input::Ident(version) => self.engine.handle_ident(version),
                    // The end of the session is what some tests want to see.
                    Input::Packet(packet) => drop(self.engine.handle_packet(packet, now)),
                }
            }
            while let Some(event) = self.engine.poll_event() {
                match event {
                    Event::HostKey(_) => self.engine.accept_host_key().unwrap(),
                    Event::AuthReady => {
                        self.engine.auth_request(&ClientAuthRequest::Password("secret")).unwrap();
                    }
                    Event::AuthAttempt(_) => self.engine.auth_answer(AuthAnswer::Accept, now).unwrap(),
                    Event::ResumeRequested(_) => self.asked_to_resume = true,
                    _ => {}
                }
            }
            match self.engine.take_opener() {
                Some(next) => self.inbound.install(next),
                None => return !output.is_empty(),
            }
        }
    }

    fn received(&mut self) -> &mut u64 {
        &mut self.engine.resumption.as_mut().unwrap().received
    }
}

fn talk(a: &mut End, b: &mut End, now: Instant) {
    while a.hear(b, now) | b.hear(a, now) {}
}

/// A session whose stream is gone, and what makes others like it.
struct World {
    client: End,
    server: End,
    key: Arc<[SigningKey]>,
    offer: ReconnectOffer,
    now: Instant,
}

fn common() -> Common {
    Common {
        algorithms: Algorithms::default().with_kex("curve25519-sha256").unwrap(),
        limits: Limits::default(),
        extensions: Extensions::default(),
        provider: &PROVIDER,
    }
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
    fn new(count: bool) -> Self {
        let now = Instant::now();
        let key = PROVIDER.signatures.generate(KeyKind::Ed25519, 0).unwrap();
        let key: Arc<[SigningKey]> = Arc::new([SigningKey::new(&key, &PROVIDER).unwrap()]);
        let offer = ReconnectOffer { count, ..ReconnectOffer::default() };
        let mut client = End::new(Engine::client(common(), "ada".into(), now).unwrap());
        client.engine.offer_reconnect(offer.clone()).unwrap();
        let mut server = Self::connection(&key, &offer, now);
        talk(&mut client, &mut server, now);
        // Each hears how far the other one is, and has messages that the other one has acknowledged.
        for _ in 0..3 {
            for asks_first in [true, false] {
                let end = if asks_first { &mut client } else { &mut server };
                end.engine.global_request(KEEPALIVE, true, &[], now).unwrap();
                talk(&mut client, &mut server, now);
            }
        }
        for end in [&mut client, &mut server] {
            assert!(end.engine.is_reconnect_enabled());
            end.engine.lose(Error::unexpected_end(), now);
            assert!(end.engine.detached().is_some());
        }
        Self { client, server, key, offer, now }
    }

    fn connection(key: &Arc<[SigningKey]>, offer: &ReconnectOffer, now: Instant) -> End {
        let mut end = End::new(Engine::server(common(), Arc::clone(key), &["password"], now).unwrap());
        end.engine.offer_reconnect(offer.clone()).unwrap();
        end
    }

    /// Both ends of a connection whose client has asked for the session.
    fn attempt(&self) -> (End, End) {
        let mut attempt = End::new(self.client.engine.reconnect(self.now).unwrap());
        let mut connection = Self::connection(&self.key, &self.offer, self.now);
        talk(&mut attempt, &mut connection, self.now);
        assert!(connection.asked_to_resume);
        (attempt, connection)
    }

    /// The client comes back, and both go on.
    fn assert_resumable(&mut self) {
        let (mut attempt, mut connection) = self.attempt();
        let now = self.now;
        self.server.engine.hand_over(&mut connection.engine, now).unwrap();
        self.server.inbound = connection.inbound;
        attempt.hear(&mut self.server, now);
        self.client.engine.resume(&mut attempt.engine, now).unwrap();
        self.client.inbound = attempt.inbound;
        let number = self.client.engine.global_request(KEEPALIVE, true, &[], now).unwrap().unwrap();
        talk(&mut self.client, &mut self.server, now);
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(self.client.engine.poll_global_reply(number, &mut cx).is_ready());
    }
}

/// A server that is told of a position which cannot be, or behind which it has nothing any more, says so (4) and keeps the
/// session as it is.
#[test]
fn a_client_that_is_nowhere_is_refused_and_the_session_waits_on() {
    for (count, position) in
        [(true, u64::MAX), (true, 1000), (true, 0), (false, u64::MAX), (false, 1000), (false, 0)]
    {
        let mut world = World::new(count);
        let truth = (*world.client.received(), world.client.engine.transport.out.acks.last_received());
        *world.client.received() = position;
        let now = world.now;
        world.client.engine.transport.out.acks.on_received(position, 0, now);
        let (mut attempt, mut connection) = world.attempt();
        let before = (world.server.engine.generation(), world.server.engine.replay_bytes());
        let refused = world.server.engine.hand_over(&mut connection.engine, now).unwrap_err();
        assert_eq!((refused, refused.code()), (ReconnectFailure::ServerDroppedMessages, 4), "{position}");
        assert_eq!((world.server.engine.generation(), world.server.engine.replay_bytes()), before);
        assert!(world.server.engine.detached().is_some() && world.server.engine.ended().is_none());
        connection.engine.refuse_resume(refused, now).unwrap();
        attempt.hear(&mut connection, now);
        let told = attempt.engine.ended().cloned();
        assert!(matches!(told, Some(Error::Reconnect(ReconnectFailure::ServerDroppedMessages))), "{told:?}");
        // It is no guess of a token.
        assert_eq!(connection.engine.resumption.as_ref().unwrap().wrong_tokens, 0);
        *world.client.received() = truth.0;
        world.client.engine.transport.out.acks.on_received(truth.1, 0, now);
        world.assert_resumable();
    }
}

/// A client whose server misses what is no longer there (104), or claims what was never said, does not go on.
#[test]
fn a_server_that_is_nowhere_gets_no_session() {
    for (count, position) in [(true, u64::MAX), (true, 0), (false, u64::MAX), (false, 0)] {
        let mut world = World::new(count);
        let now = world.now;
        let (mut attempt, mut connection) = world.attempt();
        *world.server.received() = position;
        world.server.engine.transport.out.acks.on_received(position, 0, now);
        world.server.engine.hand_over(&mut connection.engine, now).unwrap();
        attempt.hear(&mut world.server, now);
        assert!(attempt.engine.is_claim_answered());
        let failed = world.client.engine.resume(&mut attempt.engine, now).unwrap_err();
        if position == 0 {
            assert!(
                matches!(failed, Error::Reconnect(failure @ ReconnectFailure::ClientDroppedMessages) if failure.code() == 104),
                "{failed}"
            );
        } else {
            assert!(matches!(failed, Error::PeerMisbehaved(PeerMisbehaved::AckOfTheFuture)), "{failed}");
        }
        assert!(world.client.engine.detached().is_some() && world.client.engine.ended().is_none());
        // That will not get better.
        assert!(world.client.engine.is_end_of_attempts(&attempt.engine, &failed).is_some());
    }
}

#[test]
fn a_connection_that_is_gone_carries_nothing() {
    let mut world = World::new(true);
    let (_, mut connection) = world.attempt();
    connection.engine.lose(Error::unexpected_end(), world.now);
    let before = world.server.engine.generation();
    assert!(world.server.engine.hand_over(&mut connection.engine, world.now).is_err());
    assert_eq!(world.server.engine.generation(), before);
    assert!(world.server.engine.detached().is_some());
    world.assert_resumable();
}

#[test]
fn nobody_gets_the_session_of_another() {
    let (mut world, other) = (World::new(true), World::new(true));
    let (_, mut connection) = other.attempt();
    let refused = world.server.engine.hand_over(&mut connection.engine, world.now).unwrap_err();
    assert_eq!(refused, ReconnectFailure::InvalidClientToken);
    // Nor does who says on a connection what the client has said on another.
    let (_, mut first) = world.attempt();
    let (_, mut second) = world.attempt();
    second.engine.waiting = first.engine.waiting.take();
    let refused = world.server.engine.hand_over(&mut second.engine, world.now).unwrap_err();
    assert_eq!(refused, ReconnectFailure::InvalidClientToken);
    world.assert_resumable();
}

/// A client that asks once more may not have heard the answer to what it asked before. Where messages are counted that is
/// no matter; elsewhere its number may be that of either connection, and a guess would lose messages or double them.
#[test]
fn who_may_not_have_heard_the_answer_is_not_guessed_about() {
    for count in [true, false] {
        let mut world = World::new(count);
        // As often as it hears the answer.
        for _ in 0..3 {
            world.assert_resumable();
            for end in [&mut world.client, &mut world.server] {
                end.engine.lose(Error::unexpected_end(), world.now);
            }
        }
        let (_, mut connection) = world.attempt();
        world.server.engine.hand_over(&mut connection.engine, world.now).unwrap();
        // So much that every number of the connection before is one of this one too.
        for _ in 0..100 {
            world.server.engine.global_request("note", false, &[], world.now).unwrap();
        }
        world.server.engine.lose(Error::unexpected_end(), world.now);
        if count {
            world.assert_resumable();
            continue;
        }
        let (_, mut connection) = world.attempt();
        let refused = world.server.engine.hand_over(&mut connection.engine, world.now).unwrap_err();
        assert_eq!(refused, ReconnectFailure::ServerDroppedMessages);
    }
}

/// What comes while it is decided whose connection this is waits, within the limits of who has not logged in.
#[test]
fn who_waits_for_a_session_has_not_logged_in() {
    let world = World::new(true);
    for (packets, len, is_too_much) in
        [(500, 0, false), (1500, 0, true), (10, 30_000, false), (20, 30_000, true)]
    {
        let (mut attempt, mut connection) = world.attempt();
        for _ in 0..packets {
            let data = vec![7; len];
            attempt.engine.transport.out.send(|out| Ignore { data: Rest(&data) }.encode(out)).unwrap();
        }
        connection.hear(&mut attempt, world.now);
        let ended = connection.engine.ended();
        let limited = matches!(ended, Some(Error::PeerMisbehaved(PeerMisbehaved::PreAuthTraffic)));
        assert_eq!(limited, is_too_much, "{packets} packets of {len} bytes: {ended:?}");
        assert_eq!(ended.is_some(), is_too_much, "{ended:?}");
    }
}

/// Nothing behind keys that nobody agreed on could be opened, or counted, before somebody has decided on the request.
#[test]
fn keys_that_nobody_agreed_on_are_refused_before_the_decision() {
    let world = World::new(true);
    let (mut attempt, mut connection) = world.attempt();
    attempt.engine.transport.out.seal(|out| out.push(NewKeys::NUMBER)).unwrap();
    connection.hear(&mut attempt, world.now);
    let ended = connection.engine.ended();
    let refused = matches!(ended, Some(Error::PeerMisbehaved(PeerMisbehaved::UnexpectedMessage(21))));
    assert!(refused, "{ended:?}");
}

/// Who asks for its session and takes leave in the same breath has lost the new stream as it would any other.
#[test]
fn a_stream_that_is_lost_as_it_is_found_is_none() {
    let mut world = World::new(true);
    let now = world.now;
    let (mut attempt, mut connection) = world.attempt();
    let gone = DisconnectReason::CONNECTION_LOST;
    attempt.engine.end(Error::ClosedWith { reason: gone, text: "gone".into() });
    connection.hear(&mut attempt, now);
    let before = world.server.engine.generation();
    world.server.engine.hand_over(&mut connection.engine, now).unwrap();
    assert_eq!(world.server.engine.generation(), before + 2, "found and lost");
    assert!(world.server.engine.detached().is_some() && world.server.engine.ended().is_none());
    world.assert_resumable();
}

/// The peer says that it is ready while the login goes on, or later: either way it is told once.
#[test]
fn that_a_session_can_be_lost_is_told_when_the_login_is_over() {
    let mut world = World::new(true);
    for end in [&mut world.client, &mut world.server] {
        let mut told = 0;
        while let Some(event) = end.engine.poll_link_event() {
            told += usize::from(matches!(event, LinkEvent::Enabled));
        }
        assert_eq!(told, 1);
    }
}

/// What a server says behind its answer waits for the session too, and is not read on and on.
#[test]
fn a_client_reads_no_further_than_it_can_go_on_with() {
    const NOTE: usize = 10_000;
    let mut world = World::new(true);
    let now = world.now;
    for (notes, is_paused) in [(5, false), (40, true)] {
        let (mut attempt, mut connection) = world.attempt();
        for _ in 0..notes {
            world.server.engine.global_request("note", false, &[7; NOTE], now).unwrap();
        }
        world.server.engine.hand_over(&mut connection.engine, now).unwrap();
        while attempt.hear(&mut world.server, now) {}
        assert!(attempt.engine.is_claim_answered() && attempt.engine.ended().is_none());
        assert_eq!(attempt.engine.wants_input_paused(), is_paused, "{notes} notes");
        world.server.engine.lose(Error::unexpected_end(), now);
    }
    world.assert_resumable();
}

/// What is said without a stream, and may not wait for room, has an end, and the session with it.
#[test]
fn control_messages_without_a_stream_are_bounded() {
    const MESSAGE: usize = 1000;
    let mut world = World::new(true);
    let (engine, now) = (&mut world.client.engine, world.now);
    let mut said = 0;
    let error = loop {
        match engine.global_request("note", false, &[7; MESSAGE], now) {
            Ok(_) => said += MESSAGE,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Reconnect(ReconnectFailure::Overflow)), "{error}");
    assert!(matches!(engine.ended(), Some(Error::Reconnect(ReconnectFailure::Overflow))));
    let (_, most) = engine.replay_bytes();
    assert!(said >= 1 << 20, "only {said} bytes were taken");
    assert!(most <= world.offer.window + (1 << 20) + 64 * 1024, "{most} bytes");
}
