//! How Go ends, and what it does with what it does not know.

use std::time::Duration;

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::protocol::{GlobalReply, Role};
use tests::raw_peer::{Field, Offer, RawPeer, data, message, open};

use super::go_peer::{GoPeer, ext_info, reconnect_ext_info};

const BOTH: [Role; 2] = [Role::Client, Role::Server];

fn keepalive() -> Vec<u8> {
    message(80, &[Field::Str("keepalive@openssh.com"), Field::Bool(true)])
}

fn logged_in(role: Role) -> GoPeer {
    let mut peer = GoPeer::with_reconnect(role);
    peer.connect();
    peer.say(&reconnect_ext_info());
    peer.say_enable();
    peer.raw.authenticate();
    peer
}

/// An application that closes its session says so with an empty language; a session that may come back then does not.
#[test]
fn a_session_that_is_closed_does_not_come_back() {
    for role in BOTH {
        let mut peer = logged_in(role);
        let text = "Session closed by application.";
        peer.say(&message(1, &[Field::U32(11), Field::Str(text), Field::Str("")]));
        assert!(
            matches!(peer.raw.error(), Some(Error::Disconnected { reason, text: said })
                if reason.0 == 11 && &**said == text),
            "{:?}",
            peer.raw.error()
        );
        assert!(peer.raw.engine.detached().is_none());
    }
}

/// Where Go finds fault with what it got it closes the stream without a word. To us that is a loss.
#[test]
fn a_stream_that_is_closed_without_a_word_may_come_back() {
    for role in BOTH {
        let mut peer = logged_in(role);
        peer.cut();
        assert!(peer.raw.engine.is_resumable());
    }
}

#[test]
fn what_it_does_not_know_it_calls_unimplemented_and_nobody_minds() {
    for role in BOTH {
        let mut peer = logged_in(role);
        for payload in [message(3, &[Field::U32(7)]), message(2, &[]), message(4, &[Field::Bool(false)])] {
            peer.say(&payload);
        }
        peer.raw.received.clear();
        // And ours names the packet by its number on the connection, trailer or not.
        let number = peer.raw.packets().0;
        peer.say(&[200]);
        assert_eq!(peer.raw.take(3), Some(message(3, &[Field::U32(u32::try_from(number).unwrap())])));
        peer.raw.assert_alive();
    }
}

/// Go answers our keepalive with a refusal, and asks by itself at any time, which takes no part in the order of its own
/// requests.
#[test]
fn keepalives_keep_their_place_among_our_answers() {
    for role in BOTH {
        let mut peer = logged_in(role);
        peer.raw.received.clear();
        peer.say(&message(80, &[Field::Str("first"), Field::Bool(true)]));
        peer.say(&keepalive());
        assert!(peer.raw.received.is_empty(), "the first is not decided");
        let request = peer.raw.requests.pop().unwrap();
        let reply = GlobalReply::Success(bytes::Bytes::new());
        peer.raw.engine.answer_global_request(request.slot.unwrap(), reply).unwrap();
        peer.raw.pull();
        assert_eq!(std::mem::take(&mut peer.raw.received), [[81], [82]]);
    }
}

/// A Go peer that is a pipe answers a request of the session when its far side has, and a keepalive at once. So while we wait for an
/// answer it is made to speak by something that has none.
#[test]
fn a_refused_keepalive_is_not_the_answer_to_a_request_in_a_pipe() {
    for role in BOTH {
        let mut peer = logged_in(role);
        peer.raw.received.clear();
        let number =
            peer.raw.engine.global_request("tcpip-forward", true, b"", peer.raw.now).unwrap().unwrap();
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(peer.raw.engine.poll_global_reply(number, &mut cx).is_pending());
        peer.raw.wait(Duration::from_secs(20));
        let heard = std::mem::take(&mut peer.raw.received);
        assert_eq!(heard.iter().map(|payload| payload[0]).collect::<Vec<_>>(), [80, 191]);
        peer.say(&message(3, &[Field::U32(9)]));
        peer.raw.wait(Duration::from_secs(19));
        assert!(peer.raw.received.is_empty(), "it has spoken");
        peer.say(&[81]);
        let reply = peer.raw.engine.poll_global_reply(number, &mut cx);
        assert!(matches!(reply, std::task::Poll::Ready(Some(GlobalReply::Success(_)))), "{reply:?}");
        // Nobody waits any more.
        peer.raw.wait(Duration::from_secs(20));
        assert_eq!(peer.raw.take(80), Some(keepalive()));
        peer.say(&[82]);
        peer.raw.assert_alive();
    }
}

/// `MultiChannelStream`: a KEXINIT with a random cookie and a marker is the whole exchange, and the first channel may come
/// right behind it.
#[test]
fn a_session_without_security_begins_with_a_channel() {
    for role in BOTH {
        let raw = RawPeer::with(role, Algorithms::insecure_without_any_security(), Limits::default());
        let mut peer = GoPeer::over(raw);
        let marker = if role == Role::Server { "ext-info-c" } else { "ext-info-s" };
        let none = || "none".to_owned();
        let offer = Offer {
            kex: format!("none,{marker}"),
            host_key: none(),
            cipher: none(),
            mac: none(),
            compression: none(),
            guess: false,
        };
        peer.raw.send_version();
        peer.raw.send_kexinit(&offer);
        peer.say(&open("session", 0, 1 << 20, 1 << 15));
        assert_eq!(peer.raw.offered.len(), 1, "{:?}", peer.raw.error());
        let id = peer.raw.offered.pop().unwrap().id;
        peer.raw.engine.accept_channel(id, b"").unwrap();
        peer.raw.pull();
        let heard: Vec<u8> = peer.raw.received.iter().map(|payload| payload[0]).collect();
        assert_eq!(heard, [20, 91], "no NEWKEYS, no EXT_INFO");
        // The largest packet of its data, and an EXT_INFO, which it does not send, but reads.
        peer.say(&data(id, &vec![7; 32 * 1024]));
        peer.say(&ext_info(&["server-sig-algs"]));
        // What an application asks may be longer than data in a packet.
        let long = "x".repeat(200 * 1024);
        peer.say(&message(80, &[Field::Str("custom"), Field::Bool(true), Field::Str(&long)]));
        assert_eq!(peer.raw.requests.len(), 1, "{:?}", peer.raw.error());
        assert_eq!(peer.read(id).len(), 256);
    }
}
