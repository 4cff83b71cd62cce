//! What a right does not turn into: tokens that are handed on, rules that are taken back, races with both.

use std::time::Duration;

use relay::model::Tunnel;
use relay::scopes::Scopes;
use relay::tokens::Grant;
use serde_json::{Value, json};
use ssh_core::error::{DisconnectReason, Error};
use tokio::io::AsyncReadExt as _;

use crate::common::{Hands, NOON, PATIENCE, TestRelay, start};
use crate::sessions::{CLIENT, CLIENT_V2, HOST, HOST_V2, assert_told, channels, ended, host, session, until};

fn users(name: &str, scopes: &[&str]) -> Value {
    json!({"accessControl": {"entries": [{"type": "Users", "subjects": [name], "scopes": scopes}]}})
}

async fn scopes_at(relay: &TestRelay, token: &str, tunnel: &str) -> Vec<String> {
    let all = "host,connect,manage";
    let answer = relay.with(token, "GET", &format!("/tunnels/{tunnel}?tokenScopes={all}"), None).await;
    match answer.status {
        200 => {}
        _ => return Vec::new(),
    }
    let given = answer.json()["accessTokens"].as_object().cloned().unwrap_or_default();
    given.into_iter().map(|(name, _)| name).collect()
}

fn child(answer: &Value, scope: &str) -> String {
    answer["accessTokens"][scope].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
}

/// A link's token carries the name of whoever made it, and that name opens nothing else.
#[tokio::test]
async fn a_token_for_one_tunnel_is_not_its_makers_name() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", users("ada", &["connect", "host", "manage"])).await;
    relay.tunnel("other", users("ada", &["connect"])).await;
    relay
        .tunnel(
            "open",
            json!({"accessControl": {"entries": [
                {"type": "Anonymous", "scopes": ["connect"]},
                {"type": "Users", "subjects": ["ada"], "scopes": ["connect", "manage"]},
            ]}}),
        )
        .await;
    let link = relay.token(Some("abc"), "connect");
    assert_eq!(scopes_at(&relay, &link, "abc").await, ["connect"], "it names what it is for");
    assert_eq!(relay.with(&link, "DELETE", "/tunnels/abc", None).await.status, 403);
    assert_eq!(relay.with(&link, "GET", "/tunnels/other", None).await.status, 404);
    assert_eq!(relay.upgrade("/t/other/client", CLIENT, &link).await.unwrap_err().status, 404);
    assert!(scopes_at(&relay, &link, "open").await.is_empty(), "it becomes no token of the principal's");
    // The principal's own token is another matter, within what it may do.
    let own = relay.token(None, "connect");
    assert_eq!(scopes_at(&relay, &own, "other").await, ["connect"]);
    assert_eq!(scopes_at(&relay, &own, "abc").await, ["connect"]);
    assert_eq!(relay.with(&own, "DELETE", "/tunnels/open", None).await.status, 403);
    assert_eq!(relay.with(&relay.token(None, "manage"), "DELETE", "/tunnels/open", None).await.status, 204);
}

/// A link shows no other tunnel of whoever made it, not even one that is open to everybody.
#[tokio::test]
async fn a_token_for_one_tunnel_lists_no_other() {
    let relay = start(|_| {}).await;
    let everything = relay.token(None, "create manage");
    let open = json!({"accessControl": {"entries": [{"type": "Anonymous", "scopes": ["connect"]}]}});
    for id in ["one", "two"] {
        assert_eq!(relay.with(&everything, "PUT", &format!("/tunnels/{id}"), Some(&open)).await.status, 201);
    }
    let list = relay.with(&relay.token(Some("one"), "connect"), "GET", "/tunnels", None).await.json();
    let ids: Vec<&str> = list["value"][0]["value"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["tunnelId"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["one"]);
}

/// What a token was used to make ends with it.
#[tokio::test]
async fn revoking_a_token_revokes_what_was_made_with_it() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let refresh = async |token: &str| {
        child(&relay.with(token, "GET", "/tunnels/abc?tokenScopes=connect", None).await.json(), "connect")
    };
    let manager = relay.token_for("ada", None, "create manage", Duration::from_secs(600));
    let manager_id = relay.token_id(&manager);
    relay.admin("DELETE", "/tunnels/abc", None).await;
    assert_eq!(relay.with(&manager, "PUT", "/tunnels/abc", Some(&json!({}))).await.status, 201);
    let wanted = json!({"tunnelId": "abc", "scopes": ["connect"], "expiresIn": 86_400});
    let made = relay.with(&manager, "POST", "/tokens", Some(&wanted)).await.json();
    let link = made["token"].as_str().unwrap().to_owned();
    let second = refresh(&link).await;
    let third = refresh(&second).await;
    let other = refresh(&manager).await;
    let status = async |token: &str| relay.with(token, "GET", "/tunnels/abc", None).await.status;
    for token in [&link, &second, &third, &other] {
        assert_eq!(status(token).await, 200);
    }
    let host = host(&relay, HOST).await;
    let _channels = channels(&host);
    let mut client = relay.websocket("/t/abc/client", CLIENT, &third).await;
    // The link goes, and with it whoever refreshed it.
    let body = json!({ "token": link });
    assert_eq!(relay.with(&manager, "POST", "/tokens/revoke", Some(&body)).await.status, 204);
    for token in [&link, &second, &third] {
        assert_eq!(status(token).await, 401, "it outlives the token that it was made with");
    }
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut rest))
        .await
        .expect("a stream")
        .unwrap();
    assert_eq!(status(&other).await, 200);
    // The manager goes.
    assert_eq!(relay.admin("DELETE", &format!("/tokens/{manager_id}"), None).await.status, 204);
    assert_eq!(status(&other).await, 401);
}

/// Rights that a rule gave end with the rule, whatever was made of them.
#[tokio::test]
async fn a_rule_that_is_gone_leaves_no_token_behind() {
    let relay = start(|_| {}).await;
    let everybody = json!({"accessControl": {"entries": [
        {"type": "Anonymous", "scopes": ["connect"]},
        {"type": "Users", "subjects": ["bob"], "scopes": ["connect"]},
    ]}});
    relay.tunnel("abc", everybody).await;
    let of_nobody = relay.ask("GET", "/tunnels/abc?tokenScopes=connect", &[], None).await;
    assert_eq!(of_nobody.status, 200);
    assert!(of_nobody.json().get("accessTokens").is_none(), "everybody's right became a token");
    let wanted = json!({"tunnelId": "abc", "scopes": ["connect"]});
    assert_eq!(relay.ask("POST", "/tokens", &[], Some(&wanted)).await.status, 401);
    let bob = relay.token_for("bob", None, "connect", Duration::from_secs(600));
    let answer = relay.with(&bob, "GET", "/tunnels/abc?tokenScopes=connect", None).await.json();
    let token = child(&answer, "connect");
    let again =
        child(&relay.with(&token, "GET", "/tunnels/abc?tokenScopes=connect", None).await.json(), "connect");
    let only_bob = &users("bob", &["connect"])["accessControl"];
    assert_eq!(relay.admin("PUT", "/tunnels/abc/access", Some(only_bob)).await.status, 200);
    let host = host(&relay, HOST).await;
    let _channels = channels(&host);
    let mut client = relay.websocket("/t/abc/client", CLIENT, &again).await;
    assert_eq!(relay.admin("PUT", "/tunnels/abc/access", Some(&json!({"entries": []}))).await.status, 200);
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut rest))
        .await
        .expect("a stream")
        .unwrap();
    for token in [&bob, &token, &again] {
        assert_eq!(relay.upgrade("/t/abc/client", CLIENT, token).await.unwrap_err().status, 404);
    }
}

/// Ids are given again, to whoever asks first.
#[tokio::test]
async fn a_token_does_not_hold_at_the_next_tunnel_of_that_id() {
    let relay = start(|_| {}).await;
    let of = |name: &str| relay.token_for(name, None, "create manage", Duration::from_secs(600));
    let (mallory, bob) = (of("mallory"), of("bob"));
    let rules = users("carol", &["connect"]);
    assert_eq!(relay.with(&mallory, "PUT", "/tunnels/abc", Some(&rules)).await.status, 201);
    let make = async |with: &str, scopes: &[&str]| {
        let wanted = json!({"tunnelId": "abc", "scopes": scopes, "expiresIn": 31_536_000});
        let made = relay.with(with, "POST", "/tokens", Some(&wanted)).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["token"].as_str().unwrap().to_owned()
    };
    let both = make(&mallory, &["host", "connect"]).await;
    let renewed = make(&both, &["host"]).await;
    let manages = make(&mallory, &["manage"]).await;
    // One that only says at the rules who comes.
    let carol = relay.token_for("carol", None, "connect", Duration::from_secs(600));
    let by_rules = make(&carol, &["connect"]).await;
    let asked = relay.with(&mallory, "GET", "/tunnels/abc?tokenScopes=connect", None).await.json();
    let asked = child(&asked, "connect");
    let old = [&both, &renewed, &manages, &by_rules, &asked];
    for token in old {
        assert_eq!(relay.with(token, "GET", "/tunnels/abc", None).await.status, 200);
    }
    // Nobody is its host yet, and this one is about to be.
    let in_handshake = relay.upgrade("/t/abc/host", HOST, &both).await.unwrap();

    assert_eq!(relay.with(&mallory, "DELETE", "/tunnels/abc", None).await.status, 204);
    assert_eq!(relay.with(&bob, "PUT", "/tunnels/abc", Some(&rules)).await.status, 201);
    let bobs = make(&bob, &["host", "connect"]).await;
    let host = session(&relay, "/t/abc/host", HOST, &bobs).await;
    let _channels = channels(&host);
    until("no host", || relay.relay.live_counts("abc").host).await;
    let error = match crate::sessions::session_on(in_handshake).await {
        Ok(session) => ended(&session).await,
        Err(error) => error,
    };
    assert_told(&error, DisconnectReason::BY_APPLICATION);
    for token in old {
        assert_eq!(relay.with(token, "GET", "/tunnels/abc", None).await.status, 404);
        assert_eq!(relay.with(token, "DELETE", "/tunnels/abc", None).await.status, 404);
        assert_eq!(relay.upgrade("/t/abc/host", HOST, token).await.unwrap_err().status, 404);
        assert_eq!(relay.upgrade("/t/abc/client", CLIENT, token).await.unwrap_err().status, 404);
        let wanted = json!({"tunnelId": "abc", "scopes": ["connect"]});
        assert_eq!(relay.with(token, "POST", "/tokens", Some(&wanted)).await.status, 404);
        let list = relay.with(token, "GET", "/tunnels", None).await.json();
        assert_eq!(list["value"][0]["value"], json!([]));
        let body = json!({ "token": bobs });
        assert_eq!(relay.with(token, "POST", "/tokens/revoke", Some(&body)).await.status, 403);
    }
    let still = tokio::time::timeout(Duration::from_millis(200), host.closed()).await;
    assert!(still.is_err(), "another's token has ended the host: {still:?}");
    relay.upgrade("/t/abc/client", CLIENT, &bobs).await.unwrap();
    // The operator's delete is no other.
    assert_eq!(relay.admin("DELETE", "/tunnels/abc", None).await.status, 204);
    assert_eq!(relay.with(&mallory, "PUT", "/tunnels/abc", Some(&rules)).await.status, 201);
    for token in [&bobs, &both] {
        assert_eq!(
            relay.with(token, "GET", "/tunnels/abc", None).await.status,
            404,
            "not even its first one's"
        );
    }
}

/// A tunnel and a token that were made before there were generations go together as they did, until the tunnel goes.
#[tokio::test]
async fn a_token_of_an_earlier_version_holds_at_its_tunnel() {
    let relay = start(|_| {}).await;
    let grant =
        Grant { tunnel: Some("abc".into()), ..Grant::everywhere("ada", Scopes::parse("connect").unwrap()) };
    let issued = relay.relay.tokens().issue(&grant, Duration::from_secs(60), relay.relay.now()).unwrap();
    let tunnel = Tunnel { tunnel_id: "abc".into(), ..Tunnel::default() };
    let written = serde_json::json!({"tunnel": tunnel, "owner": "ada", "used": relay.relay.now()});
    relay.relay.store().create(serde_json::from_value(written).unwrap()).unwrap();
    let status = async || relay.with(&issued.token, "GET", "/tunnels/abc", None).await.status;
    assert_eq!(status().await, 200);
    assert_eq!(
        relay.with(&relay.token(Some("abc"), "connect"), "GET", "/tunnels/abc", None).await.status,
        200
    );
    assert_eq!(relay.admin("DELETE", "/tunnels/abc", None).await.status, 204);
    relay.tunnel("abc", json!({})).await;
    assert_eq!(status().await, 404);
}

/// A right to manage cannot renew itself.
#[tokio::test]
async fn nobody_makes_a_manager_who_outlives_them() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let manager = relay.token_for("ada", Some("abc"), "manage", Duration::from_secs(60));
    let make = async |scope: &str| {
        let wanted = json!({"tunnelId": "abc", "scopes": [scope], "expiresIn": 86_400});
        let made = relay.with(&manager, "POST", "/tokens", Some(&wanted)).await.json();
        let token = made["token"].as_str().unwrap().to_owned();
        relay.relay.tokens().verify(&token, relay.relay.store(), relay.relay.now()).unwrap()
    };
    let soon = relay.relay.now() + 61;
    assert!(make("manage").await.expires <= soon);
    assert!(make("connect").await.expires > soon, "a link may live longer");
    let answer = relay.with(&manager, "GET", "/tunnels/abc?tokenScopes=manage", None).await.json();
    let token = child(&answer, "manage");
    let verified = relay.relay.tokens().verify(&token, relay.relay.store(), relay.relay.now()).unwrap();
    assert!(verified.expires <= soon && verified.grant.scopes == Scopes::parse("manage").unwrap());
}

/// Whether an id or a name is taken is nobody's business who may not make tunnels.
#[tokio::test]
async fn nobody_finds_out_which_tunnels_there_are() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({"name": "secret-project"})).await;
    let other = relay.token(Some("xyz"), "connect host manage");
    for headers in [None, Some(("If-None-Match", "*")), Some(("If-Match", "*"))] {
        for (path, body) in [("abc", json!({})), ("new-one", json!({"name": "secret-project"}))] {
            let ask = async |token: Option<&str>, path: &str, body: &Value| {
                let token = token.map(|token| format!("tunnel {token}"));
                let token = token.as_ref().map(|token| ("Authorization", token.as_str()));
                let all: Vec<_> = headers.into_iter().chain(token).collect();
                let answer = relay.ask("PUT", &format!("/tunnels/{path}"), &all, Some(body)).await;
                (answer.status, answer.body)
            };
            for token in [None, Some(other.as_str())] {
                let unknown = ask(token, "no-such-one", &json!({"name": "free"})).await;
                assert!(matches!(unknown.0, 401 | 403 | 404), "{unknown:?}");
                assert_eq!(ask(token, path, &body).await, unknown, "{headers:?} {path}");
            }
        }
    }
}

/// Nobody slips in beside the limit by waiting for the host together.
#[tokio::test]
async fn those_who_wait_for_a_host_are_counted_when_it_comes() {
    for per_tunnel in [true, false] {
        let relay = start(|config| {
            let limits = &mut config.limits;
            *(if per_tunnel { &mut limits.clients_per_tunnel } else { &mut limits.clients_per_owner }) = 2;
        })
        .await;
        relay.tunnel("abc", json!({})).await;
        let token = relay.token(Some("abc"), "connect");
        let clients =
            futures::future::join_all((0..6).map(|_| relay.upgrade("/t/abc/client", CLIENT, &token)));
        let (answers, _host) = tokio::join!(clients, async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let host = host(&relay, HOST).await;
            let channels = channels(&host);
            (host, channels)
        });
        let let_in = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!((1..=2).contains(&let_in), "{let_in} clients");
        assert!(answers.iter().filter_map(|answer| answer.as_ref().err()).all(|answer| answer.status == 429));
    }
}

/// A right that goes while a host shakes hands, which no list shows yet.
#[tokio::test]
async fn a_right_that_goes_during_the_handshake() {
    for way in ["revoked", "deleted"] {
        let relay = start(|_| {}).await;
        relay.tunnel("abc", json!({})).await;
        let token = relay.token(Some("abc"), "host");
        let stream = relay.upgrade("/t/abc/host", HOST, &token).await.unwrap();
        match way {
            "revoked" => relay.relay.revoke(&relay.token_id(&token), u64::MAX).unwrap(),
            _ => assert_eq!(relay.admin("DELETE", "/tunnels/abc", None).await.status, 204),
        }
        let error = match crate::sessions::session_on(stream).await {
            Ok(session) => ended(&session).await,
            Err(error) => error,
        };
        assert!(
            matches!(error, Error::Disconnected { reason: DisconnectReason::BY_APPLICATION, .. }),
            "{error:?}"
        );
        until("the host is there", || !relay.relay.live_counts("abc").host).await;
    }
}

/// Who is connected when their token's time is over is asked to come back, with another token.
#[tokio::test]
async fn the_end_of_a_token_ends_what_goes_on_with_it() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let short = |scope: &str| relay.token_for("ada", Some("abc"), scope, Duration::from_secs(4));
    let lasting = host(&relay, HOST_V2).await;
    let _channels = channels(&lasting);
    until("no host", || relay.relay.live_counts("abc").host).await;
    let v2 = session(&relay, "/t/abc/client", CLIENT_V2, &short("connect")).await;
    let mut v1 = relay.websocket("/t/abc/client", CLIENT, &short("connect")).await;
    let stays = session(&relay, "/t/abc/client", CLIENT_V2, &relay.token(Some("abc"), "connect")).await;
    let gone = tokio::time::timeout(PATIENCE, v2.closed()).await.expect("the client of v2 stays");
    assert_told(&gone, DisconnectReason::CONNECTION_LOST);
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), v1.read_to_end(&mut rest)).await.expect("v1 stays").unwrap();
    assert!(relay.relay.live_counts("abc").host);
    let second = session(&relay, "/t/abc/host", HOST_V2, &short("host")).await;
    let gone = tokio::time::timeout(PATIENCE, second.closed()).await.expect("the host stays");
    assert_told(&gone, DisconnectReason::CONNECTION_LOST);
    assert!(tokio::time::timeout(Duration::from_millis(100), stays.closed()).await.is_err());
}

/// A relay that was killed while a tunnel was in use finds it used when it starts again.
#[tokio::test]
async fn a_tunnel_that_is_in_use_does_not_expire_with_the_relay() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({"customExpiration": 8})).await;
    relay.tunnel("idle", json!({"customExpiration": 1})).await;
    let _host = host(&relay, HOST).await;
    until("no host", || relay.relay.live_counts("abc").host).await;
    let used = || relay.relay.store().tunnel("abc").map(|record| record.used);
    let before = used();
    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert_eq!(relay.relay.expire().unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(relay.relay.expire().unwrap(), 1, "the idle one, which was overdue for its time again");
    assert!(used() > before, "{:?}", used());
}

/// What tenants write is held in memory, so it has a size.
#[tokio::test]
async fn a_tunnel_has_a_size() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let host = relay.token(Some("abc"), "host");
    let long = "x".repeat(100 * 1024);
    let put = async |port: u16, text: &str| {
        let path = format!("/tunnels/abc/ports/{port}");
        relay.with(&host, "PUT", &path, Some(&json!({"portNumber": port, "description": text}))).await
    };
    assert_eq!(put(1, &long).await.status, 201);
    let over = put(2, &long).await;
    assert_eq!(over.status, 413, "{over:?}");
    assert!(over.problem().contains("131072 bytes"));
    assert_eq!(put(2, "short").await.status, 201);
}

/// Leeway is for who comes: a stream ends with its token, and does not go on by the leeway.
#[tokio::test]
async fn the_leeway_of_a_token_prolongs_nothing() {
    let hands = Hands::default();
    let relay = start(|config| config.clock = hands.clock()).await;
    relay.tunnel("abc", json!({})).await;
    let host = host(&relay, HOST).await;
    let _channels = channels(&host);
    let token = || relay.token_for("ada", Some("abc"), "connect", Duration::from_secs(3));
    let (used, unused) = (token(), token());
    let refused = async |token: &str| match relay.upgrade("/t/abc/client", CLIENT, token).await {
        Ok(_) => 101,
        Err(answer) => answer.status,
    };
    let mut client = relay.websocket("/t/abc/client", CLIENT, &used).await;
    hands.set(NOON + 4);
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(8), client.read_to_end(&mut rest))
        .await
        .expect("it stays")
        .unwrap();
    assert_eq!(refused(&used).await, 401, "the stream goes on by the leeway");
    assert_eq!(relay.with(&used, "GET", "/tunnels/abc", None).await.status, 401);
    // Who comes late is let in, and has what is left of the leeway.
    assert_eq!(refused(&unused).await, 101);
    hands.set(NOON + 60);
    let mut latest = relay.websocket("/t/abc/client", CLIENT, &unused).await;
    tokio::time::timeout(Duration::from_secs(9), latest.read_to_end(&mut rest))
        .await
        .expect("it stays")
        .unwrap();
    hands.set(NOON + 63);
    assert_eq!(refused(&unused).await, 401);
}

/// A token whose end was so long ago, in seconds.
fn token_past(relay: &TestRelay, hands: &Hands, past: u64) -> String {
    hands.set(NOON - past);
    let token = relay.token_for("ada", Some("abc"), "connect manage", Duration::ZERO);
    hands.set(NOON);
    token
}

/// What a token may in its leeway ends with it: it can be revoked, and makes no other.
#[tokio::test]
async fn the_leeway_of_a_token_is_revoked_and_not_handed_on() {
    let hands = Hands::default();
    let relay = start(|config| config.clock = hands.clock()).await;
    relay.tunnel("abc", json!({})).await;
    let host = host(&relay, HOST).await;
    let _channels = channels(&host);
    let token = token_past(&relay, &hands, 30);
    let shown = relay.with(&token, "GET", "/tunnels/abc?tokenScopes=connect,manage", None).await;
    assert_eq!((shown.status, shown.json().get("accessTokens")), (200, None));
    let wanted = json!({"tunnelId": "abc", "scopes": ["connect"], "expiresIn": 3600});
    let made = relay.with(&token, "POST", "/tokens", Some(&wanted)).await;
    assert_eq!(made.status, 401);
    assert!(made.problem().contains("expired"), "{made:?}");
    let mut client = relay.websocket("/t/abc/client", CLIENT, &token).await;
    let again = token_past(&relay, &hands, 30);
    let body = json!({ "token": token });
    assert_eq!(relay.with(&token, "POST", "/tokens/revoke", Some(&body)).await.status, 204);
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(5), client.read_to_end(&mut rest))
        .await
        .expect("it stays")
        .unwrap();
    // The next revocation forgets the one before too early, if it forgets by the end of the token alone.
    relay.relay.revoke(&relay.token_id(&again), NOON - 30).unwrap();
    for token in [&token, &again] {
        assert_eq!(relay.upgrade("/t/abc/client", CLIENT, token).await.unwrap_err().status, 401);
    }
}

/// Row "clock jumps" of the threat model: connections go by the time that passes, tokens by the clock as it is now.
#[tokio::test]
async fn a_clock_that_jumps_ends_nobody_and_keeps_nobody() {
    const DAY: u64 = 86_400;
    let hands = Hands::default();
    let relay = start(|config| config.clock = hands.clock()).await;
    relay.tunnel("abc", json!({})).await;
    let lasting = relay.token_for("ada", Some("abc"), "host connect", Duration::from_secs(600));
    let host = session(&relay, "/t/abc/host", HOST_V2, &lasting).await;
    let _channels = channels(&host);
    until("no host", || relay.relay.live_counts("abc").host).await;
    let stays = session(&relay, "/t/abc/client", CLIENT_V2, &lasting).await;
    let short = relay.token_for("ada", Some("abc"), "connect", Duration::from_secs(5));
    let ends = session(&relay, "/t/abc/client", CLIENT_V2, &short).await;

    hands.set(NOON + DAY);
    // Longer than it takes to look for those whose time is over.
    let early = tokio::time::timeout(Duration::from_millis(3000), ends.closed()).await;
    assert!(early.is_err(), "the jump has ended it: {early:?}");
    for token in [&lasting, &short] {
        assert_eq!(relay.upgrade("/t/abc/client", CLIENT_V2, token).await.unwrap_err().status, 401);
    }
    hands.set(NOON - DAY);
    let gone = tokio::time::timeout(Duration::from_secs(8), ends.closed()).await.expect("the jump keeps it");
    assert_told(&gone, DisconnectReason::CONNECTION_LOST);
    assert!(tokio::time::timeout(Duration::from_millis(100), stays.closed()).await.is_err());
    assert!(relay.upgrade("/t/abc/client", CLIENT_V2, &short).await.is_ok(), "the clock says that it holds");
    assert!(relay.relay.live_counts("abc").host);
}
