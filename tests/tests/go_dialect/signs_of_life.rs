//! Whether a Go peer is still there, when the machine has come to another network and wants to know at once.

use std::time::Duration;

use ssh_core::error::{Error, Timeout};
use ssh_core::protocol::Role;
use ssh_core::session::Session;
use tokio::task::JoinHandle;

use crate::plain_peer::{Field, PlainPeer, in_time, session_with_go};

const KEEPALIVE: [Field<'_>; 2] = [Field::Str("keepalive@openssh.com"), Field::Bool(true)];
const REQUEST: [Field<'_>; 2] = [Field::Str("tcpip-forward"), Field::Bool(true)];
const LONG: Duration = Duration::from_secs(3600);

type Asked = JoinHandle<Result<Option<bytes::Bytes>, Error>>;

/// A session that waits for the answer to a request, which the peer has heard.
async fn waiting(role: Role) -> (Session, PlainPeer, Asked) {
    let (session, mut peer) = session_with_go(role).await;
    let asker = session.clone();
    let asked = tokio::spawn(async move { asker.request("tcpip-forward", b"").await });
    peer.expect(80, &REQUEST).await;
    (session, peer, asked)
}

fn check(session: &Session, patience: Duration) -> JoinHandle<Result<(), Error>> {
    let session = session.clone();
    tokio::spawn(async move { session.network_changed(patience).await })
}

/// A Go peer that is a pipe refuses a keepalive at once, and answers a request when its far side has.
#[tokio::test]
async fn a_changed_network_is_no_answer_to_a_request_in_a_pipe() {
    for role in [Role::Client, Role::Server] {
        let (session, mut peer, asked) = waiting(role).await;
        let checked = check(&session, Duration::from_secs(15));
        peer.expect(191, &[]).await;
        assert!(!checked.is_finished());
        peer.tell(3, &[Field::U32(2)]).await;
        // Long before the patience is over.
        tokio::time::timeout(Duration::from_secs(10), checked).await.unwrap().unwrap().unwrap();
        assert!(!asked.is_finished());
        peer.tell(81, &[Field::U32(4000)]).await;
        assert_eq!(in_time(asked).await.unwrap().unwrap().unwrap(), 4000_u32.to_be_bytes()[..]);
    }
}

/// Somebody has asked and does not wait any more: the refusal is taken for that answer, but it is a word.
#[tokio::test]
async fn any_word_tells_that_it_is_still_there() {
    let (session, mut peer, asked) = waiting(Role::Client).await;
    asked.abort();
    assert!(asked.await.is_err());
    let checked = check(&session, Duration::from_secs(2));
    peer.expect(80, &KEEPALIVE).await;
    peer.tell(82, &[]).await;
    in_time(checked).await.unwrap().unwrap();
    peer.tell(81, &[]).await;
    // With nothing in between the answer tells at once.
    let checked = check(&session, LONG);
    peer.expect(80, &KEEPALIVE).await;
    peer.tell(82, &[]).await;
    in_time(checked).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_that_says_nothing_while_a_request_waits_is_lost() {
    let (session, _peer, asked) = waiting(Role::Server).await;
    let patience = Duration::from_secs(1);
    let since = tokio::time::Instant::now();
    let error = in_time(session.network_changed(patience)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout(Timeout::KeepAlive)), "{error:?}");
    assert!((patience..5 * patience).contains(&since.elapsed()), "{:?}", since.elapsed());
    assert!(in_time(asked).await.unwrap().is_err());
}

#[tokio::test]
async fn the_end_of_the_session_ends_the_wait_for_a_word() {
    let (session, mut peer, asked) = waiting(Role::Server).await;
    let checked = check(&session, LONG);
    peer.expect(191, &[]).await;
    session.close();
    assert!(matches!(in_time(checked).await.unwrap(), Err(Error::Closed)));
    assert!(matches!(in_time(asked).await.unwrap(), Err(Error::Closed)));
    assert!(matches!(in_time(session.network_changed(LONG)).await, Err(Error::Closed)));
}
