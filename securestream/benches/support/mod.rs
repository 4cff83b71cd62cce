//! What the benchmarks share: pairs of streams in memory.

use std::sync::LazyLock;

use securestream::SecureStream;
use securestream::client::{self, Credential};
use securestream::server::{self, DetachedSessions};
use securestream::ssh_core::crypto::{CryptoProvider, default_provider};
use securestream::ssh_core::keys::{KeyKind, PrivateKey, SigningKey};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Whether both ends offer to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Reconnect,
}

static HOST_KEY: LazyLock<PrivateKey> =
    LazyLock::new(|| default_provider().signatures.generate(KeyKind::Ed25519, 0).unwrap());

/// A client's end and a server's in memory, by the default backend.
#[allow(dead_code, reason = "each benchmark takes what it needs")]
pub(crate) async fn connect(mode: Mode) -> (SecureStream, SecureStream) {
    let (near, far) = tokio::io::duplex(256 * 1024);
    connect_over(near, far, mode, default_provider()).await
}

/// A client's end and a server's.
pub(crate) async fn connect_over<S>(
    near: S,
    far: S,
    mode: Mode,
    provider: &'static CryptoProvider,
) -> (SecureStream, SecureStream)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let mut server = server::Config::builder(server::danger::AcceptEverybody)
        .host_key(SigningKey::new(&HOST_KEY, provider).unwrap())
        .provider(provider);
    let mut client = client::Config::builder("ada")
        .verify_host_key(client::danger::AcceptAnyHostKey)
        .authenticate(Credential::password("sesame"))
        .provider(provider);
    if mode == Mode::Reconnect {
        server = server.detached_sessions(DetachedSessions::default());
        client = client.offer_reconnect(Default::default());
    }
    let (near, far) = tokio::join!(
        SecureStream::client(near, client.build().unwrap()),
        SecureStream::server(far, server.build().unwrap()),
    );
    let pair = (near.unwrap(), far.unwrap());
    while mode == Mode::Reconnect && !pair.0.session().is_reconnect_enabled() {
        tokio::task::yield_now().await;
    }
    pair
}

/// Sends `bytes` to the server in writes of `size`.
pub(crate) async fn pump(pair: &mut (SecureStream, SecureStream), bytes: usize, size: usize) {
    let (near, far) = pair;
    let message = vec![7; size];
    let write = async {
        for _ in 0..bytes / size {
            near.write_all(&message).await.unwrap();
        }
    };
    let read = async {
        let mut buffer = vec![0; 256 * 1024];
        let mut left = bytes;
        while left > 0 {
            left -= far.read(&mut buffer).await.unwrap();
        }
    };
    tokio::join!(write, read);
}
