//! The stages of a set-up, which both sides tell in the order of the Dev Tunnels SSH libraries.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _};
use ssh_core::config::Algorithms;
use ssh_core::progress::Progress;
use ssh_core::session::SessionEvent;
use ssh_core::{Session, client, server};
use support::{Sides, client_config, resumable, server_config};

#[derive(Debug)]
struct Nobody;

impl server::Authenticator for Nobody {
    fn begin<'a>(&'a self, _: server::AuthStart<'a>) -> BoxFuture<'a, server::AuthOffer> {
        Box::pin(async { server::AuthOffer::methods([server::Method::Password]) })
    }

    fn authenticate<'a>(&'a self, _: server::AuthAttempt<'a>) -> BoxFuture<'a, server::AuthDecision> {
        Box::pin(async { server::AuthDecision::Reject(server::RejectReason::InvalidUser) })
    }
}

/// Long enough for whatever is to come, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for what should not come.
const QUIET: Duration = Duration::from_millis(300);

/// What has been told: waits for this many stages, and then whether there are more.
async fn stages(mut events: impl Stream<Item = SessionEvent> + Unpin, wanted: usize) -> Vec<u8> {
    let mut stages = Vec::new();
    loop {
        let limit = if stages.len() < wanted { PATIENCE } else { QUIET };
        let Ok(Some(event)) = tokio::time::timeout(limit, events.next()).await else { return stages };
        if let SessionEvent::Progress(stage) = event {
            stages.push(stage.number());
        }
    }
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

/// What client and server tell of their connection: this many stages, if they tell all.
async fn connected(sides: &Sides, wanted: usize) -> ([Session; 2], [Vec<u8>; 2]) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (login, driver) = client::connect_with_driver(near, client_config(sides)).unwrap();
    let (accepted, server_driver) = server::accept_with_driver(far, server_config(sides)).unwrap();
    let events = [driver.events().boxed(), server_driver.events().boxed()];
    driver.spawn();
    server_driver.spawn();
    let (client, server) = tokio::join!(login, accepted);
    let [ours, theirs] = events.map(|events| stages(events, wanted));
    let told = tokio::join!(ours, theirs);
    ([client.unwrap(), server.unwrap()], [told.0, told.1])
}

#[test]
fn the_numbers_are_those_of_the_reference() {
    use Progress as P;
    let all = [
        P::OpeningSshSessionConnection,
        P::OpenedSshSessionConnection,
        P::StartingProtocolVersionExchange,
        P::CompletedProtocolVersionExchange,
        P::StartingKeyExchange,
        P::CompletedKeyExchange,
        P::StartingSessionAuthentication,
        P::CompletedSessionAuthentication,
    ];
    assert_eq!(all.map(P::number), [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[tokio::test]
async fn both_sides_tell_each_stage_once_and_in_order() {
    let ([client, _server], told) = connected(&Sides::default(), 8).await;
    assert_eq!(told, [[0, 2, 3, 4, 5, 1, 6, 7], [0, 2, 3, 4, 5, 1, 6, 7]]);
    // Later keys and channels are no progress.
    let events = client.events();
    client.rekey().unwrap();
    client.notify("x", &[]).unwrap();
    assert!(stages(events, 0).await.is_empty());
}

#[tokio::test]
async fn without_any_security_there_is_no_authentication() {
    let algorithms = Algorithms::insecure_without_any_security();
    let (_sessions, told) = connected(&Sides { algorithms, ..Sides::default() }, 6).await;
    assert_eq!(told, [[0, 2, 3, 4, 5, 1], [0, 2, 3, 4, 5, 1]]);
}

#[tokio::test]
async fn a_refused_login_does_not_complete() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let provider = ssh_core::crypto::default_provider();
    let key = provider.signatures.generate(ssh_core::keys::KeyKind::Ed25519, 0).unwrap();
    let key = ssh_core::keys::SigningKey::new(&key, provider).unwrap();
    let config = server::Config::builder(Nobody).host_key(key).build().unwrap();
    let (login, driver) = client::connect_with_driver(near, client_config(&Sides::default())).unwrap();
    let (accepted, server_driver) = server::accept_with_driver(far, config).unwrap();
    let events = [driver.events().boxed(), server_driver.events().boxed()];
    driver.spawn();
    server_driver.spawn();
    let (client, server) = tokio::join!(login, accepted);
    assert!(client.is_err() && server.is_err());
    let [ours, theirs] = events.map(|events| stages(events, 7));
    assert_eq!(ours.await, [0, 2, 3, 4, 5, 1, 6]);
    assert_eq!(theirs.await, [0, 2, 3, 4, 5, 1, 6]);
}

#[tokio::test]
async fn a_connection_that_carries_a_session_on_tells_its_own_stages() {
    let ([server_config, _], client_config) = resumable();
    let (near, mut wire) = tokio::io::duplex(64 * 1024);
    let (mut other, far) = tokio::io::duplex(64 * 1024);
    let link = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut wire, &mut other).await });
    let accepted = tokio::spawn(server::accept(far, std::sync::Arc::clone(&server_config)));
    let client = client::connect(near, client_config).await.unwrap();
    let _server = accepted.await.unwrap().unwrap();
    until(|| client.is_reconnect_enabled()).await;
    link.abort();
    until(|| client.disconnected().is_some()).await;
    let ours = client.events();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (handed_over, driver) = server::accept_with_driver(far, server_config).unwrap();
    let theirs = driver.events();
    driver.spawn();
    tokio::spawn(handed_over);
    client.reconnect(near).await.unwrap();
    assert_eq!(stages(ours, 6).await, [0, 2, 3, 4, 5, 1]);
    assert_eq!(stages(theirs, 6).await, [0, 2, 3, 4, 5, 1]);
}
