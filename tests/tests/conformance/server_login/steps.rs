//! Partial success, and methods that depend on the user and the step.

use ssh_core::protocol::{Refusal, Succeeded};

use super::*;

fn password(user: &str) -> Vec<u8> {
    request(user, "password", &[Field::Bool(false), Field::Str("secret")])
}

fn succeeded(peer: &RawPeer) -> Vec<(Method, bool)> {
    let last = peer.asked.last().expect("an attempt");
    last.succeeded.iter().map(|step: &Succeeded| (step.method, step.key.is_some())).collect()
}

#[test]
fn rfc4252_5_1_partial_success_says_what_is_left() {
    let mut peer = answering([
        AuthAnswer::Partial(vec![Method::PublicKey, Method::KeyboardInteractive]),
        AuthAnswer::Accept,
        AuthAnswer::Partial(vec![Method::PublicKey]),
        AuthAnswer::Accept,
        AuthAnswer::Accept,
    ]);
    peer.send(&password("ada"));
    assert_eq!(peer.take(51), Some(failure("publickey,keyboard-interactive", true)));
    let (first, second) = (key(), key());
    let payload = sign_in(&peer, "ada", &first);
    peer.send(&payload);
    assert_eq!(peer.take(51), Some(failure("publickey", true)));
    assert_eq!(succeeded(&peer), [(Method::Password, false)]);
    let payload = sign_in(&peer, "ada", &second);
    peer.send(&payload);
    assert_eq!((peer.authenticated, peer.take(52)), (1, Some(vec![52])));
    assert_eq!(succeeded(&peer), [(Method::Password, false), (Method::PublicKey, true)]);
    assert_eq!(peer.asked.last().unwrap().succeeded[1].key.as_ref(), Some(first.public_key()));
}

#[test]
fn a_method_that_is_not_left_is_refused_without_asking() {
    let mut peer = answering([AuthAnswer::Partial(vec![Method::PublicKey])]);
    peer.send(&password("ada"));
    assert_eq!(peer.take(51), Some(failure("publickey", true)));
    for payload in [password("ada"), interactive("ada"), none("ada")] {
        peer.send(&payload);
        peer.wait(DELAY);
        assert_eq!(peer.take(51), Some(failure("publickey", false)));
    }
    assert_eq!((peer.asked.len(), peer.refused.as_slice()), (1, &[Refusal::Method; 3][..]));
}

#[test]
fn the_same_key_does_not_count_twice() {
    let key = key();
    let mut peer = answering([AuthAnswer::Accept, AuthAnswer::Partial(vec![Method::PublicKey])]);
    let payload = sign_in(&peer, "ada", &key);
    peer.send(&payload);
    assert_eq!(peer.take(51), Some(failure("publickey", true)));
    peer.answer = Some(AuthAnswer::Accept);
    for payload in [payload, key_request(false, "ada", "ssh-ed25519", &key.public_key().to_blob())] {
        peer.send(&payload);
        peer.wait(DELAY);
        assert_eq!(
            (peer.refused.pop(), peer.take(51)),
            (Some(Refusal::KeyUsedBefore), Some(failure("publickey", false)))
        );
    }
    assert_eq!(peer.refused_queries, 1);
    assert_eq!((peer.authenticated, peer.asked.len()), (0, 2));
    let other = self::key();
    let payload = sign_in(&peer, "ada", &other);
    peer.send(&payload);
    assert_eq!(peer.authenticated, 1);
}

#[test]
fn rfc4252_5_another_user_begins_again() {
    let mut peer = answering([AuthAnswer::Partial(vec![Method::PublicKey])]);
    peer.send(&password("ada"));
    assert_eq!(peer.take(51), Some(failure("publickey", true)));
    // Bob has done nothing yet and may try what every user may.
    peer.answers.push_back(AuthAnswer::Reject);
    peer.send(&password("bob"));
    peer.wait(DELAY);
    assert_eq!(peer.take(51), Some(failure(EVERY, false)));
    assert!(succeeded(&peer).is_empty());
    // And Ada's step is forgotten.
    peer.answers.push_back(AuthAnswer::Reject);
    peer.send(&password("ada"));
    peer.wait(DELAY);
    assert_eq!(peer.take(51), Some(failure(EVERY, false)));
    assert!(succeeded(&peer).is_empty());
    assert_eq!(peer.begun, ["ada", "bob", "ada"]);
}

#[test]
fn the_methods_depend_on_the_user_before_the_first_attempt() {
    let methods = |user: &str| match user {
        "ada" => vec![Method::PublicKey],
        "bob" => vec![Method::Password, Method::KeyboardInteractive],
        _ => vec![],
    };
    for (user, listed) in [("ada", "publickey"), ("bob", "password,keyboard-interactive"), ("eve", "")] {
        let mut peer = in_service(RawPeer::against(Role::Server).ask_methods(methods));
        peer.send(&none(user));
        assert_eq!(peer.take(51), Some(failure(listed, false)));
        assert_eq!((peer.begun.as_slice(), peer.asked.len()), (&[user.to_owned()][..], 0));
    }
    // A key for somebody who may only use a password is not even looked at.
    let mut peer = in_service(RawPeer::against(Role::Server).ask_methods(methods));
    peer.answer = Some(AuthAnswer::Accept);
    let payload = sign_in(&peer, "bob", &key());
    peer.send(&payload);
    peer.wait(DELAY);
    assert_eq!(
        (peer.authenticated, peer.asked.len(), peer.refused.as_slice()),
        (0, 0, &[Refusal::Method][..])
    );
    // Without a query or `none` first, the first attempt waits for its list and is then decided.
    peer.send(&password("bob"));
    assert_eq!(peer.authenticated, 1);
}

#[test]
fn none_is_accepted_only_where_the_application_wants_to_be_asked() {
    let mut peer = in_service(RawPeer::against(Role::Server).ask_methods(|_| vec![Method::Password]));
    peer.answer = Some(AuthAnswer::Accept);
    peer.send(&none("ada"));
    assert_eq!((peer.authenticated, peer.take(51)), (0, Some(failure("password", false))));
    let mut peer = server();
    peer.answer = Some(AuthAnswer::Accept);
    peer.send(&none("ada"));
    assert_eq!((peer.authenticated, peer.asked[0].number), (1, 0));
}

#[test]
fn requests_that_were_pipelined_are_decided_in_order() {
    let mut peer = server();
    peer.send(&none("ada"));
    peer.send(&password("bob"));
    peer.send(&password("ada"));
    assert_eq!(peer.attempts, ["ada none"]);
    for (answer, next) in [
        (AuthAnswer::Reject, Some("bob password")),
        (AuthAnswer::Partial(vec![Method::PublicKey]), Some("ada password")),
        (AuthAnswer::Accept, None),
    ] {
        peer.engine.auth_answer(answer, peer.now).unwrap();
        peer.settle();
        if let Some(next) = next {
            assert_eq!(peer.attempts.last().unwrap(), next);
            assert!(succeeded(&peer).is_empty());
        }
    }
    assert_eq!(peer.authenticated, 1);
}

#[test]
fn names_are_as_long_as_they_say_and_may_hold_anything() {
    for user in ["ada\0root", "\0", "", "ada ", "ADA", "ä\u{202e}", "a,b", "../../etc/passwd", "ada\n"] {
        let mut peer = server();
        peer.send(&password(user));
        assert_eq!(peer.asked[0].user, user);
    }
    // A NUL ends nothing: this is not `none`, and that is not `ssh-connection`.
    let mut peer = server();
    peer.send(&request("ada", "none\0", &[]));
    peer.wait(DELAY);
    assert_eq!((peer.asked.len(), peer.refused.as_slice()), (0, &[Refusal::Method][..]));
    let mut peer = server();
    peer.send(&message(50, &[Field::Str("ada"), Field::Str("ssh-connection\0"), Field::Str("none")]));
    peer.assert_refused(ssh_core::error::PeerMisbehaved::UnknownService, 7);
    // And a password is all of its bytes.
    let mut peer = server();
    peer.send(&request("ada", "password", &[Field::Bool(false), Field::Str("sec\0ret")]));
    let ssh_core::protocol::ServerMethod::Password(password) = &peer.asked[0].method else {
        panic!("a password")
    };
    assert_eq!(password.expose(), "sec\0ret");
}

#[test]
fn rfc4252_5_4_a_banner_comes_before_the_answer_and_not_to_dev_tunnels_peers() {
    let banner = |text: &str| message(53, &[Field::Str(text), Field::Str("")]);
    let mut peer = server();
    peer.send(&password("ada"));
    peer.engine.auth_banner("Hello").unwrap();
    peer.engine.auth_banner(&format!("{}b{}", "ä".repeat(4095), "ä".repeat(10))).unwrap();
    peer.engine.auth_banner("").unwrap();
    peer.engine.auth_answer(AuthAnswer::Partial(vec![Method::PublicKey]), peer.now).unwrap();
    peer.pull();
    assert_eq!(
        peer.received,
        [banner("Hello"), banner(&format!("{}b", "ä".repeat(4095))), failure("publickey", true)],
        "in this order, and cut at 8 KiB"
    );
    let peer = RawPeer::against(Role::Server).with_version("SSH-2.0-dev-tunnels-ssh_3.12.42");
    let mut peer = in_service(peer.ask_methods(|_| ALL.to_vec()));
    peer.send(&password("ada"));
    peer.engine.auth_banner("Hello").unwrap();
    peer.pull();
    assert!(peer.received.is_empty());
}
