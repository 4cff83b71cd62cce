//! Forwards, over real sockets and a real clock.

use std::time::Duration;

use ssh_core::services::port_forward::{ForwardPolicy, PermitListen, PermitTarget, PortForwarding};
use tests::driven::{self, Settings};
use tests::endpoint::reserve_port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::{each_poll, given_up, polled};

const SOON: Duration = Duration::from_secs(20);

struct Forwards {
    client: PortForwarding,
    _server: PortForwarding,
    target: TcpListener,
}

impl Forwards {
    fn port(&self) -> u16 {
        self.target.local_addr().unwrap().port()
    }

    /// The next connection to the target.
    async fn reached(&self) -> TcpStream {
        timeout(SOON, self.target.accept()).await.expect("the target is not reached").unwrap().0
    }
}

async fn forwards() -> Forwards {
    let (client, server) = driven::pair(&Settings::default()).await;
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let policy = ForwardPolicy::deny_all()
        .permit_open("any".parse::<PermitTarget>().unwrap())
        .permit_listen("any".parse::<PermitListen>().unwrap());
    let server = PortForwarding::start(server, policy);
    Forwards { client: PortForwarding::start(client, ForwardPolicy::deny_all()), _server: server, target }
}

/// Sooner or later nobody listens there.
async fn assert_free(port: u16) {
    let free = async {
        while TcpListener::bind(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(SOON, free).await.expect("somebody still listens");
}

/// Through a port that is listened on here the target is reached.
async fn assert_forwards(forwards: &Forwards, port: u16) {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    socket.write_all(b"hello").await.unwrap();
    let mut reached = forwards.reached().await;
    let mut buffer = [0; 5];
    timeout(SOON, reached.read_exact(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer, b"hello");
}

/// The session goes on.
async fn assert_usable(forwards: &Forwards) {
    let mut channel =
        timeout(SOON, forwards.client.open("127.0.0.1", forwards.port())).await.unwrap().unwrap();
    let mut reached = forwards.reached().await;
    channel.write_all(b"x").await.unwrap();
    assert_eq!(timeout(SOON, reached.read_u8()).await.unwrap().unwrap(), b'x');
}

/// `local` and `dynamic`: a dropped future listens on nothing; `stop`: a dropped one has stopped all the same.
#[tokio::test]
async fn local_and_dynamic() {
    each_poll("PortForwarding::local", async |polls| {
        let forwards = forwards().await;
        let port = reserve_port().await.unwrap();
        let local = polled(polls, forwards.client.local(port, "127.0.0.1", forwards.port())).await;
        let done = local.is_some();
        if let Some(local) = local {
            let local = local.unwrap();
            assert_forwards(&forwards, port).await;
            polled(polls - 1, local.stop()).await;
        }
        assert_free(port).await;
        assert_usable(&forwards).await;
        done
    })
    .await;
    each_poll("PortForwarding::dynamic", async |polls| {
        let forwards = forwards().await;
        let port = reserve_port().await.unwrap();
        let dynamic = polled(polls, forwards.client.dynamic(port)).await;
        let done = dynamic.is_some();
        if let Some(dynamic) = dynamic {
            let dynamic = dynamic.unwrap();
            TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            polled(polls - 1, dynamic.stop()).await;
        }
        assert_free(port).await;
        assert_usable(&forwards).await;
        done
    })
    .await;
    for polls in 0..3 {
        let forwards = forwards().await;
        let port = reserve_port().await.unwrap();
        polled(polls, forwards.client.local(port, "127.0.0.1", 1).await.unwrap().stop()).await;
        assert_free(port).await;
    }
}

/// `remote`: a dropped future takes the request back; `cancel`: a dropped one has sent the request.
#[tokio::test]
async fn remote() {
    each_poll("PortForwarding::remote", async |polls| {
        let forwards = forwards().await;
        let port = reserve_port().await.unwrap();
        let remote =
            polled(polls, forwards.client.remote("127.0.0.1", port, "127.0.0.1", forwards.port())).await;
        let done = remote.is_some();
        if let Some(remote) = remote {
            let remote = remote.unwrap();
            assert_eq!(remote.port(), port);
            assert_forwards(&forwards, port).await;
            drop(remote);
        }
        // What was asked for may still be on its way, so the answer to something later is waited for.
        assert_usable(&forwards).await;
        assert_free(port).await;
        done
    })
    .await;
    each_poll("RemoteForward::cancel", async |polls| {
        let forwards = forwards().await;
        let remote = forwards.client.remote("127.0.0.1", 0, "127.0.0.1", forwards.port()).await.unwrap();
        let port = remote.port();
        let cancelled = polled(polls, remote.cancel()).await;
        if let Some(known) = &cancelled {
            assert!(*known.as_ref().unwrap());
        }
        assert_free(port).await;
        assert_usable(&forwards).await;
        cancelled.is_some()
    })
    .await;
}

/// `open`: the channel of a dropped future is closed as soon as it is confirmed.
#[tokio::test]
async fn open() {
    each_poll("PortForwarding::open", async |polls| {
        let forwards = forwards().await;
        let opened = polled(polls, forwards.client.open("127.0.0.1", forwards.port())).await;
        let done = opened.is_some();
        drop(opened);
        if polls > 0 {
            // The target sees its connection end, in whatever way.
            let mut reached = forwards.reached().await;
            let _ = timeout(SOON, reached.read(&mut [0; 1])).await.expect("a channel was leaked");
        }
        assert_usable(&forwards).await;
        done
    })
    .await;
}

/// `stdio`, and `pump_streams` in it: a dropped future closes the channel.
#[tokio::test]
async fn stdio() {
    each_poll("PortForwarding::stdio", async |polls| {
        let forwards = forwards().await;
        let (mut input, theirs) = tokio::io::duplex(100);
        let (output, mut our_output) = tokio::io::duplex(100);
        let (port, echo) = (forwards.port(), async {
            if polls == 0 {
                return;
            }
            let mut reached = forwards.reached().await;
            let (mut reader, mut writer) = reached.split();
            let _ =
                timeout(SOON, tokio::io::copy(&mut reader, &mut writer)).await.expect("a channel was leaked");
            let _ = writer.shutdown().await;
        });
        let feed = async {
            let _ = input.write_all(&[7; 2000]).await;
            let _ = input.shutdown().await;
        };
        let drain = async {
            let mut received = Vec::new();
            let _ = our_output.read_to_end(&mut received).await;
            received
        };
        let run = polled(polls, forwards.client.stdio("127.0.0.1", port, theirs, output));
        let (ran, (), (), received) = tokio::join!(run, echo, feed, drain);
        // Never more or other bytes than were sent.
        assert!(received.len() <= 2000 && received.iter().all(|byte| *byte == 7));
        if let Some(ran) = &ran {
            assert!(ran.is_ok(), "{ran:?}");
            assert_eq!(received.len(), 2000);
        }
        assert_usable(&forwards).await;
        ran.is_some()
    })
    .await;
}

/// `pump`: a dropped future has reset the socket and closed the channel.
#[tokio::test]
async fn pump() {
    for polls in 0..4 {
        let forwards = forwards().await;
        let channel = forwards.client.open("127.0.0.1", forwards.port()).await.unwrap();
        let mut reached = forwards.reached().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut ours, (theirs, _)) = (ours.unwrap(), theirs.unwrap());
        ours.write_all(b"abc").await.unwrap();
        let pump = ssh_core::services::port_forward::pump(theirs, channel);
        let _ = timeout(Duration::from_millis(50), polled(polls, pump)).await;
        // Neither side hangs.
        let _ = timeout(SOON, ours.read(&mut [0; 10])).await.expect("the socket is still open");
        let mut rest = Vec::new();
        let _ = timeout(SOON, reached.read_to_end(&mut rest)).await.expect("the channel is still open");
        assert!(b"abc".starts_with(&rest[..]));
        assert_usable(&forwards).await;
    }
}

/// `PortForwarding::closed`: nothing happens.
#[tokio::test]
async fn closed() {
    for polls in 0..3 {
        let forwards = forwards().await;
        assert!(given_up(polls, forwards.client.closed()).await);
        assert_usable(&forwards).await;
    }
}
