//! Port forwarding. The Go library confirms a channel before it connects, closes both ways at the end of either one, and never
//! passes an EOF on: its streams end with CLOSE. The last is so with the one in TypeScript.

use std::io::ErrorKind;
use std::time::Duration;

use ssh_core::Session;
use ssh_core::protocol::Role;
use ssh_core::services::port_forward::{ForwardPolicy, PortForwarding, pump_streams};
use tests::raw_peer::{message, open};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::plain_peer::{
    Field, PACKET, PlainPeer, WINDOW, data, in_time, session_with, session_with_go, word,
};

/// A peer that passes EOF on.
const OTHER: &str = "SSH-2.0-OpenSSH_9.9";
/// Its streams end with CLOSE too.
const TYPESCRIPT: &str = "SSH-2.0-dev-tunnels-ssh_3.12.42";
/// Its streams end with EOF.
const CSHARP: &str = "SSH-2.0-Microsoft.DevTunnels.Ssh_3.12";
/// How long a port that was granted is left alone.
const MOMENT: Duration = Duration::from_millis(100);

fn start(session: &Session) -> PortForwarding {
    PortForwarding::start(session.clone(), ForwardPolicy::allow_all())
}

/// A `direct-tcpip` or `forwarded-tcpip` channel of the peer, as its number `id`.
fn open_tcpip(kind: &str, id: u32, host: &str, port: u16) -> Vec<u8> {
    let mut fields = vec![Field::Str(kind), Field::U32(id), Field::U32(WINDOW), Field::U32(PACKET)];
    // It names its own listener here, and not who connected to it.
    fields.extend([Field::Str(host), Field::U32(port.into()), Field::Str("127.0.0.1"), Field::U32(0)]);
    message(90, &fields)
}

/// A socket of an application, and the channel that it goes through: our number, and the peer's is 4.
async fn through_local(session: &Session, peer: &mut PlainPeer) -> (PortForwarding, TcpStream, u32) {
    let forwarding = start(session);
    let bind = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let local = forwarding.local(bind, "db", 5432).await.unwrap();
    let app = TcpStream::connect(local.local_addr()).await.unwrap();
    let ours = peer.take_channel("direct-tcpip", 4).await;
    (forwarding, app, ours)
}

/// A connection to a target of ours that the peer has asked for as its channel 0: our number, and the target's end.
async fn through_direct(session: &Session, peer: &mut PlainPeer) -> (PortForwarding, TcpStream, u32) {
    let forwarding = start(session);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    peer.say(&open_tcpip("direct-tcpip", 0, "127.0.0.1", port)).await;
    let (target, _) = in_time(listener.accept()).await.unwrap();
    let ours = peer.confirmed(0).await;
    (forwarding, target, ours)
}

/// A target that hangs up is how many protocols end an answer. Whoever reads it behind the Go library learns of it by CLOSE
/// alone.
#[tokio::test]
async fn the_end_of_a_target_closes_the_channel() {
    let (session, mut peer) = session_with_go(Role::Server).await;
    let (_forwarding, mut target, ours) = through_direct(&session, &mut peer).await;
    peer.say(&data(ours, b"question")).await;
    let mut question = [0; 8];
    in_time(target.read_exact(&mut question)).await.unwrap();
    target.write_all(b"answer").await.unwrap();
    target.shutdown().await.unwrap();
    peer.expect(94, &[Field::U32(0), Field::Str("answer")]).await;
    peer.expect(96, &[Field::U32(0)]).await;
    peer.expect(97, &[Field::U32(0)]).await;
    // The peer has not said that this was all, so nobody is to think so.
    peer.say(&data(ours, b" and more")).await;
    peer.close(ours).await;
    assert_eq!(in_time(target.read(&mut question)).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Even if it does not read any more what it is sent.
#[tokio::test]
async fn the_end_of_a_target_that_reads_nothing_closes_the_channel() {
    let (session, mut peer) = session_with_go(Role::Server).await;
    let (_forwarding, mut target, ours) = through_direct(&session, &mut peer).await;
    let piece = vec![7; PACKET as usize];
    let mut credit = WINDOW;
    // Until the systems' buffers and the window are full.
    while credit >= PACKET {
        peer.say(&data(ours, &piece)).await;
        credit -= PACKET;
        while credit < PACKET
            && let Some(payload) = peer.hear_for_a_while().await
        {
            match payload[0] {
                93 => credit += word(&payload, 5),
                _ => peer.tell(82, &[]).await,
            }
        }
    }
    target.write_all(b"enough").await.unwrap();
    target.shutdown().await.unwrap();
    // Credit may still come, if the system took more meanwhile.
    let enough = message(94, &[Field::U32(0), Field::Str("enough")]);
    loop {
        let payload = peer.hear().await;
        if payload == enough {
            break;
        }
        assert_eq!(payload[0], 93, "{payload:?}");
    }
    peer.expect(96, &[Field::U32(0)]).await;
    peer.expect(97, &[Field::U32(0)]).await;
    // Its answer to that is not the end of what it was sending.
    peer.close(ours).await;
    peer.is_heard().await;
    let mut rest = Vec::new();
    assert_eq!(in_time(target.read_to_end(&mut rest)).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// If its peer has ended before, nothing is cut.
#[tokio::test]
async fn a_target_that_ends_after_its_peer_sees_an_end_of_file() {
    for closes in [true, false] {
        let (session, mut peer) = session_with_go(Role::Server).await;
        let (_forwarding, mut target, ours) = through_direct(&session, &mut peer).await;
        peer.say(&data(ours, b"all of it")).await;
        peer.tell(96, &[Field::U32(ours)]).await;
        if closes {
            peer.tell(97, &[Field::U32(ours)]).await;
            peer.expect(97, &[Field::U32(0)]).await;
        } else {
            peer.is_heard().await;
            target.shutdown().await.unwrap();
            peer.expect(96, &[Field::U32(0)]).await;
            peer.expect(97, &[Field::U32(0)]).await;
        }
        let mut read = Vec::new();
        in_time(target.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, b"all of it");
    }
}

/// Others pass EOF on, so the way to their target stays open.
#[tokio::test]
async fn towards_other_peers_the_end_of_a_target_is_the_end_of_one_way() {
    for version in [OTHER, CSHARP] {
        let (session, mut peer) = session_with(version, Role::Server).await;
        let (_forwarding, mut target, ours) = through_direct(&session, &mut peer).await;
        target.shutdown().await.unwrap();
        peer.expect(96, &[Field::U32(0)]).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        peer.hear_nothing().await;
        peer.say(&data(ours, b"still")).await;
        let mut read = [0; 5];
        in_time(target.read_exact(&mut read)).await.unwrap();
    }
}

/// What the peer has sent meanwhile still reaches the target, so the close waits until nothing comes.
#[tokio::test]
async fn towards_the_library_in_typescript_the_end_of_a_target_closes_the_channel_soon() {
    // A machine that stands still for nearly half a second has the peer silent for too long.
    for attempt in 1.. {
        let (session, mut peer) = session_with(TYPESCRIPT, Role::Server).await;
        let (_forwarding, mut target, ours) = through_direct(&session, &mut peer).await;
        target.write_all(b"answer").await.unwrap();
        target.shutdown().await.unwrap();
        peer.expect(94, &[Field::U32(0), Field::Str("answer")]).await;
        peer.expect(96, &[Field::U32(0)]).await;
        let (mut read, mut last, mut longest) = ([0; 5], Instant::now(), Duration::ZERO);
        let goes_on = async {
            for _ in 0..8 {
                peer.say(&data(ours, b"still")).await;
                in_time(target.read_exact(&mut read)).await?;
                let heard = peer.hear_for_a_while().await;
                longest = longest.max(last.elapsed());
                last = Instant::now();
                if heard.is_some() {
                    return Err(ErrorKind::ConnectionAborted.into());
                }
            }
            Ok::<_, std::io::Error>(())
        };
        match goes_on.await {
            Err(_) if longest.max(last.elapsed()) > Duration::from_millis(350) && attempt < 10 => continue,
            went_on => went_on.unwrap(),
        }
        peer.expect(97, &[Field::U32(0)]).await;
        // The peer has not said that this was all, so nobody is to think so.
        assert_eq!(in_time(target.read(&mut read)).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        return;
    }
}

/// If it closes first, nothing is cut, and there is nothing to wait for.
#[tokio::test]
async fn a_close_by_the_library_in_typescript_is_an_end_of_file_for_the_target() {
    let (session, mut peer) = session_with(TYPESCRIPT, Role::Server).await;
    let (_forwarding, mut target, ours) = through_direct(&session, &mut peer).await;
    target.shutdown().await.unwrap();
    peer.expect(96, &[Field::U32(0)]).await;
    peer.say(&data(ours, b"all of it")).await;
    peer.tell(97, &[Field::U32(ours)]).await;
    peer.expect(97, &[Field::U32(0)]).await;
    let mut read = Vec::new();
    in_time(target.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read, b"all of it");
}

/// An application that has ended its way may wait for an answer, which comes all the same; or it may have gone, which the target
/// would never hear of.
#[tokio::test]
async fn whoever_has_ended_its_way_gets_its_answer_but_not_for_ever() {
    for version in [crate::plain_peer::GO, TYPESCRIPT] {
        let (session, mut peer) = session_with(version, Role::Client).await;
        let (_forwarding, mut app, ours) = through_local(&session, &mut peer).await;
        app.write_all(b"question").await.unwrap();
        app.shutdown().await.unwrap();
        peer.expect(94, &[Field::U32(4), Field::Str("question")]).await;
        peer.expect(96, &[Field::U32(4)]).await;
        tokio::time::pause();
        for part in [b"ans", b"wer"] {
            tokio::time::advance(Duration::from_secs(20)).await;
            peer.say(&data(ours, part)).await;
            // A clock that runs on when there is nothing to do knows nothing of what the system has still to deliver.
            tokio::time::resume();
            let mut read = [0; 3];
            app.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, part);
            tokio::time::pause();
        }
        // From here on nobody says anything, and the clock runs on by itself.
        let silence = tokio::time::Instant::now();
        assert_eq!(peer.hear_at_last().await, message(97, &[Field::U32(4)]));
        let silence = silence.elapsed();
        assert!((Duration::from_secs(29)..Duration::from_secs(32)).contains(&silence), "{silence:?}");
        peer.close(ours).await;
        // Its answer may have been cut.
        assert_eq!(app.read(&mut [0; 8]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        tokio::time::resume();
    }
}

/// Standard input is at its end from the start where there is none, and whoever started it can stop it.
#[tokio::test]
async fn a_pair_of_streams_waits_for_as_long_as_it_is_let() {
    let (session, mut peer) = session_with_go(Role::Client).await;
    let (channel, ours) = tokio::join!(session.open_channel("session"), peer.take_channel("session", 4));
    let (output, mut read) = tokio::io::duplex(64);
    let pumping = tokio::spawn(pump_streams(tokio::io::empty(), output, channel.unwrap()));
    peer.expect(96, &[Field::U32(4)]).await;
    tokio::time::pause();
    for _ in 0..10 {
        tokio::time::advance(Duration::from_secs(10)).await;
        // Keepalives.
        while let Some(payload) = peer.hear_for_a_while().await {
            assert_eq!(payload[0], 80, "{payload:?}");
            peer.tell(82, &[]).await;
        }
    }
    peer.say(&data(ours, b"at last")).await;
    peer.close(ours).await;
    let mut said = Vec::new();
    read.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"at last");
    pumping.await.unwrap().unwrap();
}

/// On a channel of the peer's the end of the input is the end of both ways: what comes is not whole.
#[tokio::test]
async fn a_pair_of_streams_is_told_that_its_end_has_cut_the_other_way() {
    for ends_first in [false, true] {
        let (session, mut peer) = session_with_go(Role::Server).await;
        peer.ask_channel("session", 4).await;
        let channel = in_time(session.accept_channel(None)).await.unwrap();
        let ours = peer.confirmed(4).await;
        peer.say(&data(ours, b"this")).await;
        if ends_first {
            peer.tell(96, &[Field::U32(ours)]).await;
        }
        peer.is_heard().await;
        let mut output = Vec::new();
        let pumped = in_time(pump_streams(tokio::io::empty(), &mut output, channel)).await;
        assert_eq!(output, b"this");
        assert_eq!(pumped.err().map(|error| error.kind()), (!ends_first).then_some(ErrorKind::UnexpectedEof));
    }
}

/// The other way round it closes at once, and what it sent before that arrives.
#[tokio::test]
async fn the_end_of_its_target_is_an_end_of_file_here() {
    let (session, mut peer) = session_with_go(Role::Client).await;
    let (_forwarding, mut app, ours) = through_local(&session, &mut peer).await;
    peer.say(&data(ours, b"all of it")).await;
    peer.close(ours).await;
    let mut read = Vec::new();
    in_time(app.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read, b"all of it");
    peer.expect(97, &[Field::U32(4)]).await;
}

/// A dial that fails is a confirmation and a close, in either order.
#[tokio::test]
async fn a_dial_of_its_that_fails_ends_the_connection() {
    for early in [false, true] {
        let (session, mut peer) = session_with_go(Role::Client).await;
        let forwarding = start(&session);
        let bind = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let local = forwarding.local(bind, "127.0.0.1", 9).await.unwrap();
        for _ in 0..2 {
            let mut app = TcpStream::connect(local.local_addr()).await.unwrap();
            let (ours, _) = peer.asked_for("direct-tcpip").await;
            if early {
                peer.close(ours).await;
                peer.confirm(ours, 4).await;
            } else {
                peer.confirm(ours, 4).await;
                peer.close(ours).await;
            }
            assert_eq!(in_time(app.read(&mut [0; 8])).await.unwrap(), 0);
            peer.expect(97, &[Field::U32(4)]).await;
        }
    }
}

/// Its pipes open the far channel by its type alone, and pass requests on without their fields.
#[tokio::test]
async fn what_its_pipe_has_stripped_of_its_fields_is_refused() {
    let (session, mut peer) = session_with_go(Role::Server).await;
    let _forwarding = start(&session);
    for (id, kind) in [(0, "direct-tcpip"), (1, "forwarded-tcpip")] {
        peer.say(&open(kind, id, WINDOW, PACKET)).await;
        assert_eq!(peer.hear().await[..9], message(92, &[Field::U32(id), Field::U32(2)]));
    }
    for name in ["tcpip-forward", "cancel-tcpip-forward"] {
        peer.tell(80, &[Field::Str(name), Field::Bool(true)]).await;
        peer.expect(82, &[]).await;
    }
    peer.tell(80, &[Field::Str("tcpip-forward"), Field::Bool(false)]).await;
    peer.hear_nothing().await;
    assert!(!session.is_closed());
}

/// It says where it listens, always an address, and cancels with an answer, by the port that it was given.
#[tokio::test]
async fn it_has_us_listen_and_stops_it_again() {
    let (session, mut peer) = session_with_go(Role::Server).await;
    let _forwarding = start(&session);
    let request =
        |name, port| [Field::Str(name), Field::Bool(true), Field::Str("127.0.0.1"), Field::U32(port)];
    peer.tell(80, &request("tcpip-forward", 0)).await;
    let granted = peer.hear().await;
    assert_eq!((granted[0], granted.len()), (81, 5));
    let port = word(&granted, 1);
    let mut app = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).await.unwrap();
    let (ours, fields) = peer.asked_for("forwarded-tcpip").await;
    let place = message(0, &[Field::Str("127.0.0.1"), Field::U32(port)]);
    assert_eq!(fields[..place.len() - 1], place[1..]);
    peer.confirm(ours, 0).await;
    app.write_all(b"hello").await.unwrap();
    peer.expect(94, &[Field::U32(0), Field::Str("hello")]).await;
    peer.tell(80, &request("cancel-tcpip-forward", port)).await;
    assert_eq!(peer.hear().await[0], 81);
    // Connections go on.
    peer.say(&data(ours, b"back")).await;
    let mut back = [0; 4];
    in_time(app.read_exact(&mut back)).await.unwrap();
    peer.tell(80, &request("cancel-tcpip-forward", port)).await;
    peer.expect(82, &[]).await;
}

/// It notes a port that it was granted in one thread and sees its channels in another one: a channel right behind the answer is
/// taken for nobody's, and kept.
#[tokio::test]
async fn a_granted_port_has_a_moment_before_its_first_connection() {
    for (version, waits) in [(crate::plain_peer::GO, true), (OTHER, false)] {
        let (session, mut peer) = session_with(version, Role::Server).await;
        let _forwarding = start(&session);
        let fields = [Field::Str("tcpip-forward"), Field::Bool(true), Field::Str("127.0.0.1"), Field::U32(0)];
        let since = tokio::time::Instant::now();
        peer.tell(80, &fields).await;
        let granted = peer.hear().await;
        let port = u16::try_from(word(&granted, 1)).unwrap();
        let _app = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        peer.asked_for("forwarded-tcpip").await;
        assert!(!waits || since.elapsed() >= MOMENT, "{:?}", since.elapsed());
    }
}

/// Nothing in place of an address is 127.0.0.1 to it, and all interfaces to everybody else.
#[tokio::test]
async fn it_listens_on_all_interfaces_if_it_is_asked_to() {
    for (version, host) in [(crate::plain_peer::GO, "0.0.0.0"), (OTHER, "")] {
        let (session, mut peer) = session_with(version, Role::Client).await;
        let forwarding = start(&session);
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = target.local_addr().unwrap().port();
        let request = |name, want_reply, port: u32| {
            message(80, &[Field::Str(name), Field::Bool(want_reply), Field::Str(host), Field::U32(port)])
        };
        let (forward, ()) = tokio::join!(forwarding.remote("", 0, "127.0.0.1", port), async {
            assert_eq!(peer.hear().await, request("tcpip-forward", true, 0));
            peer.tell(81, &[Field::U32(4000)]).await;
        });
        let forward = forward.unwrap();
        assert_eq!(forward.port(), 4000);
        // By whatever name it calls its listener.
        peer.say(&open_tcpip("forwarded-tcpip", 6, "::", 4000)).await;
        let _kept = in_time(target.accept()).await.unwrap();
        peer.confirmed(6).await;
        drop(forward);
        assert_eq!(peer.hear().await, request("cancel-tcpip-forward", false, 4000));
    }
}
