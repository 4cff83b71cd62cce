//! The examples of the README, line by line, as something that compiles.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "tests fail by panicking; the rest is only compiled"
)]

use securestream::client::{self, Credential, HostKeyVerifier, Reconnect};
use securestream::server::{self, Authenticator, DetachedSessions};
use securestream::ssh_core::keys::SigningKey;
use securestream::ssh_core::session::ReconnectOffer;
use securestream::{Error, OpenError, ReconnectFailure, SecureStream};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn a_client(
    socket: TcpStream,
    known_hosts: impl HostKeyVerifier + 'static,
    key: SigningKey,
) -> Outcome {
    let config = client::Config::builder("ada")
        .verify_host_key(known_hosts)
        .authenticate(Credential::key(key))
        .build()?;
    let mut stream = SecureStream::client(socket, config).await?;
    stream.write_all(b"hello").await?;
    Ok(())
}

async fn a_server(socket: TcpStream, users: impl Authenticator + 'static, host_key: SigningKey) -> Outcome {
    let config = server::Config::builder(users).host_key(host_key).build()?;
    let mut stream = SecureStream::server(socket, config).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn a_server_that_is_come_back_to(
    socket: TcpStream,
    users: impl Authenticator + 'static,
    host_key: SigningKey,
    sessions: &DetachedSessions,
) -> Outcome {
    let serve = drop::<SecureStream>;
    let config =
        server::Config::builder(users).host_key(host_key).detached_sessions(sessions.clone()).build()?;
    match SecureStream::server(socket, config).await {
        Err(Error::Reconnect(ReconnectFailure::HandedOver)) => {} // an older stream goes on over this socket
        stream => serve(stream?),
    }
    Ok(())
}

async fn a_client_that_comes_back(
    address: std::net::SocketAddr,
    known_hosts: impl HostKeyVerifier + 'static,
) -> Result<(), OpenError> {
    let builder = client::Config::builder("ada").verify_host_key(known_hosts);
    let policy = Reconnect::new(move |_attempt| async move { Ok(TcpStream::connect(address).await?) });
    let builder = builder.reconnect(policy);
    let builder = builder.offer_reconnect(ReconnectOffer::default());
    let socket = TcpStream::connect(address).await.map_err(Error::from)?;
    let stream = SecureStream::client(socket, builder.build()?).await?;
    let again = async {
        stream.reconnect(TcpStream::connect(address).await?).await?;
        Ok::<_, Error>(())
    };
    Ok(again.await?)
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
    assert!(seen > 12, "{seen} lines");
}
