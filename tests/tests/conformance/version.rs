//! RFC 4253 §4.2.

use std::time::Duration;

use ssh_core::Error;
use ssh_core::error::{PeerIncompatible, PeerMisbehaved, Timeout};
use ssh_core::protocol::Role;
use tests::raw_peer::RawPeer;

const VERSION_NOT_SUPPORTED: u32 = 8;

#[test]
fn rfc4253_4_2_a_client_sends_no_lines_before_its_version() {
    let mut peer = RawPeer::against(Role::Server);
    peer.send_bytes(b"hello\r\n");
    peer.assert_refused(PeerMisbehaved::BadVersionLine, VERSION_NOT_SUPPORTED);
}

#[test]
fn rfc4253_4_2_a_server_may_send_some_lines_before_its_version() {
    let mut peer = RawPeer::against(Role::Client);
    for _ in 0..20 {
        peer.send_bytes(b"a banner\r\n");
    }
    peer.send_version();
    peer.assert_alive();
    assert!(peer.engine.peer_version().is_some());
}

#[test]
fn rfc4253_4_2_lines_before_the_version_come_to_an_end() {
    let mut peer = RawPeer::against(Role::Client);
    for _ in 0..21 {
        peer.send_bytes(b"a banner\r\n");
    }
    assert!(matches!(peer.error(), Some(Error::PeerIncompatible(PeerIncompatible::Version(_)))));
    assert_eq!(peer.disconnect(), Some(VERSION_NOT_SUPPORTED));
}

#[test]
fn rfc4253_4_2_other_protocols_are_named_and_refused() {
    for line in ["SSH-1.5-old", "SSH-2.0-", "SSH-3.0-new"] {
        for role in [Role::Client, Role::Server] {
            let mut peer = RawPeer::against(role);
            peer.send_bytes(format!("{line}\r\n").as_bytes());
            let Some(Error::PeerIncompatible(PeerIncompatible::Version(text))) = peer.error() else {
                panic!("{line}: {:?}", peer.error())
            };
            assert_eq!(&**text, line);
            assert_eq!(peer.disconnect(), Some(VERSION_NOT_SUPPORTED));
        }
    }
    let mut peer = RawPeer::against(Role::Server);
    peer.send_bytes(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    peer.assert_refused(PeerMisbehaved::BadVersionLine, VERSION_NOT_SUPPORTED);
}

#[test]
fn rfc4253_4_2_a_version_line_has_255_bytes_at_most() {
    for role in [Role::Client, Role::Server] {
        let mut peer = RawPeer::against(role);
        let longest = format!("SSH-2.0-{}\r\n", "x".repeat(245));
        assert_eq!(longest.len(), 255);
        peer.send_bytes(longest.as_bytes());
        peer.assert_alive();

        let mut peer = RawPeer::against(role);
        peer.send_bytes(format!("SSH-2.0-{}\r\n", "x".repeat(246)).as_bytes());
        peer.assert_refused(PeerMisbehaved::BadVersionLine, VERSION_NOT_SUPPORTED);

        let mut peer = RawPeer::against(role);
        peer.send_bytes(b"SSH-");
        for _ in 4..255 {
            peer.assert_alive();
            peer.send_bytes(b"S");
        }
        peer.assert_refused(PeerMisbehaved::BadVersionLine, VERSION_NOT_SUPPORTED);
    }
}

/// Lines before the version may be longer than the version, but all of them together not than 8 KiB.
#[test]
fn rfc4253_4_2_lines_before_the_version_are_8_kib_at_most() {
    let line = |len: usize| [vec![b'x'; len], b"\r\n".to_vec()].concat();
    let mut peer = RawPeer::against(Role::Client);
    for len in [5000, 3000] {
        peer.send_bytes(&line(len));
    }
    peer.send_version();
    peer.assert_alive();
    assert!(peer.engine.peer_version().is_some());
    for lines in [vec![8200], vec![5000, 3300], vec![0, 8192, 10]] {
        let mut peer = RawPeer::against(Role::Client);
        for len in lines {
            peer.send_bytes(&line(len));
        }
        assert!(matches!(peer.error(), Some(Error::PeerIncompatible(PeerIncompatible::Version(_)))));
        assert_eq!(peer.disconnect(), Some(VERSION_NOT_SUPPORTED));
    }
    // One that never ends.
    let mut peer = RawPeer::against(Role::Client);
    for _ in 0..82 {
        peer.send_bytes(&[b'x'; 100]);
    }
    assert!(matches!(peer.error(), Some(Error::PeerIncompatible(PeerIncompatible::Version(_)))));
    // A client has none.
    let mut peer = RawPeer::against(Role::Server);
    peer.send_bytes(&[b'x'; 255]);
    peer.assert_refused(PeerMisbehaved::BadVersionLine, VERSION_NOT_SUPPORTED);
}

#[test]
fn rfc4253_4_2_a_version_line_is_printable() {
    for line in [&b"SSH-2.0-a\0b\r\n"[..], b"SSH-2.0-\x1b[2J\r\n", b"SSH-2.0-\xff\r\n"] {
        for role in [Role::Client, Role::Server] {
            let mut peer = RawPeer::against(role);
            peer.send_bytes(line);
            peer.assert_refused(PeerMisbehaved::BadVersionLine, VERSION_NOT_SUPPORTED);
        }
    }
}

#[test]
fn rfc4253_4_2_the_verdict_does_not_depend_on_where_the_bytes_are_cut() {
    for line in [&b"SSH-2.0-Raw_1\r\n"[..], b"SSH-2.0-Raw_1\n", b"SSH-1.5-x\r\n", b"x\r\n", b"x\nSSH-2.0-R\n"]
    {
        let verdict = |role: Role, pieces: &[&[u8]]| {
            let mut peer = RawPeer::against(role);
            pieces.iter().for_each(|piece| peer.send_bytes(piece));
            (peer.error().map(ToString::to_string), peer.engine.peer_version().cloned())
        };
        for role in [Role::Client, Role::Server] {
            let whole = verdict(role, &[line]);
            for cut in 1..line.len() {
                let (head, tail) = line.split_at(cut);
                assert_eq!(verdict(role, &[head, tail]), whole);
            }
        }
    }
}

#[test]
fn a_peer_that_says_nothing_is_given_up_at_the_login_deadline() {
    for role in [Role::Client, Role::Server] {
        let mut peer = RawPeer::against(role);
        peer.wait(Duration::from_secs(29));
        peer.assert_alive();
        peer.wait(Duration::from_secs(1));
        assert!(matches!(peer.error(), Some(Error::Timeout(Timeout::Login))), "{:?}", peer.error());
        assert_eq!(peer.disconnect(), Some(11));
    }
}
