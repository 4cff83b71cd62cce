//! `adit forward` and `adit serve` with a client and a server of Go.

use tests::adit::Adit;
use tests::algorithms::Suite;
use tests::outcome::{Outcome, ensure};
use tests::peers::go::{Go, rekeys};
use tests::peers::{Keyring, Peer as _};
use tests::scenarios::{Pair, Way, every_algorithm, half_close, many_connections};

#[tokio::test]
async fn every_algorithm_as_client() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    every_algorithm(&go, &Adit::find().await?, &Keyring::generate().await?).await
}

#[tokio::test]
async fn every_algorithm_as_server() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    every_algorithm(&Adit::find().await?, &go, &Keyring::generate().await?).await
}

#[tokio::test]
async fn half_close_and_many_connections_in_both_roles() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    half_close(&Pair::new(&go, &adit, &keys)).await?;
    half_close(&Pair::new(&adit, &go, &keys)).await?;
    for way in [Way::Local, Way::Remote] {
        many_connections(&Pair::new(&go, &adit, &keys), way, 100).await?;
        many_connections(&Pair::new(&adit, &go, &keys), way, 100).await?;
    }
    Ok(())
}

/// What the large transfers carry, and a threshold that they cross several times.
const LARGE: u64 = 64 * 1024 * 1024;
const REKEY: u64 = 12 * 1024 * 1024;

#[tokio::test]
async fn large_transfers_with_new_keys_as_client() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    // First we ask for new keys, then the server does, then whoever comes first.
    for (server, client, way) in [
        (None, Some(REKEY), Way::Local),
        (Some(REKEY), None, Way::Remote),
        (Some(REKEY), Some(REKEY), Way::Local),
    ] {
        let tunnel = Pair::new(&go, &adit, &keys).rekey(server, client).echo(&[way], LARGE).await?;
        let count = rekeys(&tunnel.server.log());
        tunnel.explain(ensure(count > 3, || format!("{count} changes of keys, {server:?} {client:?}")))?;
    }
    Ok(())
}

#[tokio::test]
async fn large_transfers_with_new_keys_as_server() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    for (server, client, way) in [
        (Some(REKEY), None, Way::Local),
        (None, Some(REKEY), Way::Remote),
        (Some(REKEY), Some(REKEY), Way::Local),
    ] {
        let tunnel = Pair::new(&adit, &go, &keys).rekey(server, client).echo(&[way], LARGE).await?;
        let count = rekeys(&tunnel.client.process.log());
        tunnel.explain(ensure(count > 3, || format!("{count} changes of keys, {server:?} {client:?}")))?;
    }
    Ok(())
}

#[tokio::test]
async fn new_keys_with_every_kind_of_cipher() -> Outcome {
    /// Many exchanges in little data.
    const SMALL: u64 = 256 * 1024;
    const LENGTH: u64 = 4 * 1024 * 1024;
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let common = go.algorithms().common(adit.algorithms());
    let kinds = [
        ("aes128-gcm@openssh.com", None),
        ("aes256-ctr", Some("hmac-sha2-256-etm@openssh.com")),
        ("aes256-ctr", Some("hmac-sha2-256")),
        ("chacha20-poly1305@openssh.com", None),
    ];
    // Before strict key exchange, ChaCha20 is not to be had from us.
    for (cipher, mac) in kinds.into_iter().take(if common.strict_kex { 4 } else { 3 }) {
        let suite =
            Suite { cipher: Some(cipher.to_owned()), mac: mac.map(str::to_owned), ..Suite::default() };
        let pair = Pair::new(&go, &adit, &keys).suite(suite.clone()).rekey(Some(SMALL), Some(SMALL));
        let tunnel = pair.echo(&[Way::Local], LENGTH).await?;
        let count = rekeys(&tunnel.server.log());
        tunnel.explain(ensure(count > 3, || format!("{cipher} {mac:?}: {count} changes of keys")))?;
        let pair = Pair::new(&adit, &go, &keys).suite(suite).rekey(Some(SMALL), Some(SMALL));
        let tunnel = pair.echo(&[Way::Local], LENGTH).await?;
        let count = rekeys(&tunnel.client.process.log());
        tunnel.explain(ensure(count > 3, || format!("{cipher} {mac:?}: {count} changes of keys")))?;
    }
    Ok(())
}
