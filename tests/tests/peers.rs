//! The peers among themselves: when one of these fails, it is the harness that is broken, not Adit.

use std::time::Duration;

use tests::keys::KeyKind;
use tests::outcome::{Outcome, STEP, within};
use tests::peers::asyncssh::AsyncSsh;
use tests::peers::dev_tunnels::DevTunnels;
use tests::peers::dropbear::Dropbear;
use tests::peers::go::{self, Go};
use tests::peers::openssh::{OpenSsh, rekeys};
use tests::peers::{Keyring, Peer};
use tests::scenarios::{Pair, Way, every_login, half_close, many_connections};

const LENGTH: u64 = 3_000_000;

#[tokio::test]
async fn openssh_with_itself() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let keys = Keyring::generate().await?;
    let pair = Pair::new(&openssh, &openssh, &keys);
    every_login(&openssh, &openssh, &keys, &KeyKind::ALL).await?;
    half_close(&pair).await?;
    many_connections(&pair, Way::Local, 50).await?;
    many_connections(&pair, Way::Remote, 50).await?;
    let tunnel = pair.rekey(Some(1 << 20), None).echo(&[Way::Local], LENGTH).await?;
    assert!(rekeys(&tunnel.server.log()) > 1, "the server's log tells of no new keys");
    assert!(rekeys(&tunnel.client.process.log()) > 1, "the client's log tells of no new keys");
    Ok(())
}

#[tokio::test]
async fn asyncssh_with_openssh() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let Some(asyncssh) = AsyncSsh::find().await? else { return Ok(()) };
    both_roles(&asyncssh, &openssh).await
}

#[tokio::test]
async fn dropbear_with_openssh() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let Some(dropbear) = Dropbear::find().await? else { return Ok(()) };
    both_roles(&dropbear, &openssh).await
}

#[tokio::test]
async fn dev_tunnels_with_openssh() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    both_roles(&dev_tunnels, &openssh).await
}

#[tokio::test]
async fn go_with_openssh() -> Outcome {
    let Some(openssh) = OpenSsh::find().await? else { return Ok(()) };
    let Some(go) = Go::find().await? else { return Ok(()) };
    both_roles(&go, &openssh).await?;
    let keys = Keyring::generate().await?;
    let tunnel =
        Pair::new(&go, &openssh, &keys).rekey(Some(1 << 20), None).echo(&[Way::Local], LENGTH).await?;
    // Each log comes when it comes.
    within(STEP, "as many changes of keys by Go's log as by OpenSSH's", async {
        loop {
            let counts = (go::rekeys(&tunnel.server.log()), rekeys(&tunnel.client.process.log()));
            if counts.0 > 1 && counts.0 == counts.1 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

async fn both_roles(one: &impl Peer, other: &impl Peer) -> Outcome {
    let keys = Keyring::generate().await?;
    every_login(one, other, &keys, &[KeyKind::Ecdsa(256), KeyKind::Rsa]).await?;
    every_login(other, one, &keys, &[KeyKind::Ecdsa(256), KeyKind::Rsa]).await?;
    Pair::new(one, other, &keys).echo(&[Way::Local, Way::Remote], LENGTH).await?;
    Pair::new(other, one, &keys).echo(&[Way::Local, Way::Remote], LENGTH).await?;
    Ok(())
}
