//! Logins at Go's server and of Go's client. Those by several steps are in `server_login`: Go's server has none.

use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{Config, Credential, InfoRequest, PromptResponder, danger::AcceptAnyHostKey};
use ssh_core::{Error, Session, client};
use tests::adit::Adit;
use tests::algorithms::Suite;
use tests::endpoint::connect;
use tests::keys::KeyKind;
use tests::outcome::{Failure, Outcome, ensure};
use tests::peers::go::Go;
use tests::peers::{ClientSettings, Keyring, Login, PASSWORD, Peer as _, ServerSettings, USER};
use tests::scenarios::every_login;
use zeroize::Zeroizing;

use crate::refused;

#[tokio::test]
async fn logins_in_both_roles() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    every_login(&go, &adit, &keys, &KeyKind::ALL).await?;
    every_login(&adit, &go, &keys, &KeyKind::ALL).await
}

#[tokio::test]
async fn a_key_that_is_not_admitted_is_refused_in_both_roles() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (adit, keys, suite) = (Adit::find().await?, Keyring::generate().await?, Suite::default());
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let stranger = Login::Key(keys.user(KeyKind::Ecdsa(256))?);
    let settings = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };

    let server = adit.serve(settings).await?;
    refused(go.connect(ClientSettings::new(server.port, host_key, stranger, &suite)).await, "authenticate")?;
    let server = go.serve(settings).await?;
    refused(adit.connect(ClientSettings::new(server.port, host_key, stranger, &suite)).await, "\"auth\"")
}

#[tokio::test]
async fn a_host_key_of_somebody_else_is_refused_in_both_roles() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (adit, keys, suite) = (Adit::find().await?, Keyring::generate().await?, Suite::default());
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    // Of the same kind: everything but the key itself is right.
    let other = keys.user(KeyKind::Ed25519)?;
    let settings = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };
    let login = Login::Key(user_key);

    let server = adit.serve(settings).await?;
    refused(go.connect(ClientSettings::new(server.port, other, login, &suite)).await, "host key mismatch")?;
    let server = go.serve(settings).await?;
    refused(adit.connect(ClientSettings::new(server.port, other, login, &suite)).await, "host_key")
}

/// Answers Go's two rounds, the last by what it was given.
#[derive(Debug)]
struct Rounds {
    last: &'static str,
    asked: Mutex<Vec<InfoRequest>>,
}

impl PromptResponder for Rounds {
    fn respond<'a>(&'a self, request: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>> {
        let answer = |text: &str| match text {
            "User: " => USER,
            "PIN: " => "1234",
            _ => self.last,
        };
        let answers = request.prompts.iter().map(|prompt| Zeroizing::new(answer(&prompt.text).to_owned()));
        let answers = Some(answers.collect());
        if let Ok(mut asked) = self.asked.lock() {
            asked.push(request.clone());
        }
        std::future::ready(answers).boxed()
    }
}

/// A responder that the test keeps too.
#[derive(Debug, Clone)]
struct Shared(Arc<Rounds>);

impl PromptResponder for Shared {
    fn respond<'a>(&'a self, request: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>> {
        self.0.respond(request)
    }
}

#[tokio::test]
async fn gos_server_asks_in_rounds_and_refuses_what_is_wrong() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (keys, suite) = (Keyring::generate().await?, Suite::default());
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let settings = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };
    let server = go.serve_with(settings, &[("questions", true.into())]).await?;
    for (last, admitted) in [("42", true), ("43", false)] {
        let rounds = Arc::new(Rounds { last, asked: Mutex::default() });
        let credential = Credential::keyboard_interactive(Shared(Arc::clone(&rounds)));
        let outcome = log_in(server.port, &[credential]).await;
        ensure(outcome.is_ok() == admitted, || format!("{last}: {outcome:?}"))?;
        let asked = rounds.asked.lock().map_err(|_| Failure::new("poisoned"))?;
        let echoes: Vec<_> =
            asked.iter().flat_map(|round| &round.prompts).map(|prompt| prompt.echo).collect();
        ensure(echoes == [true, false, false], || format!("{asked:?}"))?;
        let first = asked.first().map(|round| (round.name.as_str(), round.instruction.as_str()));
        ensure(first == Some(("First", "Two rounds")), || format!("{asked:?}"))?;
    }
    // A wrong password, and a right one behind it in the list.
    let wrong = Credential::password("wrong");
    let refused = log_in(server.port, std::slice::from_ref(&wrong)).await;
    ensure(matches!(refused, Err(Error::Auth(_))), || format!("{refused:?}"))?;
    log_in(server.port, &[wrong, Credential::password(PASSWORD)]).await?;
    Ok(())
}

async fn log_in(port: u16, credentials: &[Credential]) -> Result<Session, Error> {
    let mut config = Config::builder(USER).verify_host_key(AcceptAnyHostKey);
    for credential in credentials {
        config = config.authenticate(credential.clone());
    }
    let stream = connect(port).await.map_err(|failure| std::io::Error::other(failure.to_string()))?;
    client::connect(stream, config.build()?).await
}
