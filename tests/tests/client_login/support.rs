//! Clients, keys with names, and servers that want one thing after the other.

use std::sync::{Arc, LazyLock, Mutex};

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{
    self, Config, ConfigBuilder, Credential, InfoRequest, PromptResponder, Ready, danger::AcceptAnyHostKey,
};
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyKind, SigningKey};
use ssh_core::{Addresses, ConnectionInfo, Error, Session};
use tests::scripted_server::{Said, ScriptedServer, What, failure, info_request, partial, pk_ok, success};
use zeroize::Zeroizing;

/// The keys of these tests.
static KEYS: LazyLock<Vec<(&str, Arc<SigningKey>)>> = LazyLock::new(|| {
    let provider = default_provider();
    let make = |name| {
        let key = provider.signatures.generate(KeyKind::Ed25519, 0).unwrap();
        (name, Arc::new(SigningKey::new(&key, provider).unwrap()))
    };
    ["A", "B", "C"].into_iter().map(make).collect()
});

pub(crate) fn key(name: &str) -> Arc<SigningKey> {
    Arc::clone(&KEYS.iter().find(|(known, _)| *known == name).unwrap().1)
}

pub(crate) fn blob(name: &str) -> Vec<u8> {
    key(name).public_key().to_blob()
}

fn name(blob: &[u8]) -> &'static str {
    let known = |(_, key): &&(&str, Arc<SigningKey>)| key.public_key().to_blob() == blob;
    KEYS.iter().find(known).map_or("another key", |(name, _)| name)
}

pub(crate) fn builder() -> ConfigBuilder<Ready> {
    Config::builder("ada").verify_host_key(AcceptAnyHostKey)
}

/// `key A`, `password x` or `answers x`.
pub(crate) fn credential(text: &str) -> Credential {
    match text.split_once(' ') {
        Some(("key", name)) => Credential::Key(key(name)),
        Some(("password", password)) => Credential::password(password),
        Some(("answers", answers)) => Credential::keyboard_interactive(Answers::new(answers)),
        _ => panic!("no credential: {text}"),
    }
}

/// Says the same answers whenever it is asked, and keeps the questions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    answers: Vec<String>,
    pub(crate) asked: Arc<Mutex<Vec<InfoRequest>>>,
}

impl Answers {
    pub(crate) fn new(answers: &str) -> Self {
        Self { answers: answers.split(',').map(str::to_owned).collect(), asked: Arc::default() }
    }
}

impl PromptResponder for Answers {
    fn respond<'a>(&'a self, request: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>> {
        self.asked.lock().unwrap().push(request.clone());
        let answers = self.answers.iter().take(request.prompts.len()).cloned().map(Zeroizing::new);
        std::future::ready(Some(answers.collect())).boxed()
    }
}

/// What came of a login.
pub(crate) struct Login {
    pub(crate) result: Result<Session, Error>,
    pub(crate) said: Vec<Said>,
}

impl Login {
    /// In a word each.
    pub(crate) fn script(&self) -> Vec<String> {
        self.said.iter().map(describe).collect()
    }

    #[track_caller]
    pub(crate) fn assert_in(&self, script: &[&str]) {
        assert_eq!(self.script(), script);
        assert!(self.result.is_ok(), "{:?}", self.result.as_ref().err());
    }

    #[track_caller]
    pub(crate) fn assert_refused(&self, script: &[&str]) -> &Error {
        assert_eq!(self.script(), script);
        self.result.as_ref().expect_err("it should have been refused")
    }
}

pub(crate) fn describe(said: &Said) -> String {
    match &said.what {
        What::None => "none".into(),
        What::Password(password) => format!("password {password}"),
        What::Change(old, new) => format!("change {old} {new}"),
        What::Query(key, _) => format!("query {}", name(key)),
        What::Signed(key, _) => format!("key {}", name(key)),
        What::Prompts => "prompts".into(),
        What::Answers(answers) => format!("answers {}", answers.join(",")),
        What::Host(key, host, user) => format!("host {} {host} {user}", name(key)),
        What::Disconnect(reason) => format!("disconnect {reason}"),
    }
}

pub(crate) const NEAR: &str = "192.0.2.1:40000";
pub(crate) const FAR: &str = "192.0.2.2:22";

/// A client and a server that answers each message.
pub(crate) async fn log_in(
    config: Arc<Config>,
    answer: impl FnMut(&Said) -> Vec<Vec<u8>> + Send + 'static,
) -> Login {
    log_in_to("SSH-2.0-Script_1.0", config, Vec::new(), answer).await
}

/// As the software that `version` names, saying `first` before anything of the login.
pub(crate) async fn log_in_to(
    version: &'static str,
    config: Arc<Config>,
    first: Vec<Vec<u8>>,
    answer: impl FnMut(&Said) -> Vec<Vec<u8>> + Send + 'static,
) -> Login {
    let (near, far) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(async move {
        let mut server = ScriptedServer::accept(far, version).await;
        for payload in first {
            server.send(&payload).await;
        }
        let said = server.login(answer).await;
        (said, server)
    });
    let addresses = Addresses { local: NEAR.parse().ok(), peer: FAR.parse().ok() };
    let result = client::connect_from(near, addresses, config).await;
    let (said, server) = server.await.unwrap();
    if let Ok(session) = &result {
        let info: &ConnectionInfo = session.connection();
        assert_eq!(info.session_id.as_bytes(), server.session_id);
        assert_eq!(*info.client_version, server.client_version);
    }
    Login { result, said }
}

/// A server that wants one thing of each step, in the order of the steps.
pub(crate) fn steps(steps: &[&[&str]]) -> impl FnMut(&Said) -> Vec<Vec<u8>> + Send + 'static {
    let steps: Vec<Vec<String>> =
        steps.iter().map(|step| step.iter().map(|&proof| proof.to_owned()).collect()).collect();
    let mut at = 0;
    move |said| {
        let wanted = |proof: &str| steps[at].iter().any(|wanted| wanted == proof);
        let good = match &said.what {
            What::Query(key, algorithm) if wanted(&format!("key {}", name(key))) => {
                return vec![pk_ok(algorithm, key)];
            }
            What::Prompts if methods(&steps[at]).contains("keyboard-interactive") => {
                return vec![info_request("", "", &[("Code: ", false)])];
            }
            _ => wanted(&describe(said)),
        };
        if !good {
            return vec![failure(&methods(&steps[at]))];
        }
        at += 1;
        vec![steps.get(at).map_or_else(success, |next| partial(&methods(next)))]
    }
}

fn methods(step: &[String]) -> String {
    let mut names: Vec<_> = step
        .iter()
        .map(|proof| match proof.split(' ').next() {
            Some("key") => "publickey",
            Some("answers") => "keyboard-interactive",
            _ => "password",
        })
        .collect();
    names.dedup();
    names.join(",")
}
