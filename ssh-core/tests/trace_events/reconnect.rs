//! Streams that are lost, and the way back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ssh_core::{Session, client, server};

use super::{E, has, listen, support, told};

type Link = tokio::task::JoinHandle<io::Result<(u64, u64)>>;

/// A client that can come back, its server, the task that carries its bytes, and two configurations of the server.
async fn connected() -> (Session, Session, Link, [Arc<server::Config>; 2]) {
    listen();
    let (configs, client_config) = support::resumable();
    let (near, mut wire) = tokio::io::duplex(64 * 1024);
    let (mut other, far) = tokio::io::duplex(64 * 1024);
    let link = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut wire, &mut other).await });
    let accepted = tokio::spawn(server::accept(far, Arc::clone(&configs[0])));
    let client = client::connect(near, client_config).await.unwrap();
    let server = accepted.await.unwrap().unwrap();
    client.reconnect_enabled().await.unwrap();
    server.reconnect_enabled().await.unwrap();
    (client, server, link, configs)
}

async fn lose(client: &Session, link: &Link) {
    link.abort();
    let lost = async {
        while client.disconnected().is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), lost).await.unwrap();
}

#[tokio::test]
async fn a_lost_stream_and_the_way_back_are_told() {
    let (client, _server, link, [config, _]) = connected().await;
    lose(&client, &link).await;
    told(E::SessionDisconnected).await;
    assert!(!has(E::ClientSessionReconnecting) && !has(E::ServerSessionReconnecting));
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(server::accept(far, config));
    client.reconnect(near).await.unwrap();
    told(E::ClientSessionReconnecting).await;
    told(E::ServerSessionReconnecting).await;
    assert!(!has(E::ClientSessionReconnectFailed) && !has(E::ServerSessionReconnectFailed));
}

#[tokio::test]
async fn a_way_back_that_fails_is_told_on_both_sides() {
    let (client, _server, link, [_, other]) = connected().await;
    lose(&client, &link).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(server::accept(far, other));
    client.reconnect(near).await.unwrap_err();
    told(E::ServerSessionReconnectFailed).await;
    told(E::ClientSessionReconnectFailed).await;
}
