//! The classes `MultiChannelStream` and `SecureStream` of the Go library, whose Close is a DISCONNECT by the application and
//! nothing else: no EOF and no CLOSE for any channel.

use multichannel::{Config, MultiChannelStream, Role};
use securestream::client::{self, Credential};
use securestream::{SecureStream, StreamEvent};
use tests::raw_peer::{message, open};
use tests::scripted_server::{ScriptedServer, success};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::plain_peer::{Field, GO, PACKET, PlainPeer, WINDOW, data, in_time, word};

const GO_CLOSE: [Field<'_>; 3] =
    [Field::U32(11), Field::Str("Session closed by application."), Field::Str("")];

async fn multi_channel(role: Role) -> (MultiChannelStream, PlainPeer) {
    let (near, far) = tokio::io::duplex(1024 * 1024);
    let streams = MultiChannelStream::new(near, role, &Config::default());
    let ours = match role {
        Role::Client => ssh_core::protocol::Role::Client,
        Role::Server => ssh_core::protocol::Role::Server,
    };
    let (connected, peer) = tokio::join!(streams.connect(), PlainPeer::connect(far, GO, ours));
    connected.unwrap();
    (streams, peer)
}

#[tokio::test]
async fn multi_channel_streams_go_both_ways_in_both_roles() {
    for role in [Role::Client, Role::Server] {
        let (streams, mut peer) = multi_channel(role).await;
        // Its channel, and data right behind the confirmation.
        peer.ask_channel("theirs", 0).await;
        let mut theirs = in_time(streams.accept_stream(Some("theirs"))).await.unwrap();
        let id = peer.confirmed(0).await;
        peer.say(&data(id, b"hello")).await;
        let mut read = [0; 5];
        in_time(theirs.read_exact(&mut read)).await.unwrap();
        theirs.write_all(b"back").await.unwrap();
        peer.expect(94, &[Field::U32(0), Field::Str("back")]).await;
        // Ours: the numbers of both ends come of one counter on each side.
        let (ours, ()) = tokio::join!(streams.open_stream("ours"), async {
            peer.take_channel("ours", 1).await;
        });
        ours.unwrap().write_all(b"more").await.unwrap();
        peer.expect(94, &[Field::U32(1), Field::Str("more")]).await;
        peer.expect(97, &[Field::U32(1)]).await;

        peer.say(&data(id, b"last")).await;
        peer.tell(1, &GO_CLOSE).await;
        drop(peer);
        in_time(streams.run_until_closed()).await.unwrap();
        // What it wrote before is there; that the channel has ended it has not said.
        let mut last = [0; 4];
        in_time(theirs.read_exact(&mut last)).await.unwrap();
        assert_eq!(&last, b"last");
        assert!(in_time(theirs.read(&mut last)).await.is_err());
    }
}

/// Its windows are whatever its owner says, from one byte on.
#[tokio::test]
async fn multi_channel_streams_keep_to_small_windows() {
    let (streams, mut peer) = multi_channel(Role::Server).await;
    peer.say(&open("session", 0, 3, PACKET)).await;
    let mut stream = in_time(streams.accept_stream(None)).await.unwrap();
    let id = peer.confirmed(0).await;
    let writing = tokio::spawn(async move { stream.write_all(b"abcdefg").await.map(|()| stream) });
    for (part, credit) in [("abc", 2), ("de", 3), ("fg", 0)] {
        peer.expect(94, &[Field::U32(0), Field::Str(part)]).await;
        peer.hear_nothing().await;
        peer.tell(93, &[Field::U32(id), Field::U32(credit)]).await;
    }
    in_time(writing).await.unwrap().unwrap();
}

/// A secure stream of ours with a server that plays the Go class: our number for the channel.
async fn secure() -> (SecureStream, ScriptedServer<DuplexStream>, u32) {
    let (near, far) = tokio::io::duplex(1024 * 1024);
    let config = client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .authenticate(Credential::password("sesame"))
        .build()
        .unwrap();
    let server = async {
        let mut server = ScriptedServer::accept(far, GO).await;
        server.login(|_| vec![success()]).await;
        let asked = loop {
            let payload = server.receive().await.unwrap();
            if payload[0] == 90 {
                break payload;
            }
        };
        let head = message(90, &[Field::Str("session")]);
        assert_eq!(asked[..head.len()], head);
        let ours = word(&asked, head.len());
        server
            .send(&message(91, &[Field::U32(ours), Field::U32(0), Field::U32(WINDOW), Field::U32(PACKET)]))
            .await;
        (server, ours)
    };
    let (stream, (server, ours)) =
        in_time(async { tokio::join!(SecureStream::client(near, config), server) }).await;
    (stream.unwrap(), server, ours)
}

#[tokio::test]
async fn a_secure_stream_that_the_go_class_closes_ends_with_its_data() {
    let (mut stream, mut server, ours) = secure().await;
    server.send(&data(ours, b"all")).await;
    server.send(&message(1, &GO_CLOSE)).await;
    drop(server);
    let mut read = Vec::new();
    in_time(stream.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read, b"all");
    assert!(stream.is_closed());
    assert_eq!(stream.write_all(b"x").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    let end = in_time(futures::StreamExt::next(&mut stream.events())).await;
    assert!(matches!(end, Some(StreamEvent::Closed(_))), "{end:?}");
}

/// An empty write of its is EOF; it goes on reading.
#[tokio::test]
async fn an_eof_of_the_go_class_leaves_our_way_open() {
    let (mut stream, mut server, ours) = secure().await;
    server.send(&data(ours, b"all")).await;
    server.send(&message(96, &[Field::U32(ours)])).await;
    let mut read = Vec::new();
    in_time(stream.read_to_end(&mut read)).await.unwrap();
    assert_eq!(read, b"all");
    stream.write_all(b"answer").await.unwrap();
    assert_eq!(server.receive().await.unwrap(), data(0, b"answer"));
    assert!(!stream.is_closed());
}

/// It closes the session with its channel, so one that has only closed the channel is about to.
#[tokio::test]
async fn a_close_of_its_channel_is_answered_and_ends_the_session() {
    let (mut stream, mut server, ours) = secure().await;
    server.send(&message(96, &[Field::U32(ours)])).await;
    server.send(&message(97, &[Field::U32(ours)])).await;
    assert_eq!(server.receive().await.unwrap(), message(97, &[Field::U32(0)]));
    let end = server.receive().await.unwrap();
    assert_eq!(end[..5], message(1, &[Field::U32(11)]));
    assert_eq!(in_time(stream.read(&mut [0; 8])).await.unwrap(), 0);
}
