//! A server that echoes or hands out its streams, and a network to it that can be cut.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use securestream::client::{self, Credential, HostKeyVerifier};
use securestream::server::{self, DetachedSessions};
use securestream::ssh_core::crypto::default_provider;
use securestream::ssh_core::error::HostKeyError;
use securestream::ssh_core::keys::{HostKey, KeyKind, PublicKey, SigningKey};
use securestream::{Error, ReconnectFailure, SecureStream};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub(crate) fn host_key() -> SigningKey {
    let provider = default_provider();
    SigningKey::new(&provider.signatures.generate(KeyKind::Ed25519, 0).unwrap(), provider).unwrap()
}

/// Takes one key and no other.
#[derive(Debug)]
pub(crate) struct Pinned(pub(crate) PublicKey);

impl HostKeyVerifier for Pinned {
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
        let wrong = || HostKeyError { message: "another key".into(), key: shown.key.clone() };
        std::future::ready(if shown.key == self.0 { Ok(()) } else { Err(wrong()) }).boxed()
    }
}

/// A server, and the connections to it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) config: Arc<server::Config>,
    pub(crate) key: PublicKey,
    pub(crate) sessions: DetachedSessions,
    pub(crate) resumed: Arc<AtomicUsize>,
    accepted: mpsc::UnboundedSender<SecureStream>,
    wire: Arc<Mutex<Option<AbortHandle>>>,
}

impl World {
    /// A server with a key of its own; the streams that it accepts.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<SecureStream>) {
        Self::sharing(DetachedSessions::default(), host_key())
    }

    pub(crate) fn sharing(
        sessions: DetachedSessions,
        key: SigningKey,
    ) -> (Self, mpsc::UnboundedReceiver<SecureStream>) {
        let (accepted, streams) = mpsc::unbounded_channel();
        let public = key.public_key().clone();
        let config = server::Config::builder(server::danger::AcceptEverybody)
            .host_key(key)
            .detached_sessions(sessions.clone())
            .build()
            .unwrap();
        let (resumed, wire) = Default::default();
        (Self { config, key: public, sessions, resumed, accepted, wire }, streams)
    }

    /// A new connection, which is the one that [`cut`](Self::cut) cuts.
    pub(crate) fn dial(&self) -> DuplexStream {
        let (near, mut left) = tokio::io::duplex(20_000);
        let (mut right, far) = tokio::io::duplex(20_000);
        let wire = tokio::spawn(async move {
            let _ = tokio::io::copy_bidirectional(&mut left, &mut right).await;
        });
        *self.wire.lock() = Some(wire.abort_handle());
        let world = self.clone();
        tokio::spawn(async move {
            match SecureStream::server(far, Arc::clone(&world.config)).await {
                Ok(stream) => world.accepted.send(stream).map_err(drop).unwrap(),
                Err(Error::Reconnect(ReconnectFailure::HandedOver)) => {
                    world.resumed.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {}
            }
        });
        near
    }

    pub(crate) fn cut(&self) {
        if let Some(wire) = self.wire.lock().take() {
            wire.abort();
        }
    }

    pub(crate) fn builder(&self) -> client::ConfigBuilder<securestream::ssh_core::client::Ready> {
        client::Config::builder("ada")
            .verify_host_key(Pinned(self.key.clone()))
            .authenticate(Credential::password("sesame"))
    }

    /// A client that brings its own streams.
    pub(crate) async fn connect(&self) -> SecureStream {
        let config = self.builder().offer_reconnect(Default::default()).build().unwrap();
        let stream = SecureStream::client(self.dial(), config).await.unwrap();
        until(|| stream.session().is_reconnect_enabled()).await;
        stream
    }
}

/// Both ends over whatever streams these are.
pub(crate) async fn pair_over<S>(near: S, far: S) -> (SecureStream, SecureStream)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let key = host_key();
    let client = client::Config::builder("ada")
        .verify_host_key(Pinned(key.public_key().clone()))
        .authenticate(Credential::password("sesame"))
        .build()
        .unwrap();
    let server = server::Config::builder(server::danger::AcceptEverybody).host_key(key).build().unwrap();
    let (near, far) = tokio::join!(SecureStream::client(near, client), SecureStream::server(far, server));
    (near.unwrap(), far.unwrap())
}

pub(crate) async fn pair() -> (SecureStream, SecureStream) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    pair_over(near, far).await
}

pub(crate) async fn until(what: impl Fn() -> bool) {
    in_time(async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("it took more than a minute")
}

/// Writes `len` bytes in odd pieces and shuts down; their hash, and the half, which would close the stream.
pub(crate) async fn send<W>(mut writer: W, seed: u32, len: usize) -> (Vec<u8>, W)
where
    W: AsyncWrite + Unpin,
{
    let mut hash = Sha256::new();
    let (mut left, mut state) = (len, seed);
    let mut block = vec![0; 10_007];
    while left > 0 {
        for byte in &mut block {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (state >> 24) as u8;
        }
        let part = &block[..block.len().min(left)];
        writer.write_all(part).await.unwrap();
        hash.update(part);
        left -= part.len();
    }
    writer.shutdown().await.unwrap();
    (hash.finalize().to_vec(), writer)
}

/// Reads to the end; the hash and the length.
pub(crate) async fn receive<R>(mut reader: R) -> (Vec<u8>, usize, R)
where
    R: AsyncRead + Unpin,
{
    let mut hash = Sha256::new();
    let mut length = 0;
    let mut block = vec![0; 30_000];
    loop {
        match reader.read(&mut block).await.unwrap() {
            0 => return (hash.finalize().to_vec(), length, reader),
            n => {
                hash.update(&block[..n]);
                length += n;
            }
        }
    }
}

/// Both ways at once, to the end of both; everything has to arrive.
pub(crate) async fn exchange(near: SecureStream, far: SecureStream, len: usize) {
    let (near_reader, near_writer) = tokio::io::split(near);
    let (far_reader, far_writer) = tokio::io::split(far);
    let (out, back, arrived, returned) = tokio::join!(
        tokio::spawn(send(near_writer, 1, len)),
        tokio::spawn(send(far_writer, 2, len)),
        tokio::spawn(receive(far_reader)),
        tokio::spawn(receive(near_reader)),
    );
    let (out, back) = (out.unwrap(), back.unwrap());
    let (arrived, returned) = (arrived.unwrap(), returned.unwrap());
    assert_eq!((arrived.1, returned.1), (len, len));
    assert_eq!((out.0, back.0), (arrived.0, returned.0));
}
