//! Go's `golang.org/x/crypto/ssh`, by the program in `tests/peers/go`.

use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::process::Command;

use super::end::End;
use super::script::{Program, Scripts};
use super::{ClientSettings, Peer, RunningClient, RunningServer, ServerSettings, built_peers};
use crate::algorithms::Algorithms;
use crate::keys::{KeyFile, KeyKind, output};
use crate::outcome::{Failure, Outcome};
use crate::process::Process;

/// The program.
pub struct Go {
    program: PathBuf,
    algorithms: Algorithms,
}

impl Go {
    /// Finds it and asks it what its library has.
    ///
    /// # Errors
    /// When it is missing where it must not be, or does not answer.
    pub async fn find() -> Outcome<Option<Self>> {
        let program = built_peers().join("go/peer");
        if !program.is_file() {
            return super::skip(
                "Go",
                "the program on its SSH library is missing (tests/peers/setup builds it)",
            );
        }
        let mut found = Self { program, algorithms: Algorithms::default() };
        // x/crypto has had strict key exchange since 0.17, as the last of the methods that it offers.
        let mut offered = found.scripts().algorithms().await?;
        // It begins with those of certificates, of which no key file here is one.
        offered.host_keys.retain(|name| KeyKind::of_algorithm(name).is_some());
        let strict_kex = offered.kex.iter().any(|name| name == "kex-strict-c-v00@openssh.com");
        found.algorithms = Algorithms { strict_kex, ..offered };
        Ok(Some(found))
    }

    /// As [`serve`](Peer::serve), with these settings more (`settings.go` has them). With `questions` those get in too who
    /// answer the user's name and `1234`, then `42`.
    ///
    /// # Errors
    /// As for [`serve`](Peer::serve).
    pub async fn serve_with(
        &self,
        settings: ServerSettings<'_>,
        more: &[(&str, Value)],
    ) -> Outcome<RunningServer> {
        self.scripts().serve_with(settings, more).await
    }

    /// As [`connect`](Peer::connect), with these settings more.
    ///
    /// # Errors
    /// As for [`connect`](Peer::connect).
    pub async fn connect_with(
        &self,
        settings: ClientSettings<'_>,
        more: &[(&str, Value)],
    ) -> Outcome<RunningClient> {
        self.scripts().connect_with(settings, more).await
    }

    /// A line with a certificate of this key, valid for one hour.
    ///
    /// # Errors
    /// When Go makes none.
    pub async fn certify(
        &self,
        authority: &KeyFile,
        key: &KeyFile,
        principal: &str,
        for_host: bool,
    ) -> Outcome<String> {
        let settings = json!({
            "authority_key": authority.path, "subject": key.public, "principal": principal, "for_host": for_host,
        });
        let printed = output(&mut self.scripts().command("certify", &settings)).await?;
        let event: Value = serde_json::from_str(printed.trim())?;
        let line = event.get("line").and_then(Value::as_str);
        line.map(str::to_owned).ok_or_else(|| Failure::new(format!("no certificate: {event}")))
    }

    /// A client that only logs in. It answers every question by the question itself, with `visible` or `hidden` before it.
    #[must_use]
    pub fn login(&self, settings: &Value) -> Command {
        self.scripts().command("login", settings)
    }

    /// A client that comes to `port` without proving who it is, and is moved by commands. It asks for new keys after so many
    /// bytes.
    ///
    /// # Errors
    /// When it does not start.
    pub fn end_client(&self, port: u16, host_key: &KeyFile, rekey_bytes: Option<u64>) -> Outcome<End> {
        let settings =
            json!({ "user": "go", "port": port, "server_key": host_key.public, "rekey_bytes": rekey_bytes });
        Ok(End::client(self.spawn("end_client", &settings)?))
    }

    /// A server that lets everybody in and is moved by commands.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn end_server(&self, host_key: &KeyFile, rekey_bytes: Option<u64>) -> Outcome<End> {
        let settings = json!({ "host_key": host_key.path, "rekey_bytes": rekey_bytes });
        End::server(self.spawn("end_server", &settings)?).await
    }

    /// Starts a role.
    ///
    /// # Errors
    /// When that is not possible.
    pub fn spawn(&self, role: &str, settings: &Value) -> Outcome<Process> {
        Process::spawn("Go", &mut self.scripts().command(role, settings))
    }

    fn scripts(&self) -> Scripts<'_> {
        Scripts { name: "Go", program: Program::Roles(&self.program) }
    }
}

impl Peer for Go {
    fn name(&self) -> &'static str {
        "Go"
    }

    fn algorithms(&self) -> &Algorithms {
        &self.algorithms
    }

    async fn serve(&self, settings: ServerSettings<'_>) -> Outcome<RunningServer> {
        self.scripts().serve(settings).await
    }

    async fn connect(&self, settings: ClientSettings<'_>) -> Outcome<RunningClient> {
        self.scripts().connect(settings).await
    }
}

/// How many times keys were changed in the one session that `log` tells of, beyond the first exchange.
#[must_use]
pub fn rekeys(log: &str) -> usize {
    log.matches("key exchange").count().saturating_sub(1)
}
