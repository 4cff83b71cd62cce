//! asyncssh: what sshd cannot do without an account.

use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::Error;
use ssh_core::client::{
    self, AuthChoice, AuthContext, AuthPolicy, Config, Credential, HostBased, Identity, InfoRequest,
    PasswordPrompt, PolicyError, PromptResponder, danger::AcceptAnyHostKey,
};
use tests::endpoint::connect;
use tests::keys::{KeyFile, KeyKind};
use tests::outcome::Outcome;
use tests::peers::asyncssh::AsyncSsh;
use tests::peers::{Keyring, PASSWORD, USER};
use zeroize::Zeroizing;

use super::{Organisation, log_in, log_in_as, permutations, signing_key};

/// asyncssh wants them in one order each, two keys among them, and tells only the method of the next.
#[tokio::test]
async fn every_order_of_steps_that_asyncssh_can_want() -> Outcome {
    let Some(asyncssh) = AsyncSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let (first, second) = (keys.user(KeyKind::Ed25519)?, keys.user(KeyKind::Ecdsa(256))?);
    let server =
        asyncssh.serve_steps(keys.host(KeyKind::Ed25519)?, &[("first", first), ("second", second)]).await?;
    let key = |file| Credential::Key(signing_key(file));
    let all = [
        key(first),
        key(second),
        Credential::password(PASSWORD),
        Credential::keyboard_interactive(Rounds(Arc::default())),
    ];
    for order in permutations(&["first", "second", "password", "prompts"]) {
        let user = order.join("+");
        let (mut list, wrong) = (all.to_vec(), key(keys.user(KeyKind::Rsa)?));
        for turned in [false, true] {
            if turned {
                list.reverse();
                list.insert(1, wrong.clone());
            }
            if let Err(error) = log_in_as(&user, server.port, &list).await {
                panic!("{user} with {list:?}: {error}\n{}", server.log());
            }
        }
        // Without one that is needed there is no way in.
        for missing in 0..all.len() {
            let mut only = all.to_vec();
            only.remove(missing);
            let refused = log_in_as(&user, server.port, &only).await;
            assert!(matches!(refused, Err(Error::Auth(_))), "{user} without {missing}: {refused:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_policy_leaves_a_server_that_it_does_not_want() -> Outcome {
    let Some(asyncssh) = AsyncSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let key = keys.user(KeyKind::Ed25519)?;
    let server = asyncssh.serve_logins(keys.host(KeyKind::Ed25519)?, key, None).await?;
    let told = Arc::default();
    let policy = Organisation { key: signing_key(key), told: Arc::clone(&told) };
    let config = Config::builder(USER).verify_host_key(AcceptAnyHostKey).auth_policy(policy).build().unwrap();
    let error = client::connect(connect(server.port).await?, config).await.unwrap_err();
    let ours = error.policy_error::<std::io::Error>().map(ToString::to_string);
    assert_eq!((ours.as_deref(), told.lock().unwrap().len()), (Some("not one of ours"), 1));
    Ok(())
}

/// Knows a password that has expired, and a new one.
#[derive(Debug)]
struct Expired(Arc<Mutex<Vec<String>>>);

impl PasswordPrompt for Expired {
    fn password(&self) -> BoxFuture<'_, Option<Zeroizing<String>>> {
        std::future::ready(Some(Zeroizing::new("expired".to_owned()))).boxed()
    }

    fn new_password<'a>(&'a self, prompt: &'a str) -> BoxFuture<'a, Option<Zeroizing<String>>> {
        self.0.lock().unwrap().push(prompt.to_owned());
        std::future::ready(Some(Zeroizing::new(PASSWORD.to_owned()))).boxed()
    }
}

/// Answers asyncssh's two rounds.
#[derive(Debug)]
struct Rounds(Arc<Mutex<Vec<InfoRequest>>>);

impl PromptResponder for Rounds {
    fn respond<'a>(&'a self, request: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>> {
        self.0.lock().unwrap().push(request.clone());
        let answer = |text: &str| match text {
            "User: " => USER,
            "PIN: " => "1234",
            _ => "42",
        };
        let answers = request.prompts.iter().map(|prompt| Zeroizing::new(answer(&prompt.text).to_owned()));
        std::future::ready(Some(answers.collect())).boxed()
    }
}

#[tokio::test]
async fn asyncssh_asks_in_rounds_wants_a_new_password_and_trusts_a_host() -> Outcome {
    let Some(asyncssh) = AsyncSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let client_host = KeyFile::generate(keys.directory(), "client_host", KeyKind::Ecdsa(256)).await?;
    let server = asyncssh.serve_logins(keys.host(KeyKind::Ed25519)?, &client_host, None).await?;

    let asked = Arc::default();
    log_in(server.port, &[Credential::keyboard_interactive(Rounds(Arc::clone(&asked)))]).await.unwrap();
    let asked: Vec<InfoRequest> = asked.lock().unwrap().clone();
    let echoes: Vec<_> =
        asked.iter().flat_map(|request| &request.prompts).map(|prompt| prompt.echo).collect();
    assert_eq!((asked.len(), echoes), (2, vec![true, false, false]));
    assert_eq!((asked[0].name.as_str(), asked[0].instruction.as_str()), ("First", "Two rounds\nfollow"));

    let words = Arc::default();
    log_in(server.port, &[Credential::ask_password(Expired(Arc::clone(&words)))]).await.unwrap();
    assert_eq!(*words.lock().unwrap(), ["Choose a new one"]);

    let host = |client_user: &str| {
        let identity = Identity::key(signing_key(&client_host)).unwrap();
        let client_host = "laptop.example.".to_owned();
        Credential::HostBased(Arc::new(HostBased { identity, client_host, client_user: client_user.into() }))
    };
    log_in(server.port, &[host("local")]).await.unwrap();
    assert!(log_in(server.port, &[host("somebody")]).await.is_err());

    let shown = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&shown);
    let config = Config::builder(USER)
        .verify_host_key(AcceptAnyHostKey)
        .on_banner(move |text| into.lock().unwrap().push_str(text))
        .authenticate(host("local"));
    client::connect(connect(server.port).await?, config.build().unwrap()).await.unwrap();
    assert_eq!(*shown.lock().unwrap(), "Authorised use only\n\\u{1b}[2Jand more\n");
    Ok(())
}

/// A second factor in the same session: the key by the list, what the questions mean by the policy.
#[derive(Debug)]
struct SecondFactor(Arc<Mutex<Vec<InfoRequest>>>);

impl AuthPolicy for SecondFactor {
    fn choose<'a>(&'a self, context: AuthContext<'a>) -> BoxFuture<'a, Result<AuthChoice, PolicyError>> {
        let choice = if context.partial_successes == ["publickey"] {
            assert!(context.allowed.iter().all(|method| method != "publickey"), "{context:?}");
            AuthChoice::Try(Credential::keyboard_interactive(Rounds(Arc::clone(&self.0))))
        } else {
            AuthChoice::Defer
        };
        std::future::ready(Ok(choice)).boxed()
    }
}

#[tokio::test]
async fn a_key_and_then_asyncsshs_questions() -> Outcome {
    let Some(asyncssh) = AsyncSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let (host_key, first) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let server = asyncssh.serve_logins(host_key, host_key, Some(first)).await?;
    let rounds = || Credential::keyboard_interactive(Rounds(Arc::default()));
    let key = |kind| Ok::<_, tests::outcome::Failure>(Credential::Key(signing_key(keys.user(kind)?)));
    let all = [rounds(), key(KeyKind::Ecdsa(256))?, key(KeyKind::Ed25519)?];
    for list in permutations(&all) {
        log_in(server.port, &list).await.unwrap();
    }
    assert!(log_in(server.port, &all[..2]).await.is_err() && log_in(server.port, &all[2..]).await.is_err());

    let asked = Arc::default();
    let config = Config::builder(USER)
        .verify_host_key(AcceptAnyHostKey)
        .auth_policy(SecondFactor(Arc::clone(&asked)))
        .authenticate(key(KeyKind::Ed25519)?);
    client::connect(connect(server.port).await?, config.build().unwrap()).await.unwrap();
    assert_eq!(asked.lock().unwrap().len(), 2);
    Ok(())
}
