//! Real clients log in to the library's server: every order of a key, a second key, a password and questions.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::config::Limits;
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyPair, PublicKey, SigningKey};
use ssh_core::server::{
    self, AuthAttempt, AuthDecision, AuthMethod, AuthOffer, AuthRecord, AuthStart, Authenticator, Method,
    Principal, Prompts, RejectReason,
};
use tempfile::TempDir;
use tests::keys::{KeyFile, KeyKind};
use tests::peers::{asyncssh::python_tool, go::Go, program, skip, workspace};
use tokio::net::TcpListener;
use tokio::process::Command;

const PASSWORD: &str = "open sesame";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    FirstKey,
    SecondKey,
    Password,
    Questions,
    /// The first key's word for a user of its host. Of the clients, asyncssh alone has it: ssh signs by ssh-keysign, which
    /// knows the machine's own host keys and configuration only.
    Host,
}

impl Step {
    const ALL: [Self; 4] = [Self::FirstKey, Self::SecondKey, Self::Password, Self::Questions];

    fn method(self) -> Method {
        match self {
            Self::FirstKey | Self::SecondKey => Method::PublicKey,
            Self::Password => Method::Password,
            Self::Questions => Method::KeyboardInteractive,
            Self::Host => Method::HostBased,
        }
    }
}

/// All orders of `count` of the steps.
fn orders(count: usize) -> Vec<Vec<Step>> {
    let mut orders = vec![vec![]];
    for _ in 0..count {
        let longer = |order: &Vec<Step>| {
            let order = order.clone();
            let rest = Step::ALL.into_iter().filter(move |step| !order.contains(step));
            rest.collect::<Vec<_>>()
        };
        orders = orders
            .iter()
            .flat_map(|order| longer(order).into_iter().map(|step| [order.as_slice(), &[step]].concat()))
            .collect();
    }
    orders
}

/// Takes the steps in exactly this order.
#[derive(Debug)]
struct InOrder {
    order: Vec<Step>,
    keys: [PublicKey; 2],
    records: Arc<Mutex<Vec<String>>>,
}

impl InOrder {
    fn decide(&self, attempt: &AuthAttempt<'_>) -> AuthDecision {
        let at = attempt.succeeded.len();
        let right = match (self.order[at], attempt.method) {
            (Step::FirstKey, AuthMethod::PublicKeyQuery(offered) | AuthMethod::PublicKey(offered)) => {
                offered.key == self.keys[0]
            }
            (Step::SecondKey, AuthMethod::PublicKeyQuery(offered) | AuthMethod::PublicKey(offered)) => {
                offered.key == self.keys[1]
            }
            (Step::Host, AuthMethod::HostBased { key, host, user }) => {
                key.key == self.keys[0] && (host, user) == ("laptop.example.", "local")
            }
            (Step::Password, AuthMethod::Password(password)) => password == PASSWORD,
            (Step::Questions, AuthMethod::KeyboardInteractive { rounds, .. }) => match rounds {
                [] => return AuthDecision::Prompt(Prompts::new().secret("Code one").visible("Code two")),
                [_] => return AuthDecision::Prompt(Prompts::new().secret("Code three")),
                rounds => {
                    let said: Vec<_> = rounds.iter().flatten().map(|answer| answer.expose()).collect();
                    said == ["hidden Code one", "visible Code two", "hidden Code three"]
                }
            },
            _ => false,
        };
        match self.order.get(at + 1) {
            _ if !right => AuthDecision::Reject(RejectReason::InvalidKey),
            Some(next) => AuthDecision::Partial { next: vec![next.method()] },
            None => AuthDecision::Accept(Principal::new("of the last step")),
        }
    }
}

impl Authenticator for InOrder {
    fn begin<'a>(&'a self, _start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer> {
        AuthOffer::ready([self.order[0].method()])
    }

    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
        let about = match attempt.method {
            AuthMethod::PublicKeyQuery(_) if attempt.is_signed => {
                Some("asked before the signature is looked at")
            }
            AuthMethod::PublicKeyQuery(_) => Some("asked by a query"),
            AuthMethod::PublicKey(_) => Some("asked about what is proved"),
            _ => None,
        };
        self.records.lock().unwrap().extend(about.map(str::to_owned));
        std::future::ready(self.decide(&attempt)).boxed()
    }

    fn decided(&self, record: &AuthRecord<'_>) {
        self.records.lock().unwrap().push(format!("{} {}", record.method, record.outcome));
    }
}

/// A client's files.
struct Files {
    folder: TempDir,
    keys: [KeyFile; 2],
    publics: [PublicKey; 2],
}

impl Files {
    /// Keys that every client reads.
    async fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let kind = KeyKind::Ecdsa(384);
        KeyFile::generate(folder.path(), "host", kind).await.unwrap();
        let keys = [
            KeyFile::generate(folder.path(), "first", kind).await.unwrap(),
            KeyFile::generate(folder.path(), "second", kind).await.unwrap(),
        ];
        let publics = [&keys[0], &keys[1]].map(|key| read(&key.path).public_key());
        Self { folder, keys, publics }
    }

    fn host_public(&self) -> String {
        self.folder.path().join("host.pub").display().to_string()
    }

    fn settings(&self, port: u16, keys: &[&KeyFile], password: Option<&str>) -> String {
        let keys: Vec<_> = keys.iter().map(|key| key.path.display().to_string()).collect();
        serde_json::json!({
            "port": port, "user": "ada", "password": password, "client_keys": keys,
            "server_key": self.host_public(),
        })
        .to_string()
    }
}

fn read(path: &Path) -> KeyPair {
    KeyPair::parse(&std::fs::read(path).unwrap(), None).unwrap()
}

/// Lets one client in that `client` starts; whom, and what was noted on the way.
async fn serve(
    files: &Files,
    order: &[Step],
    client: impl FnOnce(u16) -> Command,
) -> (Result<String, ssh_core::Error>, Vec<String>) {
    let records = Arc::new(Mutex::new(Vec::new()));
    let authenticator =
        InOrder { order: order.to_vec(), keys: files.publics.clone(), records: Arc::clone(&records) };
    let mut limits = Limits::default();
    // A client that has to guess which of its keys is meant guesses wrong now and then.
    limits.auth_attempts = 20;
    limits.auth_failure_delay = Duration::from_millis(5);
    let key = SigningKey::new(&read(&files.folder.path().join("host")).private, default_provider());
    let config = server::Config::builder(authenticator)
        .host_key(key.unwrap())
        .limits(limits)
        .banner("Only for friends.")
        .build()
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut command = client(port);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let accepted = tokio::time::timeout(Duration::from_secs(30), async {
        let (stream, _) = listener.accept().await.unwrap();
        server::accept(stream, config).await
    });
    let accepted = accepted.await.expect("a login within 30 s");
    let who = accepted.map(|session| session.principal().unwrap().name.to_string());
    let _ = child.start_kill();
    let said = child.wait_with_output().await.unwrap();
    if who.is_err() {
        eprintln!("{}", String::from_utf8_lossy(&said.stderr));
    }
    let records = records.lock().unwrap().clone();
    (who, records)
}

async fn assert_let_in(files: &Files, order: &[Step], client: impl FnOnce(u16) -> Command) {
    let (who, records) = serve(files, order, client).await;
    assert_eq!(who.ok().as_deref(), Some("of the last step"), "{order:?}: {records:#?}");
    // As many steps as there are, and no more, were right.
    let partial = records.iter().filter(|line| line.ends_with("more is needed") && !line.contains('?'));
    assert!(partial.count() >= order.len() - 1, "{order:?}: {records:#?}");
}

#[tokio::test]
async fn openssh_logs_in_by_every_order_of_steps() {
    let Some(ssh) = program("ssh") else {
        skip::<()>("OpenSSH", "ssh is not installed").unwrap();
        return;
    };
    let files = Files::new().await;
    let askpass = files.folder.path().join("askpass");
    // ssh shows a question as `(user@host) question`.
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\n*'Code one'*) echo 'hidden Code one';;\n*'Code two'*) echo 'visible Code two';;\n\
         *'Code three'*) echo 'hidden Code three';;\n*) echo '{PASSWORD}';;\nesac\n"
    );
    write_script(&askpass, &script);
    let client = |port: u16| {
        let mut command = ssh_client(&ssh, port, &files.keys);
        command.env("SSH_ASKPASS", &askpass).env("SSH_ASKPASS_REQUIRE", "force");
        command
    };
    for count in 1..=4 {
        for order in orders(count) {
            assert_let_in(&files, &order, client).await;
        }
    }
}

#[tokio::test]
async fn asyncssh_logs_in_by_every_order_of_steps() {
    let Some(python) = python_tool("python") else {
        skip::<()>("asyncssh", "its Python environment is missing").unwrap();
        return;
    };
    let files = Files::new().await;
    let script = workspace().join("tests/peers/python/login.py");
    for count in 1..=4 {
        for order in orders(count) {
            assert_let_in(&files, &order, |port| {
                let mut command = Command::new(&python);
                let keys = in_order_of_need(&files, &order);
                command.arg(&script).arg(files.settings(port, &keys, Some(PASSWORD)));
                command
            })
            .await;
        }
    }
}

#[tokio::test]
async fn go_logs_in_by_every_order_of_steps() {
    let Some(go) = Go::find().await.unwrap() else { return };
    let files = Files::new().await;
    for count in 1..=4 {
        for order in orders(count) {
            assert_let_in(&files, &order, |port| {
                let keys = in_order_of_need(&files, &order);
                go.login(&serde_json::from_str(&files.settings(port, &keys, Some(PASSWORD))).unwrap())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_host_of_asyncssh_vouches_for_its_user() {
    let Some(python) = python_tool("python") else {
        skip::<()>("asyncssh", "its Python environment is missing").unwrap();
        return;
    };
    let files = Files::new().await;
    let script = workspace().join("tests/peers/python/login.py");
    for (key, host, user, lets_in) in [
        (0, "laptop.example.", "local", true),
        (1, "laptop.example.", "local", false),
        (0, "desktop.example.", "local", false),
        (0, "laptop.example.", "root", false),
    ] {
        let (who, records) = serve(&files, &[Step::Host], |port| {
            let settings = files.settings(port, &[], None);
            let mut settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
            settings["client_host_keys"] = serde_json::json!([files.keys[key].path]);
            settings["client_host"] = host.into();
            settings["client_user"] = user.into();
            let mut command = Command::new(&python);
            command.arg(&script).arg(settings.to_string());
            command
        })
        .await;
        assert_eq!(who.is_ok(), lets_in, "{key} {user}@{host}: {who:?} {records:#?}");
        // It was decided here, by what the host had signed.
        assert!(records.iter().any(|line| line.starts_with("hostbased ")), "{records:#?}");
    }
}

#[tokio::test]
async fn dev_tunnels_clients_log_in_as_far_as_they_can() {
    let node = program("node");
    let folder = workspace().join("tests/peers/node");
    let is_there = folder.join("node_modules/@microsoft/dev-tunnels-ssh").is_dir();
    let Some(node) = node.filter(|_| is_there) else {
        skip::<()>("Dev Tunnels SSH", "node or its packages are missing").unwrap();
        return;
    };
    let files = Files::new().await;
    let both = [&files.keys[0], &files.keys[1]];
    // It tries its keys in their order and then its password, each once; it asks nobody if it has either.
    for (order, keys, password) in [
        (&[Step::FirstKey][..], &both[..1], None),
        (&[Step::SecondKey], &both[..], None),
        (&[Step::Password], &[], Some(PASSWORD)),
        (&[Step::FirstKey, Step::Password], &both[..1], Some(PASSWORD)),
        (&[Step::FirstKey, Step::SecondKey], &both[..], None),
        (&[Step::FirstKey, Step::SecondKey, Step::Password], &both[..], Some(PASSWORD)),
        // Two questions in a round: prompts and flags are where it looks for them.
        (&[Step::Questions], &[], None),
    ] {
        assert_let_in(&files, order, |port| {
            let mut command = Command::new(&node);
            command.arg(folder.join("login.js")).arg(files.settings(port, keys, password));
            command
        })
        .await;
    }
}

/// A handler can tell who only asks from who signs, and is asked a last time about what is proved.
#[tokio::test]
async fn a_query_a_signed_request_and_a_proof_are_told_apart() {
    const ASKED: &str = "asked by a query";
    const SIGNED: &str = "asked before the signature is looked at";
    const PROVED: &str = "asked about what is proved";
    let files = Files::new().await;
    let asked = |records: Vec<String>| {
        records.into_iter().filter(|line| line.starts_with("asked ")).collect::<Vec<_>>()
    };
    if let Some(ssh) = program("ssh") {
        let (who, records) =
            serve(&files, &[Step::FirstKey], |port| ssh_client(&ssh, port, &files.keys[..1])).await;
        assert!(who.is_ok(), "{records:#?}");
        assert_eq!(asked(records), [ASKED, SIGNED, PROVED]);
    } else {
        tests::peers::skip::<()>("OpenSSH", "ssh is not installed").unwrap();
    }
    let folder = workspace().join("tests/peers/node");
    let is_there = folder.join("node_modules/@microsoft/dev-tunnels-ssh").is_dir();
    if let Some(node) = program("node").filter(|_| is_there) {
        let (who, records) = serve(&files, &[Step::FirstKey], |port| {
            let mut command = Command::new(&node);
            command.arg(folder.join("login.js")).arg(files.settings(port, &[&files.keys[0]], None));
            command
        })
        .await;
        assert!(who.is_ok(), "{records:#?}");
        // It signs at once.
        assert_eq!(asked(records), [SIGNED, PROVED]);
    } else {
        tests::peers::skip::<()>("the npm packages", "they are not installed").unwrap();
    }
}

/// Both keys, for clients that offer each of them once.
fn in_order_of_need<'a>(files: &'a Files, order: &[Step]) -> [&'a KeyFile; 2] {
    let mut keys = [&files.keys[0], &files.keys[1]];
    if order.iter().find(|step| step.method() == Method::PublicKey) == Some(&Step::SecondKey) {
        keys.reverse();
    }
    keys
}

/// ssh with these keys and nothing of the user's.
fn ssh_client(ssh: &Path, port: u16, keys: &[KeyFile]) -> Command {
    let mut command = Command::new(ssh);
    command.env_remove("SSH_AUTH_SOCK");
    command.args(["-F", "none", "-N", "-l", "ada", "-p", &port.to_string(), "127.0.0.1"]);
    for option in [
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "GlobalKnownHostsFile=/dev/null",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "PreferredAuthentications=publickey,password,keyboard-interactive",
    ] {
        command.args(["-o", option]);
    }
    for key in keys {
        command.arg("-i").arg(&key.path);
    }
    command
}

fn write_script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).unwrap();
}
