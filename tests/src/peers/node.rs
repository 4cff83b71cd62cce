//! Scripts of `tests/peers/node` that are peers of another kind than forwarding ones.

use std::path::PathBuf;

use serde_json::Value;
use tokio::process::Command;

use super::workspace;
use crate::adit::without_proxies;
use crate::outcome::{Failure, Outcome, STEP};
use crate::process::Process;

/// `node`, where it and the packages are installed.
///
/// # Errors
/// When one is missing where it must not be.
pub fn program() -> Outcome<Option<PathBuf>> {
    let Some(node) = super::program("node") else {
        return super::skip("Dev Tunnels SSH", "node is not installed");
    };
    if !folder().join("node_modules/@microsoft/dev-tunnels-ssh").is_dir() {
        return super::skip("Dev Tunnels SSH", "its packages are missing (tests/peers/setup installs them)");
    }
    Ok(Some(node))
}

fn folder() -> PathBuf {
    workspace().join("tests/peers/node")
}

/// Starts `tests/peers/node/NAME.js` with these settings; `None` where the library is not installed.
///
/// # Errors
/// When it is missing where it must not be.
pub fn spawn(name: &str, settings: &Value) -> Outcome<Option<Process>> {
    let Some(node) = program()? else { return Ok(None) };
    let mut command = Command::new(node);
    command.arg(folder().join(format!("{name}.js"))).arg(settings.to_string());
    without_proxies(&mut command);
    Ok(Some(Process::spawn(name, &mut command)?))
}

/// A running script. It ends with this handle.
pub struct NodeScript {
    process: Process,
}

impl NodeScript {
    /// Starts `tests/peers/node/NAME.js` with these settings; `None` where the library is not installed.
    ///
    /// # Errors
    /// When it is missing where it must not be.
    pub fn start(name: &str, settings: &Value) -> Outcome<Option<Self>> {
        Ok(spawn(name, settings)?.map(|process| Self { process }))
    }

    /// Waits for the event `name`, and gives its fields.
    ///
    /// # Errors
    /// When an error or the end comes first, or nothing in time.
    pub async fn expect(&mut self, name: &str) -> Outcome<Value> {
        while let Some(line) = self.process.next_line(STEP).await? {
            // Libraries say things of their own on stdout.
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            let found = event.get("event").and_then(Value::as_str);
            if found == Some(name) {
                return Ok(event);
            }
            if found == Some("error") {
                return Err(self.explain(Failure::new(line)));
            }
        }
        Err(self.explain(Failure::new(format!("it ended before it said {name}"))))
    }

    /// The port of a `listening` event.
    ///
    /// # Errors
    /// As for [`expect`](Self::expect).
    pub async fn listening(&mut self) -> Outcome<u16> {
        let event = self.expect("listening").await?;
        let port = event.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        port.ok_or_else(|| Failure::new("the script named no port"))
    }

    /// `failure` with the script's log below it.
    #[must_use]
    pub fn explain(&self, failure: Failure) -> Failure {
        self.process.explain(failure)
    }
}
