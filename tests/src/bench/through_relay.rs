//! `adit relay`, `adit host` and `adit connect`.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use zeroize::Zeroizing;

use super::error::{Context, Result};
use super::events::Events;
use super::options::{RelayOptions, Version};
use super::process::Process;
use super::scratch::Scratch;
use super::through_forward;

/// A relay that runs.
pub(crate) struct Relay {
    pub(crate) process: Process,
    url: String,
    data: PathBuf,
}

impl Relay {
    /// Starts one with a data directory of its own.
    ///
    /// # Errors
    /// When it does not listen.
    pub(crate) fn start(options: &RelayOptions, scratch: &Scratch) -> Result<Self> {
        let data = scratch.path().join("relay");
        // That of the run before.
        let _ = fs::remove_dir_all(&data);
        let mut command = Command::new(through_forward::binary(&options.load)?);
        command.args(["relay", "--listen", "127.0.0.1:0", "--json", "--data-dir"]).arg(&data);
        // All clients have one address and one owner here.
        for limit in ["connections_per_address", "connections", "requests_per_minute", "clients_per_owner"] {
            command.arg("--limit").arg(format!("{limit}={}", u64::from(options.clients) + 20_000));
        }
        let mut process = Process::spawn("adit relay", &mut command, &scratch.path().join("adit-relay.log"))?;
        let listening = Events::of(&mut process).wait(&process, "listening")?;
        Ok(Self { url: text(&listening, "public_url"), process, data })
    }

    /// Starts a host of a tunnel for a port of this machine; with the line that leads there.
    ///
    /// # Errors
    /// When it does not get to the relay.
    pub(crate) fn host(
        &self,
        tunnel: &str,
        port: u16,
        options: &RelayOptions,
        scratch: &Scratch,
    ) -> Result<(Process, Zeroizing<String>)> {
        let mut command = Command::new(through_forward::binary(&options.load)?);
        command.args(["host", &port.to_string(), "--relay", &self.url, "--tunnel", tunnel, "--json"]);
        command.arg("--token-file").arg(self.data.join("admin-token"));
        command.arg("--host-key").arg(scratch.host_key()).args(["--protocol", options.protocol.name()]);
        if options.no_e2e && options.protocol == Version::V2 {
            command.arg("--no-e2e");
        }
        let mut host = Process::spawn("adit host", &mut command, &scratch.path().join("adit-host.log"))?;
        let ready = Events::of(&mut host).wait(&host, "ready")?;
        Ok((host, text(&ready, "link").into()))
    }
}

/// Starts all three; returns where the client listens, the client, the relay and the host.
///
/// # Errors
/// When one of them does not start.
pub(crate) fn start(
    target: SocketAddr,
    options: &RelayOptions,
    scratch: &Scratch,
) -> Result<(SocketAddr, Vec<Process>)> {
    let relay = Relay::start(options, scratch)?;
    let (host, link) = relay.host("bench", target.port(), options, scratch)?;
    let mut command = Command::new(through_forward::binary(&options.load)?);
    command.args(["connect", &link, "--json", "--protocol", options.protocol.name()]);
    if options.no_e2e && options.protocol == Version::V2 {
        command.arg("--no-e2e");
    }
    let mut client = Process::spawn("adit connect", &mut command, &scratch.path().join("adit-connect.log"))?;
    let ready = Events::of(&mut client).wait(&client, "ready")?;
    let local = ready.pointer("/ports/0/local").and_then(Value::as_str).unwrap_or_default();
    let entry = local.parse().context(format!("no port in {ready}"))?;
    Ok((entry, vec![client, relay.process, host]))
}

fn text(event: &Value, field: &str) -> String {
    event.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}
