//! Coming back (`session-reconnect@microsoft.com`), in both roles.
//!
//! What Go does that TypeScript does not: the enable goes out a second time behind what is sent again, and an earlier one may be
//! among that; what was said without a stream comes last; EXT_INFO of some releases comes behind other messages.

use ssh_core::error::{Error, PeerMisbehaved, ReconnectFailure};
use ssh_core::protocol::Role;
use tests::raw_peer::{Field, RawPeer, data, message, password};

use super::go_peer::{GoPeer, enable, later_offer, offer, reconnect_ext_info};

const CIPHER: &str = "aes256-gcm@openssh.com";
const MAC: &str = "hmac-sha2-512-etm@openssh.com";

/// A Go client that is logged in, and the channel that it opened; our number of it.
fn go_client() -> (GoPeer, u32) {
    let mut go = GoPeer::with_reconnect(Role::Server);
    go.connect();
    go.say(&reconnect_ext_info());
    // These do not wait for our EXT_INFO; the answer to that is the enable.
    go.say(&message(5, &[Field::Str("ssh-userauth")]));
    go.say_enable();
    go.say(&password("ada", "secret"));
    assert_eq!(go.raw.authenticated, 1, "{:?}", go.raw.error());
    let id = go.raw.open_channel(0, 1 << 20, 1 << 15);
    assert!(go.raw.engine.is_reconnect_enabled());
    (go, id)
}

/// A Go server that has let us in, and the channel that we opened; our number of it.
fn go_server() -> (GoPeer, u32) {
    let mut go = GoPeer::with_reconnect(Role::Client);
    go.connect();
    go.say(&reconnect_ext_info());
    go.say_enable();
    go.say(&message(6, &[Field::Str("ssh-userauth")]));
    go.say(&[52]);
    assert_eq!(go.raw.authenticated, 1, "{:?}", go.raw.error());
    let id = go.raw.engine.open_channel("session", b"", go.raw.now).unwrap();
    go.raw.pull();
    let [id_field, window, packet] = [id, 1 << 20, 1 << 15].map(Field::U32);
    go.say(&message(91, &[id_field, Field::U32(0), window, packet]));
    go.raw.assert_alive();
    (go, id)
}

/// When a client's EXT_INFO comes, and its enable behind that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExtInfo {
    First,
    BehindRequest,
    BehindAnswer,
}

/// The connection of a client that comes back, up to its request.
fn come_back(lost: &GoPeer, ext_info: ExtInfo) -> GoPeer {
    let mut go = GoPeer::with_reconnect(Role::Server);
    go.raw.finds_sessions = true;
    go.connect();
    assert!(go.raw.take(7).is_some(), "our EXT_INFO");
    if ext_info == ExtInfo::First {
        say_extensions(&mut go);
    }
    go.say(&go.request(lost));
    if ext_info == ExtInfo::BehindRequest {
        say_extensions(&mut go);
    }
    assert_eq!(go.raw.resume_requests, 1, "{:?}", go.raw.error());
    go
}

fn say_extensions(go: &mut GoPeer) {
    go.say(&reconnect_ext_info());
    go.say_enable();
}

/// Our answer to a client that came back: the token and the position.
fn take_answer(go: &mut GoPeer) -> (Vec<u8>, u64) {
    let answer = go.raw.take(81).expect("an answer");
    let (token, position) = answer[5..].split_at(64);
    (token.to_vec(), u64::from_be_bytes(position.try_into().unwrap()))
}

/// The rest of Go's way back: what we have not received, the enable once more, and then what it said without a stream.
fn catch_up(go: &mut GoPeer, unheard: Vec<Vec<u8>>, unsaid: &[u8]) {
    assert!(unheard.len() >= 3, "{unheard:?}");
    for payload in unheard {
        go.say(&payload);
    }
    if go.raw.trailers.ours {
        go.say(&enable());
    } else {
        go.say_enable();
    }
    go.say(unsaid);
    go.raw.assert_alive();
}

/// An exchange that Go starts, and does not stop talking for.
fn rekey(go: &mut GoPeer, id: u32) {
    go.raw.send_kexinit(&later_offer(go.raw.role(), CIPHER, MAC));
    go.say(&data(id, b"within "));
    match go.raw.role() {
        Role::Client => go.raw.send_share(),
        Role::Server => go.raw.send_reply(),
    }
    let new_keys = go.raw.seal(&[21]);
    go.raw.send_bytes(&new_keys);
    go.say(&data(id, b"behind "));
    go.raw.use_new_keys();
    go.say(&data(id, b"after"));
    go.raw.assert_alive();
    assert_eq!(go.read(id), b"within behind after");
    go.write(id, b"danach");
    go.raw.pull();
    assert_eq!(go.hear_data(), b"danach");
}

/// Messages of which nothing comes again: a part of an exchange, which belonged to the connection.
fn lose(go: &mut GoPeer, id: u32) {
    go.say_to_nobody(&data(id, b"two "));
    go.say_to_nobody(&message(80, &[Field::Str("keepalive@openssh.com"), Field::Bool(true)]));
    go.say_to_nobody(&later_offer(go.raw.role(), CIPHER, MAC).encode());
    go.say_to_nobody(&data(id, b"three "));
}

#[test]
fn a_client_comes_back_twice_and_nothing_is_lost_or_doubled() {
    for ext_info in [ExtInfo::First, ExtInfo::BehindRequest, ExtInfo::BehindAnswer] {
        let (mut go, id) = go_client();
        let (mut read, mut heard) = (Vec::new(), Vec::new());
        for round in 0..2 {
            go.say(&data(id, b"one "));
            lose(&mut go, id);
            go.write(id, b"eins ");
            go.raw.pull();
            heard.extend(go.hear_data());
            go.write(id, b"zwei ");
            read.extend(go.read(id));
            go.cut();
            go.write(id, b"drei ");

            let mut next = come_back(&go, ext_info);
            let token = next.token(Role::Server, &go.raw.session_id);
            go.raw.engine.hand_over(&mut next.raw.engine, go.raw.now).unwrap();
            next.take_over(&mut go);
            let (said, position) = take_answer(&mut next);
            assert_eq!(said, token);
            if ext_info == ExtInfo::BehindAnswer {
                say_extensions(&mut next);
            }
            assert!(next.raw.trailers.theirs, "Go waits for our enable before it calls itself back");
            heard.extend(next.hear_data());
            catch_up(&mut next, go.unheard(position), &data(id, b"four "));
            read.extend(next.read(id));
            assert_eq!(next.raw.engine.reconnections(), round + 1);
            go = next;
        }
        assert_eq!(read, b"one two three four one two three four ", "{ext_info:?}");
        assert_eq!(heard, b"eins zwei drei eins zwei drei ", "{ext_info:?}");
        // Keys are derived with the session's first id from now on.
        rekey(&mut go, id);
    }
}

/// Whether Go has enabled its trailers by the time of its answer: a release of Go did so only behind what it sent again.
#[test]
fn a_server_is_come_back_to_and_nothing_is_lost_or_doubled() {
    for (enabled_first, resumed_last) in [(true, false), (true, true), (false, false), (false, true)] {
        let (mut go, id) = go_server();
        let (mut read, mut heard) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            go.say(&data(id, b"one "));
            lose(&mut go, id);
            go.write(id, b"eins ");
            go.raw.pull();
            heard.extend(go.hear_data());
            go.write(id, b"zwei ");
            read.extend(go.read(id));
            go.cut();
            go.write(id, b"drei ");

            let mut next = GoPeer::over(RawPeer::against_reconnect(&go.raw));
            next.raw.trailers.len = 12;
            next.connect();
            let heard_so_far: Vec<u8> = next.raw.received.iter().map(|payload| payload[0]).collect();
            assert_eq!(heard_so_far[heard_so_far.len() - 2..], [7, 80], "nothing waits for its EXT_INFO");
            let request = next.raw.take(80).unwrap();
            let token = next.token(Role::Client, &go.raw.session_id);
            let name = 1 + 4 + "session-reconnect@microsoft.com".len() + 1;
            assert_eq!(request[name + 4..][..64], token);
            let position = u64::from_be_bytes(request[name + 4 + 64..][..8].try_into().unwrap());

            next.say(&reconnect_ext_info());
            if enabled_first {
                next.say_enable();
            }
            next.say(&next.answer(&go));
            assert!(next.raw.engine.is_claim_answered(), "{:?}", next.raw.error());
            let unheard = go.unheard(position);
            if resumed_last {
                catch_up(&mut next, unheard, &data(id, b"four "));
                go.raw.engine.resume(&mut next.raw.engine, go.raw.now).unwrap();
                next.take_over(&mut go);
            } else {
                go.raw.engine.resume(&mut next.raw.engine, go.raw.now).unwrap();
                next.take_over(&mut go);
                catch_up(&mut next, unheard, &data(id, b"four "));
            }
            heard.extend(next.hear_data());
            read.extend(next.read(id));
            go = next;
        }
        let case = format!("{enabled_first} {resumed_last}");
        assert_eq!(read, b"one two three four one two three four ", "{case}");
        assert_eq!(heard, b"eins zwei drei eins zwei drei ", "{case}");
        rekey(&mut go, id);
    }
}

/// The timer of Go's keepalives outlives its streams: one may come in the clear, before the keys, or ahead of the request, and Go takes
/// the first answer of any kind for the answer to that.
#[test]
fn a_keepalive_on_the_way_back_is_not_answered_ahead_of_the_request() {
    let keepalive = message(80, &[Field::Str("keepalive@openssh.com"), Field::Bool(true)]);
    let (mut go, id) = go_client();
    go.cut();
    let mut next = GoPeer::with_reconnect(Role::Server);
    next.raw.finds_sessions = true;
    next.raw.send_version();
    next.raw.send(&keepalive);
    next.raw.send_kexinit(&offer(Role::Client, CIPHER, MAC));
    next.raw.send(&keepalive);
    next.raw.exchange_keys();
    say_extensions(&mut next);
    next.say(&keepalive);
    next.say(&next.request(&go));
    next.say(&keepalive);
    next.raw.assert_alive();
    assert_eq!((next.raw.count(81), next.raw.count(82), next.raw.resume_requests), (0, 0, 1));
    go.raw.engine.hand_over(&mut next.raw.engine, go.raw.now).unwrap();
    next.take_over(&mut go);
    let answers: Vec<u8> = next
        .raw
        .received
        .iter()
        .map(|payload| payload[0])
        .filter(|number| matches!(number, 81 | 82))
        .collect();
    assert_eq!(answers, [81, 82]);
    next.say(&data(id, b"on"));
    assert_eq!(next.read(id), b"on");

    // They count as what else comes before the login, and others than Go send none.
    let mut flood = GoPeer::against(Role::Server).raw;
    flood.send_version();
    for _ in 0..1001 {
        flood.send(&keepalive);
    }
    flood.assert_refused(PeerMisbehaved::PreAuthTraffic, 2);
    let mut other = RawPeer::against(Role::Server);
    other.send_version();
    other.send(&keepalive);
    other.assert_refused(PeerMisbehaved::UnexpectedMessage(80), 2);
}

#[test]
fn a_server_that_cannot_take_us_back_says_why() {
    for (code, expected) in [
        (1, ReconnectFailure::UnknownServer),
        (2, ReconnectFailure::SessionNotFound),
        (4, ReconnectFailure::ServerDroppedMessages),
    ] {
        let (mut go, _) = go_server();
        go.cut();
        let mut next = GoPeer::over(RawPeer::against_reconnect(&go.raw));
        next.connect();
        let refusal = message(82, &[Field::U32(code), Field::Str("Not found."), Field::Str("")]);
        next.say(&refusal);
        let error = next.raw.error().cloned();
        assert!(matches!(&error, Some(Error::Reconnect(found)) if *found == expected), "{error:?}");
        assert!(go.raw.engine.is_end_of_attempts(&next.raw.engine, &error.unwrap()).is_some());
    }
}

/// A client that finds fault with our answer closes the new connection as it would a session.
#[test]
fn a_client_that_thinks_better_of_it_ends_the_session() {
    let (mut go, _) = go_client();
    go.cut();
    let mut next = come_back(&go, ExtInfo::First);
    go.raw.engine.hand_over(&mut next.raw.engine, go.raw.now).unwrap();
    next.take_over(&mut go);
    next.say(&message(1, &[Field::U32(11), Field::Str("Session closed by application."), Field::Str("")]));
    assert!(matches!(next.raw.error(), Some(Error::Disconnected { .. })), "{:?}", next.raw.error());
    assert!(!next.raw.engine.is_resumable());
}

/// Go calls a session connected as soon as the versions have been exchanged, so an application that writes at that moment
/// writes into the exchange, in the clear, or ahead of the request. Go does not keep what it says so. Nothing can be made of it, and the
/// session waits for a better connection.
#[test]
fn what_is_written_into_the_way_back_costs_the_connection_and_not_the_session() {
    for in_the_clear in [true, false] {
        let (mut go, id) = go_client();
        go.cut();
        let mut next = GoPeer::with_reconnect(Role::Server);
        if in_the_clear {
            next.raw.send_version();
            next.raw.send_kexinit(&offer(Role::Client, CIPHER, MAC));
        } else {
            next.connect();
            next.say(&reconnect_ext_info());
        }
        next.raw.send(&data(id, b"in the clear"));
        assert!(matches!(next.raw.error(), Some(Error::PeerMisbehaved(_))), "{:?}", next.raw.error());
        assert!(go.raw.engine.is_resumable() && go.raw.engine.detached().is_some());

        let mut again = come_back(&go, ExtInfo::First);
        go.raw.engine.hand_over(&mut again.raw.engine, go.raw.now).unwrap();
        again.take_over(&mut go);
        assert_eq!(again.read(id), b"");
    }
}
