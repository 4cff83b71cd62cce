//! The management API, as SDKs and `adit` call it.

use std::time::Duration;

use crate::common::{ADMIN, Hands, NOON, basic, start};
use serde_json::{Value, json};

#[tokio::test]
async fn a_tunnels_life() {
    let relay = start(|_| {}).await;
    let admin = format!("Bearer {ADMIN}");
    let put = async |condition: &str, id: &str, body: Value| {
        let headers = [("Authorization", admin.as_str()), (condition, "*")];
        relay
            .ask(
                "PUT",
                &format!("/tunnels/{id}?includePorts=true&tokenScopes=host,connect"),
                &headers,
                Some(&body),
            )
            .await
    };
    assert_eq!(put("If-Match", "abc", json!({})).await.status, 404);
    let body = json!({"tunnelId": "abc", "name": "shown", "labels": ["x"], "ports": [{"portNumber": 3000}]});
    let made = put("If-None-Match", "abc", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("x-served-by"), Some("tunnels-adit"));
    let tunnel = made.json();
    assert_eq!((&tunnel["clusterId"], &tunnel["ports"][0]["portNumber"]), (&json!("local"), &json!(3000)));
    for scope in ["host", "connect"] {
        let token = tunnel["accessTokens"][scope].as_str().unwrap();
        assert_eq!(relay.with(token, "GET", "/tunnels/abc", None).await.status, 200);
    }
    // Other SDKs spell the condition in another way.
    for condition in ["If-None-Match", "If-Not-Match"] {
        let again = put(condition, "abc", json!({})).await;
        assert_eq!(again.status, 409);
        assert!(again.problem().contains("choose another"));
    }
    assert_eq!(
        put("If-None-Match", "other", json!({"name": "shown"})).await.status,
        409,
        "the name is taken"
    );
    let changed = put("If-Match", "abc", json!({"description": "text"})).await;
    assert_eq!((changed.status, &changed.json()["description"]), (200, &json!("text")));
    assert_eq!(changed.json()["labels"], json!(["x"]), "what is left out stays");
    assert_eq!(
        relay.admin("GET", "/tunnels/shown", None).await.json()["tunnelId"],
        "abc",
        "found by its name"
    );
    assert_eq!(relay.admin("GET", "/tunnels/abc:checkNameAvailability", None).await.body, "false");
    assert_eq!(relay.admin("GET", "/tunnels/free:checkNameAvailability", None).await.body, "true");
    assert_eq!(relay.admin("DELETE", "/tunnels/abc", None).await.status, 204);
    for method in ["GET", "DELETE"] {
        let gone = relay.admin(method, "/tunnels/abc", None).await;
        assert_eq!(gone.status, 404);
        gone.problem();
    }
}

#[tokio::test]
async fn lists() {
    let relay = start(|_| {}).await;
    relay.tunnel("one", json!({"labels": ["red", "big"]})).await;
    relay.tunnel("two", json!({"labels": ["red"], "domain": "d"})).await;
    relay
        .tunnel("open", json!({"accessControl": {"entries": [{"type": "Anonymous", "scopes": ["connect"]}]}}))
        .await;
    let ids = async |query: &str, token: &str| -> Vec<String> {
        let authorization = format!("Bearer {token}");
        let answer = relay
            .ask("GET", &format!("/tunnels?{query}"), &[("Authorization", &authorization)], None)
            .await
            .json();
        assert_eq!(
            (&answer["value"][0]["regionName"], &answer["value"][0]["clusterId"]),
            (&json!("local"), &json!("local"))
        );
        let tunnels = answer["value"][0]["value"].as_array().unwrap();
        tunnels.iter().map(|tunnel| tunnel["tunnelId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("global=true&api-version=1", ADMIN).await, ["one", "open", "two"]);
    assert_eq!(ids("labels=red", ADMIN).await, ["one", "two"]);
    assert_eq!(ids("allLabels=red,big", ADMIN).await, ["one"]);
    assert_eq!(ids("domain=d", ADMIN).await, ["two"]);
    assert_eq!(ids("limit=1", ADMIN).await, ["one"]);
    // What is open to everybody is not listed to everybody.
    assert!(ids("", &relay.token(None, "create manage")).await.is_empty());
    // And an empty list would tell nobody that their token is of no use.
    assert_eq!(relay.ask("GET", "/tunnels", &[], None).await.status, 401);
    assert_eq!(relay.with("nonsense", "GET", "/tunnels", None).await.status, 401);
}

#[tokio::test]
async fn ports() {
    let relay = start(|config| config.limits.ports_per_tunnel = 2).await;
    relay.tunnel("abc", json!({})).await;
    let host = relay.token(Some("abc"), "host");
    let path = "/tunnels/abc/ports/80";
    assert_eq!(
        relay.with(&host, "PUT", path, Some(&json!({"portNumber": 80, "protocol": "http"}))).await.status,
        201
    );
    assert_eq!(relay.with(&host, "PUT", path, Some(&json!({"name": "web"}))).await.status, 200);
    let authorization = format!("tunnel {host}");
    for (condition, path, status) in
        [("If-None-Match", path, 409), ("If-Match", path, 200), ("If-Match", "/tunnels/abc/ports/81", 404)]
    {
        let headers = [("Authorization", authorization.as_str()), (condition, "*")];
        assert_eq!(
            relay.ask("PUT", path, &headers, Some(&json!({}))).await.status,
            status,
            "{condition} {path}"
        );
    }
    assert_eq!(
        relay.with(&host, "PUT", "/tunnels/abc/ports/81", Some(&json!({"portNumber": 82}))).await.status,
        400
    );
    assert_eq!(relay.with(&host, "PUT", "/tunnels/abc/ports/0", Some(&json!({}))).await.status, 400);
    assert_eq!(relay.with(&host, "PUT", "/tunnels/abc/ports/81", Some(&json!({}))).await.status, 201);
    let over = relay.with(&host, "PUT", "/tunnels/abc/ports/82", Some(&json!({}))).await;
    assert_eq!(over.status, 429);
    assert!(over.problem().contains("`ports_per_tunnel` of 2") && !over.problem().contains("try again"));
    let list = relay.with(&host, "GET", "/tunnels/abc/ports", None).await.json();
    let numbers: Vec<_> =
        list["value"].as_array().unwrap().iter().map(|port| port["portNumber"].clone()).collect();
    assert_eq!(numbers, [json!(80), json!(81)]);
    let one = relay.with(&host, "GET", path, None).await.json();
    assert_eq!((&one["tunnelId"], &one["clusterId"]), (&json!("abc"), &json!("local")));
    for bad in ["/tunnels/abc/ports/x", "/tunnels/abc/ports/65536", "/tunnels/abc/ports/-1"] {
        let answer = relay.with(&host, "GET", bad, None).await;
        assert_eq!(answer.status, 400, "{bad}");
        answer.problem();
    }
    assert_eq!(relay.with(&host, "DELETE", path, None).await.status, 204);
    assert_eq!(relay.with(&host, "DELETE", path, None).await.status, 404);
    assert_eq!(relay.with(&host, "GET", path, None).await.status, 404);
    let connect = relay.token(Some("abc"), "connect");
    assert_eq!(relay.with(&connect, "PUT", path, Some(&json!({}))).await.status, 403);
}

#[tokio::test]
async fn endpoints() {
    let relay = start(|config| config.public_url = Some("https://relay.example/".into())).await;
    relay.tunnel("abc", json!({})).await;
    let host = relay.token(Some("abc"), "host");
    let endpoint = |host: &str| json!({"id": format!("{host}-relay"), "hostId": host, "hostPublicKeys": ["AAAA"], "connectionMode": "TunnelRelay"});
    let path = "/tunnels/abc/endpoints/one-relay?connectionMode=TunnelRelay";
    let put = relay.with(&host, "PUT", path, Some(&endpoint("one"))).await;
    assert_eq!(put.status, 200);
    assert_eq!(put.json()["hostRelayUri"], "wss://relay.example/t/abc/host");
    assert_eq!(put.json()["clientRelayUri"], "wss://relay.example/t/abc/client");
    assert!(!put.body.contains(&host), "no token in an answer that others see");
    // Another host's takes its place, and the first host cannot take that away.
    assert_eq!(
        relay.with(&host, "PUT", "/tunnels/abc/endpoints/two-relay", Some(&endpoint("two"))).await.status,
        200
    );
    let tunnel = relay.with(&host, "GET", "/tunnels/abc", None).await.json();
    assert_eq!(tunnel["endpoints"].as_array().unwrap().len(), 1);
    assert_eq!(relay.with(&host, "DELETE", "/tunnels/abc/endpoints/one-relay", None).await.status, 404);
    assert_eq!(relay.with(&host, "DELETE", "/tunnels/abc/endpoints/two-relay", None).await.status, 204);
    let mut other = endpoint("three");
    other["connectionMode"] = json!("LocalNetwork");
    assert_eq!(relay.with(&host, "PUT", path, Some(&other)).await.status, 400);
    let mut keys = endpoint("three");
    keys["hostPublicKeys"] = json!(["x".repeat(5000)]);
    assert_eq!(relay.with(&host, "PUT", path, Some(&keys)).await.status, 400);
    let connect = relay.token(Some("abc"), "connect");
    assert_eq!(relay.with(&connect, "PUT", path, Some(&endpoint("one"))).await.status, 403);
}

#[tokio::test]
async fn the_rest_that_sdks_ask_for() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    assert_eq!(
        relay.ask("GET", "/clusters/recommendations", &[], None).await.json()["recommendedClusterId"],
        "local"
    );
    assert_eq!(relay.ask("GET", "/clusters", &[], None).await.json()[0]["clusterId"], "local");
    assert_eq!(relay.ask("GET", "/userlimits", &[], None).await.json(), json!([]));
    let events =
        json!([{"timestamp": "2026-01-01T00:00:00Z", "name": "host_client_connect", "severity": "info"}]);
    let host = relay.token(Some("abc"), "host");
    let path = "/tunnels/abc/events?api-version=x&api-version=x";
    assert_eq!(relay.with(&host, "POST", path, Some(&events)).await.status, 202);
    assert_eq!(relay.ask("POST", path, &[], Some(&events)).await.status, 401);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(relay.ask("GET", path, &[], None).await.status, 200);
    }
    let metrics = relay.ask("GET", "/metrics", &[], None).await.body;
    assert!(metrics.contains("adit_relay_http_requests_total{status=\"202\"} 1"), "{metrics}");
    assert!(!metrics.contains("abc"), "labels of a peer's choosing");
    relay.relay.stop_admitting();
    assert_eq!(relay.ask("GET", "/healthz", &[], None).await.status, 200);
    let ready = relay.ask("GET", "/readyz", &[], None).await;
    assert_eq!((ready.status, ready.header("retry-after")), (503, Some("5")));
}

/// Row "no / wrong / cut / expired token" of the threat model.
#[tokio::test]
async fn who_is_let_in() {
    let hands = Hands::default();
    let relay = start(|config| config.clock = hands.clock()).await;
    relay.tunnel("abc", json!({})).await;
    let good = relay.token(Some("abc"), "connect");
    let other = relay.token(Some("other"), "connect host manage");
    hands.set(NOON - 60);
    let expired = relay.token_for("ada", Some("abc"), "connect", Duration::ZERO);
    hands.set(NOON);
    let revoked = relay.token(Some("abc"), "connect");
    relay.relay.revoke(&relay.token_id(&revoked), u64::MAX).unwrap();
    let get = async |authorization: &str| {
        relay.ask("GET", "/tunnels/abc", &[("Authorization", authorization)], None).await
    };
    for scheme in ["tunnel", "Tunnel", "bearer", "Bearer"] {
        assert_eq!(get(&format!("{scheme} {good}")).await.status, 200, "{scheme}");
    }
    for (bad, why) in [
        (String::new(), "cannot be read"),
        ("tunnel".into(), "cannot be read"),
        ("tunnel null".into(), "needs a token"),
        (format!("tunnel {}", &good[..good.len() - 3]), "not signed by this relay"),
        (format!("tunnel {}", good.replace('.', "")), "cannot be read"),
        (format!("tunnel {}", "x".repeat(5000)), "cannot be read"),
        (format!("github {good}"), "cannot be read"),
        (format!("tunnel {expired}"), "has expired"),
        (format!("tunnel {revoked}"), "has been revoked"),
        (format!("Bearer {}", &ADMIN[..ADMIN.len() - 1]), "cannot be read"),
    ] {
        let answer = get(&bad).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("tunnel")), "{bad}");
        assert!(answer.problem().contains(why), "{bad}: {}", answer.problem());
    }
    // In a URL a token counts for nothing.
    for name in ["token", "access_token", "tunnelToken"] {
        assert_eq!(relay.ask("GET", &format!("/tunnels/abc?{name}={good}"), &[], None).await.status, 401);
    }
    assert_eq!(relay.with(&good, "DELETE", "/tunnels/abc", None).await.status, 403);
    // Whoever has nothing to do with a tunnel cannot tell whether it is there, with a token or without.
    let (theirs, unknown) = (
        relay.with(&other, "GET", "/tunnels/abc", None).await,
        relay.with(&other, "GET", "/tunnels/nope", None).await,
    );
    assert_eq!((theirs.status, &theirs.body), (404, &unknown.body));
    let (theirs, unknown) = (
        relay.ask("GET", "/tunnels/abc", &[], None).await,
        relay.ask("GET", "/tunnels/nope", &[], None).await,
    );
    assert_eq!((theirs.status, &theirs.body), (401, &unknown.body));
    // Nobody makes tunnels unless they may.
    for (token, status) in [(relay.token(None, "create"), 201), (relay.token(Some("abc"), "create"), 403)] {
        assert_eq!(relay.with(&token, "PUT", "/tunnels/new-one", Some(&json!({}))).await.status, status);
        relay.admin("DELETE", "/tunnels/new-one", None).await;
    }
    assert_eq!(relay.ask("PUT", "/tunnels/new-one", &[], Some(&json!({}))).await.status, 401);
}

#[tokio::test]
async fn tokens_that_come_with_a_tunnel_give_no_more_than_the_caller_has() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({"accessControl": {"entries": [{"type": "Users", "subjects": ["bob"], "scopes": ["connect"]}]}})).await;
    let asked = async |token: &str, scopes: &str| {
        relay.with(token, "GET", &format!("/tunnels/abc?tokenScopes={scopes}"), None).await
    };
    let connect = relay.token(Some("abc"), "connect");
    let tunnel = asked(&connect, "connect,host,manage").await.json();
    let given: Vec<&String> = tunnel["accessTokens"].as_object().unwrap().keys().collect();
    assert_eq!(given, ["connect"]);
    assert!(tunnel.get("accessControl").is_none(), "rules name people");
    let manage = asked(&relay.token(Some("abc"), "manage"), "host,manage%3Aports").await.json();
    assert_eq!(manage["accessTokens"].as_object().unwrap().len(), 2);
    assert!(manage.get("accessControl").is_some());
    assert_eq!(asked(&connect, "root").await.status, 400);
    assert!(asked(&connect, "").await.json().get("accessTokens").is_none());
    // A short token does not become a long one.
    let short = relay.token_for("ada", Some("abc"), "connect", Duration::from_secs(60));
    let next = asked(&short, "connect").await.json()["accessTokens"]["connect"].as_str().unwrap().to_owned();
    let verified = relay.relay.tokens().verify(&next, relay.relay.store(), relay.relay.now()).unwrap();
    assert!(verified.expires <= relay.relay.now() + 61);
}

#[tokio::test]
async fn tokens_are_made_and_taken_back() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    relay.tunnel("other", json!({})).await;
    let make = async |token: &str, body: Value| relay.with(token, "POST", "/tokens", Some(&body)).await;
    let wanted = json!({"tunnelId": "abc", "scopes": ["connect"], "expiresIn": 60});
    let manager = relay.token(Some("abc"), "manage");
    let made = make(&manager, wanted.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let token = made.json()["token"].as_str().unwrap().to_owned();
    assert_eq!(made.json()["id"], relay.token_id(&token));
    assert_eq!(relay.with(&token, "GET", "/tunnels/abc", None).await.status, 200);
    // Nobody gives what they have not got.
    for (caller, body, status) in [
        (token.clone(), json!({"tunnelId": "abc", "scopes": ["host"]}), 403),
        (token.clone(), json!({"tunnelId": "other", "scopes": ["connect"]}), 404),
        (manager.clone(), json!({"tunnelId": "nope", "scopes": ["connect"]}), 404),
        (manager.clone(), json!({"scopes": ["create"]}), 403),
        (manager.clone(), json!({"tunnelId": "abc", "scopes": ["connect"], "subject": "eve"}), 403),
        (manager.clone(), json!({"tunnelId": "abc", "scopes": []}), 400),
        (manager.clone(), json!({"tunnelId": "abc", "scopes": ["root"]}), 400),
        (manager.clone(), json!({"tunnelId": "abc", "scopes": ["connect"], "expiresIn": 0}), 400),
        (manager.clone(), json!({"tunnelId": "abc", "scopes": ["connect"], "expiresIn": 1_000_000_000}), 400),
        (manager.clone(), json!({"tunnelId": "abc", "scopes": ["connect"], "admin": true}), 422),
        (ADMIN.into(), json!({"scopes": ["create"]}), 400),
        (ADMIN.into(), json!({"scopes": ["create"], "subject": "admin"}), 400),
        (ADMIN.into(), json!({"scopes": ["create", "manage"], "subject": "bob"}), 201),
    ] {
        let answer = make(&caller, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        if status != 201 {
            answer.problem();
        }
    }
    assert_eq!(relay.ask("POST", "/tokens", &[], Some(&wanted)).await.status, 401);
    // Only who manages the tunnel, the operator and the holder take one back.
    let revoke = async |caller: &str, token: &str| {
        relay.with(caller, "POST", "/tokens/revoke", Some(&json!({ "token": token }))).await.status
    };
    let others = relay.token(Some("other"), "manage");
    assert_eq!(revoke(&others, &token).await, 403);
    assert_eq!(revoke(&relay.token(Some("abc"), "connect"), &token).await, 403);
    assert_eq!(revoke(&token, &token).await, 204);
    assert_eq!(relay.with(&token, "GET", "/tunnels/abc", None).await.status, 401);
    assert_eq!(revoke(&manager, &token).await, 400, "it holds no more");
    let next = make(&manager, wanted).await.json();
    assert_eq!(revoke(&manager, next["token"].as_str().unwrap()).await, 204);
    let id = relay.token_id(&others);
    assert_eq!(relay.with(&manager, "DELETE", &format!("/tokens/{id}"), None).await.status, 403);
    assert_eq!(relay.admin("DELETE", "/tokens/short", None).await.status, 400);
    assert_eq!(relay.admin("DELETE", &format!("/tokens/{id}"), None).await.status, 204);
    assert_eq!(relay.with(&others, "GET", "/tunnels/other", None).await.status, 401);
}

#[tokio::test]
async fn rules_are_shown_and_changed() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let (manager, connect) = (relay.token(Some("abc"), "manage"), relay.token(Some("abc"), "connect"));
    let path = "/tunnels/abc/access";
    assert_eq!(relay.with(&manager, "GET", path, None).await.json(), json!({"entries": []}));
    assert_eq!(relay.with(&connect, "GET", path, None).await.status, 403);
    let rules = json!({"entries": [{"type": "Anonymous", "subjects": [], "scopes": ["connect"]}]});
    assert_eq!(relay.with(&connect, "PUT", path, Some(&rules)).await.status, 403);
    assert_eq!(relay.with(&manager, "PUT", path, Some(&rules)).await.json(), rules);
    assert_eq!(relay.ask("GET", "/tunnels/abc", &[], None).await.status, 200, "everybody may");
    let bad =
        json!({"entries": [{"type": "IPAddressRanges", "subjects": ["10.0.0.0/99"], "scopes": ["connect"]}]});
    assert_eq!(relay.with(&manager, "PUT", path, Some(&bad)).await.status, 400);
    let many = json!({"entries": vec![rules["entries"][0].clone(); 41]});
    assert_eq!(relay.with(&manager, "PUT", path, Some(&many)).await.status, 400);
    let none = json!({"entries": []});
    assert_eq!(relay.with(&manager, "PUT", path, Some(&none)).await.status, 200);
    assert_eq!(relay.ask("GET", "/tunnels/abc", &[], None).await.status, 401);
}

#[tokio::test]
async fn a_limit_says_its_name_its_value_and_what_makes_room() {
    let relay = start(|config| config.limits.tunnels_per_owner = 2).await;
    let ada = relay.token(None, "create manage");
    for id in ["one", "two"] {
        assert_eq!(relay.with(&ada, "PUT", &format!("/tunnels/{id}"), Some(&json!({}))).await.status, 201);
    }
    let over = relay.with(&ada, "PUT", "/tunnels/three", Some(&json!({}))).await;
    // To wait is of no use.
    assert_eq!((over.status, over.header("retry-after")), (429, None));
    assert_eq!(
        over.problem(),
        "the limit `tunnels_per_owner` of 2 is reached; `adit tunnel delete` makes room"
    );
    let bob = relay.token_for("bob", None, "create", Duration::from_secs(60));
    assert_eq!(relay.with(&bob, "PUT", "/tunnels/three", Some(&json!({}))).await.status, 201);
}

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let relay = start(|config| config.limits.body_bytes = 1000).await;
    let send = async |kind: &str, body: &str| {
        let text = format!(
            "PUT /tunnels/abc HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {ADMIN}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            relay.address,
            body.len()
        );
        relay.raw(text.as_bytes()).await
    };
    let long = format!("{{\"description\":\"{}\"}}", "x".repeat(1000));
    let deep = format!("{{\"options\":{}", "[".repeat(900));
    for (kind, body, status) in [
        ("application/json", "{", 400),
        ("application/json", "\"x\"", 422),
        ("application/json", "{\"ports\":[{\"portNumber\":70000}]}", 422),
        ("application/json", "{\"labels\":\"x\"}", 422),
        ("application/json", &deep, 400),
        ("text/plain", "{}", 415),
        ("application/json", &long, 413),
    ] {
        let answer = send(kind, body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        answer.problem();
    }
    let not_allowed = relay.admin("POST", "/tunnels/abc", Some(&json!({}))).await;
    assert_eq!(not_allowed.status, 405);
    not_allowed.problem();
    let nothing = relay.admin("GET", "/nothing", None).await;
    assert_eq!(nothing.status, 404);
    nothing.problem();
}

/// Row "tenant names" of the threat model.
#[tokio::test]
async fn odd_names_are_no_tunnels() {
    let relay = start(|_| {}).await;
    for id in [
        "ab",
        "-abc",
        "ABC",
        "a_b_c",
        "..%2fabc",
        "abc%00",
        "%d0%b0bc",
        "a%20bc",
        "abc%2f..%2fx",
        "%e2%80%aeabc",
    ] {
        let answer = relay.admin("PUT", &format!("/tunnels/{id}"), Some(&json!({}))).await;
        assert!(matches!(answer.status, 400 | 404), "{id}: {answer:?}");
        answer.problem();
    }
    for path in ["/../etc/passwd", "/tunnels/../clusters", "//tunnels", "/t/abc/../../x", "/%2e%2e/x"] {
        assert_eq!(relay.admin("GET", path, None).await.status, 404, "{path}");
    }
    assert!(relay.relay.store().tunnels().is_empty());
}

/// The same for names that nobody thought of: a tunnel comes about if its name is one, and no other does.
#[tokio::test]
async fn whatever_the_name_only_an_id_becomes_a_tunnel() {
    use proptest::strategy::{Strategy as _, ValueTree as _};

    let relay = start(|config| {
        config.limits.tunnels_per_owner = 10_000;
        config.limits.requests_per_minute = 10_000;
    })
    .await;
    let strategy = proptest::prop_oneof![
        "[a-z0-9-]{1,60}",
        "[a-z0-9-]{0,20}[A-Z_.~:/%\\\\\u{0}\u{7f}é\u{430}\u{ff41}\u{202e} ][a-z0-9-]{0,20}",
        "\\PC{1,30}",
    ];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut made = 0;
    for _ in 0..300 {
        let name: String = strategy.new_tree(&mut runner).unwrap().current();
        let bytes = name.as_bytes();
        let is_end = |at: Option<&u8>| at.is_some_and(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
        let is_id = (3..=49).contains(&bytes.len())
            && bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && is_end(bytes.first())
            && is_end(bytes.last());
        let encoded: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        let status = relay.admin("PUT", &format!("/tunnels/{encoded}"), Some(&json!({}))).await.status;
        if is_id {
            assert!(matches!(status, 200 | 201), "{name:?}: {status}");
        } else {
            assert!(matches!(status, 400 | 404), "{name:?}: {status}");
        }
        made += usize::from(status == 201);
        assert_eq!(relay.relay.store().tunnels().len(), made, "{name:?}");
    }
    assert!((20..280).contains(&made), "{made} of 300 names were good");
}

#[tokio::test]
async fn the_status_page_is_the_operators() {
    let relay = start(|_| {}).await;
    let evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&\u{202e}";
    relay.tunnel("abc", json!({"description": evil, "ports": [{"portNumber": 3000}]})).await;
    let manager = relay.token(Some("abc"), "manage");
    for authorization in [
        None,
        Some(format!("Bearer {ADMIN}")),
        Some(basic("wrong")),
        Some(basic(&manager)),
        Some("Basic !".into()),
    ] {
        let headers: Vec<_> = authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
        let answer = relay.ask("GET", "/status", &headers, None).await;
        assert_eq!(answer.status, 401, "{authorization:?}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic realm="));
        assert!(!answer.body.contains("abc"));
    }
    let page = relay.ask("GET", "/status", &[("Authorization", &basic(ADMIN))], None).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-")
            && policy.contains("frame-ancestors 'none'")
    );
    assert!(!policy.contains("unsafe"));
    assert!(page.body.contains("&lt;script&gt;alert(1)&lt;/script&gt;&lt;img"));
    assert!(!page.body.contains("<script") && !page.body.contains("<img") && !page.body.contains('\u{202e}'));
    assert!(page.body.contains(">3000<"));
}

/// What is asked for at once is held to the limits as what comes one after the other.
#[tokio::test]
async fn limits_hold_for_those_who_ask_at_once() {
    let relay = start(|config| config.limits.tunnels_per_owner = 5).await;
    let ada = relay.token(None, "create manage");
    let all = (0..50).map(async |number: u32| {
        relay.with(&ada, "PUT", &format!("/tunnels/number-{number}"), Some(&json!({}))).await.status
    });
    let mut statuses = futures::future::join_all(all).await;
    statuses.sort_unstable();
    assert_eq!(statuses[..5], [201; 5]);
    assert_eq!(statuses[5..], [429; 45]);
    assert_eq!(relay.relay.store().tunnels().len(), 5);

    // A name is one tunnel's, whether it comes with the tunnel or later, and no other tunnel's id.
    let token = |name: &str| relay.token_for(name, None, "create manage", Duration::from_secs(600));
    let (bob, eve) = (token("bob"), token("eve"));
    for (own, made) in [("bobs", &bob), ("eves", &eve)] {
        assert_eq!(relay.with(made, "PUT", &format!("/tunnels/{own}"), Some(&json!({}))).await.status, 201);
    }
    for round in 0..10 {
        let name = format!("shop-{round}");
        let (named, unnamed) = (json!({ "name": name }), json!({}));
        let put = async |token: &str, id: &str, body: &Value| {
            relay.with(token, "PUT", &format!("/tunnels/{id}"), Some(body)).await.status
        };
        let (one, other) = match round % 3 {
            0 => tokio::join!(put(&bob, "new-bobs", &named), put(&eve, "new-eves", &named)),
            1 => tokio::join!(put(&bob, "bobs", &named), put(&eve, "eves", &named)),
            _ => tokio::join!(put(&bob, "bobs", &named), put(&eve, &name, &unnamed)),
        };
        // Who comes second to a tunnel's id or name finds another's tunnel there.
        let is_taken = |status: u16| matches!(status, 409 | 404);
        let is_made = |status: u16| matches!(status, 200 | 201);
        let one_of_them = (is_made(one) && is_taken(other)) || (is_taken(one) && is_made(other));
        assert!(one_of_them, "{one} and {other} in round {round}");
        for id in ["new-bobs", "new-eves", &name] {
            relay.admin("DELETE", &format!("/tunnels/{id}"), None).await;
        }
        for (own, token) in [("bobs", &bob), ("eves", &eve)] {
            relay.with(token, "PUT", &format!("/tunnels/{own}"), Some(&json!({"name": ""}))).await;
        }
    }
}
