//! Windows, and the request that comes with a channel.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ssh_core::protocol::Role;
use ssh_core::session::OpenFailureReason;
use tests::raw_peer::{message, open};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::go_peer::{GoPeer, ext_info, reconnect_ext_info};
use crate::plain_peer::{Field, PACKET, WINDOW, data, in_time, session_with_go, word};

/// `initial-channel-request@microsoft.com` for the peer's channel `sender`, as the Go library writes it: `exec` with a
/// command.
fn initial(sender: u32, want_reply: bool) -> Vec<u8> {
    let mut request = message(
        80,
        &[Field::Str("initial-channel-request@microsoft.com"), Field::Bool(want_reply), Field::U32(sender)],
    );
    request.extend(message(98, &[Field::U32(0), Field::Str("exec"), Field::Bool(true), Field::Str("ls")]));
    request
}

/// Windows may be far below a packet, or nothing; what is credited is used, however little.
#[tokio::test]
async fn windows_below_a_packet_are_used_to_the_byte() {
    for window in [0, 1, 100] {
        let (session, mut peer) = session_with_go(Role::Server).await;
        peer.say(&open("session", 0, window, 32 * 1024)).await;
        let mut channel = in_time(session.accept_channel(None)).await.unwrap();
        let ours = peer.confirmed(0).await;
        let writing = tokio::spawn(async move { channel.write_all(&[7; 250]).await.map(|()| channel) });
        let mut heard = 0;
        if window > 0 {
            peer.expect(94, &[Field::U32(0), Field::Bytes(&vec![7; window as usize])]).await;
            heard = window;
        }
        peer.hear_nothing().await;
        for credit in [1_u32, 49, 250] {
            peer.tell(93, &[Field::U32(ours), Field::U32(credit)]).await;
            let len = credit.min(250 - heard);
            peer.expect(94, &[Field::U32(0), Field::Bytes(&vec![7; len as usize])]).await;
            heard += len;
        }
        in_time(writing).await.unwrap().unwrap();
    }
}

/// Without a reader of its own for extended data the Go library takes it as data; the window is one.
#[tokio::test]
async fn extended_data_shares_the_window() {
    let (session, mut peer) = session_with_go(Role::Server).await;
    peer.say(&open("session", 0, 10, 32 * 1024)).await;
    let mut channel = in_time(session.accept_channel(None)).await.unwrap();
    let ours = peer.confirmed(0).await;
    let mut stderr = channel.extended_writer(1);
    in_time(stderr.write_all(b"stderr")).await.unwrap();
    peer.expect(95, &[Field::U32(0), Field::U32(1), Field::Str("stderr")]).await;
    let writing = tokio::spawn(async move { channel.write_all(b"stdout").await.map(|()| channel) });
    peer.expect(94, &[Field::U32(0), Field::Str("stdo")]).await;
    peer.hear_nothing().await;
    peer.tell(93, &[Field::U32(ours), Field::U32(10)]).await;
    peer.expect(94, &[Field::U32(0), Field::Str("ut")]).await;
    in_time(writing).await.unwrap().unwrap();
}

/// It keeps 1024 messages to say again when it comes back, and its forwards make one of each 8 KiB: a window of 16 MiB would hold
/// twice as many, and a cut then be the end of the session.
#[test]
fn windows_do_not_outgrow_what_it_can_say_again() {
    const HALF: u32 = WINDOW / 2;
    for (reconnects, last) in [(true, HALF), (false, HALF + WINDOW)] {
        let mut go =
            if reconnects { GoPeer::with_reconnect(Role::Client) } else { GoPeer::against(Role::Client) };
        go.connect();
        // A path on which a window of 1 MiB is short.
        let say = |go: &mut GoPeer, payload: &[u8]| {
            go.raw.now += Duration::from_millis(100);
            go.say(payload);
        };
        say(&mut go, &if reconnects { reconnect_ext_info() } else { ext_info(&[]) });
        if reconnects {
            go.say_enable();
        }
        say(&mut go, &message(6, &[Field::Str("ssh-userauth")]));
        say(&mut go, &[52]);
        assert_eq!((go.raw.authenticated, go.raw.engine.is_reconnect_enabled()), (1, reconnects));
        let id = go.raw.engine.open_channel("session", b"", go.raw.now).unwrap();
        go.raw.pull();
        say(&mut go, &message(91, &[Field::U32(id), Field::U32(0), Field::U32(WINDOW), Field::U32(PACKET)]));
        let mut credit = Vec::new();
        for _ in 0..2 {
            say(&mut go, &data(id, &[7; PACKET as usize]));
            for _ in 1..HALF / PACKET {
                go.say(&data(id, &[7; PACKET as usize]));
            }
            let mut read = vec![0; HALF as usize];
            let cx = Context::from_waker(Waker::noop());
            assert!(
                matches!(go.raw.engine.poll_read(id, &cx, &mut read), Poll::Ready(Ok(len)) if len == read.len())
            );
            go.raw.pull();
            let adjust = go.raw.take(93).expect("credit");
            credit.push(word(&adjust, 5));
        }
        assert_eq!(credit, [HALF, last], "reconnects: {reconnects}");
    }
}

/// The request is sent by a thread of its own. If no answer is wanted the channel is used as soon as it is confirmed, so the
/// request may come behind the first data.
#[tokio::test]
async fn the_first_request_may_come_behind_confirmation_and_data() {
    for want_reply in [true, false] {
        let (session, mut peer) = session_with_go(Role::Server).await;
        peer.ask_channel("session", 5).await;
        let mut channel = in_time(session.accept_channel(None)).await.unwrap();
        let ours = peer.confirmed(5).await;
        peer.say(&data(ours, b"input")).await;
        peer.say(&initial(5, want_reply)).await;
        let request = in_time(channel.next_request()).await.unwrap();
        assert_eq!((request.name.as_str(), &request.fields[..]), ("exec", &b"\0\0\0\x02ls"[..]));
        assert_eq!(request.wants_reply(), want_reply);
        channel.answer(&request, true).unwrap();
        if want_reply {
            peer.expect(81, &[]).await;
        }
        let mut input = [0; 5];
        in_time(channel.read_exact(&mut input)).await.unwrap();
        assert_eq!(&input, b"input");
        peer.hear_nothing().await;
    }
}

/// Its application may use a channel before the library has confirmed it; only data waits for that.
#[tokio::test]
async fn requests_may_come_before_the_confirmation() {
    let (session, mut peer) = session_with_go(Role::Client).await;
    let opener = session.clone();
    let opening = tokio::spawn(async move { opener.open_channel("session").await });
    let (ours, _) = peer.asked_for("session").await;
    peer.tell(98, &[Field::U32(ours), Field::Str("signal"), Field::Bool(false), Field::Str("HUP")]).await;
    peer.tell(98, &[Field::U32(ours), Field::Str("ready"), Field::Bool(true)]).await;
    peer.confirm(ours, 31).await;
    let channel = in_time(opening).await.unwrap().unwrap();
    let signal = in_time(channel.next_request()).await.unwrap();
    assert_eq!((signal.name.as_str(), &signal.fields[..]), ("signal", &b"\0\0\0\x03HUP"[..]));
    let ready = in_time(channel.next_request()).await.unwrap();
    assert_eq!(ready.name, "ready");
    channel.answer(&ready, true).unwrap();
    peer.expect(99, &[Field::U32(31)]).await;
}

/// The request is on its way when the channel is refused, and its answer is waited for in the order of all.
#[tokio::test]
async fn the_first_request_of_a_refused_channel_is_answered() {
    let (session, mut peer) = session_with_go(Role::Server).await;
    peer.ask_channel("session", 5).await;
    let offer = in_time(session.next_channel(None)).await.unwrap();
    offer.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, "no");
    let refusal = peer.hear().await;
    assert_eq!(refusal[..9], message(92, &[Field::U32(5), Field::U32(1)]));
    peer.say(&initial(5, true)).await;
    peer.expect(82, &[]).await;
}

/// Without EXT_INFO it does not know whether we take such requests: it tries, and asks again if that is refused.
#[tokio::test]
async fn a_first_request_that_is_refused_is_asked_again_on_the_channel() {
    let (session, mut peer) = session_with_go(Role::Client).await;
    let opener = session.clone();
    let opening = tokio::spawn(async move {
        opener.open_channel_and_request("session", b"", "exec", b"\0\0\0\x02ls").await
    });
    let (ours, _) = peer.asked_for("session").await;
    assert_eq!(peer.hear().await, initial(ours, true));
    // The Go library answers the open first, and refuses what its application does not take at once.
    peer.confirm(ours, 9).await;
    peer.tell(82, &[]).await;
    peer.expect(98, &[Field::U32(9), Field::Str("exec"), Field::Bool(true), Field::Str("ls")]).await;
    peer.tell(99, &[Field::U32(ours)]).await;
    in_time(opening).await.unwrap().unwrap();
}
