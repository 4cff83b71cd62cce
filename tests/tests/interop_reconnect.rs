//! Sessions with the Dev Tunnels SSH library, in both roles, that outlive their connections.

use tests::adit::Adit;
use tests::algorithms::Suite;
use tests::endpoint::{Duplex, Endpoint};
use tests::keys::KeyKind;
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::dev_tunnels::DevTunnels;
use tests::peers::{ClientSettings, Host, Keyring, Login, Peer as _, ServerSettings};
use tests::process::Process;
use tests::traffic::Target;
use tests::wire::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// One for each way in which a token is made: by the MAC that was agreed, or the one beside AES-GCM.
const SUITES: [(&str, Option<&str>); 3] = [
    ("aes256-gcm@openssh.com", None),
    ("aes256-ctr", Some("hmac-sha2-512")),
    ("aes256-ctr", Some("hmac-sha2-256-etm@openssh.com")),
];
const CUTS: usize = 3;

#[tokio::test]
async fn we_come_back_to_its_server() -> Outcome {
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    let (adit, keys, echo) = (Adit::find().await?, Keyring::generate().await?, Target::echo().await?);
    for suite in suites() {
        let server = dev_tunnels.serve_with_reconnect(server(&keys, &suite)?).await?;
        let wire = Wire::to(server.port).await?;
        let mut client = adit.connect(client(&keys, &suite, wire.port, &echo)?).await?;
        let mut stream = open(client.local.as_ref()).await?;
        for round in 0..CUTS {
            let explain = |failure: Failure| {
                failure.with_log("server", &server.log()).while_doing(&format!("{suite:?}, {round}"))
            };
            wire.cut();
            stream.write_all(&long(round)).await?;
            let resumed = tests::adit::event(&mut client.process, "resumed").await.map_err(explain)?;
            ensure(resumed["new_session"] == false, || resumed.to_string()).map_err(explain)?;
            echoed(&mut stream, round).await.map_err(explain)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn its_client_comes_back_to_us() -> Outcome {
    let Some(dev_tunnels) = DevTunnels::find().await? else { return Ok(()) };
    let (adit, keys, echo) = (Adit::find().await?, Keyring::generate().await?, Target::echo().await?);
    for suite in suites() {
        let mut server = adit.serve(server(&keys, &suite)?).await?;
        let wire = Wire::to(server.port).await?;
        let mut client = dev_tunnels.connect_with_reconnect(client(&keys, &suite, wire.port, &echo)?).await?;
        let mut stream = open(client.local.as_ref()).await?;
        for round in 0..CUTS {
            wire.cut();
            stream.write_all(&long(round)).await?;
            let run = async {
                reconnected(&mut client.process).await?;
                echoed(&mut stream, round).await
            };
            let done = run.await;
            done.map_err(|failure| client.process.explain(failure.with_log("server", &server.log())))?;
        }
        let Host::Process(process) = &mut server.host else { return Err(Failure::new("no process")) };
        for _ in 0..CUTS {
            tests::adit::event(process, "resumed").await?;
        }
    }
    Ok(())
}

fn suites() -> impl Iterator<Item = Suite> {
    SUITES.into_iter().map(|(cipher, mac)| Suite {
        cipher: Some(cipher.to_owned()),
        mac: mac.map(str::to_owned),
        ..Suite::default()
    })
}

fn server<'a>(keys: &'a Keyring, suite: &'a Suite) -> Outcome<ServerSettings<'a>> {
    let host_key = keys.host(KeyKind::Ecdsa(256))?;
    Ok(ServerSettings { host_key, user_key: keys.user(KeyKind::Ecdsa(256))?, suite, rekey_bytes: None })
}

fn client<'a>(keys: &'a Keyring, suite: &'a Suite, port: u16, echo: &Target) -> Outcome<ClientSettings<'a>> {
    Ok(ClientSettings {
        port,
        host_key: keys.host(KeyKind::Ecdsa(256))?,
        login: Login::Key(keys.user(KeyKind::Ecdsa(256))?),
        suite,
        local: Some(echo.port),
        remote: None,
        rekey_bytes: None,
    })
}

async fn open(entry: Option<&Endpoint>) -> Outcome<Box<dyn Duplex>> {
    let mut stream = entry.ok_or_else(|| Failure::new("there is no entry"))?.connect().await?;
    within(STEP, "the first byte", async {
        stream.write_all(b"1").await?;
        let echoed = stream.read_u8().await?;
        ensure(echoed == b'1', || format!("the first byte came back as {echoed}"))
    })
    .await?;
    // Both enable it behind the login and say so to nobody; on loopback that has long been done by then.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    Ok(stream)
}

/// Below any window, so that it can be written while there is no connection.
fn long(round: usize) -> Vec<u8> {
    (0..100_000).map(|i| u8::try_from((i + round) % 251).unwrap_or_default()).collect()
}

async fn echoed(stream: &mut Box<dyn Duplex>, round: usize) -> Outcome {
    let mut back = vec![0; long(round).len()];
    within(STEP, "the echo", async {
        stream.read_exact(&mut back).await?;
        ensure(back == long(round), || "the echo differs".to_owned())
    })
    .await
}

async fn reconnected(process: &mut Process) -> Outcome {
    while let Some(line) = process.next_line(STEP).await? {
        if line.contains(r#""event":"reconnected""#) {
            return Ok(());
        }
    }
    Err(Failure::new("the client ended"))
}
