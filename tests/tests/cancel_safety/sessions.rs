//! Setting up a session, and what it does.

use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::server::DetachedSessions;
use ssh_core::session::{Incoming, OpenFailureReason};
use ssh_core::{Error, OpenError, client, server};
use tests::driven::{self, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{assert_echoes, assert_usable, each_poll, echo, given_up, polled, sessions, settings, settle};

/// `client::connect`: a dropped future ends the session.
#[tokio::test(start_paused = true)]
async fn connect() {
    each_poll("client::connect", async |polls| {
        let settings = settings();
        let (a, b) = settings.stream();
        let accepted = tokio::spawn(server::accept(b, settings.server_config()));
        let connected = polled(polls, client::connect(a, settings.client_config())).await;
        let Some(session) = connected else {
            // Either it has not come to a session, or the session ends.
            if let Ok(session) = accepted.await.unwrap() {
                session.closed().await;
            }
            return false;
        };
        let server = accepted.await.unwrap().unwrap();
        echo(&server);
        assert_usable(&session.unwrap()).await;
        true
    })
    .await;
}

/// `server::accept`: a dropped future ends the session.
#[tokio::test(start_paused = true)]
async fn accept() {
    each_poll("server::accept", async |polls| {
        let settings = settings();
        let (a, b) = settings.stream();
        let connected = tokio::spawn(client::connect(a, settings.client_config()));
        let accepted = polled(polls, server::accept(b, settings.server_config())).await;
        let Some(session) = accepted else {
            if let Ok(session) = connected.await.unwrap() {
                session.closed().await;
            }
            return false;
        };
        let server = session.unwrap();
        echo(&server);
        assert_usable(&connected.await.unwrap().unwrap()).await;
        true
    })
    .await;
}

/// `Driver::run`: a dropped future ends the session, and the other end sees that.
#[tokio::test(start_paused = true)]
async fn driver() {
    for polls in 0..60 {
        let settings = settings();
        let (a, b) = settings.stream();
        let accepted = tokio::spawn(server::accept(b, settings.server_config()));
        let (login, driver) = client::connect_with_driver(a, settings.client_config()).unwrap();
        let login = tokio::spawn(login);
        assert!(
            polled(polls, driver.run()).await.is_none(),
            "the driver is done with a session that goes on"
        );
        match login.await.unwrap() {
            Ok(session) => assert!(matches!(session.closed().await, Error::Io(_) | Error::Closed)),
            Err(error) => assert!(matches!(error, Error::Io(_)), "{error}"),
        }
        if let Ok(session) = accepted.await.unwrap() {
            session.closed().await;
        }
    }
}

/// `Session::open_channel`: the channel of a dropped future is closed as soon as it is confirmed.
#[tokio::test(start_paused = true)]
async fn open_channel() {
    each_poll("Session::open_channel", async |polls| {
        let (client, server) = sessions().await;
        echo(&server);
        let opened = polled(polls, client.open_channel("session")).await;
        let done = opened.is_some();
        drop(opened);
        assert_usable(&client).await;
        done
    })
    .await;
    each_poll("Session::open_channel_with", async |polls| {
        let (client, server) = sessions().await;
        echo(&server);
        let opened = polled(polls, client.open_channel_with("session", &[7; 1000])).await;
        let done = opened.is_some();
        drop(opened);
        assert_usable(&client).await;
        done
    })
    .await;
}

/// The same with a peer that refuses.
#[tokio::test(start_paused = true)]
async fn open_channel_refused() {
    each_poll("a refused Session::open_channel", async |polls| {
        let (client, server) = sessions().await;
        let mut incoming = server.incoming();
        let refuse = async {
            if let Some(Incoming::Channel(channel)) = incoming.next().await {
                tokio::task::yield_now().await;
                channel.reject(OpenFailureReason::CONNECT_FAILED, "no");
            }
        };
        let (opened, ()) = tokio::join!(polled(polls, client.open_channel("session")), async {
            // Without a poll nothing is asked for.
            if polls > 0 {
                refuse.await;
            }
        });
        if let Some(opened) = &opened {
            assert!(matches!(opened, Err(OpenError::Refused(_))));
        }
        drop(incoming);
        echo(&server);
        assert_usable(&client).await;
        opened.is_some()
    })
    .await;
}

/// `Session::request`: a dropped future has sent the request; its answer is not taken for another's.
#[tokio::test(start_paused = true)]
async fn request() {
    each_poll("Session::request", async |polls| {
        let (client, server) = sessions().await;
        echo(&server);
        let answer = polled(polls, client.request("first", b"first")).await;
        if let Some(answer) = &answer {
            assert_eq!(answer.as_ref().unwrap().as_deref(), Some(&b"first"[..]));
        }
        assert_eq!(client.request("second", b"second").await.unwrap().as_deref(), Some(&b"second"[..]));
        assert_usable(&client).await;
        answer.is_some()
    })
    .await;
}

/// `Session::closed`: nothing happens to the session, and whoever waits next still learns of its end.
#[tokio::test(start_paused = true)]
async fn closed() {
    for polls in 0..3 {
        let (client, server) = sessions().await;
        echo(&server);
        assert!(given_up(polls, client.closed()).await);
        assert_usable(&client).await;
        server.close();
        client.closed().await;
    }
}

/// `Session::reconnect`: a dropped future leaves the session without a stream; another may be tried, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn reconnect() {
    each_poll("Session::reconnect", async |polls| {
        let settings = Settings { sessions: Some(DetachedSessions::default()), ..settings() };
        let ((near, mut left), (mut right, far)) = (settings.stream(), settings.stream());
        let wire = tokio::spawn(async move {
            let _ = tokio::io::copy_bidirectional(&mut left, &mut right).await;
        });
        let (client, server) = driven::over(&settings, near, far).await;
        client.reconnect_enabled().await.unwrap();
        echo(&server);
        let mut channel = client.open_channel("session").await.unwrap();
        channel.write_all(b"before").await.unwrap();
        wire.abort();
        while client.disconnected().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        channel.write_all(b"during").await.unwrap();
        let dial = || {
            let (near, far) = settings.stream();
            tokio::spawn(server::accept(far, settings.server_config()));
            near
        };
        let back = polled(polls, client.reconnect(dial())).await;
        let done = back.is_some_and(|back| back.is_ok());
        assert_eq!(client.disconnected().is_none(), done);
        if !done {
            client.reconnect(dial()).await.unwrap();
        }
        let mut read = [0; 12];
        channel.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"beforeduring");
        drop(channel);
        assert_usable(&client).await;
        done
    })
    .await;
}

/// `IncomingStream::next`: a dropped future has taken nothing.
#[tokio::test(start_paused = true)]
async fn incoming() {
    each_poll("IncomingStream::next", async |polls| {
        let (client, server) = sessions().await;
        let opening = tokio::spawn({
            let client = client.clone();
            async move { client.open_channel("session").await }
        });
        let mut incoming = server.incoming();
        let taken = polled(polls, incoming.next()).await.flatten();
        let done = taken.is_some();
        let item = match taken {
            Some(item) => item,
            None => incoming.next().await.expect("the channel was lost"),
        };
        let Incoming::Channel(offer) = item else { panic!("not a channel") };
        let (mut reader, mut writer) = offer.accept().unwrap().split();
        let back = tokio::spawn(async move {
            tokio::io::copy(&mut reader, &mut writer).await.unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut writer).await.unwrap();
        });
        assert_echoes(opening.await.unwrap().unwrap(), 3000).await;
        back.await.unwrap();
        echo(&server);
        assert_usable(&client).await;
        done
    })
    .await;
}

/// What is neither accepted nor refused is refused when it is dropped.
#[tokio::test(start_paused = true)]
async fn undecided() {
    let (client, server) = sessions().await;
    let mut incoming = server.incoming();
    let (opened, ()) = tokio::join!(client.open_channel("session"), async {
        drop(incoming.next().await);
    });
    assert!(matches!(opened, Err(OpenError::Refused(_))));
    let (answer, ()) = tokio::join!(client.request("x", b""), async {
        drop(incoming.next().await);
    });
    assert!(answer.unwrap().is_none());
    drop(incoming);
    echo(&server);
    assert_usable(&client).await;
    // And a session whose last handle is dropped ends.
    drop(client);
    settle().await;
    server.closed().await;
    let _ = driven::pair(&settings()).await;
}
