//! The Dev Tunnels SSH library for Node, by the scripts in `tests/peers/node`.

use std::path::PathBuf;

use serde_json::Value;

use super::script::{Program, Scripts};
use super::{ClientSettings, Peer, RunningClient, RunningServer, ServerSettings, workspace};
use crate::algorithms::Algorithms;
use crate::keys::output;
use crate::outcome::Outcome;
use crate::process::Process;

/// The library, with the Node that runs it.
pub struct DevTunnels {
    node: PathBuf,
    folder: PathBuf,
    algorithms: Algorithms,
}

impl DevTunnels {
    /// Finds it and asks it what it has.
    ///
    /// # Errors
    /// When it is missing where it must not be, or does not answer.
    pub async fn find() -> Outcome<Option<Self>> {
        let folder = workspace().join("tests/peers/node");
        let Some(node) = super::program("node") else {
            return super::skip("Dev Tunnels SSH", "node is not installed");
        };
        let installed = |name: &str| folder.join("node_modules/@microsoft").join(name).is_dir();
        let wanted =
            ["dev-tunnels-ssh", "dev-tunnels-ssh-keys", "dev-tunnels-connections", "dev-tunnels-management"];
        if !wanted.into_iter().all(installed) {
            return super::skip(
                "Dev Tunnels SSH",
                "its packages are missing (tests/peers/setup installs them)",
            );
        }
        let mut found = Self { node, folder, algorithms: Algorithms::default() };
        found.algorithms = Algorithms { plain_cbc: true, ..found.scripts().algorithms().await? };
        Ok(Some(found))
    }

    /// What its key library makes of keys; see `keys.js`.
    ///
    /// # Errors
    /// When the script fails.
    pub async fn keys(&self, settings: &Value) -> Outcome<Value> {
        let printed = output(&mut self.scripts().command("keys", settings)).await?;
        Ok(serde_json::from_str(printed.trim())?)
    }

    /// As [`serve`](Peer::serve), with sessions that can be resumed.
    ///
    /// # Errors
    /// As for [`serve`](Peer::serve).
    pub async fn serve_with_reconnect(&self, settings: ServerSettings<'_>) -> Outcome<RunningServer> {
        self.scripts().serve_with(settings, &[("reconnect", Value::Bool(true))]).await
    }

    /// As [`connect`](Peer::connect); it comes back by itself.
    ///
    /// # Errors
    /// As for [`connect`](Peer::connect).
    pub async fn connect_with_reconnect(&self, settings: ClientSettings<'_>) -> Outcome<RunningClient> {
        self.scripts().connect_with(settings, &[("reconnect", Value::Bool(true))]).await
    }

    /// Starts a host or a client of the SDK, by `relay.js`. `version` is that of the relay protocol, if not both.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn relay(&self, settings: &Value, version: Option<u8>) -> Outcome<Process> {
        let mut command = self.scripts().command("relay", settings);
        match version {
            Some(version) => command.env("DEVTUNNELS_PROTOCOL_VERSION", version.to_string()),
            None => command.env_remove("DEVTUNNELS_PROTOCOL_VERSION"),
        };
        Process::spawn("the SDK", &mut command)
    }

    fn scripts(&self) -> Scripts<'_> {
        let program = Program::Scripts { interpreter: &self.node, folder: &self.folder, extension: "js" };
        Scripts { name: "dev-tunnels-ssh", program }
    }
}

impl Peer for DevTunnels {
    fn name(&self) -> &'static str {
        "Dev Tunnels SSH"
    }

    fn algorithms(&self) -> &Algorithms {
        &self.algorithms
    }

    // It closes the channel when either direction of the TCP connection ends.
    fn keeps_half_close(&self) -> bool {
        false
    }

    async fn serve(&self, settings: ServerSettings<'_>) -> Outcome<RunningServer> {
        self.scripts().serve(settings).await
    }

    async fn connect(&self, settings: ClientSettings<'_>) -> Outcome<RunningClient> {
        self.scripts().connect(settings).await
    }
}
