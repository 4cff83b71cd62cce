//! An end that is moved by commands, and a session of ours with it.

use std::sync::Arc;

use serde_json::{Value, json};
use ssh_core::client::danger::AcceptAnyHostKey;
use ssh_core::crypto::default_provider;
use ssh_core::keys::{Curve, KeyKind, PrivateKey, SigningKey};
use ssh_core::server::danger::AcceptEverybody;
use ssh_core::{Error, Session, client, server};
use tests::outcome::Outcome;
use tests::peers::node;
use tokio::net::{TcpListener, TcpStream};

pub(crate) use tests::peers::end::{End, hex};

/// Their client, which comes to `port`; `None` where the library is not installed.
pub(crate) fn end_client(port: u16, mut settings: Value) -> Outcome<Option<End>> {
    settings["role"] = json!("client");
    settings["port"] = json!(port);
    Ok(node::spawn("end", &settings)?.map(End::client))
}

/// Their server.
pub(crate) async fn end_server(mut settings: Value) -> Outcome<Option<End>> {
    settings["role"] = json!("server");
    match node::spawn("end", &settings)? {
        Some(process) => End::server(process).await.map(Some),
        None => Ok(None),
    }
}

/// A server of ours that lets everybody in.
pub(crate) fn server_config() -> Outcome<server::ConfigBuilder> {
    Ok(server_config_with(&host_key()?)?)
}

/// The same with this host key.
pub(crate) fn server_config_with(key: &PrivateKey) -> Result<server::ConfigBuilder, Error> {
    Ok(server::Config::builder(AcceptEverybody).host_key(SigningKey::new(key, default_provider())?))
}

/// A host key that they can check.
pub(crate) fn host_key() -> Outcome<PrivateKey> {
    Ok(default_provider().signatures.generate(KeyKind::Ecdsa(Curve::P384), 0)?)
}

/// A client of ours that goes to anybody.
pub(crate) fn client_config() -> client::ConfigBuilder<client::Ready> {
    client::Config::builder("adit").verify_host_key(AcceptAnyHostKey)
}

/// A session with their client.
pub(crate) async fn their_client(
    settings: Value,
    config: server::ConfigBuilder,
) -> Outcome<Option<(End, Session)>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let Some(mut end) = end_client(listener.local_addr()?.port(), settings)? else { return Ok(None) };
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    let session = server::accept(stream, config.build()?).await?;
    end.expect("ready", json!({ "accepted": true })).await?;
    Ok(Some((end, session)))
}

/// A session with their server.
pub(crate) async fn their_server(
    settings: Value,
    config: client::ConfigBuilder<client::Ready>,
) -> Outcome<Option<(End, Session)>> {
    let Some(mut end) = end_server(settings).await? else { return Ok(None) };
    let session = dial(end.port, config.build()?).await?;
    end.expect("ready", json!({ "accepted": true })).await?;
    Ok(Some((end, session)))
}

pub(crate) async fn dial(port: u16, config: Arc<client::Config>) -> Outcome<Session> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    Ok(client::connect(stream, config).await?)
}

/// A session in each role.
pub(crate) async fn both_roles(settings: Value) -> Outcome<Vec<(End, Session)>> {
    let with_client = their_client(settings.clone(), server_config()?).await?;
    let with_server = their_server(settings, client_config()).await?;
    Ok(with_client.into_iter().chain(with_server).collect())
}
