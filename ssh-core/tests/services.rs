//! What applications add: services, requests with payloads, messages of their own, and a channel's typed requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::channel::{Channel, ExitStatus, PeerRequest};
use ssh_core::error::{ApiMisuse, DisconnectReason};
use ssh_core::requests::{ChannelRequest, Pty, TerminalSize};
use ssh_core::services::service::{Activation, Service, Services};
use ssh_core::session::{GlobalReply, IncomingChannel, IncomingRequest};
use ssh_core::{Error, OpenError};
use support::{Sides, sessions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

/// Answers requests with their own fields, and greets on channels.
struct Echo(Arc<AtomicUsize>);

impl Service for Echo {
    fn on_session_request<'a>(&'a self, request: IncomingRequest) -> BoxFuture<'a, ()> {
        async move {
            // The first takes longest: the answers still leave in order.
            let wait = if request.fields() == b"slow" { 100 } else { 0 };
            tokio::time::sleep(Duration::from_millis(wait)).await;
            let fields = request.fields().to_vec();
            request.accept(&fields);
        }
        .boxed()
    }

    fn on_channel_opening<'a>(&'a self, channel: IncomingChannel) -> BoxFuture<'a, ()> {
        async move { channel.accept().unwrap().write_all(b"hello").await.unwrap() }.boxed()
    }

    fn on_channel_request<'a>(&'a self, mut channel: Channel, request: PeerRequest) -> BoxFuture<'a, ()> {
        async move {
            channel.answer(&request, true).unwrap();
            channel.write_all(&request.fields).await.unwrap();
        }
        .boxed()
    }

    fn on_close(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn services_start_when_they_are_first_asked_for() {
    let (client, server) = sessions(&Sides::default()).await;
    let closed = Arc::new(AtomicUsize::new(0));
    let made = Arc::new(AtomicUsize::new(0));
    let make = {
        let (made, closed) = (Arc::clone(&made), Arc::clone(&closed));
        move |_: &ssh_core::Session| {
            made.fetch_add(1, Ordering::Relaxed);
            Echo(Arc::clone(&closed))
        }
    };
    let services = Services::builder(server)
        .service("by name", Activation::new().service_request("echo@example"), make.clone())
        .service(
            "by session request",
            Activation::new().session_request("ping").session_request("pong"),
            make.clone(),
        )
        .service("by type", Activation::new().channel_type("greeting"), make.clone())
        .service(
            "by request",
            Activation::new().channel_type("session").channel_request("exec"),
            make.clone(),
        )
        .service("by hand", Activation::new(), make)
        .start();
    assert!(services.active().is_empty());

    client.request_service("echo@example").await.unwrap();
    assert_eq!(services.active(), ["by name"]);
    let (slow, fast) = tokio::join!(client.request("ping", b"slow"), client.request("pong", b"fast"));
    assert_eq!((&slow.unwrap().unwrap()[..], &fast.unwrap().unwrap()[..]), (&b"slow"[..], &b"fast"[..]));
    assert_eq!(client.request("other", b"").await.unwrap(), None);

    let mut said = String::new();
    client.open_channel("greeting").await.unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "hello");
    let refused = client.open_channel("unknown").await;
    assert!(matches!(refused, Err(OpenError::Refused(_))));

    let mut channel = client.open_channel("session").await.unwrap();
    assert!(!channel.send_request(&ChannelRequest::Shell).await.unwrap());
    assert!(services.get("by request").is_none());
    assert!(channel.send_request(&ChannelRequest::Exec { command: b"ls".to_vec() }).await.unwrap());
    let mut said = Vec::new();
    channel.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"\0\0\0\x02ls");

    assert!(services.get("by hand").is_none());
    assert!(services.activate("by hand").is_some() && services.activate("by hand").is_some());
    assert!(services.activate("nothing").is_none());
    assert_eq!(made.load(Ordering::Relaxed), 5);
    client.close();
    timeout(Duration::from_secs(5), async {
        while closed.load(Ordering::Relaxed) < 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    drop(services);
    assert_eq!(closed.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn a_service_that_nobody_has_ends_the_session() {
    let (client, _server) = sessions(&Sides::default()).await;
    let error = client.request_service("nothing@example").await.unwrap_err();
    assert!(
        matches!(error, Error::Disconnected { reason: DisconnectReason::SERVICE_NOT_AVAILABLE, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn only_clients_ask_for_services() {
    let (_client, server) = sessions(&Sides::default()).await;
    let error = server.request_service("echo").await.unwrap_err();
    assert!(matches!(error, Error::ApiMisuse(ApiMisuse::NotAClient)));
}

#[tokio::test]
async fn answers_carry_payloads_either_way() {
    let (client, server) = sessions(&Sides::default()).await;
    let serve = async {
        use futures::StreamExt as _;
        let mut incoming = server.incoming();
        for reply in [GlobalReply::Success(b"yes"[..].into()), GlobalReply::Failure(b"no"[..].into())] {
            let Some(ssh_core::session::Incoming::Request(request)) = incoming.next().await else { panic!() };
            request.reply(reply);
        }
    };
    let ask = async {
        assert_eq!(client.request_reply("a", b"").await.unwrap(), GlobalReply::Success(b"yes"[..].into()));
        assert_eq!(client.request_reply("b", b"").await.unwrap(), GlobalReply::Failure(b"no"[..].into()));
    };
    tokio::join!(serve, ask);
}

#[tokio::test]
async fn messages_of_the_applications_own_reach_it() {
    let (client, server) = sessions(&Sides::default()).await;
    let mut messages = server.messages(200).unwrap();
    for core in [1, 7, 20, 30, 50, 80, 90, 100] {
        assert!(matches!(server.messages(core), Err(Error::ApiMisuse(ApiMisuse::MessageNumber))), "{core}");
        assert!(client.send_message(&[core]).is_err());
    }
    assert!(client.send_message(&[]).is_err());
    client.send_message(b"\xc8one").unwrap();
    // Nobody takes this number: it is answered by UNIMPLEMENTED and the session goes on.
    client.send_message(b"\xc9nobody").unwrap();
    client.send_message(b"\xc8two").unwrap();
    assert_eq!(messages.next().await.unwrap(), &b"\xc8one"[..]);
    assert_eq!(messages.next().await.unwrap(), &b"\xc8two"[..]);
    client.close();
    assert_eq!(messages.next().await, None);
}

#[tokio::test]
async fn a_program_on_a_channel() {
    let (client, server) = sessions(&Sides::default()).await;
    let size = TerminalSize { columns: 80, rows: 24, ..TerminalSize::default() };
    let pty = ChannelRequest::Pty(Pty { term: "xterm".into(), size, modes: vec![0] });
    let expected = [
        pty,
        ChannelRequest::Env { name: "LANG".into(), value: b"C".to_vec() },
        ChannelRequest::Exec { command: b"sort".to_vec() },
        ChannelRequest::Signal { name: "TERM".into() },
    ];
    let program = async {
        let mut channel = server.accept_channel(Some("session")).await.unwrap();
        for wanted in &expected {
            let request = channel.next_request().await.unwrap();
            assert_eq!(&ChannelRequest::try_from(&request).unwrap(), wanted);
            assert_eq!(request.wants_reply(), wanted.may_be_answered());
            channel.answer(&request, true).unwrap();
        }
        let mut errors = channel.stderr_writer();
        errors.write_all(b"a warning").await.unwrap();
        channel.write_all(b"the result").await.unwrap();
        channel.close_with_signal("KILL", "process killed").unwrap();
        channel.close().unwrap();
        assert!(channel.is_closed());
        assert!(channel.write_all(b"x").await.is_err());
    };
    let user = async {
        let mut channel = client.open_channel("session").await.unwrap();
        let mut stderr = channel.take_stderr();
        for request in &expected {
            assert!(channel.send_request(request).await.unwrap());
        }
        let (mut result, mut warning) = (String::new(), String::new());
        channel.read_to_string(&mut result).await.unwrap();
        stderr.read_to_string(&mut warning).await.unwrap();
        assert_eq!((result.as_str(), warning.as_str()), ("the result", "a warning"));
        let ended = channel.closed().await;
        let (name, message) = ("KILL".to_owned(), "process killed".to_owned());
        assert_eq!(ended, Some(ExitStatus::Signal { name, message }));
    };
    tokio::join!(program, user);
}

/// Data and extended data share a window; both writers get on when it opens.
#[tokio::test]
async fn stderr_and_data_are_written_by_two_tasks() {
    const EACH: usize = 3 * 1024 * 1024;
    let (client, server) = sessions(&Sides::default()).await;
    let (opened, accepted) = tokio::join!(client.open_channel("session"), server.accept_channel(None));
    let (mut reader, mut writer) = (opened.unwrap(), accepted.unwrap());
    let mut stderr_reader = reader.take_stderr();
    let mut stderr_writer = writer.stderr_writer();
    let data = tokio::spawn(async move {
        writer.write_all(&vec![1; EACH]).await.unwrap();
        writer
    });
    let extended = tokio::spawn(async move { stderr_writer.write_all(&vec![2; EACH]).await.unwrap() });
    let (mut a, mut b) = (vec![0; EACH], vec![0; EACH]);
    let run = async { tokio::join!(reader.read_exact(&mut a), stderr_reader.read_exact(&mut b)) };
    let (x, y) = timeout(Duration::from_secs(20), run).await.unwrap();
    x.unwrap();
    y.unwrap();
    assert!(a.iter().all(|byte| *byte == 1) && b.iter().all(|byte| *byte == 2));
    extended.await.unwrap();
    data.await.unwrap().close_with_status(3).unwrap();
    assert_eq!(reader.closed().await, Some(ExitStatus::Code(3)));
}

#[tokio::test]
async fn what_went_through_is_counted() {
    let (client, server) = sessions(&Sides::default()).await;
    let (opened, accepted) = tokio::join!(client.open_channel("session"), server.accept_channel(None));
    let (mut near, mut far) = (opened.unwrap(), accepted.unwrap());
    near.write_all(&[1; 5000]).await.unwrap();
    near.stderr_writer().write_all(&[2; 70]).await.unwrap();
    far.read_exact(&mut [0; 5000]).await.unwrap();
    far.write_all(&[3; 9]).await.unwrap();
    near.read_exact(&mut [0; 9]).await.unwrap();
    let (ours, theirs) = (near.metrics(), far.metrics());
    assert_eq!((ours.bytes_sent, ours.bytes_received), (5070, 9));
    assert_eq!((theirs.bytes_sent, theirs.bytes_received), (9, 5070));
    assert_eq!((client.channel_ids(), server.channel_ids()), (vec![0], vec![0]));
    let (ours, theirs) = (client.metrics(), server.metrics());
    // All that was sent has been read, by what was read of it.
    assert_eq!((ours.bytes_sent, ours.messages_sent), (theirs.bytes_received, theirs.messages_received));
    assert_eq!((theirs.bytes_sent, theirs.messages_sent), (ours.bytes_received, ours.messages_received));
    assert!(ours.bytes_sent > 5070 && ours.messages_sent > 8);
}
