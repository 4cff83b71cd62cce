//! `adit host` and `adit connect` as processes, each on a machine of its own.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::adit::{Adit, Exit, event, port, run_to_end, text};
use crate::endpoint::{Endpoint, reserve_port};
#[cfg(target_os = "linux")]
use crate::network::Station;
use crate::outcome::{Failure, Outcome, STEP, ensure};
use crate::process::Process;
use crate::relay::TestRelay;

/// For a lost link to be there again: delays between tries grow to 5 s.
pub const COMEBACK: Duration = Duration::from_secs(40);

/// A machine: a home of its own, and so a host key of its own.
pub struct Machine {
    /// The binary.
    pub adit: Adit,
    /// Its files.
    pub home: TempDir,
    /// Where it stands, if not where the tests run.
    #[cfg(target_os = "linux")]
    pub station: Option<Station>,
}

/// A running `adit host`.
pub struct Host {
    /// It.
    pub process: Process,
    /// What it is reached by.
    pub link: String,
    /// Its tunnel's id.
    pub tunnel: String,
}

/// A running `adit connect`.
pub struct Client {
    /// It.
    pub process: Process,
    /// The host's ports, with where each is listened on.
    pub ports: Vec<(u16, u16)>,
}

impl Machine {
    /// A new one.
    ///
    /// # Errors
    /// When there is no binary.
    pub async fn new() -> Outcome<Self> {
        Ok(Self {
            adit: Adit::find().await?,
            home: TempDir::new()?,
            #[cfg(target_os = "linux")]
            station: None,
        })
    }

    /// A new one at a station of a network.
    ///
    /// # Errors
    /// When there is no binary.
    #[cfg(target_os = "linux")]
    pub async fn at(station: Station) -> Outcome<Self> {
        Ok(Self { station: Some(station), ..Self::new().await? })
    }

    /// A command line on this machine.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.adit.command(arguments);
        command.env("XDG_DATA_HOME", self.home.path()).env_remove("ADIT_TOKEN").env_remove("ADIT_RELAY");
        #[cfg(target_os = "linux")]
        if let Some(station) = &self.station {
            return station.wrap(&command);
        }
        command
    }

    /// Makes `tunnel` one that had a port before, which nobody else takes while the host is away.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn keep_port_for(&self, tunnel: &str) -> Outcome {
        let folder = self.home.path().join("adit/tunnels").join(tunnel);
        std::fs::create_dir_all(&folder)?;
        Ok(std::fs::write(folder.join("port"), reserve_port().await?.to_string())?)
    }

    /// Starts a host, ready.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn host(&self, arguments: &[&str]) -> Outcome<Host> {
        let mut process = Process::spawn("adit host", self.command(&["host", "--json"]).args(arguments))?;
        let ready = event(&mut process, "ready").await?;
        let link = text(&ready, "link")?.to_owned();
        ensure(text(&ready, "management_uri").is_ok_and(|url| link.starts_with(url)), || ready.to_string())?;
        let tunnel = text(&ready, "tunnel")?.to_owned();
        Ok(Host { process, link, tunnel })
    }

    /// Starts a client, ready.
    ///
    /// # Errors
    /// When it does not get there.
    pub async fn connect(&self, arguments: &[&str]) -> Outcome<Client> {
        let mut process =
            Process::spawn("adit connect", self.command(&["connect", "--json"]).args(arguments))?;
        let ready = event(&mut process, "ready").await?;
        let ports = ready.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
        let ports = ports.iter().map(mapping).collect::<Outcome<_>>()?;
        Ok(Client { process, ports })
    }

    /// A client, to its end; with the error that it gives.
    ///
    /// # Errors
    /// When it gives none, or does not end.
    pub async fn refused(&self, arguments: &[&str]) -> Outcome<(Exit, String)> {
        let exit = run_to_end(self.command(&["connect", "--json"]).args(arguments), COMEBACK).await?;
        let error =
            exit.events.iter().find(|event| event.get("event").and_then(Value::as_str) == Some("error"));
        let message = error.and_then(|error| error.get("message")).and_then(Value::as_str);
        let message = message.ok_or_else(|| Failure::new(format!("no error: {exit:?}")))?.to_owned();
        Ok((exit, message))
    }
}

impl Client {
    /// Where a port of the host is listened on.
    ///
    /// # Errors
    /// When it is not.
    pub fn local_port(&self, remote: u16) -> Outcome<u16> {
        let found = self.ports.iter().find(|(port, _)| *port == remote);
        found.map(|(_, local)| *local).ok_or_else(|| Failure::new(format!("{remote} is not there")))
    }

    /// The same, as an endpoint.
    ///
    /// # Errors
    /// When it is not.
    pub fn local(&self, remote: u16) -> Outcome<Endpoint> {
        self.local_port(remote).map(Endpoint::Tcp)
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it does not end well.
    pub async fn stop(mut self) -> Outcome {
        self.process.signal(Signal::TERM)?;
        let code = self.process.exit(STEP).await?;
        ensure(code == Some(0), || format!("adit connect ended with {code:?}"))
    }
}

/// The host's port and the local one, of an event.
///
/// # Errors
/// When they are not there.
pub fn mapping(event: &Value) -> Outcome<(u16, u16)> {
    let remote = event.get("remote").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    Ok((remote.ok_or_else(|| Failure::new(event.to_string()))?, port(event, "local")?))
}

/// The arguments that lead to this relay, as its operator.
#[must_use]
pub fn on_relay(relay: &TestRelay) -> Vec<String> {
    let file: PathBuf = relay.token_file();
    vec!["--relay".into(), relay.url(), "--token-file".into(), file.display().to_string()]
}

/// Arguments, and more of them.
#[must_use]
pub fn with<'a>(first: &[&'a str], rest: &'a [String]) -> Vec<&'a str> {
    first.iter().copied().chain(rest.iter().map(String::as_str)).collect()
}
