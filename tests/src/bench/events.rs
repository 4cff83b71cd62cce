//! What `adit --json` says.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::ChildStdout;
use std::sync::mpsc::{self, Receiver, Sender};

use serde_json::Value;

use super::error::Result;
use super::process::Process;
use super::tunnel::START_LIMIT;

/// The events a process prints, one JSON object a line.
pub(crate) struct Events(Receiver<Value>);

impl Events {
    pub(crate) fn of(process: &mut Process) -> Self {
        let (sender, receiver) = mpsc::channel();
        if let Some(stdout) = process.take_stdout() {
            // Without the thread the process could block on a full pipe; if it can't start, `wait` reports silence.
            let _ =
                std::thread::Builder::new().name("events".into()).spawn(move || read_events(stdout, &sender));
        }
        Self(receiver)
    }

    /// The next event of this name; others are passed over.
    pub(crate) fn wait(&self, process: &Process, name: &str) -> Result<Value> {
        loop {
            match self.0.recv_timeout(START_LIMIT) {
                Ok(event) if event.get("event").and_then(Value::as_str) == Some(name) => return Ok(event),
                Ok(_) => {}
                Err(_) => return Err(process.failure(&format!("never printed the event {name:?}"))),
            }
        }
    }

    /// The address in a field of the next event of this name.
    pub(crate) fn address(&self, process: &Process, name: &str, field: &str) -> Result<SocketAddr> {
        let event = self.wait(process, name)?;
        let text = event.get(field).and_then(Value::as_str).unwrap_or_default();
        text.parse()
            .map_err(|_| process.failure(&format!("event {name:?} has no address in {field:?}: {event}")))
    }
}

/// Reads to the end even when nobody listens any more.
fn read_events(stdout: ChildStdout, sender: &Sender<Value>) {
    for line in BufReader::new(stdout).lines().map_while(std::io::Result::ok) {
        if let Ok(event) = serde_json::from_str(&line) {
            let _ = sender.send(event);
        }
    }
}
