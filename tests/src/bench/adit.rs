//! Side A: `adit serve` and `adit forward`, followed by their JSON events.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ChildStdout, Command};
use std::sync::mpsc::{self, Receiver, Sender};

use serde_json::Value;

use super::delay;
use super::error::{BenchError, Context, Result};
use super::options::Options;
use super::process::Process;
use super::scratch::Scratch;
use super::tunnel::{Ends, START_LIMIT};

/// The binary to measure.
///
/// # Errors
/// When there is none, with the command that builds it.
pub(crate) fn binary(options: &Options) -> Result<PathBuf> {
    let path = match &options.adit {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("own path")?.with_file_name("adit"),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(BenchError::new(format!(
        "no adit at {}; build it with `cargo build --release -p cli`, name it with --adit, or use --only-openssh",
        path.display()
    )))
}

/// Starts both ends; returns where the forward listens.
pub(crate) fn start(target: SocketAddr, options: &Options, scratch: &Scratch) -> Result<(SocketAddr, Ends)> {
    let adit = binary(options)?;

    let mut serve = Command::new(&adit);
    serve.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--permit-open",
        "any",
        "--max-channels",
        MAX_CHANNELS,
        "--json",
    ]);
    serve.arg("--host-key").arg(scratch.host_key()).arg("--authorized-keys").arg(scratch.authorized_keys());
    let mut server = Process::spawn("adit serve", &mut serve, &scratch.path().join("adit-serve.log"))?;
    let server_address = Events::of(&mut server).address(&server, "listening", "addr")?;
    let server_address = delay::in_front_of(server_address, options)?;

    let mut forward = Command::new(&adit);
    forward.arg("forward").arg(format!("{}@{server_address}", scratch.user));
    forward.arg("-L").arg(format!("0:{target}")).arg("-i").arg(scratch.user_key());
    forward.args(["--host-key", &scratch.host_fingerprint, "--cipher", &options.cipher]);
    forward.args(["--max-channels", MAX_CHANNELS, "--json"]);
    let mut client = Process::spawn("adit forward", &mut forward, &scratch.path().join("adit-forward.log"))?;
    let events = Events::of(&mut client);
    let entry = events.address(&client, "forward", "listen")?;
    events.wait(&client, "ready")?;
    Ok((entry, Ends { client, server }))
}

/// The events a process prints, one JSON object a line.
struct Events(Receiver<Value>);

impl Events {
    fn of(process: &mut Process) -> Self {
        let (sender, receiver) = mpsc::channel();
        if let Some(stdout) = process.take_stdout() {
            // Without the thread the process could block on a full pipe; if it can't start, `wait` reports silence.
            let _ =
                std::thread::Builder::new().name("events".into()).spawn(move || read_events(stdout, &sender));
        }
        Self(receiver)
    }

    fn wait(&self, process: &Process, name: &str) -> Result<Value> {
        loop {
            match self.0.recv_timeout(START_LIMIT) {
                Ok(event) if event.get("event").and_then(Value::as_str) == Some(name) => return Ok(event),
                Ok(_) => {}
                Err(_) => return Err(process.failure(&format!("never printed the event {name:?}"))),
            }
        }
    }

    fn address(&self, process: &Process, name: &str, field: &str) -> Result<SocketAddr> {
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

/// Room for the idle streams, which a default limit might refuse.
const MAX_CHANNELS: &str = "4096";
