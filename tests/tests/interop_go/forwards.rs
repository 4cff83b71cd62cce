//! Forwards beyond a port each way: other addresses, Unix sockets, a proxy, and listeners that are taken back.

use std::ffi::OsStr;
use std::path::Path;

use ssh_core::client::{self, Credential, danger::AcceptAnyHostKey};
use ssh_core::services::port_forward::{ForwardError, ForwardPolicy, PortForwarding};
use tempfile::TempDir;
use tests::adit::{Adit, event, port};
use tests::algorithms::Suite;
use tests::endpoint::{Endpoint, connect, listen, reserve_port};
use tests::keys::KeyKind;
use tests::outcome::{Failure, Outcome, STEP, ensure};
use tests::peers::go::Go;
use tests::peers::{
    ClientSettings, Keyring, Login, PASSWORD, Peer as _, RunningClient, ServerSettings, USER,
};
use tests::process::Process;
use tests::proxy::Ask;
use tests::traffic::{Ending, Target, exchange};
use tokio::net::{TcpStream, UnixListener};

/// What goes through each forward, each way, in bytes.
const LENGTH: u64 = 300_000;

/// Has a client of Go take back what it has us listen on.
async fn cancel(client: &mut RunningClient) -> Outcome {
    client.process.say("cancel").await?;
    let said = client.process.next_line(STEP).await?.unwrap_or_default();
    ensure(said.contains("cancelled"), || said.clone()).map_err(|failure| client.process.explain(failure))
}

/// Go's client takes a connection only if it names the address that it asked for.
#[tokio::test]
async fn listeners_of_ours_on_any_address_and_their_end() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (adit, keys, target) = (Adit::find().await?, Keyring::generate().await?, Target::echo().await?);
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let suite = Suite::default();
    let server = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };
    let server = adit.serve(server).await?;
    let all = [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1"), ("::", "::1")];
    // Not every machine has IPv6.
    let count = if std::net::TcpListener::bind("[::1]:0").is_ok() { all.len() } else { 2 };
    for (host, reached_by) in all.into_iter().take(count) {
        let settings = ClientSettings::new(server.port, host_key, Login::Key(user_key), &suite);
        let settings = ClientSettings { remote: Some(target.port), ..settings };
        let mut client = go.connect_with(settings, &[("remote_host", host.into())]).await?;
        let Some(Endpoint::Tcp(port)) = client.remote else { return Err(Failure::new("no port")) };
        let stream = TcpStream::connect((reached_by, port)).await?;
        exchange(Box::new(stream), 1, LENGTH, Ending::HalfClose)
            .await
            .map_err(|failure| client.process.explain(failure.while_doing(host)))?;
        cancel(&mut client).await?;
        let refused = TcpStream::connect((reached_by, port)).await;
        ensure(refused.is_err(), || format!("{host}: port {port} is listened on still"))?;
    }
    Ok(())
}

#[tokio::test]
async fn unix_sockets_of_ours_for_gos_client() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (adit, keys, target) = (Adit::find().await?, Keyring::generate().await?, Target::echo().await?);
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let folder = TempDir::new()?;
    let (echo, made) = (folder.path().join("echo"), folder.path().join("made"));
    echo_on(&echo)?;
    let suite = Suite::default();
    let server = ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None };
    let permit = format!("{}/*", folder.path().display());
    let arguments = ["--permit-open", &permit, "--permit-listen", &permit].map(OsStr::new);
    let server = adit.serve_with(server, &arguments).await?;

    let settings = ClientSettings::new(server.port, host_key, Login::Key(user_key), &suite);
    let settings = ClientSettings { remote: Some(target.port), ..settings };
    let more = [
        ("local_socket", echo.display().to_string().into()),
        ("remote_socket", made.display().to_string().into()),
    ];
    let mut client = go.connect_with(settings, &more).await?;
    let local = client.local.clone().ok_or_else(|| Failure::new("no local port"))?;
    for entry in [local, Endpoint::Unix(made.clone())] {
        let stream = entry.connect().await?;
        let passed = exchange(stream, 2, LENGTH, Ending::HalfClose).await;
        passed.map_err(|failure| client.process.explain(failure.while_doing(&format!("{entry:?}"))))?;
    }
    cancel(&mut client).await?;
    ensure(!made.exists(), || "the socket was left behind".to_owned())
}

fn echo_on(path: &Path) -> Outcome {
    let listener = UnixListener::bind(path)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    Ok(())
}

#[tokio::test]
async fn a_listener_of_gos_server_and_its_end() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (keys, target) = (Keyring::generate().await?, Target::echo().await?);
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let suite = Suite::default();
    let server = go.serve(ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None }).await?;
    let config = client::Config::builder(USER)
        .verify_host_key(AcceptAnyHostKey)
        .authenticate(Credential::password(PASSWORD))
        .build()?;
    let session = client::connect(connect(server.port).await?, config).await?;
    let forwarding = PortForwarding::builder(session.clone()).policy(ForwardPolicy::allow_all()).start();
    // One that it chooses and one that we do, at once.
    let wanted = reserve_port().await?;
    let mut forwards = Vec::new();
    for port in [0, wanted] {
        let forward = forwarding.remote("127.0.0.1", port, "127.0.0.1", target.port).await?;
        exchange(Box::new(connect(forward.port()).await?), 3, LENGTH, Ending::HalfClose).await?;
        forwards.push(forward);
    }
    ensure(forwards.last().is_some_and(|forward| forward.port() == wanted), || format!("{forwards:?}"))?;
    let (_held, taken) = listen().await?;
    let taken = forwarding.remote("127.0.0.1", taken, "127.0.0.1", target.port).await;
    let refused = matches!(taken, Err(ForwardError::RefusedByPeer { .. }));
    ensure(refused, || format!("a port that is taken: {taken:?}"))?;
    for forward in forwards {
        let port = forward.port();
        ensure(forward.cancel().await?, || format!("Go does not know of {port}"))?;
        ensure(connect(port).await.is_err(), || format!("port {port} is listened on still"))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_dynamic_forward_through_gos_server() -> Outcome {
    let Some(go) = Go::find().await? else { return Ok(()) };
    let (adit, keys, target) = (Adit::find().await?, Keyring::generate().await?, Target::echo().await?);
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let suite = Suite::default();
    let server = go.serve(ServerSettings { host_key, user_key, suite: &suite, rekey_bytes: None }).await?;

    let destination = format!("{USER}@127.0.0.1:{}", server.port);
    let mut command = adit.command(["forward", "--json", &destination, "-D", "127.0.0.1:0"]);
    command.args(["--host-key", &host_key.fingerprint]).arg("-i").arg(&user_key.path);
    let mut client = Process::spawn("adit forward", &mut command)?;
    let proxy = port(&event(&mut client, "forward").await?, "listen")?;
    event(&mut client, "ready").await?;
    for ask in [Ask::Socks5Address, Ask::Socks5Name] {
        let stream = ask.open(proxy, target.port).await?;
        exchange(Box::new(stream), 1, 100_000, Ending::HalfClose).await?;
    }
    // Nobody listens there: Go says CONNECT_FAILED, and the proxy that the connection was refused.
    let closed = reserve_port().await?;
    let refused = Ask::Socks5Address.open(proxy, closed).await;
    ensure(refused.is_err(), || "connected to a port on which nobody listens".to_owned())
}
