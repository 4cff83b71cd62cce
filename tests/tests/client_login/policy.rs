//! A policy that chooses before each attempt: the proposal golang/go#76146 and what shipped of it, by the names of its
//! tests.

use std::fmt;
use std::sync::{Arc, Mutex};

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::Error;
use ssh_core::client::{AuthChoice, AuthContext, AuthPolicy, Credential, PolicyError};
use ssh_core::error::AuthFailure;

use super::support::{Answers, FAR, Login, NEAR, builder, credential, log_in, log_in_to, steps};
use tests::scripted_server::{failure, success};

/// What a policy was told, as owned words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    allowed: String,
    partial: String,
    failed: String,
    tried: String,
}

/// A closure as a policy that takes down what it was told.
#[derive(Clone)]
struct Policy<F> {
    choose: Arc<F>,
    told: Arc<Mutex<Vec<Told>>>,
}

impl<F> fmt::Debug for Policy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Policy")
    }
}

impl<F> Policy<F>
where
    F: Fn(AuthContext<'_>) -> Result<AuthChoice, PolicyError> + Send + Sync,
{
    fn new(choose: F) -> Self {
        Self { choose: Arc::new(choose), told: Arc::default() }
    }

    fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }
}

impl<F> AuthPolicy for Policy<F>
where
    F: Fn(AuthContext<'_>) -> Result<AuthChoice, PolicyError> + Send + Sync,
{
    fn choose<'a>(&'a self, context: AuthContext<'a>) -> BoxFuture<'a, Result<AuthChoice, PolicyError>> {
        self.told.lock().unwrap().push(Told {
            allowed: context.allowed.join(","),
            partial: context.partial_successes.join(","),
            failed: context.failed.join(","),
            tried: context.tried.join(","),
        });
        // A policy may take its time.
        let choice = (self.choose)(context);
        async move {
            tokio::task::yield_now().await;
            choice
        }
        .boxed()
    }
}

fn told(allowed: &str, partial: &str, failed: &str, tried: &str) -> Told {
    Told { allowed: allowed.into(), partial: partial.into(), failed: failed.into(), tried: tried.into() }
}

fn choose(text: &str) -> Result<AuthChoice, PolicyError> {
    Ok(AuthChoice::Try(credential(text)))
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key exchange of theirs is good enough")]
struct NotGoodEnough(u32);

async fn with_policy<F>(policy: &Policy<F>, list: &[&str], server: &[&[&str]]) -> Login
where
    F: Fn(AuthContext<'_>) -> Result<AuthChoice, PolicyError> + Send + Sync + 'static,
{
    let policy = Policy { choose: Arc::clone(&policy.choose), told: Arc::clone(&policy.told) };
    let mut config = builder().auth_policy(policy);
    for item in list {
        config = config.authenticate(credential(item));
    }
    log_in(config.build().unwrap(), steps(server)).await
}

// ---- The upstream test list ----------------------------------------------------------------------------

#[tokio::test]
async fn callback_error() {
    let policy = Policy::new(|_| Err(Arc::new(NotGoodEnough(7)) as PolicyError));
    let login = with_policy(&policy, &["password secret"], &[&["password secret"]]).await;
    // Nothing but the end follows, and the error is the policy's own.
    let error = login.assert_refused(&["none", "disconnect 13"]);
    assert_eq!(error.policy_error::<NotGoodEnough>(), Some(&NotGoodEnough(7)));
    assert_eq!(error.to_string(), NotGoodEnough(7).to_string());
    assert!(error.policy_error::<std::io::Error>().is_none());
    assert_eq!(policy.told(), [told("password", "", "none", "none")]);
}

#[tokio::test]
async fn callback_partial_success() {
    let policy = Policy::new(|context| match context.partial_successes {
        [] => choose("password secret"),
        ["password"] => choose("key A"),
        other => panic!("{other:?}"),
    });
    let login = with_policy(&policy, &[], &[&["password secret"], &["key A"]]).await;
    login.assert_in(&["none", "password secret", "query A", "key A"]);
    assert_eq!(
        policy.told(),
        [told("password", "", "none", "none"), told("publickey", "password", "none", "none,password")]
    );
}

#[tokio::test]
async fn callback_multi_key_partial_success() {
    let policy = Policy::new(|context| match context.partial_successes.len() {
        0 => choose("key A"),
        1 => choose("key B"),
        _ => choose("key C"),
    });
    let login = with_policy(&policy, &[], &[&["key A"], &["key B"], &["key C"]]).await;
    login.assert_in(&["none", "query A", "key A", "query B", "key B", "query C", "key C"]);
    // Duplicates are kept; a method that was a partial success has not failed.
    assert_eq!(
        policy.told().last(),
        Some(&told("publickey", "publickey,publickey", "none", "none,publickey,publickey"))
    );
}

#[tokio::test]
async fn callback_partial_then_keyboard_interactive() {
    let responder = Answers::new("42");
    let second = responder.clone();
    let policy = Policy::new(move |context| {
        if context.partial_successes.is_empty() {
            return choose("key A");
        }
        assert_eq!(context.allowed, ["keyboard-interactive"]);
        Ok(AuthChoice::Try(Credential::keyboard_interactive(second.clone())))
    });
    let login = with_policy(&policy, &[], &[&["key A"], &["answers 42"]]).await;
    login.assert_in(&["none", "query A", "key A", "prompts", "answers 42"]);
    assert_eq!(responder.asked.lock().unwrap()[0].prompts[0].text, "Code: ");
}

#[tokio::test]
async fn callback_key_a_then_key_b() {
    let policy = Policy::new(|context| match context.partial_successes {
        [] if context.failed == ["none"] => choose("key B"),
        [] => choose("key A"),
        _ => choose("key B"),
    });
    let login = with_policy(&policy, &[], &[&["key A"], &["key B"]]).await;
    login.assert_in(&["none", "query B", "query A", "key A", "query B", "key B"]);
    assert_eq!(policy.told()[1], told("publickey", "", "none,publickey", "none,publickey"));
}

#[tokio::test]
async fn callback_with_static_auth() {
    // The policy knows the second factor only and leaves the first to the list.
    let policy = Policy::new(|context| match context.partial_successes {
        ["publickey"] => choose("answers 42"),
        _ => Ok(AuthChoice::Defer),
    });
    let login =
        with_policy(&policy, &["password wrong", "key A"], &[&["key A", "password x"], &["answers 42"]])
            .await;
    login.assert_in(&["none", "password wrong", "query A", "key A", "prompts", "answers 42"]);
    assert_eq!(policy.told().len(), 3, "before each attempt but `none`");
}

#[tokio::test]
async fn callback_static_multi_key() {
    let policy = Policy::new(|_| Ok(AuthChoice::Defer));
    let login = with_policy(&policy, &["key C", "key B", "key A"], &[&["key A"], &["key B"]]).await;
    login.assert_in(&["none", "query C", "query B", "query A", "key A", "query C", "query B", "key B"]);
}

#[tokio::test]
async fn callback_short_circuit() {
    // `none` is enough: there is nothing to choose.
    let policy = Policy::new(|_| panic!("nobody has to be asked"));
    let config = builder().auth_policy(policy.clone_shared()).build().unwrap();
    let login = log_in(config, |_| vec![success()]).await;
    login.assert_in(&["none"]);
    assert!(policy.told().is_empty());
}

#[tokio::test]
async fn callback_loop_bound() {
    let policy = Policy::new(|_| choose("password wrong"));
    let login = with_policy(&policy, &[], &[&["password secret"]]).await;
    assert!(matches!(login.result, Err(Error::Auth(AuthFailure::TooManyAttempts(64)))));
    assert_eq!(login.said.len(), 1 + 64 + 1);
    // One that leaves nothing to send comes to an end as well.
    for nothing in ["password ", "key A"] {
        let policy = Policy::new(move |_| choose(nothing));
        let login = with_policy(&policy, &[], &[&["password secret"]]).await;
        assert!(matches!(login.result, Err(Error::Auth(AuthFailure::TooManyAttempts(64)))));
        assert_eq!(policy.told().len(), 64);
        assert!(login.said.len() <= 3, "{:?}", login.script());
    }
}

// ---- What it is told and what it may answer -------------------------------------------------------------

#[tokio::test]
async fn it_knows_the_connection_during_the_login() {
    let policy = Policy::new(|context| {
        let info = context.connection;
        assert_eq!((&*info.server_version, info.peer_version()), ("SSH-2.0-Old_0.9", "SSH-2.0-Old_0.9"));
        assert!(info.client_version.starts_with("SSH-2.0-Adit_"));
        assert_eq!(info.session_id.as_bytes().len(), 32);
        assert_eq!((info.addresses.local, info.addresses.peer), (NEAR.parse().ok(), FAR.parse().ok()));
        assert_eq!(context.user, "ada");
        let algorithms = info.algorithms.unwrap();
        assert_eq!(algorithms.kex.name(), "curve25519-sha256");
        assert_eq!(algorithms.client_to_server.cipher.name(), "aes256-gcm@openssh.com");
        // An organisation's rule: this host key algorithm will not do.
        if algorithms.host_key.name() == "ssh-ed25519" {
            return Err(Arc::new(NotGoodEnough(1)) as PolicyError);
        }
        choose("password secret")
    });
    let config = builder().auth_policy(policy.clone_shared()).build().unwrap();
    let login = log_in_to("SSH-2.0-Old_0.9", config, Vec::new(), steps(&[&["password secret"]])).await;
    let error = login.assert_refused(&["none", "disconnect 13"]);
    assert!(error.policy_error::<NotGoodEnough>().is_some(), "{error}");
    assert_eq!(policy.told().len(), 1);
}

#[tokio::test]
async fn it_chooses_by_the_servers_version() {
    for (version, expected) in [("SSH-2.0-OpenSSH_9.9", "key A"), ("SSH-2.0-Other_1", "password secret")] {
        let policy = Policy::new(|context| {
            choose(if context.connection.peer_version().contains("OpenSSH") {
                "key A"
            } else {
                "password secret"
            })
        });
        let config = builder().auth_policy(policy).build().unwrap();
        let login = log_in_to(version, config, Vec::new(), steps(&[&["key A", "password secret"]])).await;
        assert!(login.result.is_ok());
        assert_eq!(login.script().last().unwrap(), expected);
    }
}

#[tokio::test]
async fn both_meanings_of_no_answer() {
    // As shipped: the list picks the first that was not tried, and the policy is asked again.
    let policy = Policy::new(|_| Ok(AuthChoice::Defer));
    let server: [&[&str]; 1] = [&["key B", "password secret"]];
    let list = ["key A", "password wrong", "key B"];
    let expected = ["none", "query A", "password wrong", "query B", "key B"];
    with_policy(&policy, &list, &server).await.assert_in(&expected);
    assert_eq!(policy.told().len(), 3);
    // As proposed: the list goes on alone.
    let policy = Policy::new(|_| Ok(AuthChoice::DeferForGood));
    with_policy(&policy, &list, &server).await.assert_in(&expected);
    assert_eq!(policy.told().len(), 1);
    // Without anything in the list there is nothing to try.
    let policy = Policy::new(|_| Ok(AuthChoice::Defer));
    let login = with_policy(&policy, &[], &server).await;
    let error = login.assert_refused(&["none", "disconnect 14"]);
    assert!(matches!(error, Error::Auth(AuthFailure::Refused { .. })));
}

#[tokio::test]
async fn the_methods_of_the_last_refusal_are_seen() {
    let policy = Policy::new(|context| match context.tried.len() {
        3.. => Err(Arc::new(NotGoodEnough(3)) as PolicyError),
        _ => choose("password wrong"),
    });
    let config = builder().auth_policy(policy.clone_shared()).build().unwrap();
    let mut lists = ["password,publickey", "password", "hostbased,x-new@example"].into_iter();
    log_in(config, move |_| vec![failure(lists.next().unwrap())]).await;
    let allowed: Vec<_> = policy.told().into_iter().map(|told| told.allowed).collect();
    assert_eq!(allowed, ["password,publickey", "password", "hostbased,x-new@example"]);
    assert_eq!(policy.told()[2].failed, "none,password,password");
}

impl<F> Policy<F> {
    /// The same, to look at after it was given away.
    fn clone_shared(&self) -> Self {
        Self { choose: Arc::clone(&self.choose), told: Arc::clone(&self.told) }
    }
}
