//! A server, a client and a tunnel between them, in one process.
//!
//! ```text
//! cargo run -p ssh-core --example tunnel
//! ```

use std::net::Ipv4Addr;

use ssh_core::client::{self, Credential, HostKeyVerifier};
use ssh_core::crypto::default_provider;
use ssh_core::error::HostKeyError;
use ssh_core::keys::{HostKey, KeyKind, PublicKey, SigningKey};
use ssh_core::server::{
    self, AuthAttempt, AuthDecision, AuthMethod, AuthOffer, AuthStart, Authenticator, Method, Principal,
    RejectReason,
};
use ssh_core::services::port_forward::{ForwardPolicy, PortForwarding};

use futures::future::{BoxFuture, FutureExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Lets in whoever knows the password.
#[derive(Debug)]
struct OnePassword;

impl Authenticator for OnePassword {
    fn begin<'a>(&'a self, _start: AuthStart<'a>) -> BoxFuture<'a, AuthOffer> {
        AuthOffer::ready([Method::Password])
    }

    fn authenticate<'a>(&'a self, attempt: AuthAttempt<'a>) -> BoxFuture<'a, AuthDecision> {
        let right = attempt.user == "ada" && matches!(attempt.method, AuthMethod::Password("open sesame"));
        let decision = if right {
            AuthDecision::Accept(Principal::new("ada"))
        } else {
            AuthDecision::Reject(RejectReason::InvalidPassword)
        };
        std::future::ready(decision).boxed()
    }
}

/// Trusts one key.
#[derive(Debug)]
struct Pinned(PublicKey);

impl HostKeyVerifier for Pinned {
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
        let key = &shown.key;
        let right = *key == self.0;
        let refusal = || HostKeyError { message: "this is another server".into(), key: key.clone() };
        std::future::ready(right.then_some(()).ok_or_else(refusal)).boxed()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A service that only the server can reach: it says hello.
    let hello = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let hello_port = hello.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = hello.accept().await {
            let _ = socket.write_all(b"hello through the tunnel\n").await;
        }
    });

    // The server.
    let provider = default_provider();
    let host_key = SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0)?, provider)?;
    let pinned = Pinned(host_key.public_key().clone());
    let server_config = server::Config::builder(OnePassword).host_key(host_key).build()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let session = server::accept(stream, server_config).await.map_err(std::io::Error::other)?;
        let permit = format!("127.0.0.1:{hello_port}").parse().map_err(std::io::Error::other)?;
        let policy = ForwardPolicy::deny_all().permit_open(permit);
        PortForwarding::start(session, policy).closed().await;
        Ok::<_, std::io::Error>(())
    });

    // The client, with a local forward to the service.
    let client_config = client::Config::builder("ada")
        .verify_host_key(pinned)
        .authenticate(Credential::password("open sesame"))
        .build()?;
    let session = client::connect(TcpStream::connect(address).await?, client_config).await?;
    if let Some(algorithms) = &session.info().algorithms {
        println!("connected with {}", algorithms.kex.name());
    }
    let forwarding = PortForwarding::start(session, ForwardPolicy::deny_all());
    let local = forwarding.local(0, "127.0.0.1", hello_port).await?;

    let mut said = String::new();
    TcpStream::connect(local.local_addr()).await?.read_to_string(&mut said).await?;
    print!("{said}");
    Ok(())
}
