//! Time, floods and peers that do not read (threats.md calls these the limits).

use std::time::Duration;

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::error::{PeerMisbehaved, Timeout};
use ssh_core::protocol::Role;
use tests::raw_peer::{Field, Offer, RawPeer, data, message};

const PROTOCOL_ERROR: u32 = 2;
const CONNECTION_LOST: u32 = 10;
const BY_APPLICATION: u32 = 11;
const BOTH: [Role; 2] = [Role::Client, Role::Server];

fn logged_in(role: Role) -> RawPeer {
    let mut peer = RawPeer::against(role);
    peer.log_in();
    peer
}

fn keepalive() -> Vec<u8> {
    message(80, &[Field::Str("keepalive@openssh.com"), Field::Bool(true)])
}

#[test]
fn a_silent_peer_is_asked_three_times_and_then_given_up() {
    for role in BOTH {
        let mut peer = logged_in(role);
        for asked in 0..=3 {
            assert_eq!(peer.count(80), asked);
            peer.assert_alive();
            peer.wait(Duration::from_secs(20));
        }
        assert!(matches!(peer.error(), Some(Error::Timeout(Timeout::KeepAlive))), "{:?}", peer.error());
        assert_eq!(peer.disconnect(), Some(CONNECTION_LOST));
        assert_eq!(peer.take(80), Some(keepalive()));
    }
}

/// A process that was stopped, or whose machine was asleep, has not heard what its peer said meanwhile.
#[test]
fn after_a_jump_of_the_clock_a_peer_has_its_time_to_answer() {
    for role in BOTH {
        for jump in [61, 600, 24 * 3600] {
            let mut peer = logged_in(role);
            peer.now += Duration::from_secs(jump);
            for _ in 0..10 {
                let _ = peer.engine.handle_timeout(peer.now);
            }
            peer.settle();
            peer.assert_alive();
            assert_eq!(peer.count(80), 1, "it is asked once");
            peer.wait(Duration::from_secs(59));
            peer.assert_alive();
            peer.wait(Duration::from_secs(1));
            assert!(matches!(peer.error(), Some(Error::Timeout(Timeout::KeepAlive))), "{:?}", peer.error());
        }
    }
}

#[test]
fn a_stream_that_takes_data_is_alive() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let id = peer.open_channel(7, u32::MAX, 32 * 1024);
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        // An upload so slow that no answer comes back for a long time.
        for _ in 0..20 {
            peer.wait(Duration::from_secs(19));
            let data = [7; 20_000];
            let written = peer.engine.poll_write(id, &cx, &[std::io::IoSlice::new(&data)]);
            assert!(matches!(written, std::task::Poll::Ready(Ok(20_000))), "{written:?}");
            peer.pull();
            peer.assert_alive();
        }
    }
}

#[test]
fn any_message_is_a_sign_of_life() {
    for role in BOTH {
        for sign in [vec![81], vec![82], message(2, &[Field::Bytes(b"")]), keepalive()] {
            let mut peer = logged_in(role);
            for _ in 0..20 {
                peer.wait(Duration::from_secs(59));
                peer.send(&sign);
                peer.assert_alive();
            }
        }
    }
}

#[test]
fn answers_to_keepalives_do_not_shift_other_answers() {
    let mut peer = logged_in(Role::Client);
    peer.wait(Duration::from_secs(20));
    let asked = peer.engine.global_request("x", true, b"", peer.now).unwrap().unwrap();
    peer.pull();
    assert_eq!(peer.count(80), 2);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    peer.send(&[82]);
    assert!(peer.engine.poll_global_reply(asked, &mut cx).is_pending());
    peer.send(&[81, 1]);
    assert!(matches!(peer.engine.poll_global_reply(asked, &mut cx), std::task::Poll::Ready(Some(_))));
}

#[test]
fn an_exchange_that_is_never_finished_ends_the_session() {
    for role in BOTH {
        for stage in 0..3 {
            let mut peer = logged_in(role);
            match stage {
                0 => peer.engine.rekey(peer.now).unwrap(),
                1 => peer.send_kexinit(&Offer::without_strict()),
                _ => {
                    peer.send_kexinit(&Offer::without_strict());
                    match role {
                        Role::Server => peer.send_share(),
                        Role::Client => peer.send_reply(),
                    }
                }
            }
            peer.settle();
            // Signs of life do not help.
            for _ in 0..29 {
                peer.wait(Duration::from_secs(1));
                peer.send(&message(2, &[Field::Bytes(b"")]));
                peer.assert_alive();
            }
            peer.wait(Duration::from_secs(1));
            assert!(matches!(peer.error(), Some(Error::Timeout(Timeout::KeyExchange))), "{:?}", peer.error());
            assert_eq!(peer.disconnect(), Some(BY_APPLICATION));
        }
    }
}

/// However far it gets, a login that does not go on ends when its time is up, and what comes meanwhile buys no more of it.
#[test]
fn a_login_that_stops_anywhere_ends_at_the_deadline() {
    for role in BOTH {
        for stage in 0..6 {
            let mut peer = RawPeer::against(role);
            peer.client_try = tests::raw_peer::ClientTry::Nothing;
            if stage > 0 {
                peer.send_version();
            }
            if stage > 1 {
                peer.send_kexinit(&Offer::without_strict());
            }
            match (stage, role) {
                (3, Role::Server) => peer.send_share(),
                (3, Role::Client) => peer.send_reply(),
                (4.., _) => peer.exchange_keys(),
                _ => {}
            }
            if stage > 4 {
                let number = if role == Role::Server { 5 } else { 6 };
                peer.send(&message(number, &[Field::Str("ssh-userauth")]));
            }
            for _ in 0..29 {
                peer.wait(Duration::from_secs(1));
                if stage > 0 {
                    peer.send(&message(2, &[Field::Bytes(b"")]));
                }
                peer.assert_alive();
            }
            peer.wait(Duration::from_secs(1));
            assert!(
                matches!(peer.error(), Some(Error::Timeout(Timeout::Login))),
                "{role:?} {stage}: {:?}",
                peer.error()
            );
            assert_eq!(peer.disconnect(), Some(BY_APPLICATION), "{stage}");
        }
    }
}

/// Before the login a peer that does not read makes little wait for it, whatever it asks.
#[test]
fn answers_before_the_login_are_few() {
    for payload in [keepalive(), vec![192, 1, 2, 3]] {
        let mut peer = RawPeer::against(Role::Server);
        peer.connect();
        peer.reads = false;
        while peer.error().is_none() && !peer.engine.wants_input_paused() {
            peer.send(&payload);
        }
        let mut waiting = Vec::new();
        peer.engine.take_output(&mut waiting, peer.now);
        assert!(waiting.len() > 10_000, "only {} bytes were said", waiting.len());
        assert!(waiting.len() < 65 * 1024, "{} bytes wait", waiting.len());
    }
}

/// A slow path may hold more than goes over it in the time that an exchange has. The peer reads all of that before it
/// sees our KEXINIT.
#[test]
fn an_exchange_waits_for_what_is_in_front_of_it_but_not_for_ever() {
    for role in BOTH {
        for finishes in [true, false] {
            let mut peer = logged_in(role);
            let channel = peer.open_channel(7, 1 << 20, 1 << 15);
            peer.engine.rekey(peer.now).unwrap();
            peer.settle();
            let adjust = message(93, &[Field::U32(channel), Field::U32(1000)]);
            for _ in 0..29 {
                peer.wait(Duration::from_secs(20));
                peer.assert_alive();
                peer.send(&adjust);
            }
            if finishes {
                peer.send_kexinit(&Offer::without_strict());
                peer.wait(Duration::from_secs(19));
                peer.exchange_keys();
                peer.wait(Duration::from_secs(15));
                peer.assert_alive();
            } else {
                peer.wait(Duration::from_secs(20));
                assert!(
                    matches!(peer.error(), Some(Error::Timeout(Timeout::KeyExchange))),
                    "{:?}",
                    peer.error()
                );
            }
        }
    }
}

#[test]
fn a_storm_of_key_exchanges_ends_the_session() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let mut exchanges = 0;
        loop {
            peer.send_kexinit(&Offer::without_strict());
            if peer.error().is_some() {
                break;
            }
            peer.exchange_keys();
            peer.assert_alive();
            exchanges += 1;
            assert!(exchanges <= 10, "the storm never ends");
        }
        peer.assert_refused(PeerMisbehaved::RekeyStorm, PROTOCOL_ERROR);
        assert_eq!(exchanges, 10);
    }
}

/// What a key must be used for is little next to what an exchange costs.
#[test]
fn a_storm_of_key_exchanges_behind_a_little_use_is_slowed_down() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let ignore = message(2, &[Field::Bytes(&[0; 16 * 1024])]);
        let mut exchanges = 0;
        loop {
            peer.send(&ignore);
            peer.received.clear();
            peer.send_kexinit(&Offer::without_strict());
            peer.assert_alive();
            if peer.count(20) == 0 {
                break;
            }
            peer.exchange_keys();
            peer.assert_alive();
            exchanges += 1;
            assert!(exchanges <= 200, "the storm never ends");
        }
        // The answer comes in time, and so does each after it: ten a second.
        for round in 0..30 {
            peer.assert_alive();
            if round % 3 == 0 {
                // We want new keys too, and get them by the exchange that waits: the peer must not take another KEXINIT for
                // its answer and go on.
                peer.engine.rekey(peer.now).unwrap();
                peer.settle();
            }
            peer.wait(Duration::from_millis(99));
            assert_eq!(peer.count(20), 0, "an answer ahead of its time");
            peer.wait(Duration::from_millis(1));
            peer.exchange_keys();
            peer.send(&ignore);
            peer.received.clear();
            peer.send_kexinit(&Offer::without_strict());
        }
        // Who does not wait for it is no honest peer.
        peer.send_kexinit(&Offer::without_strict());
        peer.assert_refused(PeerMisbehaved::RekeyStorm, PROTOCOL_ERROR);
    }
}

#[test]
fn nobody_needs_new_keys_before_the_login() {
    let mut peer = RawPeer::against(Role::Server);
    peer.connect();
    peer.rekey();
    peer.assert_alive();
    peer.wait(Duration::from_secs(5));
    peer.send_kexinit(&Offer::without_strict());
    peer.assert_refused(PeerMisbehaved::RekeyStorm, PROTOCOL_ERROR);
}

#[test]
fn an_exchange_a_second_is_borne() {
    let mut peer = logged_in(Role::Server);
    for _ in 0..40 {
        peer.rekey();
        peer.wait(Duration::from_secs(1));
        peer.assert_alive();
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_read() {
    for role in BOTH {
        let mut peer = logged_in(role);
        peer.reads = false;
        let mut sent = 0;
        while !peer.engine.wants_input_paused() {
            peer.send(&keepalive());
            sent += 1;
            assert!(sent < 100_000, "the output grows without end");
        }
        peer.assert_alive();
        // Once it reads, everything is there.
        peer.pull();
        assert!(!peer.engine.wants_input_paused());
        assert_eq!(peer.count(82), sent);
    }
}

#[test]
fn answers_held_back_during_an_exchange_are_bounded() {
    for role in BOTH {
        let mut peer = logged_in(role);
        peer.send_kexinit(&Offer::without_strict());
        let mut sent = 0;
        while peer.error().is_none() {
            peer.send(&keepalive());
            sent += 1;
            assert!(sent < 200_000, "the output grows without end");
        }
        peer.assert_refused(PeerMisbehaved::OutputNotRead, PROTOCOL_ERROR);
    }
}

#[test]
fn we_start_an_exchange_when_a_key_is_used_up() {
    for role in BOTH {
        let mut limits = Limits::default();
        limits.rekey_bytes = 10_000;
        let mut peer = RawPeer::with(role, Algorithms::default(), limits);
        peer.log_in();
        let id = peer.open_channel(0, 1 << 20, 1 << 15);
        peer.received.clear();
        peer.send(&data(id, &[0; 9000]));
        assert_eq!(peer.count(20), 0);
        peer.send(&data(id, &[0; 1000]));
        assert_eq!(peer.count(20), 1);
        peer.rekey();
        peer.assert_alive();
        assert_eq!(peer.count(20), 1);

        let mut limits = Limits::default();
        limits.rekey_after = Some(Duration::from_secs(60));
        limits.keepalive = None;
        let mut peer = RawPeer::with(role, Algorithms::default(), limits);
        peer.log_in();
        peer.wait(Duration::from_secs(59));
        assert_eq!(peer.count(20), 0);
        peer.wait(Duration::from_secs(1));
        assert_eq!(peer.count(20), 1);
    }
}

#[test]
fn dev_tunnels_peers_are_not_asked_for_an_exchange_that_they_cannot_answer() {
    let mut limits = Limits::default();
    limits.rekey_bytes = 10_000;
    limits.rekey_after = Some(Duration::from_secs(60));
    limits.keepalive = None;
    let peer = RawPeer::with(Role::Server, Algorithms::default(), limits);
    let mut peer = peer.with_version("SSH-2.0-dev-tunnels-ssh-go_0.1");
    peer.log_in();
    let id = peer.open_channel(0, 1 << 20, 1 << 15);
    for _ in 0..30 {
        peer.send(&data(id, &[0; 10_000]));
    }
    peer.wait(Duration::from_secs(600));
    assert_eq!(peer.count(20), 0);
    // But it may ask.
    peer.rekey();
    peer.assert_alive();
}

#[test]
fn nothing_is_said_after_the_end() {
    let mut peer = logged_in(Role::Server);
    peer.engine.end(Error::Closed);
    peer.pull();
    assert_eq!(peer.disconnect(), Some(BY_APPLICATION));
    peer.received.clear();
    assert!(peer.engine.global_request("x", true, b"", peer.now).is_err());
    assert!(peer.engine.open_channel("session", b"", peer.now).is_err());
    assert!(peer.engine.rekey(peer.now).is_err());
    assert!(peer.engine.handle_timeout(peer.now).is_err());
    assert_eq!(peer.engine.poll_timeout(), None);
    peer.pull();
    assert!(peer.received.is_empty());
}
