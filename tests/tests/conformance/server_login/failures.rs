//! Refusals: alike, late, and not without end.

use ssh_core::error::PeerMisbehaved;
use ssh_core::protocol::Refusal;

use super::*;

fn password(user: &str, password: &str) -> Vec<u8> {
    request(user, "password", &[Field::Bool(false), Field::Str(password)])
}

/// The ways in which an attempt can be wrong. The application sees the difference; the client must not.
fn kinds(peer: &RawPeer) -> Vec<(&'static str, Vec<u8>)> {
    let key = key();
    let blob = key.public_key().to_blob();
    let sent = key_request(true, "ada", "ssh-ed25519", &blob);
    vec![
        ("unknown user", password("nobody", "x")),
        ("wrong password", password("ada", "wrong")),
        ("unknown key", key_request(false, "ada", "ssh-ed25519", &blob)),
        ("unknown key, signed", sign_in(peer, "ada", &key)),
        ("wrong signature", signed(&[9; 32], &sent, &sent, &key)),
        ("unknown algorithm", key_request(false, "ada", "ssh-nonsense", &blob)),
        ("broken key", key_request(false, "ada", "ssh-ed25519", &blob[..20])),
        ("unknown method", request("ada", "gssapi-with-mic", &[])),
        ("interactive", interactive("ada")),
        ("second none", none("ada")),
    ]
}

#[test]
fn a_thousand_refusals_of_every_kind_are_equal_in_bytes_and_in_time() {
    let limits = || {
        let mut limits = Limits::default();
        limits.auth_attempts = 2000;
        limits.auth_requests = 2000;
        limits.pre_auth_packets = 5000;
        limits.pre_auth_bytes = 1 << 20;
        limits.login = Duration::from_secs(3600);
        limits
    };
    let mut peer = with_limits(limits());
    peer.answer = Some(AuthAnswer::Reject);
    peer.send(&none("ada"));
    peer.received.clear();
    let names: Vec<_> = kinds(&peer).into_iter().map(|(name, _)| name).collect();
    let mut seen = 0;
    let (mut lengths, mut times) = (vec![Vec::new(); names.len()], vec![Vec::new(); names.len()]);
    while seen < 1000 {
        for (at, (name, payload)) in kinds(&peer).into_iter().enumerate() {
            let began = peer.now;
            // Verifications happen only where the application knows the key.
            peer.answers.extend((name == "wrong signature").then_some(AuthAnswer::Accept));
            peer.send(&payload);
            // A decision takes time, less than the delay, and not always the same.
            let left = peer.engine.poll_timeout().expect("a delayed answer");
            assert!(peer.received.is_empty(), "{name} is answered at once");
            peer.wait(left - began);
            assert_eq!(peer.received, [failure(EVERY, false)], "{name}");
            lengths[at].push(peer.received.pop().unwrap().len());
            times[at].push(peer.now - began);
            seen += 1;
        }
    }
    for (at, name) in names.iter().enumerate() {
        let (least, most) = (times[at].iter().min().unwrap(), times[at].iter().max().unwrap());
        println!("{name:>20}: {} runs, {} bytes, {least:?} to {most:?}", times[at].len(), lengths[at][0]);
        assert_eq!((*least, *most), (DELAY, DELAY), "{name}");
    }
}

#[test]
fn a_decision_hides_behind_the_delay_however_long_it_takes() {
    for (decided, answered) in [(0, 100), (1, 100), (99, 100), (100, 200), (130, 200), (199, 200), (250, 300)]
    {
        let mut peer = server();
        let began = peer.now;
        peer.send(&password("ada", "x"));
        peer.wait(Duration::from_millis(decided));
        peer.engine.auth_answer(AuthAnswer::Reject, peer.now).unwrap();
        let at = peer.engine.poll_timeout().unwrap();
        assert_eq!(at - began, Duration::from_millis(answered), "decided after {decided} ms");
        peer.wait(at - peer.now);
        assert_eq!(peer.count(51), 1);
    }
}

#[test]
fn the_time_to_find_a_users_methods_counts_as_well() {
    let peer = RawPeer::against(Role::Server);
    let mut peer = in_service(peer);
    peer.engine.ask_auth_methods();
    let began = peer.now;
    peer.answers.push_back(AuthAnswer::Reject);
    peer.send(&password("ada", "x"));
    peer.wait(Duration::from_millis(70));
    assert_eq!((peer.begun.len(), peer.asked.len()), (1, 0));
    peer.engine.auth_begin(vec![Method::Password], peer.now).unwrap();
    peer.settle();
    assert_eq!((peer.asked.len(), peer.engine.poll_timeout()), (1, Some(began + DELAY)));
}

#[test]
fn a_delayed_refusal_holds_nobody_else_up() {
    let mut slow = answering([AuthAnswer::Reject]);
    slow.send(&password("ada", "x"));
    // Another connection is let in at once, and the same one is let in when its refusal has left.
    let mut other = answering([AuthAnswer::Accept]);
    other.send(&password("ada", "secret"));
    assert_eq!((other.authenticated, slow.count(51)), (1, 0));
    slow.answer = Some(AuthAnswer::Accept);
    slow.send(&password("ada", "secret"));
    assert_eq!(slow.authenticated, 0);
    slow.wait(DELAY);
    assert_eq!((slow.authenticated, slow.count(51)), (1, 1));
}

#[test]
fn a_stop_looks_like_the_last_failure() {
    let mut stopped = answering([AuthAnswer::Stop]);
    stopped.send(&password("ada", "x"));
    assert_eq!(stopped.count(51), 0);
    stopped.wait(DELAY);
    stopped.assert_refused(PeerMisbehaved::TooManyAuthAttempts, 14);
    let mut limits = Limits::default();
    limits.auth_attempts = 1;
    let mut failed = with_limits(limits);
    failed.answer = Some(AuthAnswer::Reject);
    failed.send(&password("ada", "x"));
    failed.wait(DELAY);
    assert_eq!(stopped.received, failed.received);
    assert_eq!(stopped.received[0], failure(EVERY, false));
}

#[test]
fn a_flood_of_none_comes_to_an_end() {
    let mut peer = server();
    peer.answer = Some(AuthAnswer::Reject);
    let mut sent = 0;
    while peer.error().is_none() {
        peer.send(&none("ada"));
        peer.wait(DELAY);
        sent += 1;
    }
    // The first is free.
    assert_eq!((sent, peer.count(51)), (6, 6));
    peer.assert_refused(PeerMisbehaved::TooManyAuthAttempts, 14);
}

#[test]
fn a_flood_of_users_comes_to_an_end() {
    // Each new user starts with a list of its own, but with the count of the connection.
    let mut peer = server();
    peer.answer = Some(AuthAnswer::Partial(vec![Method::Password]));
    let mut sent: usize = 0;
    while peer.error().is_none() {
        peer.send(&password(&format!("user{sent}"), "x"));
        sent += 1;
    }
    assert_eq!((sent, peer.asked.len()), (41, 40));
    // FAILURE comes before the end.
    assert_eq!(peer.received.iter().rev().nth(1).map(|payload| payload[0]), Some(51));
    peer.assert_refused(PeerMisbehaved::TooManyAuthAttempts, 14);
}

#[test]
fn a_flood_of_queries_comes_to_an_end() {
    let mut peer = server();
    peer.answer = Some(AuthAnswer::Accept);
    let mut sent = 0;
    while peer.error().is_none() {
        peer.send(&key_request(false, "ada", "ssh-ed25519", &key().public_key().to_blob()));
        sent += 1;
    }
    assert_eq!((sent, peer.count(60)), (41, 40));
    peer.assert_refused(PeerMisbehaved::TooManyAuthAttempts, 14);
}

#[test]
fn a_method_that_is_not_offered_is_refused_without_asking() {
    let mut peer = in_service(RawPeer::against(Role::Server).ask_methods(|_| vec![Method::PublicKey]));
    peer.answer = Some(AuthAnswer::Accept);
    for payload in [password("ada", "secret"), interactive("ada"), request("ada", "hostbased", &[])] {
        peer.send(&payload);
        peer.wait(DELAY);
        assert_eq!(
            (peer.refused.pop(), peer.take(51)),
            (Some(Refusal::Method), Some(failure("publickey", false)))
        );
    }
    assert_eq!((peer.authenticated, peer.asked.len()), (0, 0));
}
