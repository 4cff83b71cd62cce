//! An end that is moved by commands, and a session of ours with it.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use ssh_core::client::danger::AcceptAnyHostKey;
use ssh_core::crypto::default_provider;
use ssh_core::keys::{Curve, KeyKind, PrivateKey, SigningKey};
use ssh_core::server::danger::AcceptEverybody;
use ssh_core::{Error, Session, client, server};
use tests::outcome::{Failure, Outcome, ensure};
use tests::peers::node::NodeScript;
use tokio::net::{TcpListener, TcpStream};

/// Their end. What it tells is kept until somebody asks for it.
pub(crate) struct End {
    script: NodeScript,
    kept: VecDeque<Value>,
    /// Where a server listens.
    pub(crate) port: u16,
}

impl End {
    /// A client that comes to `port`; `None` where the library is not installed.
    pub(crate) fn client(port: u16, mut settings: Value) -> Outcome<Option<Self>> {
        settings["role"] = json!("client");
        settings["port"] = json!(port);
        Self::start(&settings)
    }

    /// A server.
    pub(crate) async fn server(mut settings: Value) -> Outcome<Option<Self>> {
        settings["role"] = json!("server");
        let Some(mut end) = Self::start(&settings)? else { return Ok(None) };
        let port = end.next("listening").await?["port"].as_u64();
        end.port = u16::try_from(port.unwrap_or_default())?;
        Ok(Some(end))
    }

    fn start(settings: &Value) -> Outcome<Option<Self>> {
        let script = NodeScript::start("end", settings)?;
        Ok(script.map(|script| Self { script, kept: VecDeque::new(), port: 0 }))
    }

    /// The first event of this name that nobody has taken; others stay.
    pub(crate) async fn next(&mut self, name: &str) -> Outcome<Value> {
        let is_it = |event: &Value| event["event"] == name;
        if let Some(place) = self.kept.iter().position(is_it) {
            return self.kept.remove(place).ok_or_else(|| Failure::new("it was there"));
        }
        loop {
            let event = self.script.next_event().await?;
            let event =
                event.ok_or_else(|| self.script.explain(Failure::new(format!("it ended before {name}"))))?;
            if is_it(&event) {
                return Ok(event);
            }
            if event["event"] == "failed" {
                return Err(self.script.explain(Failure::new(format!("before {name}: {event}"))));
            }
            self.kept.push_back(event);
        }
    }

    /// [`next`](Self::next), with these members.
    pub(crate) async fn expect(&mut self, name: &str, members: Value) -> Outcome<Value> {
        let event = self.next(name).await?;
        let wanted = members.as_object().ok_or_else(|| Failure::new("members are an object"))?;
        let differs = wanted.iter().find(|(name, value)| event[name.as_str()] != **value);
        ensure(differs.is_none(), || format!("{event} where {members} was to be"))?;
        Ok(event)
    }

    /// Forgets the events of this name that came so far.
    pub(crate) fn forget(&mut self, name: &str) {
        self.kept.retain(|event| event["event"] != name);
    }

    /// Gives a command; what it does is told later.
    pub(crate) async fn tell(&mut self, what: &str, mut members: Value) -> Outcome {
        members["do"] = json!(what);
        self.script.tell(&members).await
    }

    /// Gives a command and waits until it is done.
    pub(crate) async fn ask(&mut self, what: &str, members: Value) -> Outcome<Value> {
        self.tell(what, members).await?;
        self.next(what).await
    }
}

/// As it is in their messages.
pub(crate) fn hex(text: &[u8]) -> String {
    text.iter().map(|byte| format!("{byte:02x}")).collect()
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
    let Some(mut end) = End::client(listener.local_addr()?.port(), settings)? else { return Ok(None) };
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
    let Some(mut end) = End::server(settings).await? else { return Ok(None) };
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
