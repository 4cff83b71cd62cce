//! sshd: what it can want, one after the other.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use ssh_core::Error;
use ssh_core::client::{
    self, Config, Credential, HostBased, Identity, InfoRequest, PromptResponder, danger::AcceptAnyHostKey,
};
use tests::algorithms::Suite;
use tests::endpoint::connect;
use tests::keys::{KeyFile, KeyKind};
use tests::outcome::Outcome;
use tests::peers::openssh::OpenSsh;
use tests::peers::{Keyring, PASSWORD, RunningServer, ServerSettings, USER};
use zeroize::Zeroizing;

use super::{Organisation, log_in, permutations, signing_key};

/// An sshd that knows two keys and the password, and these lines of configuration.
pub(super) async fn sshd(openssh: &OpenSsh, keys: &Keyring, lines: &str) -> Outcome<RunningServer> {
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
