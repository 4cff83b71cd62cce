//! What the engine tells of itself where things go wrong.

use std::time::Duration;

use super::*;
use crate::config::{Algorithms, Extensions, Limits};
use crate::error::ApiMisuse;
use crate::protocol::{Input, OpenError, ReconnectOffer};
use crate::trace::{TraceEvent, capture};

fn insecure() -> Common {
    Common {
        algorithms: Algorithms::insecure_without_any_security(),
        limits: Limits::default(),
        extensions: Extensions::default(),
        provider: &crate::crypto::rustcrypto::PROVIDER,
    }
}

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to start from")]
fn client() -> (Engine, Inbound, Instant) {
    let now = Instant::now();
    let (engine, inbound) = Engine::client(insecure(), "ada".into(), now).unwrap();
    (engine, inbound, now)
}

/// Connected to a server that is not there any more.
fn connected() -> (Engine, Instant) {
    let (mut client, mut inbound, now) = client();
    let (mut server, _) = Engine::server(insecure(), Arc::new([]), &[], now).unwrap();
    let mut output = Vec::new();
    server.take_output(&mut output, now);
    inbound.reserve(output.len()).extend_from_slice(&output);
    while let Some(input) = inbound.poll().unwrap() {
        match input {
            Input::Ident(version) => client.handle_ident(version),
            Input::Packet(packet) => client.handle_packet(packet, now).unwrap(),
        }
    }
    assert!(client.authenticated().is_ok());
    (client, now)
}

fn tells(event: TraceEvent, run: impl FnOnce()) {
    let told = capture::told(run);
    let wanted = (u64::from(event.id()), event.level());
    assert!(told.contains(&wanted), "{wanted:?} is not in {told:?}");
}

#[test]
fn a_keepalive_that_cannot_be_sent_has_its_number() {
    let (mut client, now) = connected();
    client.transport.out.exhaust();
    tells(TraceEvent::KeepAliveFailed, || {
        assert!(client.handle_timeout(now + Duration::from_secs(60)).is_err());
    });
}

#[test]
fn a_channel_that_cannot_be_closed_has_its_number() {
    let (mut client, now) = connected();
    let id = client.open_channel("session", &[], now).unwrap();
    client.connection.confirm_for_test(id);
    client.transport.out.exhaust();
    tells(TraceEvent::ChannelCloseFailed, || assert!(client.close_channel(id).is_err()));
}

#[test]
fn reconnecting_without_keys_has_its_number() {
    let (mut client, _, _) = client();
    tells(TraceEvent::SessionReconnectInitFailed, || {
        let error = client.offer_reconnect(ReconnectOffer::default()).unwrap_err();
        assert!(matches!(error, Error::ApiMisuse(ApiMisuse::ReconnectWithoutKeys)));
    });
}

#[test]
fn an_error_of_our_own_has_its_number() {
    let (mut client, _) = connected();
    tells(TraceEvent::UnknownError, || drop(client.end(Error::Bug("on purpose"))));
}

#[test]
fn nothing_is_opened_or_asked_before_the_login() {
    let (mut client, _, now) = client();
    let misuse = |error: Error| matches!(error, Error::ApiMisuse(ApiMisuse::NotAuthenticated));
    let opened = client.open_channel("session", &[], now).unwrap_err();
    let OpenError::Session(opened) = opened else { panic!("{opened}") };
    assert!(misuse(opened));
    assert!(misuse(client.global_request("x", true, &[], now).unwrap_err()));
    assert!(misuse(client.accept_channel(0, &[]).unwrap_err()));
    assert!(misuse(client.channel_request(0, "x", true, &[]).unwrap_err()));
}
