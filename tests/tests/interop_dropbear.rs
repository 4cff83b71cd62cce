//! Adit and Dropbear, in both roles.

use tests::adit::Adit;
use tests::keys::KeyKind;
use tests::outcome::Outcome;
use tests::peers::Keyring;
use tests::peers::dropbear::Dropbear;
use tests::scenarios::{Pair, Way, every_algorithm, every_login, half_close, many_connections};

#[tokio::test]
async fn every_algorithm_as_client() -> Outcome {
    let Some(dropbear) = Dropbear::find().await? else { return Ok(()) };
    every_algorithm(&dropbear, &Adit::find().await?, &Keyring::generate().await?).await
}

#[tokio::test]
async fn every_algorithm_as_server() -> Outcome {
    let Some(dropbear) = Dropbear::find().await? else { return Ok(()) };
    every_algorithm(&Adit::find().await?, &dropbear, &Keyring::generate().await?).await
}

#[tokio::test]
async fn sessions_in_both_roles() -> Outcome {
    let Some(dropbear) = Dropbear::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    every_login(&dropbear, &adit, &keys, &KeyKind::ALL).await?;
    every_login(&adit, &dropbear, &keys, &KeyKind::ALL).await?;
    half_close(&Pair::new(&dropbear, &adit, &keys)).await?;
    half_close(&Pair::new(&adit, &dropbear, &keys)).await?;
    many_connections(&Pair::new(&dropbear, &adit, &keys), Way::Local, 50).await?;
    many_connections(&Pair::new(&adit, &dropbear, &keys), Way::Local, 50).await
}

#[tokio::test]
async fn new_keys_asked_for_by_us() -> Outcome {
    const REKEY: u64 = 1024 * 1024;
    const LENGTH: u64 = 16 * 1024 * 1024;
    let Some(dropbear) = Dropbear::find().await? else { return Ok(()) };
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    for way in [Way::Local, Way::Remote] {
        Pair::new(&dropbear, &adit, &keys).rekey(None, Some(REKEY)).echo(&[way], LENGTH).await?;
        Pair::new(&adit, &dropbear, &keys).rekey(Some(REKEY), None).echo(&[way], LENGTH).await?;
    }
    Ok(())
}
