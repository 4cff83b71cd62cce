//! The ways of logging in against real peers: several steps with sshd, the keys of a real ssh-agent, and with asyncssh
//! what sshd cannot do without an account.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::client::{
    self, Agent, AuthChoice, AuthContext, AuthPolicy, Config, Credential, HostBased, Identity, InfoRequest,
    PasswordPrompt, PolicyError, PromptResponder, danger::AcceptAnyHostKey,
};
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyPair, SigningKey};
use ssh_core::{Addresses, Error, Session};
use tests::adit::Adit;
use tests::algorithms::Suite;
use tests::endpoint::connect;
use tests::keys::{KeyFile, KeyKind, output};
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::peers::asyncssh::AsyncSsh;
use tests::peers::openssh::OpenSsh;
use tests::peers::{Keyring, PASSWORD, RunningServer, ServerSettings, USER};
use tests::process::Process;
use tests::raw_peer::{Field, message};
use tests::scripted_server::{self, ScriptedServer, What};
use tokio::process::Command;
use zeroize::Zeroizing;

fn signing_key(file: &KeyFile) -> Arc<SigningKey> {
    let pair = KeyPair::read_file(&file.path, None).unwrap();
    Arc::new(SigningKey::new(&pair.private, default_provider()).unwrap())
}

async fn log_in(port: u16, credentials: &[Credential]) -> Result<Session, Error> {
    log_in_as(USER, port, credentials).await
}

async fn log_in_as(user: &str, port: u16, credentials: &[Credential]) -> Result<Session, Error> {
    let mut config = Config::builder(user).verify_host_key(AcceptAnyHostKey);
    for credential in credentials {
        config = config.authenticate(credential.clone());
    }
    let stream = connect(port).await.unwrap();
    let addresses = Addresses::of(&stream);
    client::connect_from(stream, addresses, config.build()?).await
}

/// An sshd that knows two keys and the password, and these lines of configuration.
async fn sshd(openssh: &OpenSsh, keys: &Keyring, lines: &str) -> Outcome<RunningServer> {
    let authorized = keys.directory().join("authorized");
    let mut all = String::new();
    for kind in [KeyKind::Ed25519, KeyKind::Ecdsa(256)] {
        all.push_str(&format!("{}\n", keys.user(kind)?.public_line()?));
    }
    std::fs::write(&authorized, all)?;
    let settings = ServerSettings {
        host_key: keys.host(KeyKind::Ed25519)?,
        user_key: keys.user(KeyKind::Ed25519)?,
        suite: &Suite::default(),
        rekey_bytes: None,
    };
    let lines = format!("AuthorizedKeysFile {}\nMaxAuthTries 20\n{lines}", authorized.display());
    openssh.serve_with(settings, &lines).await
}

// ---- Several steps -------------------------------------------------------------------------------------

/// All orders of these.
fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in items.iter().enumerate() {
        for mut order in permutations(&[&items[..at], &items[at + 1..]].concat()) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

#[tokio::test]
async fn every_order_of_steps_that_sshd_can_want() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let key = |kind| Ok::<_, tests::outcome::Failure>(Credential::Key(signing_key(keys.user(kind)?)));
    let (first, second) = (key(KeyKind::Ed25519)?, key(KeyKind::Ecdsa(256))?);
    let password = Credential::password(PASSWORD);
    let wrong = key(KeyKind::Rsa)?;
    let all = [first.clone(), second.clone(), password.clone()];
    for (methods, needed) in [
        ("publickey,password", [1, 0, 1]),
        ("password,publickey", [1, 0, 1]),
        ("publickey,publickey", [1, 1, 0]),
        ("publickey,publickey,password", [1, 1, 1]),
        ("publickey,password,publickey", [1, 1, 1]),
        ("password,publickey,publickey", [1, 1, 1]),
        ("publickey,password publickey,publickey", [1, 1, 0]),
    ] {
        let server = sshd(&openssh, &keys, &format!("AuthenticationMethods {methods}\n")).await?;
        for mut list in permutations(&all) {
            list.insert(1, wrong.clone());
            if let Err(error) = log_in(server.port, &list).await {
                panic!("{methods} with {list:?}: {error}\n{}", server.log());
            }
        }
        // Without one that is needed there is no way in.
        for missing in (0..3).filter(|at| needed[*at] == 1) {
            let only: Vec<_> =
                (0..3).filter(|at| *at != missing && needed[*at] == 1).map(|at| all[at].clone()).collect();
            let refused = log_in(server.port, &only).await;
            assert!(matches!(refused, Err(Error::Auth(_))), "{methods} without {missing}: {refused:?}");
        }
    }
    Ok(())
}

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

/// The other way round, ssh signs by ssh-keysign, which knows the machine's own host keys and configuration only:
/// asyncssh's client stands in, in `server_login`.
#[tokio::test]
async fn a_host_vouches_for_its_users_at_sshd() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let lines = "HostbasedAuthentication yes\nHostbasedUsesNameFromPacketOnly yes\nIgnoreRhosts no\n\
                 AuthenticationMethods hostbased\n";
    let server = sshd(&openssh, &keys, lines).await?;
    let home = server.files.as_ref().expect("sshd's files").path().join("home");
    std::fs::write(home.join(".shosts"), "laptop.example local\n")?;
    std::fs::create_dir(home.join(".ssh"))?;
    for kind in KeyKind::ALL {
        let name = format!("laptop_{kind:?}");
        let (host, other) = (
            KeyFile::generate(keys.directory(), &name, kind).await?,
            KeyFile::generate(keys.directory(), &format!("{name}_other"), kind).await?,
        );
        let known = format!("laptop.example {}\n", host.public_line()?);
        std::fs::write(home.join(".ssh/known_hosts"), known)?;
        for (key, client_host, client_user, lets_in) in [
            (&host, "laptop.example.", "local", true),
            (&host, "laptop.example.", "somebody", false),
            (&host, "desktop.example.", "local", false),
            (&other, "laptop.example.", "local", false),
        ] {
            let identity = Identity::key(signing_key(key)).unwrap();
            let host = HostBased {
                identity,
                client_host: client_host.to_owned(),
                client_user: client_user.to_owned(),
            };
            let result = log_in(server.port, &[Credential::HostBased(Arc::new(host))]).await;
            assert_eq!(
                result.is_ok(),
                lets_in,
                "{kind:?} {client_user}@{client_host}: {result:?}\n{}",
                server.log()
            );
        }
    }
    Ok(())
}

/// Answers a PAM prompt for the password.
#[derive(Debug)]
struct Pam(&'static str);

impl PromptResponder for Pam {
    fn respond<'a>(&'a self, request: &'a InfoRequest) -> BoxFuture<'a, Option<Vec<Zeroizing<String>>>> {
        let answers = request.prompts.iter().map(|prompt| {
            assert!(!prompt.echo && prompt.text.contains("assword"), "{prompt:?}");
            Zeroizing::new(self.0.to_owned())
        });
        std::future::ready(Some(answers.collect())).boxed()
    }
}

#[tokio::test]
async fn keys_and_the_questions_of_sshds_pam() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let lines = "UsePAM yes\nKbdInteractiveAuthentication yes\n";
    let key = Credential::Key(signing_key(keys.user(KeyKind::Ed25519)?));
    let questions = || Credential::keyboard_interactive(Pam(PASSWORD));
    let server = sshd(&openssh, &keys, lines).await?;
    if let Err(error) = log_in(server.port, &[questions()]).await {
        panic!("{error}\n{}", server.log());
    }
    for methods in [
        "publickey,keyboard-interactive",
        "keyboard-interactive,publickey",
        "publickey,password publickey,keyboard-interactive",
    ] {
        let server = sshd(&openssh, &keys, &format!("{lines}AuthenticationMethods {methods}\n")).await?;
        for list in permutations(&[key.clone(), questions()]) {
            if let Err(error) = log_in(server.port, &list).await {
                panic!("{methods} with {list:?}: {error}\n{}", server.log());
            }
        }
        assert!(
            log_in(server.port, &[key.clone(), Credential::keyboard_interactive(Pam("wrong"))])
                .await
                .is_err()
        );
    }
    Ok(())
}

/// A second factor on top of a key, and no server that is not known to do it.
#[derive(Debug)]
struct Organisation {
    key: Arc<SigningKey>,
    told: Arc<Mutex<Vec<Vec<String>>>>,
}

impl AuthPolicy for Organisation {
    fn choose<'a>(&'a self, context: AuthContext<'a>) -> BoxFuture<'a, Result<AuthChoice, PolicyError>> {
        self.told.lock().unwrap().push(context.allowed.to_vec());
        let choice = if !context.connection.peer_version().contains("OpenSSH") {
            Err(Arc::new(std::io::Error::other("not one of ours")) as PolicyError)
        } else if context.partial_successes.is_empty() {
            Ok(AuthChoice::Try(Credential::Key(Arc::clone(&self.key))))
        } else {
            Ok(AuthChoice::Try(Credential::password(PASSWORD)))
        };
        std::future::ready(choice).boxed()
    }
}

#[tokio::test]
async fn a_policy_leads_through_sshds_steps() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let server = sshd(&openssh, &keys, "AuthenticationMethods publickey,password\n").await?;
    let told = Arc::default();
    let policy = Organisation { key: signing_key(keys.user(KeyKind::Ed25519)?), told: Arc::clone(&told) };
    let config = Config::builder(USER).verify_host_key(AcceptAnyHostKey).auth_policy(policy).build().unwrap();
    client::connect(connect(server.port).await?, config).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [vec!["publickey".to_owned()], vec!["password".to_owned()]]);
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

// ---- The agent -----------------------------------------------------------------------------------------

/// A real ssh-agent with a socket of its own.
struct RunningAgent {
    socket: String,
    _process: Process,
}

impl RunningAgent {
    async fn start(directory: &Path) -> Outcome<Self> {
        let socket = directory.join("agent.socket").display().to_string();
        let process = Process::spawn("ssh-agent", Command::new("ssh-agent").args(["-D", "-a", &socket]))?;
        within(STEP, "starting the agent", async {
            // The socket is there a moment before it can be connected to.
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        })
        .await?;
        Ok(Self { socket, _process: process })
    }

    async fn add(&self, key: &KeyFile) -> Outcome {
        output(Command::new("ssh-add").env("SSH_AUTH_SOCK", &self.socket).arg("-q").arg(&key.path)).await?;
        Ok(())
    }

    fn keys(&self) -> Credential {
        Credential::keys(Agent::at(&self.socket))
    }
}

async fn sshd_for(
    openssh: &OpenSsh,
    keys: &Keyring,
    user_key: &KeyFile,
    lines: &str,
) -> Outcome<RunningServer> {
    let suite = Suite::default();
    let host_key = keys.host(KeyKind::Ed25519)?;
    let settings = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };
    openssh.serve_with(settings, &format!("MaxAuthTries 20\n{lines}")).await
}

/// Whether a server whose server-sig-algs (RFC 8308 §3.1) has one name gets a good signature of that algorithm.
async fn signs_for_a_server_of(algorithm: &'static str, credential: Credential) -> bool {
    let (near, far) = tokio::io::duplex(1 << 16);
    let server = tokio::spawn(async move {
        let mut server = ScriptedServer::accept(far, "SSH-2.0-Script").await;
        let fields = [Field::U32(1), Field::Str("server-sig-algs"), Field::Str(algorithm)];
        server.send(&message(7, &fields)).await;
        server
            .login(|said| match &said.what {
                What::Query(key, asked) => vec![scripted_server::pk_ok(asked, key)],
                What::Signed(..) => vec![scripted_server::success()],
                _ => vec![scripted_server::failure("publickey")],
            })
            .await
    });
    let config = Config::builder(USER).verify_host_key(AcceptAnyHostKey).authenticate(credential);
    client::connect(near, config.build().unwrap()).await.unwrap();
    let said = server.await.unwrap();
    matches!(&said.last().unwrap().what, What::Signed(_, name) if name == algorithm)
}

#[tokio::test]
async fn an_agents_keys_of_every_kind_and_its_certificates() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let agent = RunningAgent::start(keys.directory()).await?;
    for kind in KeyKind::ALL {
        agent.add(keys.user(kind)?).await?;
    }
    assert_eq!(Agent::at(&agent.socket).identities().await.unwrap().len(), KeyKind::ALL.len());
    for kind in KeyKind::ALL {
        let server = sshd_for(&openssh, &keys, keys.user(kind)?, "").await?;
        if let Err(error) = log_in(server.port, &[agent.keys()]).await {
            panic!("{kind:?}: {error}\n{}", server.log());
        }
    }
    // RSA by each of its flags: the server says that it takes one only.
    for algorithm in ["rsa-sha2-256", "rsa-sha2-512"] {
        assert!(signs_for_a_server_of(algorithm, agent.keys()).await, "{algorithm}");
    }
    // Certificates: ssh-add takes KEY-cert.pub along. No key itself is authorized.
    let authority = KeyFile::generate(keys.directory(), "authority", KeyKind::Ed25519).await?;
    let stranger = KeyFile::generate(keys.directory(), "stranger", KeyKind::Ed25519).await?;
    let lines = format!("TrustedUserCAKeys {}\n", authority.public.display());
    for kind in [KeyKind::Ed25519, KeyKind::Ecdsa(256), KeyKind::Rsa] {
        let key = KeyFile::generate(keys.directory(), &format!("certified_{kind:?}"), kind).await?;
        let mut sign = Command::new("ssh-keygen");
        sign.args(["-q", "-I", "id", "-n", USER, "-s"]).arg(&authority.path).arg(&key.public);
        output(&mut sign).await?;
        let only = tempfile::tempdir()?;
        let agent = RunningAgent::start(only.path()).await?;
        agent.add(&key).await?;
        let server = sshd_for(&openssh, &keys, &stranger, &lines).await?;
        if let Err(error) = log_in(server.port, &[agent.keys()]).await {
            panic!("certificate {kind:?}: {error}\n{}", server.log());
        }
        // The same without an agent.
        let certificate = std::fs::read(key.path.with_file_name(format!("certified_{kind:?}-cert.pub")))?;
        let certificate = ssh_core::keys::Certificate::parse_line(&certificate).unwrap();
        let pair = KeyPair::read_file(&key.path, None).unwrap();
        let signing = SigningKey::new(&pair.private, default_provider()).unwrap();
        let credential = Credential::certificate(certificate, signing).unwrap();
        log_in(server.port, &[credential]).await.unwrap();
    }
    Ok(())
}

#[tokio::test]
async fn the_command_uses_the_agent_unless_told_otherwise() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let home = tempfile::tempdir()?;
    let agent = RunningAgent::start(home.path()).await?;
    let user_key = keys.user(KeyKind::Ed25519)?;
    agent.add(user_key).await?;
    let banner = keys.directory().join("banner");
    std::fs::write(&banner, "Be kind\x1b[31m\n")?;
    let server = sshd_for(&openssh, &keys, user_key, &format!("Banner {}\n", banner.display())).await?;
    let host_key = &keys.host(KeyKind::Ed25519)?.fingerprint;
    let forward = |more: &[&str]| {
        let mut command = adit.command(["forward", "--json", "--host-key", host_key, "-D", "0"]);
        command.args(more).arg(format!("{USER}@127.0.0.1:{}", server.port));
        command.env("SSH_AUTH_SOCK", &agent.socket).env("HOME", home.path());
        command
    };
    // An encrypted key whose public half is beside it: the agent has it, so nobody is asked.
    let encrypted = home.path().join("encrypted");
    std::fs::copy(&user_key.path, &encrypted)?;
    std::fs::copy(&user_key.public, encrypted.with_extension("pub"))?;
    output(Command::new("ssh-keygen").args(["-q", "-p", "-N", "a passphrase", "-f"]).arg(&encrypted)).await?;
    let encrypted = encrypted.display().to_string();
    for more in [&[][..], &["-i", &encrypted]] {
        let mut process = Process::spawn("adit", &mut forward(more))?;
        let shown = tests::adit::event(&mut process, "banner").await?;
        assert_eq!(tests::adit::text(&shown, "text")?, "Be kind\\u{1b}[31m");
        tests::adit::event(&mut process, "ready").await?;
    }
    let refused = tests::adit::run_to_end(&mut forward(&["--no-agent"]), Duration::from_secs(20)).await?;
    ensure(refused.code == Some(3), || format!("{refused:?}"))
}

// ---- What asyncssh has ---------------------------------------------------------------------------------

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
