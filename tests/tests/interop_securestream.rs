//! Our `SecureStream` and the one of the Dev Tunnels SSH library, in both roles, over sockets that are lost.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _};
use securestream::client::{self, Credential, HostKeyVerifier};
use securestream::server::{self, DetachedSessions};
use securestream::ssh_core::crypto::default_provider;
use securestream::ssh_core::error::{AuthFailure, HostKeyError};
use securestream::ssh_core::keys::{HostKey, KeyPair, PublicKey, PublicLine, SigningKey};
use securestream::{DisconnectReason, Error, OpenError, ReconnectFailure, SecureStream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::keys::{KeyFile, KeyKind};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::peers::node::NodeScript;
use tests::peers::{PASSWORD, USER};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Past a window of 1 MiB, so that it has to be adjusted.
const LENGTH: usize = 3 * 1024 * 1024;
/// On its way when the socket is lost.
const IN_FLIGHT: usize = 300_000;
const ROUNDS: usize = 3;
/// What the script writes by itself whenever it loses the socket. No pattern has such a byte.
const NOTE: &str = "\u{7f}\u{7f}\u{7f}";

#[tokio::test]
async fn we_are_the_client() -> Outcome {
    let keys = Keys::new().await?;
    let Some(mut script) = keys.serving(false)? else { return Ok(()) };
    let socket = TcpStream::connect(("127.0.0.1", script.listening().await?)).await?;
    let mut stream = SecureStream::client(socket, keys.client(PASSWORD)?.build()?).await?;
    script.expect("ready").await?;
    echo(&mut stream, LENGTH).await?;
    // It has no other way to end its data.
    stream.write_all(b"end").await?;
    the_end(&mut stream).await?;
    script.expect("closed").await.map(drop)
}

#[tokio::test]
async fn we_are_the_server() -> Outcome {
    let keys = Keys::new().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let Some(mut script) = keys.connecting(&listener, json!({}))? else { return Ok(()) };
    let (socket, _) = listener.accept().await?;
    let mut stream = SecureStream::server(socket, keys.server()?.build()?).await?;
    script.expect("ready").await?;
    echo(&mut stream, LENGTH).await?;
    stream.write_all(b"close").await?;
    the_end(&mut stream).await?;
    // Its usual reason.
    match stream.closed().await {
        Error::Disconnected { reason: DisconnectReason::NONE, .. } => Ok(()),
        other => Err(Failure::new(format!("closed with {other:?}"))),
    }
}

#[tokio::test]
async fn what_we_wrote_comes_before_our_close() -> Outcome {
    let keys = Keys::new().await?;
    let Some(mut script) = keys.serving(false)? else { return Ok(()) };
    let socket = TcpStream::connect(("127.0.0.1", script.listening().await?)).await?;
    let mut stream = SecureStream::client(socket, keys.client(PASSWORD)?.build()?).await?;
    script.expect("ready").await?;
    stream.write_all(&pattern(IN_FLIGHT)).await?;
    stream.close();
    let closed = script.expect("closed").await?;
    ensure(closed["reason"] == 11 && closed["received"] == IN_FLIGHT, || format!("closed with {closed}"))
}

#[tokio::test]
async fn our_client_comes_back() -> Outcome {
    let keys = Keys::new().await?;
    let Some(mut script) = keys.serving(true)? else { return Ok(()) };
    let port = script.listening().await?;
    let (connection, mut cable) = breakable(TcpStream::connect(("127.0.0.1", port)).await?);
    let config = keys.client(PASSWORD)?.offer_reconnect(Default::default()).build()?;
    let mut stream = SecureStream::client(connection, config).await?;
    script.expect("ready").await?;
    enabled(&stream).await?;
    for round in 0..ROUNDS {
        echo(&mut stream, LENGTH / ROUNDS).await?;
        stream.write_all(&pattern(IN_FLIGHT)).await?;
        lose(&stream, &cable, round).await?;
        script.expect("disconnected").await?;
        stream.write_all(&pattern(IN_FLIGHT)).await?;
        let connection;
        (connection, cable) = breakable(TcpStream::connect(("127.0.0.1", port)).await?);
        let back = async { Ok(stream.reconnect(connection).await?) };
        within(STEP, "reconnecting", back).await.map_err(|failure| script.explain(failure))?;
        script.expect("reconnected").await?;
        notes_and_patterns(&mut stream).await.map_err(|failure| script.explain(failure))?;
    }
    ensure(stream.session().reconnections() as usize == ROUNDS, || "not as often".to_owned())?;
    stream.write_all(b"close").await?;
    the_end(&mut stream).await
}

#[tokio::test]
async fn their_client_comes_back() -> Outcome {
    let keys = Keys::new().await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let settings = json!({ "reconnect": true, "note": NOTE });
    let Some(mut script) = keys.connecting(&listener, settings)? else { return Ok(()) };
    let config = keys.server()?.detached_sessions(DetachedSessions::default()).build()?;
    let (connection, mut cable) = breakable(listener.accept().await?.0);
    let mut stream = SecureStream::server(connection, Arc::clone(&config)).await?;
    script.expect("ready").await?;
    enabled(&stream).await?;
    for round in 0..ROUNDS {
        echo(&mut stream, LENGTH / ROUNDS).await?;
        stream.write_all(&pattern(IN_FLIGHT)).await?;
        lose(&stream, &cable, round).await?;
        stream.write_all(&pattern(IN_FLIGHT)).await?;
        let connection;
        (connection, cable) = breakable(listener.accept().await?.0);
        match SecureStream::server(connection, Arc::clone(&config)).await {
            Err(Error::Reconnect(ReconnectFailure::HandedOver)) => {}
            other => return Err(script.explain(Failure::new(format!("it did not come back: {other:?}")))),
        }
        script.expect("reconnected").await?;
        notes_and_patterns(&mut stream).await.map_err(|failure| script.explain(failure))?;
    }
    stream.write_all(b"close").await?;
    the_end(&mut stream).await
}

#[tokio::test]
async fn each_side_refuses_whom_it_does_not_know() -> Outcome {
    let keys = Keys::new().await?;
    let Some(mut script) = keys.serving(false)? else { return Ok(()) };
    let port = script.listening().await?;
    // A wrong password.
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    match SecureStream::client(socket, keys.client("wrong")?.build()?).await {
        Err(OpenError::Session(Error::Auth(AuthFailure::Refused { .. }) | Error::Disconnected { .. })) => {}
        other => return Err(Failure::new(format!("not refused: {other:?}"))),
    }
    script.expect("refused").await?;
    // A host key that is not the one we know.
    let others = Keys::new().await?;
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    match SecureStream::client(socket, others.client(PASSWORD)?.build()?).await {
        Err(OpenError::Session(Error::HostKey(_))) => {}
        other => return Err(Failure::new(format!("not refused: {other:?}"))),
    }
    // And one that is not the one that they know.
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let settings = json!({ "expect_failure": true });
    let Some(mut script) = keys.connecting(&listener, settings)? else { return Ok(()) };
    let (socket, _) = listener.accept().await?;
    let not_verifiable = DisconnectReason::HOST_KEY_NOT_VERIFIABLE;
    match SecureStream::server(socket, others.server()?.build()?).await {
        Err(Error::Disconnected { reason, .. }) if reason == not_verifiable => {}
        other => return Err(script.explain(Failure::new(format!("not refused: {other:?}")))),
    }
    script.expect("refused").await.map(drop)
}

/// The host key, made by `ssh-keygen`.
struct Keys {
    _directory: TempDir,
    host: KeyFile,
    public: PublicKey,
}

impl Keys {
    async fn new() -> Outcome<Self> {
        let directory = TempDir::new()?;
        let host = KeyFile::generate(directory.path(), "host", KeyKind::Ecdsa(384)).await?;
        let public = PublicLine::parse(&std::fs::read(&host.public)?)?.key;
        Ok(Self { _directory: directory, host, public })
    }

    fn client(
        &self,
        password: &str,
    ) -> Outcome<client::ConfigBuilder<securestream::ssh_core::client::Ready>> {
        let builder = client::Config::builder(USER).verify_host_key(Pinned(self.public.clone()));
        Ok(builder.authenticate(Credential::password(password)))
    }

    fn server(&self) -> Outcome<server::ConfigBuilder> {
        let pair = KeyPair::parse(&std::fs::read(&self.host.path)?, None)?;
        let key = SigningKey::new(&pair.private, default_provider())?;
        Ok(server::Config::builder(server::danger::AcceptEverybody).host_key(key))
    }

    /// A script that accepts.
    fn serving(&self, reconnect: bool) -> Outcome<Option<NodeScript>> {
        let note = if reconnect { NOTE } else { "" };
        let settings = json!({
            "user": USER, "password": PASSWORD, "host_key": self.host.path, "reconnect": reconnect, "note": note,
        });
        NodeScript::start("securestream", &settings)
    }

    /// A script that connects, and knows this host key.
    fn connecting(&self, listener: &TcpListener, mut settings: Value) -> Outcome<Option<NodeScript>> {
        settings["port"] = json!(listener.local_addr()?.port());
        settings["user"] = json!(USER);
        settings["password"] = json!(PASSWORD);
        settings["server_key"] = json!(self.host.public);
        NodeScript::start("securestream", &settings)
    }
}

#[derive(Debug)]
struct Pinned(PublicKey);

impl HostKeyVerifier for Pinned {
    fn verify<'a>(&'a self, shown: &'a HostKey) -> BoxFuture<'a, Result<(), HostKeyError>> {
        let wrong = || HostKeyError { message: "another key".into(), key: shown.key.clone() };
        std::future::ready(if shown.key == self.0 { Ok(()) } else { Err(wrong()) }).boxed()
    }
}

/// `socket` behind a cable that can be pulled out.
fn breakable(mut socket: TcpStream) -> (DuplexStream, AbortHandle) {
    let (near, mut far) = tokio::io::duplex(16 * 1024);
    let cable = tokio::spawn(async move {
        // How it ends makes no difference.
        let _ = tokio::io::copy_bidirectional(&mut far, &mut socket).await;
    });
    (near, cable.abort_handle())
}

/// Pulls the cable out at another moment each round, and waits until we know.
async fn lose(stream: &SecureStream, cable: &AbortHandle, round: usize) -> Outcome {
    for _ in 0..round * 7 {
        tokio::task::yield_now().await;
    }
    cable.abort();
    until(|| stream.session().disconnected().is_some(), "noticing the loss").await
}

async fn enabled(stream: &SecureStream) -> Outcome {
    until(|| stream.session().is_reconnect_enabled(), "agreeing on reconnects").await
}

async fn until(what: impl Fn() -> bool, doing: &str) -> Outcome {
    within(STEP, doing, async {
        while !what() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        Ok(())
    })
    .await
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(128 + i % 101).unwrap_or_default()).collect()
}

async fn echo(stream: &mut SecureStream, length: usize) -> Outcome {
    let sent = pattern(length);
    let mut received = vec![0; length];
    let (mut reader, mut writer) = tokio::io::split(stream);
    let both = async {
        let (written, read) = tokio::join!(writer.write_all(&sent), reader.read_exact(&mut received));
        written?;
        read?;
        Ok(())
    };
    within(STEP, "the echo", both).await?;
    ensure(sent == received, || "the echo differs".to_owned())
}

/// What comes back after a loss: both patterns that were written around it, and somewhere between them a note.
async fn notes_and_patterns(stream: &mut SecureStream) -> Outcome {
    let mut received = vec![0; 2 * IN_FLIGHT + NOTE.len()];
    let read = async { Ok(stream.read_exact(&mut received).await?) };
    within(STEP, "the echo of what was written around the loss", read).await?;
    let notes = received.iter().filter(|byte| **byte == 0x7f).count();
    ensure(notes == NOTE.len(), || format!("{notes} bytes of notes"))?;
    received.retain(|byte| *byte != 0x7f);
    let (first, second) = received.split_at(IN_FLIGHT);
    ensure(first == pattern(IN_FLIGHT) && second == first, || "the echo differs".to_owned())
}

async fn the_end(stream: &mut SecureStream) -> Outcome {
    let read = async { Ok(stream.read(&mut [0; 16]).await?) };
    let n = within(STEP, "the end of data", read).await?;
    ensure(n == 0, || format!("{n} bytes more"))?;
    let closed = async { Ok(stream.closed().await) };
    within(STEP, "the close", closed).await.map(drop)
}
