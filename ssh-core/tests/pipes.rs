//! Sessions and channels that are passed on to others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use ssh_core::channel::{Channel, ExitStatus};
use ssh_core::config::Limits;
use ssh_core::error::DisconnectReason;
use ssh_core::session::{GlobalReply, Incoming, OpenFailureReason};
use ssh_core::{Error, OpenError, Session};
use support::raw::{Raw, message};
use support::{Sides, sessions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

/// The two ends of a pipe between two sessions.
async fn piped(limits: Limits) -> (Session, Session, tokio::task::JoinHandle<Error>) {
    let sides = Sides { limits, ..Sides::default() };
    let (near, inner_near) = sessions(&sides).await;
    let (inner_far, far) = sessions(&sides).await;
    let pipe = tokio::spawn(async move { inner_near.pipe(&inner_far).await });
    (near, far, pipe)
}

async fn channel(near: &Session, far: &Session) -> (Channel, Channel) {
    let (opened, accepted) = tokio::join!(near.open_channel("session"), far.accept_channel(None));
    (opened.unwrap(), accepted.unwrap())
}

#[tokio::test]
async fn a_channel_is_confirmed_when_the_far_side_has() {
    let (near, far, _pipe) = piped(Limits::default()).await;
    for (opener, accepter) in [(&near, &far), (&far, &near)] {
        let mut opening = std::pin::pin!(opener.open_channel_with("direct-tcpip", b"fields"));
        let offer = tokio::select! {
            offer = accepter.next_channel(None) => offer.unwrap(),
            opened = &mut opening => panic!("{opened:?}"),
        };
        assert_eq!((offer.kind(), offer.fields()), ("direct-tcpip", &b"fields"[..]));
        assert!(timeout(Duration::from_millis(50), &mut opening).await.is_err());
        let _far_end = offer.accept_with(b"confirmed").unwrap();
        assert_eq!(opening.await.unwrap().1, &b"confirmed"[..]);

        let refusing = async {
            let offer = accepter.next_channel(None).await.unwrap();
            offer.reject(OpenFailureReason::CONNECT_FAILED, "nobody there");
        };
        let (opened, ()) = tokio::join!(opener.open_channel("x"), refusing);
        let Err(OpenError::Refused(failure)) = opened else { panic!("{opened:?}") };
        assert_eq!(
            (failure.reason, failure.text.as_str()),
            (OpenFailureReason::CONNECT_FAILED, "nobody there")
        );
    }
}

/// The far side's confirmation may hold more than we would pass on. That costs both sides this channel, and neither its place.
#[tokio::test]
async fn a_confirmation_that_cannot_be_passed_on_is_a_refusal() {
    let mut limits = Limits::default();
    limits.channels = 2;
    let (near, inner_near) = sessions(&Sides { limits, ..Sides::default() }).await;
    let (mut raw, inner_far) = Raw::with_server(Limits::default()).await;
    let _pipe = tokio::spawn(async move { inner_near.pipe(&inner_far).await });
    for id in 0..4_u32 {
        let confirming = async {
            let ours = raw.next(90).await[6..10].to_vec();
            let terms = [id, 1 << 20, 1 << 15].map(u32::to_be_bytes).concat();
            raw.send(&message(91, &[&ours, &terms, &[0; 40_000]])).await;
            assert_eq!(raw.next(97).await[1..], id.to_be_bytes());
        };
        let run = async { tokio::join!(near.open_channel("x"), confirming) };
        let (opened, ()) = timeout(PATIENCE, run).await.unwrap();
        let Err(OpenError::Refused(failure)) = opened else { panic!("{opened:?}") };
        assert_eq!(failure.reason, OpenFailureReason::CONNECT_FAILED);
    }
}

#[tokio::test]
async fn session_requests_keep_payloads_and_order() {
    const COUNT: usize = 100;
    let mut limits = Limits::default();
    limits.pending_requests = COUNT;
    let (near, far, _pipe) = piped(limits).await;
    let answering = async {
        let mut incoming = far.incoming();
        let mut waiting = Vec::new();
        for _ in 0..COUNT {
            let Some(Incoming::Request(request)) = incoming.next().await else { panic!("no request") };
            assert_eq!(request.name(), "tcpip-forward");
            waiting.push(request);
        }
        // The last is answered first.
        for request in waiting.into_iter().rev() {
            let fields = request.fields().to_vec();
            let reply = fields.into();
            request.reply(GlobalReply::Success(reply));
        }
        let Some(Incoming::Request(request)) = incoming.next().await else { panic!("no request") };
        assert!(!request.wants_reply());
        assert_eq!(request.fields(), b"only told");
        drop(request);
        let Some(Incoming::Request(request)) = incoming.next().await else { panic!("no request") };
        request.reply(GlobalReply::Failure(b"why"[..].into()));
    };
    let asking = async {
        let asked: FuturesOrdered<_> = (0..COUNT)
            .map(|number| {
                let near = &near;
                async move { near.request("tcpip-forward", &number.to_be_bytes()).await.unwrap().unwrap() }
            })
            .collect();
        let answers: Vec<_> = asked.collect().await;
        for (number, answer) in answers.iter().enumerate() {
            assert_eq!(answer, &number.to_be_bytes()[..]);
        }
        near.notify("note", b"only told").unwrap();
        assert_eq!(near.request_reply("x", b"").await.unwrap(), GlobalReply::Failure(b"why"[..].into()));
    };
    timeout(PATIENCE, async { tokio::join!(answering, asking) }).await.unwrap();
}

#[tokio::test]
async fn everything_on_a_channel_passes_both_ways() {
    const LENGTH: usize = 5 * 1024 * 1024 + 7;
    let (near, far, _pipe) = piped(Limits::default()).await;
    for (a, b) in [(&near, &far), (&far, &near)] {
        let (here, mut there) = channel(a, b).await;
        let sent: Vec<u8> = (0..LENGTH).map(|i| (i % 251) as u8).collect();
        let mut stderr = here.take_stderr();
        let sending = async {
            assert!(here.request("exec", b"\0\0\0\x02ls").await.unwrap());
            assert!(!here.request("no", b"").await.unwrap());
            here.send_signal("INT").unwrap();
            let (mut reader, mut writer) = here.split();
            let (written, read) = tokio::join!(
                async {
                    writer.write_all(&sent).await.unwrap();
                    writer.shutdown().await
                },
                async {
                    let mut received = Vec::new();
                    reader.read_to_end(&mut received).await.unwrap();
                    received
                }
            );
            written.unwrap();
            let mut warned = Vec::new();
            stderr.read_to_end(&mut warned).await.unwrap();
            (read, warned, reader.exit_status())
        };
        let answering = async {
            for (name, accepted) in [("exec", true), ("no", false), ("signal", true)] {
                let request = there.next_request().await.unwrap();
                assert_eq!(request.name, name);
                there.answer(&request, accepted).unwrap();
            }
            let mut received = Vec::new();
            there.read_to_end(&mut received).await.unwrap();
            there.stderr_writer().write_all(b"careful").await.unwrap();
            // Behind the EOF of the other way.
            there.write_all(&received).await.unwrap();
            there.close_with_signal("KILL", "process killed").unwrap();
            received
        };
        let run = async { tokio::join!(sending, answering) };
        let ((back, warned, ended), received) = timeout(PATIENCE, run).await.unwrap();
        assert!(received == sent && back == sent);
        assert_eq!(warned, b"careful");
        let (name, message) = ("KILL".to_owned(), "process killed".to_owned());
        assert_eq!(ended, Some(ExitStatus::Signal { name, message }));
    }
}

#[tokio::test]
async fn a_request_stays_behind_the_data_it_followed() {
    let mut limits = Limits::default();
    limits.pending_requests = 400;
    let (near, far, _pipe) = piped(limits).await;
    let (mut here, mut there) = channel(&near, &far).await;
    for round in 1..=200_u64 {
        here.write_all(&[7; 1000]).await.unwrap();
        here.notify("mark", &round.to_be_bytes()).unwrap();
    }
    let mut buffer = [0; 4096];
    for round in 1..=200_u64 {
        let mark = timeout(PATIENCE, there.next_request()).await.unwrap().unwrap();
        assert_eq!((&mark.fields[..], mark.data_before), (&round.to_be_bytes()[..], round * 1000));
        there.read_exact(&mut buffer[..1000]).await.unwrap();
    }
}

/// Two sessions, and the ends of a channel of each in the middle, which are to be piped by the test.
async fn to_be_piped() -> ([Session; 4], [Channel; 4]) {
    let sides = Sides::default();
    let (near, inner_near) = sessions(&sides).await;
    let (inner_far, far) = sessions(&sides).await;
    let (here, inner_here) = channel(&near, &inner_near).await;
    let (inner_there, there) = channel(&inner_far, &far).await;
    ([near, inner_near, inner_far, far], [here, inner_here, inner_there, there])
}

#[tokio::test]
async fn what_was_read_before_a_pipe_began_holds_no_request_up() {
    let (_sessions, [mut here, mut inner_here, inner_there, mut there]) = to_be_piped().await;
    here.write_all(b"hello, you").await.unwrap();
    let mut read = [0; 5];
    inner_here.read_exact(&mut read).await.unwrap();
    let pipe = tokio::spawn(inner_here.pipe(inner_there));
    let answering = async {
        let request = there.next_request().await.unwrap();
        // The data that was in front of it is still there.
        assert_eq!((request.name.as_str(), request.data_before), ("x", 5));
        there.answer(&request, true).unwrap();
        there.read_exact(&mut read).await.unwrap();
    };
    let both = async { tokio::join!(here.request("x", b""), answering) };
    let (accepted, ()) = timeout(PATIENCE, both).await.unwrap();
    assert!(accepted.unwrap());
    assert_eq!(&read, b", you");
    here.close().unwrap();
    timeout(PATIENCE, pipe).await.unwrap().unwrap();
}

/// What was there of it when the pipe began goes through the pipe, whoever was to read it.
#[tokio::test]
async fn stderr_that_somebody_took_goes_through_a_pipe_that_begins() {
    let (_sessions, [here, inner_here, inner_there, there]) = to_be_piped().await;
    let mut taken = inner_here.take_stderr();
    let mut errors = here.stderr_writer();
    errors.write_all(b"read, ").await.unwrap();
    let mut read = [0; 6];
    timeout(PATIENCE, taken.read_exact(&mut read)).await.unwrap().unwrap();
    let waiting = tokio::spawn(async move { taken.read_to_end(&mut Vec::new()).await });
    tokio::task::yield_now().await;
    let mut far_errors = there.take_stderr();
    let pipe = tokio::spawn(inner_here.pipe(inner_there));
    // The one who read it is told that nothing will come any more.
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap(), 0);
    errors.write_all(b"and passed on").await.unwrap();
    let mut passed = [0; 13];
    timeout(PATIENCE, far_errors.read_exact(&mut passed)).await.unwrap().unwrap();
    assert_eq!(&passed, b"and passed on");
    here.close().unwrap();
    timeout(PATIENCE, pipe).await.unwrap().unwrap();
}

#[tokio::test]
async fn stderr_that_nobody_read_goes_through_a_pipe_that_begins() {
    let (_sessions, [mut here, mut inner_here, inner_there, there]) = to_be_piped().await;
    let taken = inner_here.take_stderr();
    here.stderr_writer().write_all(b"unread").await.unwrap();
    // Behind it, so it has come too.
    here.write_all(b"x").await.unwrap();
    assert_eq!(timeout(PATIENCE, inner_here.read_u8()).await.unwrap().unwrap(), b'x');
    let mut far_errors = there.take_stderr();
    let pipe = tokio::spawn(inner_here.pipe(inner_there));
    let mut passed = [0; 6];
    timeout(PATIENCE, far_errors.read_exact(&mut passed)).await.unwrap().unwrap();
    assert_eq!(&passed, b"unread");
    drop(taken);
    here.close().unwrap();
    timeout(PATIENCE, pipe).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_signal_passes_data_that_nobody_reads() {
    let (near, far, _pipe) = piped(Limits::default()).await;
    let (mut here, there) = channel(&near, &far).await;
    let mut sent = 0;
    while let Ok(written) = timeout(Duration::from_millis(300), here.write(&[7; 32 * 1024])).await {
        sent += written.unwrap();
    }
    // Two windows of 1 MiB and what is under way: bounded.
    assert!(sent <= 3 * 1024 * 1024, "{sent}");
    here.send_signal("KILL").unwrap();
    let signal = timeout(PATIENCE, there.next_request()).await.unwrap().unwrap();
    assert_eq!(signal.name, "signal");
    // And another channel is not held up.
    let (mut other_here, mut other_there) = channel(&near, &far).await;
    other_here.write_all(b"hello").await.unwrap();
    let mut said = [0; 5];
    timeout(PATIENCE, other_there.read_exact(&mut said)).await.unwrap().unwrap();
}

/// The far side answers and closes while the near one still writes: the answer is not lost.
#[tokio::test]
async fn the_last_data_arrives_when_the_other_way_breaks() {
    for _ in 0..20 {
        let (near, far, _pipe) = piped(Limits::default()).await;
        let (here, mut there) = channel(&near, &far).await;
        let (mut reader, mut writer) = here.split();
        let writing = async { while writer.write_all(&[7; 32 * 1024]).await.is_ok() {} };
        let closing = async {
            there.write_all(&vec![9; 300_000]).await.unwrap();
            drop(there);
        };
        let reading = async {
            let mut received = Vec::new();
            reader.read_to_end(&mut received).await.unwrap();
            received
        };
        let run = async { tokio::join!(writing, closing, reading).2 };
        assert_eq!(timeout(PATIENCE, run).await.unwrap().len(), 300_000);
    }
}

#[tokio::test]
async fn either_end_of_a_session_ends_the_other_for_the_same_reason() {
    let reason = DisconnectReason::TOO_MANY_CONNECTIONS;
    for from_near in [true, false] {
        let (near, far, pipe) = piped(Limits::default()).await;
        let (a, b) = if from_near { (&near, &far) } else { (&far, &near) };
        let (_here, there) = channel(a, b).await;
        a.disconnect(reason, "that will do");
        let error = timeout(PATIENCE, b.closed()).await.unwrap();
        let Error::Disconnected { reason: told, text } = error else { panic!("{error:?}") };
        assert_eq!((told, &*text), (reason, "that will do"));
        assert_eq!(there.closed().await, None);
        assert!(matches!(pipe.await.unwrap(), Error::Disconnected { .. }));
    }
}

#[tokio::test]
async fn a_channel_can_be_piped_to_one_of_the_same_session() {
    let (near, far) = sessions(&Sides::default()).await;
    let (mut a, inner_a) = channel(&near, &far).await;
    let (mut b, inner_b) = channel(&near, &far).await;
    let pipe = tokio::spawn(inner_a.pipe(inner_b));
    a.write_all(b"there").await.unwrap();
    b.write_all(b"back").await.unwrap();
    a.shutdown().await.unwrap();
    b.shutdown().await.unwrap();
    let (mut at_a, mut at_b) = (String::new(), String::new());
    a.read_to_string(&mut at_a).await.unwrap();
    b.read_to_string(&mut at_b).await.unwrap();
    assert_eq!((at_a.as_str(), at_b.as_str()), ("back", "there"));
    a.close_with_status(7).unwrap();
    assert_eq!(b.closed().await, Some(ExitStatus::Code(7)));
    timeout(PATIENCE, pipe).await.unwrap().unwrap();
}
