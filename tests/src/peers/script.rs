//! What the peers that run as scripts or as programs of ours share, and a look at a server's first packet.

use std::path::Path;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::{ClientSettings, Host, Login, PASSWORD, RunningClient, RunningServer, ServerSettings, USER};
use crate::adit::without_proxies;
use crate::algorithms::{Algorithms, Suite};
use crate::endpoint::{Endpoint, connect};
use crate::keys::{KeyFile, output};
use crate::outcome::{Failure, Outcome, STEP, within};
use crate::process::Process;

/// A peer of which each role is a command: `algorithms`, `server`, `client` and what else it has.
pub(super) struct Scripts<'a> {
    pub(super) name: &'static str,
    pub(super) program: Program<'a>,
}

/// How a role is run.
#[derive(Clone, Copy)]
pub(super) enum Program<'a> {
    /// By a script of its own in a folder.
    Scripts { interpreter: &'a Path, folder: &'a Path, extension: &'static str },
    /// By a program that has all of them and is told which.
    Roles(&'a Path),
}

impl Scripts<'_> {
    pub(super) async fn algorithms(&self) -> Outcome<Algorithms> {
        let printed = output(&mut self.command("algorithms", &json!({}))).await?;
        let said: Value = serde_json::from_str(printed.trim())?;
        let list = |name: &str| {
            let entries = said.get(name).and_then(Value::as_array).into_iter().flatten();
            entries.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Ok(Algorithms {
            kex: list("kex"),
            host_keys: list("host_key_algorithms"),
            ciphers: list("ciphers"),
            macs: list("macs"),
            strict_kex: false,
            plain_cbc: false,
        })
    }

    pub(super) async fn serve(&self, settings: ServerSettings<'_>) -> Outcome<RunningServer> {
        self.serve_with(settings, &[]).await
    }

    /// As [`serve`](Self::serve), with these settings more.
    pub(super) async fn serve_with(
        &self,
        settings: ServerSettings<'_>,
        more: &[(&str, Value)],
    ) -> Outcome<RunningServer> {
        let mut told = common(settings.suite, settings.rekey_bytes);
        told.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        told.insert("host_key".into(), json!(settings.host_key.path));
        told.insert("authorized_key".into(), json!(settings.user_key.public));
        told.insert("password".into(), json!(PASSWORD));
        let mut process = Process::spawn(self.name, &mut self.command("server", &Value::Object(told)))?;
        let event = expect(&mut process, "listening").await?;
        let port = port(&event, "port").ok_or_else(|| Failure::new("the server named no port"))?;
        Ok(RunningServer { port, host: Host::Process(Box::new(process)), files: None })
    }

    pub(super) async fn serve_logins(
        &self,
        host_key: &KeyFile,
        client_host_key: &KeyFile,
        first_key: Option<&KeyFile>,
    ) -> Outcome<RunningServer> {
        let mut told = common(&Suite::default(), None);
        told.insert("host_key".into(), json!(host_key.path));
        told.insert("client_host_key".into(), json!(client_host_key.public));
        told.insert("first_key".into(), json!(first_key.map(|key| &key.public)));
        self.serve_by("login_server", told).await
    }

    pub(super) async fn serve_steps(
        &self,
        host_key: &KeyFile,
        keys: &[(&str, &KeyFile)],
    ) -> Outcome<RunningServer> {
        let mut told = common(&Suite::default(), None);
        told.insert("host_key".into(), json!(host_key.path));
        let keys = keys.iter().map(|(step, key)| ((*step).to_owned(), json!(key.public)));
        told.insert("keys".into(), Value::Object(keys.collect()));
        self.serve_by("steps_server", told).await
    }

    async fn serve_by(&self, script: &str, mut told: Map<String, Value>) -> Outcome<RunningServer> {
        told.insert("password".into(), json!(PASSWORD));
        let mut process = Process::spawn(self.name, &mut self.command(script, &Value::Object(told)))?;
        let event = expect(&mut process, "listening").await?;
        let port = port(&event, "port").ok_or_else(|| Failure::new("the server named no port"))?;
        Ok(RunningServer { port, host: Host::Process(Box::new(process)), files: None })
    }

    pub(super) async fn connect(&self, settings: ClientSettings<'_>) -> Outcome<RunningClient> {
        self.connect_with(settings, &[]).await
    }

    /// As [`connect`](Self::connect), with these settings more.
    pub(super) async fn connect_with(
        &self,
        settings: ClientSettings<'_>,
        more: &[(&str, Value)],
    ) -> Outcome<RunningClient> {
        let mut told = common(settings.suite, settings.rekey_bytes);
        told.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        told.insert("port".into(), json!(settings.port));
        told.insert("server_key".into(), json!(settings.host_key.public));
        match settings.login {
            Login::Key(key) => told.insert("client_key".into(), json!(key.path)),
            Login::Password => told.insert("password".into(), json!(PASSWORD)),
        };
        told.insert("local".into(), json!(settings.local));
        told.insert("remote".into(), json!(settings.remote));
        let mut process = Process::spawn(self.name, &mut self.command("client", &Value::Object(told)))?;
        let event = expect(&mut process, "ready").await?;
        let endpoint = |name| port(&event, name).map(Endpoint::Tcp);
        Ok(RunningClient {
            process,
            local: endpoint("local_port"),
            remote: endpoint("remote_port"),
            files: None,
        })
    }

    pub(super) fn command(&self, role: &str, settings: &Value) -> Command {
        let mut command = match self.program {
            Program::Scripts { interpreter, folder, extension } => {
                let mut command = Command::new(interpreter);
                command.arg(folder.join(format!("{role}.{extension}")));
                command
            }
            Program::Roles(binary) => {
                let mut command = Command::new(binary);
                command.arg(role);
                command
            }
        };
        command.arg(settings.to_string());
        command.env_remove("SSH_AUTH_SOCK").env("PYTHONDONTWRITEBYTECODE", "1");
        without_proxies(&mut command);
        command
    }
}

/// What the server on `port` offers in its KEXINIT: key exchanges, host key algorithms, ciphers and MACs.
///
/// # Errors
/// When it sends none that can be read.
pub(super) async fn offered_lists(port: u16) -> Outcome<[Vec<String>; 4]> {
    /// More than any KEXINIT of these peers.
    const LONGEST: u32 = 35_000;
    /// The packet's padding length, its type, and the cookie.
    const BEFORE_LISTS: usize = 1 + 1 + 16;

    let packet = within(STEP, "reading a server's KEXINIT", async {
        let mut stream = connect(port).await?;
        stream.write_all(b"SSH-2.0-probe\r\n").await?;
        while stream.read_u8().await? != b'\n' {}
        let length = stream.read_u32().await?;
        let mut packet = Vec::new();
        stream.take(length.min(LONGEST).into()).read_to_end(&mut packet).await?;
        Ok(packet)
    })
    .await?;
    let mut rest = packet.get(BEFORE_LISTS..).unwrap_or_default();
    let mut list = || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (names, after) = after.split_at_checked(length)?;
        rest = after;
        Some(String::from_utf8_lossy(names).split(',').map(str::to_owned).collect())
    };
    let lists = (list(), list(), list(), list(), list());
    match lists {
        (Some(kex), Some(host_keys), Some(ciphers), Some(_), Some(macs)) => {
            Ok([kex, host_keys, ciphers, macs])
        }
        _ => Err(Failure::new("the server's KEXINIT is cut short")),
    }
}

/// The mark of a server that keeps to strict key exchange.
pub(super) const STRICT_KEX: &str = "kex-strict-s-v00@openssh.com";

fn common(suite: &Suite, rekey_bytes: Option<u64>) -> Map<String, Value> {
    let settings = json!({
        "user": USER,
        "kex": suite.kex,
        "ciphers": suite.cipher,
        "macs": suite.mac,
        // One script wants a list of one, the other a name.
        "host_key_algorithms": suite.host_key,
        "host_key_algorithm": suite.host_key,
        "rekey_bytes": rekey_bytes,
    });
    match settings {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

async fn expect(process: &mut Process, name: &str) -> Outcome<Value> {
    while let Some(line) = process.next_line(STEP).await? {
        // Libraries say things of their own on stdout.
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        let found = event.get("event").and_then(Value::as_str);
        if found == Some(name) {
            return Ok(event);
        }
        if found == Some("error") {
            return Err(process.explain(Failure::new(line)));
        }
    }
    Err(process.explain(Failure::new(format!("it ended before it said {name}"))))
}

fn port(event: &Value, name: &str) -> Option<u16> {
    event.get(name).and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok())
}
