//! Two ends, whatever is below them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::io::ErrorKind;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use securestream::client::{self, Credential};
use securestream::ssh_core::error::AuthFailure;
use securestream::ssh_core::session::OpenFailureReason;
use securestream::{
    ApiMisuse, DisconnectReason, Error, OpenError, ReconnectFailure, SecureStream, Session, StreamEvent,
    server,
};
use support::{Pinned, exchange, host_key, in_time, pair, pair_over};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

#[tokio::test]
async fn bytes_go_both_ways_over_memory() {
    let (near, far) = pair().await;
    in_time(exchange(near, far, 5_000_000)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_go_both_ways_over_tcp() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dial = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(dial, listener.accept());
    let (near, far) = pair_over(near.unwrap(), far.unwrap().0).await;
    in_time(exchange(near, far, 5_000_000)).await;
}

#[cfg(unix)]
#[tokio::test]
async fn bytes_go_both_ways_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (near, far) = tokio::join!(tokio::net::UnixStream::connect(&path), listener.accept());
    let (near, far) = pair_over(near.unwrap(), far.unwrap().0).await;
    in_time(exchange(near, far, 5_000_000)).await;
}

#[tokio::test]
async fn one_way_ends_and_the_other_goes_on() {
    let (mut near, mut far) = pair().await;
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut said = String::new();
    in_time(far.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "question");
    let refused = near.write_all(b"more").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    // A second time is no harm.
    near.shutdown().await.unwrap();
    far.write_all(b"answer").await.unwrap();
    far.shutdown().await.unwrap();
    said.clear();
    in_time(near.read_to_string(&mut said)).await.unwrap();
    assert_eq!(said, "answer");
    assert!(!near.is_closed() && !far.is_closed());
}

#[tokio::test]
async fn what_was_written_before_the_close_is_read_before_the_end() {
    for how in ["close", "drop"] {
        let (mut near, mut far) = pair().await;
        near.write_all(&[7; 100_000]).await.unwrap();
        let mut events = near.events();
        let mut far_events = far.events();
        match how {
            "close" => {
                near.close();
                assert!(near.is_closed());
                near.close();
                assert!(matches!(near.closed().await, Error::Closed));
                assert_eq!(near.write_all(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
                near.shutdown().await.unwrap();
            }
            _ => drop(near),
        }
        let mut read = Vec::new();
        in_time(far.read_to_end(&mut read)).await.unwrap();
        assert!(read == [7; 100_000], "{how}: {} bytes", read.len());
        // The end stays the end.
        assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0);
        let end = in_time(far.closed()).await;
        assert!(matches!(end, Error::Disconnected { .. } | Error::ClosedWith { .. }), "{how}: {end:?}");
        assert!(far.is_closed());
        assert_eq!(far.write_all(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        far.shutdown().await.unwrap();
        // Once, and then nothing.
        assert!(matches!(in_time(events.next()).await, Some(StreamEvent::Closed(Error::Closed))));
        assert!(in_time(events.next()).await.is_none());
        assert!(matches!(in_time(far_events.next()).await, Some(StreamEvent::Closed(_))));
        assert!(in_time(far_events.next()).await.is_none());
        // Whoever comes late is told too.
        assert!(matches!(in_time(far.events().next()).await, Some(StreamEvent::Closed(_))));
    }
}

#[tokio::test]
async fn both_halves_have_to_go() {
    let (near, mut far) = pair().await;
    let session = near.session().clone();
    let (mut reader, writer) = tokio::io::split(near);
    drop(writer);
    far.write_all(b"still").await.unwrap();
    let mut read = [0; 5];
    in_time(reader.read_exact(&mut read)).await.unwrap();
    drop(reader);
    assert_eq!(in_time(far.read(&mut read)).await.unwrap(), 0);
    // A handle to the session does not keep it.
    assert!(matches!(session.closed().await, Error::Closed));
}

#[tokio::test]
async fn a_lost_stream_is_an_error_and_no_end_of_data() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (mut middle, relay) = tokio::io::duplex(64 * 1024);
    let wire = tokio::spawn(async move {
        let mut far = far;
        let _ = tokio::io::copy_bidirectional(&mut far, &mut middle).await;
    });
    let (mut near, _far) = pair_over(near, relay).await;
    wire.abort();
    let lost = in_time(near.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::UnexpectedEof, "{lost}");
    assert!(matches!(in_time(near.closed()).await, Error::Io(_)));
    assert!(near.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn another_host_key_is_refused_before_anything_is_told() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let client = client::Config::builder("ada")
        .verify_host_key(Pinned(host_key().public_key().clone()))
        .authenticate(Credential::password("sesame"))
        .build()
        .unwrap();
    let server =
        server::Config::builder(server::danger::AcceptEverybody).host_key(host_key()).build().unwrap();
    let (near, far) = tokio::join!(SecureStream::client(near, client), SecureStream::server(far, server));
    let refused = near.unwrap_err();
    assert!(matches!(refused, OpenError::Session(Error::HostKey(_))), "{refused}");
    let told = far.unwrap_err();
    let not_verifiable = DisconnectReason::HOST_KEY_NOT_VERIFIABLE;
    assert!(matches!(told, Error::Disconnected { reason, .. } if reason == not_verifiable), "{told}");
}

#[tokio::test]
async fn a_server_without_a_host_key_does_not_build() {
    let config = server::Config::builder(server::danger::AcceptEverybody).build();
    assert!(matches!(config.unwrap_err(), Error::ApiMisuse(ApiMisuse::Algorithms)));
}

/// Takes nobody's password.
#[derive(Debug)]
struct NoEntry;

impl server::Authenticator for NoEntry {
    fn begin<'a>(&'a self, _start: server::AuthStart<'a>) -> BoxFuture<'a, server::AuthOffer> {
        server::AuthOffer::ready([server::Method::Password])
    }

    fn authenticate<'a>(&'a self, _attempt: server::AuthAttempt<'a>) -> BoxFuture<'a, server::AuthDecision> {
        std::future::ready(server::AuthDecision::Reject(server::RejectReason::InvalidPassword)).boxed()
    }
}

#[tokio::test]
async fn refused_credentials_are_the_end() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = server::Config::builder(NoEntry).host_key(host_key()).build().unwrap();
    let (near, far) = tokio::join!(SecureStream::client(near, any_host()), SecureStream::server(far, server));
    let refused = near.unwrap_err();
    let Err(Error::Auth(AuthFailure::Refused { tried, .. })) = session_error(refused) else {
        panic!("it was let in, or failed in another way")
    };
    assert!(tried.contains(&"password"), "{tried:?}");
    assert!(matches!(far.unwrap_err(), Error::Disconnected { .. }));
}

fn any_host() -> std::sync::Arc<client::Config> {
    client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .authenticate(Credential::password("sesame"))
        .build()
        .unwrap()
}

fn session_error(error: OpenError) -> Result<(), Error> {
    match error {
        OpenError::Session(error) => Err(error),
        _ => Ok(()),
    }
}

fn any_client() -> std::sync::Arc<server::Config> {
    server::Config::builder(server::danger::AcceptEverybody).host_key(host_key()).build().unwrap()
}

async fn client_session(stream: DuplexStream) -> Session {
    securestream::ssh_core::client::connect(stream, any_host()).await.unwrap()
}

#[tokio::test]
async fn a_client_gets_one_stream_and_nothing_else() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = tokio::spawn(SecureStream::server(far, any_client()));
    let session = client_session(near).await;
    let refused = |opened: Result<_, OpenError>| matches!(opened, Err(OpenError::Refused(_)));
    assert!(refused(in_time(session.open_channel("direct-tcpip")).await.map(drop)));
    assert_eq!(in_time(session.request("tcpip-forward", b"")).await.unwrap(), None);
    let mut channel = in_time(session.open_channel("session")).await.unwrap();
    let mut far = server.await.unwrap().unwrap();
    assert!(refused(in_time(session.open_channel("session")).await.map(drop)));
    assert_eq!(in_time(session.request("tcpip-forward", b"")).await.unwrap(), None);
    assert!(!in_time(channel.request("shell", b"")).await.unwrap());
    channel.write_all(b"hello").await.unwrap();
    let mut read = [0; 5];
    in_time(far.read_exact(&mut read)).await.unwrap();
    // Closing the channel is closing the stream.
    channel.write_all(b"bye").await.unwrap();
    drop(channel);
    let mut rest = Vec::new();
    in_time(far.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"bye");
    let end = in_time(session.closed()).await;
    assert!(matches!(end, Error::Disconnected { reason: DisconnectReason::BY_APPLICATION, .. }), "{end}");
}

#[tokio::test]
async fn a_server_may_not_take_streams_and_a_client_opens_nothing_for_it() {
    use securestream::ssh_core::session::Incoming;
    let (near, far) = tokio::io::duplex(64 * 1024);
    let connecting = tokio::spawn(SecureStream::client(near, any_host()));
    let session = securestream::ssh_core::server::accept(far, any_client()).await.unwrap();
    let mut incoming = session.incoming();
    let Some(Incoming::Channel(offer)) = incoming.next().await else { panic!("no channel") };
    assert_eq!(offer.kind(), "session");
    offer.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, "not here");
    let refused = in_time(connecting).await.unwrap().unwrap_err();
    let OpenError::Refused(failure) = refused else { panic!("{refused}") };
    assert_eq!(failure.text, "not here");
    in_time(session.closed()).await;

    let (near, far) = tokio::io::duplex(64 * 1024);
    let connecting = tokio::spawn(SecureStream::client(near, any_host()));
    let session = securestream::ssh_core::server::accept(far, any_client()).await.unwrap();
    let Some(Incoming::Channel(offer)) = session.incoming().next().await else { panic!("no channel") };
    let _channel = offer.accept().unwrap();
    let _near = in_time(connecting).await.unwrap().unwrap();
    let opened = in_time(session.open_channel("session")).await;
    assert!(matches!(opened, Err(OpenError::Refused(_))), "{opened:?}");
}

#[tokio::test]
async fn nothing_to_reconnect() {
    let (near, far) = pair().await;
    let (spare, _other) = tokio::io::duplex(64);
    let error = near.reconnect(spare).await.unwrap_err();
    assert!(matches!(error, Error::Reconnect(ReconnectFailure::NotResumable)), "{error}");
    let (spare, _other) = tokio::io::duplex(64);
    let error = far.reconnect(spare).await.unwrap_err();
    assert!(matches!(error, Error::ApiMisuse(ApiMisuse::ReconnectByServer)), "{error}");
}

#[tokio::test]
async fn giving_up_while_connecting_ends_the_session() {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let connecting = tokio::spawn(SecureStream::client(near, any_host()));
    let mut line = [0; 8];
    far.read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"SSH-2.0-");
    connecting.abort();
    in_time(far.read_to_end(&mut Vec::new())).await.unwrap();
}
