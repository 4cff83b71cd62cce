//! What the handler is asked, and what its decisions do.

use std::time::Duration;

use ssh_core::error::AuthFailure;
use ssh_core::server::{AuthMethod, Permissions, Principal, RejectReason};
use ssh_core::services::port_forward::{ForwardPolicy, PortForwarding};
use tokio::sync::Notify;

use super::*;

fn accept(name: &str) -> AuthDecision {
    AuthDecision::Accept(Principal::new(name))
}

#[tokio::test]
async fn the_principal_and_permissions_of_the_last_step_count() {
    let handler = Handler::at_once(&[Method::PublicKey], |attempt| {
        let named = |name: &str| {
            let mut permissions = Permissions::default();
            permissions.forced_command = Some(name.into());
            AuthDecision::Accept(Principal::new(name).permissions(permissions))
        };
        match attempt.method {
            AuthMethod::PublicKeyQuery(_) => named("of the query"),
            AuthMethod::PublicKey(_) => AuthDecision::Partial { next: vec![Method::Password] },
            AuthMethod::Password("wrong") => AuthDecision::Reject(RejectReason::InvalidPassword),
            _ => named("of the last step"),
        }
    });
    let credentials = vec![Credential::key(key()), Credential::password("wrong"), Credential::password("x")];
    let (client, server) = log_in(client(credentials), self::server(&handler, quick())).await;
    let (_client, server) = (client.unwrap(), server.unwrap());
    let principal = server.principal().unwrap();
    assert_eq!(&*principal.name, "of the last step");
    assert_eq!(principal.permissions.forced_command.as_deref(), Some("of the last step"));
    assert_eq!(&*server.info().user, "ada", "the name that the client sent stays known");
    assert!(_client.principal().is_none());
    assert_eq!(
        handler.records(),
        [
            "ada none refused: the method is not offered",
            "ada publickey? accepted",
            "ada publickey? accepted",
            "ada publickey right, more is needed",
            "ada password refused: wrong password",
            "ada password accepted",
        ]
    );
}

#[tokio::test]
async fn a_query_a_signed_request_and_a_proof_are_put_apart() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let handler = Handler::at_once(&[Method::PublicKey, Method::Password], move |attempt| {
        let kind = match attempt.method {
            AuthMethod::PublicKeyQuery(_) => "key?",
            AuthMethod::PublicKey(_) => "key",
            _ => "password",
        };
        into.lock().unwrap().push((kind, attempt.is_signed));
        // Each names somebody else: only what is proved may count.
        match kind {
            "password" => AuthDecision::Reject(RejectReason::InvalidPassword),
            kind => accept(&format!("{kind} {}", attempt.is_signed)),
        }
    });
    let at_once = client::Identity::key(Arc::new(key())).unwrap().sign_at_once();
    for (key, asked) in [
        (Credential::key(key()), &[("key?", false), ("key?", true), ("key", true)][..]),
        (Credential::Identity(at_once), &[("key?", true), ("key", true)]),
    ] {
        seen.lock().unwrap().clear();
        let (client, server) = log_in(client(vec![key]), self::server(&handler, quick())).await;
        let (_client, server) = (client.unwrap(), server.unwrap());
        assert_eq!(&*server.principal().unwrap().name, "key true");
        assert_eq!(*seen.lock().unwrap(), asked);
    }
    seen.lock().unwrap().clear();
    let refused = log_in(client(vec![Credential::password("x")]), self::server(&handler, quick())).await;
    assert!(refused.0.is_err());
    assert_eq!(*seen.lock().unwrap(), [("password", false)]);
}

#[tokio::test]
async fn reasons_reach_the_log_and_the_client_sees_no_difference() {
    let reasons = [
        RejectReason::InvalidUser,
        RejectReason::InvalidPassword,
        RejectReason::InvalidKey,
        RejectReason::InvalidMethod,
        RejectReason::Expired,
        RejectReason::NotPermitted,
        RejectReason::CannotCheck,
        RejectReason::Other("on holiday".into()),
    ];
    let mut seen = Vec::new();
    for reason in reasons {
        let told = reason.clone();
        let handler = Handler::at_once(&[Method::Password], move |_| AuthDecision::Reject(told.clone()));
        let (client, _) = log_in(client(vec![Credential::password("x")]), server(&handler, quick())).await;
        assert_eq!(handler.records()[1], format!("ada password refused: {reason}"));
        let Err(Error::Auth(AuthFailure::Refused { tried, accepts, .. })) = client else {
            panic!("{client:?}")
        };
        seen.push((tried, accepts));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test]
async fn a_decision_that_comes_too_late_is_a_refusal() {
    let mut limits = quick();
    limits.auth_decision = Duration::from_millis(30);
    let handler = Handler::new(&[Method::Password], |attempt| {
        Box::pin(async move {
            if matches!(attempt.method, AuthMethod::Password("slow")) {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            accept("ada")
        })
    });
    let credentials = vec![Credential::password("slow"), Credential::password("fast")];
    let (client, server) = log_in(client(credentials), self::server(&handler, limits)).await;
    assert!(client.is_ok() && server.is_ok());
    assert_eq!(
        handler.records()[1..],
        ["ada password refused: it could not be checked", "ada password accepted"]
    );
}

/// Who is asked about a password says so.
fn says_so(asked: &Arc<Notify>, attempt: &AuthAttempt<'_>) {
    if matches!(attempt.method, AuthMethod::Password(_)) {
        asked.notify_one();
    }
}

/// The client hangs up once the handler is asked, long before the server has decided or has told it.
async fn hangs_up(handler: &Handler, asked: &Notify) -> Vec<String> {
    let client = client(vec![Credential::password("x")]).build().unwrap();
    let (near, far) = tokio::io::duplex(1 << 20);
    let client = async {
        tokio::select! {
            connected = client::connect(near, client) => connected.map(drop),
            () = asked.notified() => Err(Error::Closed),
        }
    };
    let server = server::accept(far, server(handler, quick()).build().unwrap());
    let server = tokio::time::timeout(Duration::from_secs(10), server);
    let (client, server) = tokio::join!(client, server);
    assert!(client.is_err() && server.unwrap().is_err());
    handler.records()[1..].to_vec()
}

#[tokio::test]
async fn who_hangs_up_before_it_hears_the_decision_is_on_record() {
    let asked = Arc::new(Notify::new());
    let told = Arc::clone(&asked);
    let decides_late = Handler::new(&[Method::Password], move |attempt| {
        says_so(&told, &attempt);
        Box::pin(std::future::pending())
    });
    let abandoned = "ada password refused: the client left before it was decided";
    assert_eq!(hangs_up(&decides_late, &asked).await, [abandoned]);
    let told = Arc::clone(&asked);
    let tells_late = Handler::at_once(&[Method::Password], move |attempt| {
        says_so(&told, &attempt);
        AuthDecision::Reject(RejectReason::InvalidPassword).delayed_by(Duration::from_secs(5))
    });
    assert_eq!(hangs_up(&tells_late, &asked).await, ["ada password refused: wrong password"]);
}

#[tokio::test]
async fn a_login_that_the_server_drops_is_on_record() {
    let asked = Arc::new(Notify::new());
    let told = Arc::clone(&asked);
    let handler = Handler::new(&[Method::Password], move |attempt| {
        says_so(&told, &attempt);
        Box::pin(std::future::pending())
    });
    tokio::select! {
        _ = log_in(client(vec![Credential::password("x")]), server(&handler, quick())) => panic!("it is decided"),
        () = asked.notified() => {}
    }
    assert_eq!(handler.records()[1..], ["ada password refused: the client left before it was decided"]);
}

#[tokio::test]
async fn a_decision_may_be_told_later_but_not_past_its_deadline() {
    for (limit, delay) in [(60_000, 200), (200, 60_000)] {
        let mut limits = quick();
        limits.auth_decision = Duration::from_millis(limit);
        let handler = Handler::at_once(&[Method::Password], move |_| {
            accept("ada").with_banner("words").delayed_by(Duration::from_millis(delay))
        });
        let begun = tokio::time::Instant::now();
        let (client, server) =
            log_in(client(vec![Credential::password("x")]), server(&handler, limits)).await;
        assert!(client.is_ok() && server.is_ok());
        let taken = begun.elapsed().as_millis();
        assert!((200..30_000).contains(&taken), "{taken} ms");
    }
}

#[tokio::test]
async fn a_stop_ends_the_session() {
    let handler = Handler::at_once(&[Method::Password], |_| AuthDecision::Stop(RejectReason::NotPermitted));
    let credentials = vec![Credential::password("x"), Credential::password("y")];
    let (client, server) = log_in(client(credentials), self::server(&handler, quick())).await;
    assert!(client.is_err() && server.is_err());
    assert_eq!(handler.records()[1..], ["ada password refused for good: not permitted"]);
}

#[tokio::test]
async fn the_handler_knows_the_connection_before_anybody_is_let_in() {
    let mut handler = Handler::at_once(&[], |attempt| {
        assert_eq!((attempt.user, attempt.service, attempt.number), ("ada", "ssh-connection", 2));
        assert!(attempt.succeeded.is_empty());
        accept(&attempt.connection.client_version)
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    handler.begin = Arc::new(move |start| {
        noted.lock().unwrap().push((
            start.connection.clone(),
            start.user.to_owned(),
            start.service.to_owned(),
        ));
        AuthOffer::methods([Method::Password])
    });
    let (client, server) =
        log_in(client(vec![Credential::password("x")]), self::server(&handler, quick())).await;
    let (client, server) = (client.unwrap(), server.unwrap());
    let seen = seen.lock().unwrap();
    let [(connection, user, service)] = seen.as_slice() else { panic!("asked {} times", seen.len()) };
    assert_eq!((user.as_str(), service.as_str()), ("ada", "ssh-connection"));
    assert_eq!(connection.session_id, client.connection().session_id);
    assert_eq!(connection.addresses.peer, Some("192.0.2.1:40000".parse().unwrap()));
    assert_eq!(connection.algorithms.unwrap().kex.name(), client.info().algorithms.unwrap().kex.name());
    assert_eq!(server.principal().unwrap().name, connection.client_version);
}

#[tokio::test]
async fn methods_depend_on_user_and_connection() {
    let mut handler = Handler::at_once(&[], |_| accept("ada"));
    handler.begin = Arc::new(|start| {
        let from_there = start.connection.addresses.peer.is_some_and(|peer| peer.ip().is_ipv4());
        AuthOffer::methods(if start.user == "ada" && from_there {
            vec![Method::PublicKey]
        } else {
            vec![Method::Password]
        })
    });
    let password = || vec![Credential::password("x")];
    let (client, _) = log_in(self::client(password()), server(&handler, quick())).await;
    let Err(Error::Auth(AuthFailure::Refused { accepts, .. })) = client else { panic!("{client:?}") };
    assert_eq!(accepts, ["publickey"]);
    let bob = client::Config::builder("bob")
        .verify_host_key(AcceptAnyHostKey)
        .authenticate(Credential::password("x"));
    assert!(log_in(bob, server(&handler, quick())).await.0.is_ok());
}

#[tokio::test]
async fn banners_come_from_the_configuration_the_greeting_and_the_decision() {
    let mut handler =
        Handler::at_once(&[Method::Password, Method::PublicKey], |attempt| match attempt.method {
            AuthMethod::Password(_) => AuthDecision::Partial { next: vec![Method::PublicKey] }
                .with_banner("inner")
                .with_banner("outer"),
            _ => accept("ada"),
        });
    handler.begin = Arc::new(|_| AuthOffer::methods([Method::Password]).banner("greeting"));
    let shown = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&shown);
    let client = client(vec![Credential::password("x"), Credential::key(key())])
        .on_banner(move |text| noted.lock().unwrap().push(text.to_owned()));
    let (client, server) = log_in(client, server(&handler, quick()).banner("everybody's")).await;
    assert!(client.is_ok() && server.is_ok());
    // A banner and partial success go together.
    assert_eq!(*shown.lock().unwrap(), ["everybody's", "greeting", "outer", "inner"]);
}

#[tokio::test]
async fn nobody_is_let_in_without_credentials_unless_the_handler_wants_it() {
    let no_credentials = |attempt: AuthAttempt<'_>| match attempt.method {
        AuthMethod::None => accept("guest"),
        _ => AuthDecision::Reject(RejectReason::InvalidMethod),
    };
    let closed = Handler::at_once(&[Method::Password], no_credentials);
    assert!(log_in(client(vec![]), server(&closed, quick())).await.0.is_err());
    let open = Handler::at_once(&[Method::None, Method::Password], no_credentials);
    let (client, server) = log_in(client(vec![]), server(&open, quick())).await;
    assert!(client.is_ok());
    assert_eq!(&*server.unwrap().principal().unwrap().name, "guest");
}

#[tokio::test]
async fn a_key_is_confirmed_after_its_signature_was_verified() {
    for confirmed in [true, false] {
        let handler = Handler::at_once(&[Method::PublicKey], move |attempt| match attempt.method {
            AuthMethod::PublicKey(_) if !confirmed => AuthDecision::Reject(RejectReason::Expired),
            _ => accept("ada"),
        });
        let (client, _) = log_in(client(vec![Credential::key(key())]), server(&handler, quick())).await;
        assert_eq!(client.is_ok(), confirmed);
        let last = if confirmed { "accepted" } else { "refused: the credential has expired" };
        assert_eq!(handler.records().last().unwrap(), &format!("ada publickey {last}"));
    }
}

#[tokio::test]
async fn a_session_without_any_security_has_no_principal() {
    let handler = Handler::at_once(&[Method::Password], |_| accept("ada"));
    let algorithms = ssh_core::config::Algorithms::insecure_without_any_security;
    let client = client(vec![]).algorithms(algorithms());
    let (client, server) = log_in(client, server(&handler, quick()).algorithms(algorithms())).await;
    assert!(client.is_ok());
    assert!(server.unwrap().principal().is_none());
    assert!(handler.records().is_empty());
}

#[tokio::test]
async fn ports_are_forwarded_within_the_principals_permissions() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for (permitted, opens) in [(Some(port), true), (Some(port.wrapping_add(1)), false), (None, false)] {
        let handler = Handler::at_once(&[Method::Password], move |_| {
            let mut permissions = Permissions::default();
            permissions.port_forwarding = permitted.is_some();
            permissions.permit_open =
                permitted.map(|port| vec![format!("127.0.0.1:{port}").parse().unwrap()]);
            AuthDecision::Accept(Principal::new("ada").permissions(permissions))
        });
        let (client, server) =
            log_in(client(vec![Credential::password("x")]), self::server(&handler, quick())).await;
        let (client, server) = (client.unwrap(), server.unwrap());
        let _forwarding = PortForwarding::start(server, ForwardPolicy::allow_all());
        let mut fields = Vec::new();
        for (host, port) in [("127.0.0.1", port), ("127.0.0.1", 1)] {
            fields.extend(9_u32.to_be_bytes());
            fields.extend(host.as_bytes());
            fields.extend(u32::from(port).to_be_bytes());
        }
        let opened = client.open_channel_with("direct-tcpip", &fields).await;
        assert_eq!(opened.is_ok(), opens, "{permitted:?}");
    }
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let secret = ssh_core::server::Secret::new("sesame".into());
    let rounds = [vec![secret.clone()]];
    let methods = [
        AuthMethod::Password("sesame"),
        AuthMethod::PasswordChange { old: "sesame", new: "sesame" },
        AuthMethod::KeyboardInteractive { submethods: "", answers: Some(&rounds[0]), rounds: &rounds },
    ];
    for method in methods {
        assert!(!format!("{method:?}").contains("sesame"));
    }
    assert!(!format!("{secret:?} {rounds:?}").contains("sesame"));
}
