//! Client and server of this crate over an in-memory stream, one backend a side.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};
use ssh_core::client::{self, Credential, danger::AcceptAnyHostKey};
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::server::{self, danger::AcceptEverybody};
use ssh_core::session::{Incoming, OpenFailureReason};
use ssh_core::{
    Addresses, ConnectionInfo, OpenError, Session,
    config::{Algorithms, Limits},
};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};

fn host_key() -> SigningKey {
    let provider = default_provider();
    let key = provider.signatures.generate(KeyKind::Ed25519, 0).unwrap();
    SigningKey::new(&key, provider).unwrap()
}

async fn pair(algorithms: Algorithms, limits: Limits) -> (Session, Session) {
    pair_of(algorithms, limits.clone(), limits).await
}

async fn pair_with_limits(near: Limits, far: Limits) -> (Session, Session) {
    pair_of(Algorithms::default(), near, far).await
}

async fn pair_of(algorithms: Algorithms, near: Limits, far: Limits) -> (Session, Session) {
    let (a, b) = tokio::io::duplex(1 << 20);
    let client = client::Config::builder("ada")
        .verify_host_key(AcceptAnyHostKey)
        .authenticate(Credential::password("secret"))
        .algorithms(algorithms.clone())
        .limits(near)
        .build()
        .unwrap();
    let server = server::Config::builder(AcceptEverybody)
        .host_key(host_key())
        .algorithms(algorithms)
        .limits(far)
        .build()
        .unwrap();
    let (client, server) = tokio::join!(client::connect(a, client), server::accept(b, server));
    (client.unwrap(), server.unwrap())
}

fn echo(server: Session) {
    tokio::spawn(async move {
        let mut incoming = server.incoming();
        while let Some(item) = incoming.next().await {
            match item {
                Incoming::Channel(channel) => {
                    tokio::spawn(async move {
                        let (mut reader, mut writer) = channel.accept().unwrap().split();
                        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                        writer.shutdown().await.unwrap();
                    });
                }
                Incoming::Request(request) => {
                    let fields = request.fields().to_vec();
                    request.accept(&fields);
                }
            }
        }
    });
}

async fn echo_on(session: &Session, len: usize) {
    let channel = session.open_channel("session").await.unwrap();
    let (mut reader, mut writer) = channel.split();
    let data: Arc<[u8]> = (0..len).map(|i| (i % 251) as u8).collect();
    let sent = Arc::clone(&data);
    let sender = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
        writer
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.unwrap();
    assert!(received == *data);
    drop(sender.await.unwrap());
}

#[tokio::test]
async fn bytes_come_back_through_an_echo() {
    let (client, server) = pair(Algorithms::default(), Limits::default()).await;
    assert_eq!(server.info().user.as_ref(), "ada");
    assert!(client.info().strict_kex);
    echo(server);
    echo_on(&client, 5_000_000).await;
    assert_eq!(client.request("x", b"y").await.unwrap().unwrap(), &b"y"[..]);
}

#[tokio::test]
async fn keys_are_exchanged_under_full_duplex_load_without_losing_a_byte() {
    let mut limits = Limits::default();
    limits.rekey_bytes = 100_000;
    let (client, server) = pair(Algorithms::default(), limits).await;
    let both = client.clone();
    let storm = tokio::spawn(async move {
        for _ in 0..6 {
            both.rekey().unwrap();
            tokio::task::yield_now().await;
        }
    });
    echo(server);
    futures::future::join_all((0..8).map(|_| echo_on(&client, 400_000))).await;
    storm.await.unwrap();
}

#[tokio::test]
async fn without_any_security_there_is_no_key_exchange() {
    let algorithms = Algorithms::insecure_without_any_security();
    let (client, server) = pair(algorithms, Limits::default()).await;
    assert!(client.info().algorithms.is_none());
    echo(server);
    echo_on(&client, 100_000).await;
}

#[tokio::test]
async fn events_may_be_asked_for_again_after_the_end() {
    let (client, server) = pair(Algorithms::default(), Limits::default()).await;
    let mut events = client.events();
    drop(server);
    client.closed().await;
    while events.next().await.is_some() {}
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn both_sides_know_the_same_of_their_connection() {
    let (a, b) = tokio::io::duplex(1 << 20);
    let client = client::Config::builder("ada")
        .verify_host_key(AcceptAnyHostKey)
        .authenticate(Credential::password("secret"))
        .build()
        .unwrap();
    let server = server::Config::builder(AcceptEverybody).host_key(host_key()).build().unwrap();
    let (near, far) = ("192.0.2.1:40000".parse().unwrap(), "[2001:db8::1]:22".parse().unwrap());
    let (client, server) = tokio::join!(
        client::connect_from(a, Addresses { local: Some(near), peer: Some(far) }, client),
        server::accept_from(b, Addresses { local: Some(far), peer: Some(near) }, server)
    );
    let (client, server) = (client.unwrap(), server.unwrap());
    let (ours, theirs) = (client.connection().clone(), server.connection());
    assert_eq!((ours.addresses.local, ours.addresses.peer), (Some(near), Some(far)));
    assert_eq!((theirs.addresses.local, theirs.addresses.peer), (Some(far), Some(near)));
    assert!(ours.session_id.as_bytes().len() >= 32);
    assert_eq!(ours.session_id, theirs.session_id);
    assert_eq!(ours.client_version, theirs.client_version);
    assert_eq!(ours.server_version, theirs.server_version);
    assert!(ours.peer_version().starts_with("SSH-2.0-Adit_"));
    let names = |info: &ConnectionInfo| {
        let algorithms = info.algorithms.unwrap();
        let ways = [algorithms.client_to_server, algorithms.server_to_client];
        let ways = ways.map(|way| (way.cipher.name(), way.mac_in_use().map(|mac| mac.name())));
        (algorithms.kex.name(), algorithms.host_key.name(), ways)
    };
    assert_eq!(names(&ours), names(theirs));
    assert!(ours.host_key.is_some() && theirs.host_key.is_none());
    // The session id is a secret.
    assert!(format!("{ours:?}").contains("SessionId[..]"));
}

/// "Interrupted" means "try again" to `write_all`, which then never ends.
#[tokio::test]
async fn a_driver_that_is_dropped_ends_its_channels_for_good() {
    let (near, far) = tokio::io::duplex(1 << 20);
    let config = client::Config::builder("ada")
        .verify_host_key(AcceptAnyHostKey)
        .authenticate(Credential::password("secret"))
        .build()
        .unwrap();
    let (login, driver) = client::connect_with_driver(near, config).unwrap();
    let driver = tokio::spawn(driver.run());
    let server = server::Config::builder(AcceptEverybody).host_key(host_key()).build().unwrap();
    let (client, server) = tokio::join!(login, server::accept(far, server));
    echo(server.unwrap());
    let client = client.unwrap();
    let mut channel = client.open_channel("session").await.unwrap();
    driver.abort();
    driver.await.unwrap_err();
    let write = std::future::poll_fn(|cx| std::pin::Pin::new(&mut channel).poll_write(cx, b"more"));
    assert_eq!(write.await.unwrap_err().kind(), std::io::ErrorKind::ConnectionAborted);
    channel.write_all(b"more").await.unwrap_err();
    channel.read_to_end(&mut Vec::new()).await.unwrap_err();
}

/// A peer that answers no open cannot have our memory for it, nor our numbers: what was given up counts until it answers.
#[tokio::test]
async fn our_own_opens_are_counted() {
    const CHANNELS: usize = 8;
    let mut limits = Limits::default();
    limits.channels = CHANNELS;
    // The far side may have more: it is ours that holds us back.
    let (near, far) = pair_with_limits(limits, Limits::default()).await;
    for number in 0..300 {
        let opened = near.open_channel("x").now_or_never();
        match opened {
            None => assert!(number < CHANNELS, "channel {number} was asked for"),
            Some(Err(OpenError::TooManyChannels { limit: CHANNELS })) => assert!(number >= CHANNELS),
            Some(opened) => panic!("channel {number}: {opened:?}"),
        }
    }
    assert!(!near.is_closed());
    // Of the far side's there are none either: the places are taken.
    assert!(matches!(far.open_channel("x").await, Err(OpenError::Refused(_))));
    // It answers at last.
    let mut incoming = far.incoming();
    for _ in 0..CHANNELS {
        let Some(Incoming::Channel(channel)) = incoming.next().await else { panic!("no channel") };
        channel.reject(OpenFailureReason::RESOURCE_SHORTAGE, "late");
    }
    echo(far);
    let mut kept = vec![opened(&near).await];
    while kept.len() + 1 < CHANNELS {
        kept.push(near.open_channel("x").await.unwrap());
    }
    // One after the other, however many: what is closed here makes room before the far side has said so.
    for _ in 0..10 * CHANNELS {
        drop(near.open_channel("x").await.unwrap());
    }
    kept.push(near.open_channel("x").await.unwrap());
    assert!(matches!(near.open_channel("x").await, Err(OpenError::TooManyChannels { .. })));
}

/// A channel, as soon as the far side's refusals of others have come.
async fn opened(near: &Session) -> ssh_core::Channel {
    let opening = async {
        loop {
            match near.open_channel("x").await {
                Err(OpenError::TooManyChannels { .. }) => tokio::task::yield_now().await,
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(5), opening).await.unwrap()
}
