//! The examples of the README, line by line, as something that runs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking, and print what the README does"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use ssh_core::client::{self, ConfigBuilder, Credential, KnownHost, Ready, Reconnect};
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyKind, KeyPair, KnownHosts, Overwrite, SigningKey};
use ssh_core::server::{self, danger::AcceptEverybody};
use ssh_core::services::port_forward::{ForwardPolicy, PortForwarding};
use ssh_core::{Error, Session};
use tokio::net::{TcpListener, TcpStream};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[rustfmt::skip]
async fn a_client(home: &Path, host: &str, port: u16, target: u16) -> Outcome<Error> {
    let known_hosts = KnownHosts::load([home.join(".ssh/known_hosts")])?;
    let key = KeyPair::read_file(home.join(".ssh/id_ed25519"), None)?;
    let key = SigningKey::new(&key.private, default_provider())?;
    let config = client::Config::builder("ada")
        .verify_host_key(KnownHost::new(known_hosts, host, port))
        .authenticate(Credential::key(key))
        .build()?;
    let socket = TcpStream::connect((host, port)).await?;
    socket.set_nodelay(true)?;
    let session = client::connect(socket, config).await?;

    let forwarding = PortForwarding::start(session, ForwardPolicy::deny_all());
    let local = forwarding.local(0, "127.0.0.1", target).await?;
    let remote = forwarding.remote("localhost", 0, "127.0.0.1", target).await?;
    let dynamic = forwarding.dynamic(0).await?;
    println!("{} {} {}", local.local_addr(), remote.port(), dynamic.local_addr());
    let ended = forwarding.closed().await;
    Ok(ended)
}

#[expect(dead_code, reason = "it is only compiled")]
async fn a_client_that_comes_back(
    builder: ConfigBuilder<Ready>,
    socket: TcpStream,
    address: SocketAddr,
) -> Outcome<()> {
    let policy = Reconnect::new(move |_attempt| async move { Ok(TcpStream::connect(address).await?) });
    let builder = builder.reconnect(policy);
    let session = client::connect(socket, builder.build()?).await?;
    let mut events = session.events();
    while let Some(event) = events.next().await {
        println!("{event:?}");
    }
    Ok(())
}

/// A server of which everything is known, and that ends the session when all forwards are there.
async fn serve(listener: TcpListener, host_key: SigningKey) -> Outcome<()> {
    let config = server::Config::builder(AcceptEverybody).host_key(host_key).build()?;
    let (socket, _) = listener.accept().await?;
    let session: Session = server::accept(socket, config).await?;
    let forwarding = PortForwarding::start(session, ForwardPolicy::allow_all());
    let mut ports = forwarding.watch_forwarded_ports();
    while ports.next().await.is_empty() {}
    tokio::time::sleep(Duration::from_secs(1)).await;
    forwarding.session().close();
    forwarding.closed().await;
    Ok(())
}

#[tokio::test]
async fn the_example_runs() {
    let (home, provider) = (tempfile::tempdir().unwrap(), default_provider());
    let folder = home.path().join(".ssh");
    std::fs::create_dir(&folder).unwrap();
    let key = KeyPair::generate(provider, KeyKind::Ed25519, 0).unwrap();
    key.write_file(folder.join("id_ed25519"), None, Overwrite::Refuse).unwrap();
    let host_key = KeyPair::generate(provider, KeyKind::Ed25519, 0).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let known_hosts = folder.join("known_hosts");
    KnownHosts::append(&known_hosts, "127.0.0.1", port, &host_key.public_key(), true).unwrap();
    let host_key = SigningKey::new(&host_key.private, provider).unwrap();

    let serving = tokio::spawn(serve(listener, host_key));
    let ended = a_client(home.path(), "127.0.0.1", port, 1).await.unwrap();
    assert!(matches!(ended, Error::Disconnected { .. }), "{ended}");
    serving.await.unwrap().unwrap();
}

#[test]
fn the_examples_are_what_is_compiled_here() {
    // How lines are broken, and comments set off, is the formatter's matter.
    let code = |text: &str| -> String {
        text.lines().flat_map(|line| line.split("//").next()).flat_map(str::split_whitespace).collect()
    };
    let here = code(include_str!("readme.rs"));
    let (mut in_example, mut seen) = (false, 0);
    for line in include_str!("../README.md").lines() {
        if line.starts_with("```") {
            in_example = line == "```rust";
        } else if in_example {
            assert!(here.contains(&code(line)), "{line}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} lines");
}
