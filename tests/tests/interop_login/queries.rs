//! Questions about keys, which real servers answer without a proof.

use std::sync::{Arc, Mutex};

use ssh_core::client::{Credential, Identity};
use ssh_core::keys::PublicLine;
use tests::algorithms::Suite;
use tests::keys::{KeyFile, KeyKind};
use tests::outcome::Outcome;
use tests::peers::dev_tunnels::DevTunnels;
use tests::peers::openssh::OpenSsh;
use tests::peers::{Keyring, Peer as _, ServerSettings};

use super::sshd::sshd;
use super::{log_in, signing_key};

type Answers = Arc<Mutex<Vec<bool>>>;

/// A question about the public half alone.
fn query(file: &KeyFile, answers: &Answers) -> Credential {
    let line = PublicLine::parse(&std::fs::read(&file.public).unwrap()).unwrap();
    let answers = Arc::clone(answers);
    let identity = Identity::public(&line.key).unwrap();
    Credential::key_query(identity, move |would_do| answers.lock().unwrap().push(would_do))
}

/// Of two keys the server knows the second.
async fn assert_tells(port: u16, unknown: &KeyFile, known: &KeyFile) {
    let answers = Answers::default();
    let queries = [query(unknown, &answers), query(known, &answers)];
    assert!(log_in(port, &queries).await.is_err(), "a query lets nobody in");
    assert_eq!(*answers.lock().unwrap(), [false, true]);
    // The same connection can then be logged in on.
    let answers = Answers::default();
    let list = [query(unknown, &answers), query(known, &answers), Credential::Key(signing_key(known))];
    if let Err(error) = log_in(port, &list).await {
        panic!("{error}, {answers:?}");
    }
    assert_eq!(*answers.lock().unwrap(), [false, true]);
}

#[tokio::test]
async fn sshd_tells_which_keys_would_do() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let server = sshd(&openssh, &keys, "").await?;
    let unknown = keys.user(KeyKind::Ecdsa(384))?;
    for known in [KeyKind::Ed25519, KeyKind::Ecdsa(256)] {
        assert_tells(server.port, unknown, keys.user(known)?).await;
    }
    Ok(())
}

/// Its handler is asked by `clientPublicKeyQuery`.
#[tokio::test]
async fn a_dev_tunnels_server_tells_which_keys_would_do() -> Outcome {
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    let (keys, suite) = (Keyring::generate().await?, Suite::default());
    for kind in [KeyKind::Ecdsa(384), KeyKind::Rsa] {
        let (host_key, user_key) = (keys.host(KeyKind::Ecdsa(384))?, keys.user(kind)?);
        let settings = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };
        let server = dev_tunnels.serve(settings).await?;
        assert_tells(server.port, keys.user(KeyKind::Ecdsa(256))?, user_key).await;
    }
    Ok(())
}
