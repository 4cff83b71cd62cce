//! Nothing gets past authentication: CVE-2018-10933, CVE-2018-7750, CVE-2025-32433 and their kin.

use ssh_core::OpenError;
use ssh_core::error::{ApiMisuse, Error, PeerMisbehaved};
use ssh_core::protocol::Prompts;

use super::*;

/// Every state that a server's authentication can be in after the service was accepted.
fn states() -> Vec<(&'static str, RawPeer)> {
    let password = || request("ada", "password", &[Field::Bool(false), Field::Str("x")]);
    let idle = server();
    let mut deciding = server();
    deciding.send(&password());
    let mut asked = answering([AuthAnswer::Prompt(Prompts::new().secret("?"))]);
    asked.send(&interactive("ada"));
    assert_eq!(asked.count(60), 1);
    let mut delaying = answering([AuthAnswer::Reject]);
    delaying.send(&password());
    let mut failed = answering([AuthAnswer::Reject]);
    failed.send(&password());
    failed.wait(DELAY);
    let mut partial = answering([AuthAnswer::Partial(vec![Method::PublicKey])]);
    partial.send(&password());
    let mut queried = answering([AuthAnswer::Accept]);
    queried.send(&key_request(false, "ada", "ssh-ed25519", &key().public_key().to_blob()));
    assert_eq!(queried.count(60), 1);
    let mut changing = answering([AuthAnswer::ChangePassword("now".into())]);
    changing.send(&password());
    vec![
        ("idle", idle),
        ("deciding", deciding),
        ("asked", asked),
        ("delaying", delaying),
        ("failed", failed),
        ("partial", partial),
        ("queried", queried),
        ("changing", changing),
    ]
}

#[test]
fn rfc4252_6_every_message_of_the_connection_protocol_is_refused_in_every_state() {
    for number in 80..=127 {
        for (state, mut peer) in states() {
            let payload = match number {
                80 => message(80, &[Field::Str("tcpip-forward"), Field::Bool(true)]),
                90 => tests::raw_peer::open("session", 0, 1 << 20, 1 << 15),
                _ => message(number, &[Field::U32(0)]),
            };
            peer.send(&payload);
            peer.assert_refused(PeerMisbehaved::NotAuthenticated(number), 2);
            assert!(peer.offered.is_empty() && peer.requests.is_empty(), "{number} {state}");
            assert_eq!(peer.authenticated, 0, "{number} {state}");
        }
    }
}

#[test]
fn a_client_cannot_say_what_a_server_says_in_any_state() {
    let messages = [
        vec![52],
        message(51, &[Field::Str("none"), Field::Bool(false)]),
        message(60, &[Field::Str("ssh-ed25519"), Field::Bytes(&key().public_key().to_blob())]),
        message(60, &[Field::Str(""), Field::Str(""), Field::Str(""), Field::U32(0)]),
        message(53, &[Field::Str("hello"), Field::Str("")]),
        message(6, &[Field::Str("ssh-userauth")]),
        message(6, &[Field::Str("ssh-connection")]),
    ];
    for payload in messages {
        for (state, mut peer) in states() {
            peer.answer = Some(AuthAnswer::Accept);
            peer.send(&payload);
            peer.assert_refused(PeerMisbehaved::UnexpectedMessage(payload[0]), 2);
            assert_eq!((peer.authenticated, peer.count(52)), (0, 0), "{state}");
        }
    }
}

#[test]
fn the_other_service_cannot_be_asked_for_past_authentication() {
    for (state, mut peer) in states() {
        peer.send(&message(5, &[Field::Str("ssh-connection")]));
        assert!(peer.error().is_some() && peer.authenticated == 0, "{state}");
    }
}

#[test]
fn the_application_cannot_reach_the_connection_protocol_either() {
    for (state, mut peer) in states() {
        let now = peer.now;
        let refused = [
            peer.engine.open_channel("session", b"", now).map(drop),
            peer.engine.global_request("x", true, b"", now).map(drop).map_err(OpenError::from),
            peer.engine.accept_channel(0, b"").map_err(OpenError::from),
            peer.engine.channel_request(0, "x", true, b"").map(drop).map_err(OpenError::from),
        ];
        for result in refused {
            let Err(OpenError::Session(error)) = result else { panic!("{state}: {result:?}") };
            assert!(matches!(error, Error::ApiMisuse(ApiMisuse::NotAuthenticated)), "{state}");
        }
        peer.assert_alive();
        peer.pull();
        assert_eq!((peer.count(90), peer.count(80)), (0, 0), "{state}");
    }
}

#[test]
fn an_answer_that_nobody_asked_for_lets_nobody_in() {
    for (state, mut peer) in states() {
        if state == "deciding" {
            continue;
        }
        let answered = peer.engine.auth_answer(AuthAnswer::Accept, peer.now);
        peer.settle();
        assert!(matches!(answered, Err(Error::Bug(_))), "{state}");
        assert_eq!((peer.authenticated, peer.count(52)), (0, 0), "{state}");
    }
}
