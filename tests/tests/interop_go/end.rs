//! A session of ours with an end of Go's that is moved by commands, in both roles.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use ssh_core::client::danger::AcceptAnyHostKey;
use ssh_core::config::Limits;
use ssh_core::crypto::default_provider;
use ssh_core::keys::{KeyPair, SigningKey};
use ssh_core::server::danger::AcceptEverybody;
use ssh_core::{Session, client, server};
use tempfile::TempDir;
use tests::endpoint::{connect, listen};
use tests::keys::{KeyFile, KeyKind};
use tests::outcome::{Outcome, STEP, ensure, within};
use tests::peers::end::{End, hex};
use tests::peers::go::Go;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What both sides are told before a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// Ours.
    pub(crate) limits: Limits,
    /// Go asks for new keys after so many bytes.
    pub(crate) rekey_bytes: Option<u64>,
}

/// A session with a client and one with a server; none where Go is not installed.
pub(crate) async fn both_roles(terms: Terms) -> Outcome<Vec<(End, Session)>> {
    let Some(go) = Go::find().await? else { return Ok(Vec::new()) };
    let files = TempDir::new()?;
    let host_key = KeyFile::generate(files.path(), "host", KeyKind::Ecdsa(384)).await?;

    let key = KeyPair::read_file(&host_key.path, None)?;
    let config = server::Config::builder(AcceptEverybody)
        .host_key(SigningKey::new(&key.private, default_provider())?)
        .limits(terms.limits.clone())
        .build()?;
    let (listener, port) = listen().await?;
    let mut go_client = go.end_client(port, &host_key, terms.rekey_bytes)?;
    let (stream, _) = within(STEP, "Go's client", async { Ok(listener.accept().await?) }).await?;
    stream.set_nodelay(true)?;
    let with_client = server::accept(stream, config).await?;
    go_client.next("ready").await?;

    let mut go_server = go.end_server(&host_key, terms.rekey_bytes).await?;
    let config = client::Config::builder("adit").verify_host_key(AcceptAnyHostKey).limits(terms.limits);
    let with_server = client::connect(connect(go_server.port).await?, config.build()?).await?;
    go_server.next("ready").await?;
    Ok(vec![(go_client, with_client), (go_server, with_server)])
}

/// Whether what was read here is what an event of theirs says they wrote.
pub(crate) async fn check_read(
    reader: &mut (impl AsyncRead + Unpin),
    length: usize,
    end: &mut End,
) -> Outcome {
    let mut received = vec![0; length];
    reader.read_exact(&mut received).await?;
    end.expect("write", json!({ "length": length, "sha256": digest(&received) })).await.map(drop)
}

/// As Go writes a SHA-256.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// A string as SSH encodes it (RFC 4251 §5), in their hexadecimal digits.
pub(crate) fn string(text: &str) -> Outcome<String> {
    Ok(format!("{}{}", hex(&u32::try_from(text.len())?.to_be_bytes()), hex(text.as_bytes())))
}

/// Nothing was left unread.
pub(crate) async fn at_end(reader: &mut (impl AsyncRead + Unpin)) -> Outcome {
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await?;
    ensure(rest.is_empty(), || format!("{} bytes too many", rest.len()))
}
