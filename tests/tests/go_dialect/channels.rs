//! Windows, and the request that comes with a channel.

use ssh_core::protocol::Role;
use ssh_core::session::OpenFailureReason;
use tests::raw_peer::{message, open};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::plain_peer::{Field, data, in_time, session_with_go};

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
