//! Adit and asyncssh, in both roles.

use tests::adit::Adit;
use tests::keys::KeyKind;
use tests::outcome::Outcome;
use tests::peers::Keyring;
use tests::peers::asyncssh::AsyncSsh;
use tests::scenarios::{Pair, Way, every_algorithm, every_login, half_close, many_connections};

#[tokio::test]
async fn every_algorithm_as_client() -> Outcome {
    let Some(asyncssh) = AsyncSsh::find().await? else { return Ok(()) };
    every_algorithm(&asyncssh, &Adit::find().await?, &Keyring::generate().await?).await
}

#[tokio::test]
async fn every_algorithm_as_server() -> Outcome {
    let Some(asyncssh) = AsyncSsh::find().await? else { return Ok(()) };
    every_algorithm(&Adit::find().await?, &asyncssh, &Keyring::generate().await?).await
}

#[tokio::test]
async fn sessions_in_both_roles() -> Outcome {
    let Some(asyncssh) = AsyncSsh::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    every_login(&asyncssh, &adit, &keys, &KeyKind::ALL).await?;
    every_login(&adit, &asyncssh, &keys, &KeyKind::ALL).await?;
    half_close(&Pair::new(&asyncssh, &adit, &keys)).await?;
    half_close(&Pair::new(&adit, &asyncssh, &keys)).await?;
    many_connections(&Pair::new(&asyncssh, &adit, &keys), Way::Local, 100).await?;
    many_connections(&Pair::new(&adit, &asyncssh, &keys), Way::Remote, 100).await
}

#[tokio::test]
async fn new_keys_from_either_side() -> Outcome {
    const REKEY: u64 = 1024 * 1024;
    const LENGTH: u64 = 16 * 1024 * 1024;
    let Some(asyncssh) = AsyncSsh::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    for (server, client) in [(None, Some(REKEY)), (Some(REKEY), None), (Some(REKEY), Some(REKEY))] {
        for way in [Way::Local, Way::Remote] {
            Pair::new(&asyncssh, &adit, &keys).rekey(server, client).echo(&[way], LENGTH).await?;
            Pair::new(&adit, &asyncssh, &keys).rekey(server, client).echo(&[way], LENGTH).await?;
        }
    }
    Ok(())
}
