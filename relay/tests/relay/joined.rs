//! Two channels that the relay has joined: how the end of one becomes that of the other.

use std::time::Duration;

use serde_json::json;
use ssh_core::{Channel, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::common::{PATIENCE, TestRelay, start};
use crate::sessions::{CLIENT_V2, HOST_V2, channels, fields, host, session};

const SOON: Duration = Duration::from_secs(5);

/// A host that forwards port 3000, and its channels.
async fn forwarding(relay: &TestRelay) -> (Session, mpsc::UnboundedReceiver<Channel>) {
    let host = host(relay, HOST_V2).await;
    host.request("tcpip-forward", &fields(3000, false)).await.unwrap().unwrap();
    let channels = channels(&host);
    (host, channels)
}

async fn client(relay: &TestRelay) -> Session {
    session(relay, "/t/abc/client", CLIENT_V2, &relay.token(Some("abc"), "connect")).await
}

async fn open(client: &Session) -> Channel {
    client.open_channel_with("forwarded-tcpip", &fields(3000, true)).await.unwrap().0
}

/// Whoever has ended its own way and then goes is missed at once, by a silent peer too: nobody may pile up channels at a host by
/// connecting, ending and leaving.
#[tokio::test]
async fn who_goes_after_the_end_of_its_data_is_missed() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    for host_goes in [false, true] {
        for with_close in [false, true] {
            let (host, mut channels) = forwarding(&relay).await;
            let client = client(&relay).await;
            let near = open(&client).await;
            let far = channels.recv().await.unwrap();
            let (mut goes, mut stays, session) =
                if host_goes { (far, near, host.clone()) } else { (near, far, client.clone()) };
            goes.write_all(b"the last words").await.unwrap();
            goes.send_eof().unwrap();
            let mut read = Vec::new();
            let ended = tokio::time::timeout(PATIENCE, stays.read_to_end(&mut read)).await;
            ended.expect("no end comes through").unwrap();
            assert_eq!(read, b"the last words");
            let early = tokio::time::timeout(Duration::from_millis(200), stays.closed()).await;
            assert!(early.is_err(), "an end is no close");
            stays.write_all(b"goes the other way still").await.unwrap();
            let mut answer = [0; 24];
            tokio::time::timeout(PATIENCE, goes.read_exact(&mut answer)).await.unwrap().unwrap();
            if with_close {
                drop(goes);
            } else {
                session.close();
            }
            let closed = tokio::time::timeout(SOON, stays.closed()).await;
            assert!(closed.is_ok(), "it is not closed: host goes: {host_goes}, with a close: {with_close}");
        }
    }
}
