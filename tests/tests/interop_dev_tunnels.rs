//! Adit and the Dev Tunnels SSH library for TypeScript, in both roles.
//!
//! The library has no strict key exchange, keeps no half-close, and cannot answer a key exchange it did not start:
//! Adit leaves new keys to it.

use tests::adit::Adit;
use tests::algorithms::Suite;
use tests::keys::KeyKind;
use tests::outcome::Outcome;
use tests::peers::Keyring;
use tests::peers::dev_tunnels::DevTunnels;
use tests::scenarios::{Pair, Way, every_algorithm, every_login, many_connections};

/// The kinds of key the library has.
const KINDS: [KeyKind; 4] = [KeyKind::Ecdsa(256), KeyKind::Ecdsa(384), KeyKind::Ecdsa(521), KeyKind::Rsa];

#[tokio::test]
async fn every_algorithm_as_client() -> Outcome {
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    every_algorithm(&dev_tunnels, &Adit::find().await?, &Keyring::generate().await?).await
}

#[tokio::test]
async fn every_algorithm_as_server() -> Outcome {
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    every_algorithm(&Adit::find().await?, &dev_tunnels, &Keyring::generate().await?).await
}

#[tokio::test]
async fn sessions_in_both_roles() -> Outcome {
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    every_login(&dev_tunnels, &adit, &keys, &KINDS).await?;
    every_login(&adit, &dev_tunnels, &keys, &KINDS).await?;
    for way in [Way::Local, Way::Remote] {
        many_connections(&Pair::new(&dev_tunnels, &adit, &keys), way, 50).await?;
        many_connections(&Pair::new(&adit, &dev_tunnels, &keys), way, 50).await?;
    }
    Ok(())
}

#[tokio::test]
async fn new_keys_asked_for_by_the_peer() -> Outcome {
    const REKEY: u64 = 1024 * 1024;
    const LENGTH: u64 = 8 * 1024 * 1024;
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let suite = Suite { cipher: Some("aes256-gcm@openssh.com".to_owned()), ..Suite::default() };
    for way in [Way::Local, Way::Remote] {
        let pair = Pair::new(&dev_tunnels, &adit, &keys).suite(suite.clone());
        pair.rekey(Some(REKEY), None).echo(&[way], LENGTH).await?;
        let pair = Pair::new(&adit, &dev_tunnels, &keys).suite(suite.clone());
        pair.rekey(None, Some(REKEY)).echo(&[way], LENGTH).await?;
    }
    Ok(())
}

/// Our own threshold is far below what is sent, but a key exchange that we start would end the session.
#[tokio::test]
async fn we_never_start_new_keys_with_it() -> Outcome {
    const REKEY: u64 = 1024 * 1024;
    const LENGTH: u64 = 8 * 1024 * 1024;
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let pair = Pair::new(&dev_tunnels, &adit, &keys).rekey(None, Some(REKEY));
    pair.echo(&[Way::Local, Way::Remote], LENGTH).await?;
    let pair = Pair::new(&adit, &dev_tunnels, &keys).rekey(Some(REKEY), None);
    pair.echo(&[Way::Local, Way::Remote], LENGTH).await?;
    Ok(())
}
