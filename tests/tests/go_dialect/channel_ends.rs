//! The ends of channels. The Go library sends EOF in front of every CLOSE, waits for the other CLOSE without bound, and closes
//! from any of its threads, whatever the others are about to send.

use ssh_core::channel::ExitStatus;
use ssh_core::protocol::Role;
use ssh_core::{Channel, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::plain_peer::{Field, PlainPeer, data, in_time, session_with_go};

const BOTH: [Role; 2] = [Role::Client, Role::Server];

/// A channel that the Go side opened, as its number 0, and our number.
async fn accepted(session: &Session, peer: &mut PlainPeer) -> (Channel, u32) {
    peer.ask_channel("session", 0).await;
    let channel = in_time(session.accept_channel(None)).await.unwrap();
    (channel, peer.confirmed(0).await)
}

async fn read_all(channel: &mut Channel) -> Vec<u8> {
    let mut all = Vec::new();
    in_time(channel.read_to_end(&mut all)).await.unwrap();
    all
}

/// The session still carries a channel.
async fn assert_alive(session: &Session, peer: &mut PlainPeer) {
    peer.ask_channel("session", 70).await;
    let mut channel = in_time(session.accept_channel(None)).await.unwrap();
    let ours = peer.confirmed(70).await;
    peer.say(&data(ours, b"alive")).await;
    let mut read = [0; 5];
    in_time(channel.read_exact(&mut read)).await.unwrap();
    assert_eq!(&read, b"alive");
    drop(channel);
    peer.expect(97, &[Field::U32(70)]).await;
    peer.close(ours).await;
}

/// One thread writes while another closes: what was about to be sent comes behind EOF, or behind CLOSE.
#[tokio::test]
async fn data_that_an_end_has_overtaken_is_dropped() {
    for role in BOTH {
        let (session, mut peer) = session_with_go(role).await;
        let (mut channel, ours) = accepted(&session, &mut peer).await;
        peer.say(&data(ours, b"all")).await;
        peer.tell(96, &[Field::U32(ours)]).await;
        peer.say(&data(ours, b" that")).await;
        peer.tell(95, &[Field::U32(ours), Field::U32(1), Field::Str("comes")]).await;
        peer.tell(97, &[Field::U32(ours)]).await;
        peer.say(&data(ours, b" behind")).await;
        assert_eq!(read_all(&mut channel).await, b"all");
        peer.expect(97, &[Field::U32(0)]).await;
        assert_alive(&session, &mut peer).await;
        // And once the channel is forgotten.
        drop(channel);
        peer.say(&data(ours, b"late")).await;
        assert_alive(&session, &mut peer).await;
    }
}

/// Its port forwarding dials in a thread of its own, and so do applications that answer a channel as it opens: a dial that
/// fails at once closes the channel before it is confirmed.
#[tokio::test]
async fn a_channel_may_end_before_it_is_confirmed() {
    for role in BOTH {
        let (session, mut peer) = session_with_go(role).await;
        let opener = session.clone();
        let opening = tokio::spawn(async move { opener.open_channel("quick").await });
        let (ours, _) = peer.asked_for("quick").await;
        peer.tell(98, &[Field::U32(ours), Field::Str("exit-status"), Field::Bool(false), Field::U32(7)])
            .await;
        peer.close(ours).await;
        peer.confirm(ours, 31).await;
        let mut channel = in_time(opening).await.unwrap().unwrap();
        // It waits for this.
        peer.expect(97, &[Field::U32(31)]).await;
        assert_eq!(read_all(&mut channel).await, b"");
        assert_eq!(in_time(channel.closed()).await, Some(ExitStatus::Code(7)));
        assert!(channel.write_all(b"x").await.is_err());
        drop(channel);
        assert_alive(&session, &mut peer).await;
    }
}

#[tokio::test]
async fn a_channel_that_ended_early_is_closed_once_though_nobody_waits_for_it() {
    for (confirms, role) in [(true, Role::Client), (false, Role::Server)] {
        let (session, mut peer) = session_with_go(role).await;
        let opener = session.clone();
        let opening = tokio::spawn(async move { opener.open_channel("quick").await });
        let (ours, _) = peer.asked_for("quick").await;
        opening.abort();
        assert!(opening.await.is_err());
        peer.close(ours).await;
        if confirms {
            peer.confirm(ours, 31).await;
            peer.expect(97, &[Field::U32(31)]).await;
        } else {
            peer.tell(92, &[Field::U32(ours), Field::U32(2), Field::Str("no"), Field::Str("")]).await;
        }
        peer.hear_nothing().await;
        assert_alive(&session, &mut peer).await;
    }
}

/// The thread that closes is often the one that receives, so until this answer comes nothing else is received.
#[tokio::test]
async fn a_close_is_answered_though_nobody_reads_and_a_write_waits() {
    for role in BOTH {
        let (session, mut peer) = session_with_go(role).await;
        let (mut channel, ours) = accepted(&session, &mut peer).await;
        peer.say(&data(ours, b"unread")).await;
        let mut writer = channel.writer();
        let writing = tokio::spawn(async move { writer.write_all(&vec![7; 3 * 1024 * 1024]).await });
        let mut sent = 0;
        while sent < 1024 * 1024 {
            let payload = peer.hear().await;
            assert_eq!(payload[0], 94);
            sent += payload.len() - 9;
        }
        assert!(!writing.is_finished());
        peer.close(ours).await;
        peer.expect(97, &[Field::U32(0)]).await;
        assert!(in_time(writing).await.unwrap().is_err());
        assert_eq!(read_all(&mut channel).await, b"unread");
    }
}

/// Its answers to requests come from a thread for each channel, and its readers give credit for what they had not read yet.
#[tokio::test]
async fn answers_and_credit_may_come_behind_the_close() {
    let (session, mut peer) = session_with_go(Role::Client).await;
    let opener = session.clone();
    let opening = tokio::spawn(async move { opener.open_channel("session").await });
    let ours = peer.take_channel("session", 0).await;
    let channel = in_time(opening).await.unwrap().unwrap();
    let asker = tokio::spawn(async move { (channel.request("env", b"").await, channel) });
    peer.expect(98, &[Field::U32(0), Field::Str("env"), Field::Bool(true)]).await;
    peer.close(ours).await;
    for number in [99, 100] {
        peer.tell(number, &[Field::U32(ours)]).await;
    }
    peer.tell(93, &[Field::U32(ours), Field::U32(600_000)]).await;
    peer.expect(97, &[Field::U32(0)]).await;
    let (answer, channel) = in_time(asker).await.unwrap();
    assert!(answer.is_err(), "{answer:?}");
    drop(channel);
    peer.tell(93, &[Field::U32(ours), Field::U32(600_000)]).await;
    assert_alive(&session, &mut peer).await;
}

/// We close: the answer is EOF and CLOSE, and none of them is answered again.
#[tokio::test]
async fn a_close_of_ours_is_answered_by_both() {
    for role in BOTH {
        let (session, mut peer) = session_with_go(role).await;
        let (channel, ours) = accepted(&session, &mut peer).await;
        drop(channel);
        peer.expect(97, &[Field::U32(0)]).await;
        peer.close(ours).await;
        peer.hear_nothing().await;
        assert_alive(&session, &mut peer).await;
    }
}

#[tokio::test]
async fn status_and_signal_come_in_front_of_eof_and_close() {
    for (last, expected) in [
        (None, ExitStatus::Code(3)),
        (Some("out of luck"), ExitStatus::Signal { name: "TERM".into(), message: "out of luck".into() }),
    ] {
        let (session, mut peer) = session_with_go(Role::Client).await;
        let (mut channel, ours) = accepted(&session, &mut peer).await;
        let request = |name| [Field::U32(ours), Field::Str(name), Field::Bool(false)];
        match last {
            None => peer.tell(98, &[&request("exit-status")[..], &[Field::U32(3)]].concat()).await,
            Some(text) => {
                let fields = [Field::Str("TERM"), Field::Bool(false), Field::Str(text), Field::Str("")];
                peer.tell(98, &[&request("exit-signal")[..], &fields].concat()).await;
            }
        }
        peer.close(ours).await;
        assert_eq!(in_time(channel.closed()).await, Some(expected));
        assert_eq!(read_all(&mut channel).await, b"");
    }
}
