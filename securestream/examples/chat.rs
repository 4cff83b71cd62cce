//! A conversation that outlives its TCP connection: `cargo run -p securestream --example chat`.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _};
use securestream::client::{self, Credential, HostKeyVerifier};
use securestream::server::{self, DetachedSessions};
use securestream::ssh_core::crypto::default_provider;
use securestream::ssh_core::error::HostKeyError;
use securestream::ssh_core::keys::{HostKey, KeyKind, PublicKey, SigningKey};
use securestream::ssh_core::session::ReconnectOffer;
use securestream::{Error, ReconnectFailure, SecureStream, StreamEvent};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

#[tokio::main]
async fn main() -> Result<()> {
    let provider = default_provider();
    let host_key = SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0)?, provider)?;
    let pinned = Pinned(host_key.public_key().clone());

    // The server. A real one has an authenticator that looks at what it is shown.
    let config = server::Config::builder(server::danger::AcceptEverybody)
        .host_key(host_key)
        .detached_sessions(DetachedSessions::default())
        .build()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(serve(listener, config));

    // The client, over a connection that can be broken.
    let config = client::Config::builder("ada")
        .verify_host_key(pinned)
        .authenticate(Credential::password("open sesame"))
        .offer_reconnect(ReconnectOffer::default())
        .build()?;
    let (connection, cable) = breakable(TcpStream::connect(address).await?);
    let stream = SecureStream::client(connection, config).await?;
    let session = stream.session().clone();
    let mut events = stream.events();
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();

    writer.write_all(b"hello\n").await?;
    println!("{}", lines.next_line().await?.unwrap_or_default());

    cable.abort();
    while let Some(event) = events.next().await {
        match event {
            StreamEvent::Disconnected(cause) => {
                println!("(the connection is gone: {cause})");
                writer.write_all(b"are you still there?\n").await?;
                session.reconnect(TcpStream::connect(address).await?).await?;
            }
            StreamEvent::Reconnected => break,
            _ => {}
        }
    }
    println!("(there is another)");
    println!("{}", lines.next_line().await?.unwrap_or_default());
    Ok(())
}

async fn serve(listener: TcpListener, config: Arc<server::Config>) {
    while let Ok((socket, _)) = listener.accept().await {
        let config = Arc::clone(&config);
        tokio::spawn(async move {
            match SecureStream::server(socket, config).await {
                Ok(stream) => shout(stream).await,
                // An older stream goes on over this socket, in its own task.
                Err(Error::Reconnect(ReconnectFailure::HandedOver)) => {}
                Err(error) => eprintln!("{error}"),
            }
        });
    }
}

async fn shout(stream: SecureStream) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if writer.write_all(format!("{}\n", line.to_uppercase()).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The server's key, known from elsewhere.
#[derive(Debug)]
struct Pinned(PublicKey);

impl HostKeyVerifier for Pinned {
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, std::result::Result<(), HostKeyError>> {
        let verified = if shown.key == self.0 {
            Ok(())
        } else {
            Err(HostKeyError { message: "it is another server".into(), key: shown.key.clone() })
        };
        std::future::ready(verified).boxed()
    }
}

/// `socket` behind a cable that can be pulled out.
fn breakable(mut socket: TcpStream) -> (DuplexStream, AbortHandle) {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let cable = tokio::spawn(async move {
        // How it ends makes no difference.
        let _ = tokio::io::copy_bidirectional(&mut far, &mut socket).await;
    });
    (near, cable.abort_handle())
}
