//! Port forwards.

use ssh_core::services::port_forward::{ForwardEvent, ForwardPolicy, PortForwarding, Target};
use tokio::io::AsyncWriteExt as _;

use super::support::{Sides, sessions};
use super::{E, listen, told};

#[test]
fn every_event_of_a_forward_has_a_number() {
    let target = || Target::new("host", 1);
    let error = || ssh_core::error::IoError::from(&std::io::Error::other("no"));
    let cases = [
        (ForwardEvent::ListenFailed { bind: target(), error: error() }, 9051),
        (ForwardEvent::ListenDenied { bind: target() }, 9052),
        (ForwardEvent::TargetDenied { target: target() }, 9053),
        (ForwardEvent::NotRequested { bind: target() }, 9053),
        (ForwardEvent::DialFailed { target: target(), error: error() }, 9055),
        (ForwardEvent::TooManyConnections { from: "x".into() }, 9055),
        (ForwardEvent::Listening { bind: target() }, 9152),
        (ForwardEvent::Connection { from: "x".into(), target: target() }, 9156),
    ];
    for (event, number) in cases {
        assert_eq!(event.trace_event().id(), number, "{event:?}");
    }
}

#[tokio::test]
async fn forwarded_connections_are_told() {
    listen();
    let (client, server) = sessions(&Sides::default()).await;
    let (ours, theirs) = (
        PortForwarding::start(client, ForwardPolicy::allow_all()),
        PortForwarding::start(server, ForwardPolicy::allow_all()),
    );
    let target = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let remote = ours.remote("127.0.0.1", 0, "127.0.0.1", port).await.unwrap();
    told(E::PortForwardServerListening).await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", remote.port())).await.unwrap();
    let (mut accepted, _) = target.accept().await.unwrap();
    told(E::PortForwardConnectionAccepted).await;
    told(E::PortForwardConnectionOpened).await;
    stream.shutdown().await.unwrap();
    accepted.shutdown().await.unwrap();
    told(E::PortForwardConnectionClosed).await;
    // The peer refuses what it cannot connect to.
    drop(target);
    let local = ours.local("127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap(), "127.0.0.1", port);
    let local = local.await.unwrap();
    drop(tokio::net::TcpStream::connect(local.local_addr()).await.unwrap());
    told(E::PortForwardConnectionFailed).await;
    told(E::PortForwardChannelOpenFailed).await;
    drop(theirs);
}
