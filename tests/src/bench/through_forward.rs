//! `adit serve` and `adit forward`, followed by their JSON events.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use super::delay;
use super::error::{BenchError, Context, Result};
use super::events::Events;
use super::options::Load;
use super::process::Process;
use super::scratch::Scratch;

/// The binary to measure.
///
/// # Errors
/// When there is none, with the command that builds it.
pub(crate) fn binary(load: &Load) -> Result<PathBuf> {
    let path = match &load.adit {
        Some(path) => path.clone(),
        None => std::env::current_exe().context("own path")?.with_file_name("adit"),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(BenchError::new(format!(
        "no adit at {}; build it with `cargo build --release -p cli`, or name it with --adit",
        path.display()
    )))
}

/// How a forward of Adit's is set up.
pub(crate) struct Settings<'a> {
    pub(crate) cipher: &'a str,
    /// Round trip between the ends, in milliseconds.
    pub(crate) delay: u64,
    /// For both ends, beside the rest.
    pub(crate) arguments: &'a [&'a str],
}

/// Starts both ends; returns where the forward listens, the client and the server.
pub(crate) fn start(
    target: SocketAddr,
    load: &Load,
    scratch: &Scratch,
    settings: &Settings<'_>,
) -> Result<(SocketAddr, Vec<Process>)> {
    let adit = binary(load)?;

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
    serve.args(settings.arguments);
    serve.arg("--host-key").arg(scratch.host_key()).arg("--authorized-keys").arg(scratch.authorized_keys());
    let mut server = Process::spawn("adit serve", &mut serve, &scratch.path().join("adit-serve.log"))?;
    let server_address = Events::of(&mut server).address(&server, "listening", "addr")?;
    let server_address = delay::in_front_of(server_address, settings.delay)?;

    let mut forward = Command::new(&adit);
    forward.arg("forward").arg(format!("{}@{server_address}", scratch.user));
    forward.arg("-L").arg(format!("0:{target}")).arg("-i").arg(scratch.user_key());
    forward.args(["--host-key", &scratch.host_fingerprint, "--cipher", settings.cipher]);
    forward.args(["--max-channels", MAX_CHANNELS, "--json"]).args(settings.arguments);
    let mut client = Process::spawn("adit forward", &mut forward, &scratch.path().join("adit-forward.log"))?;
    let events = Events::of(&mut client);
    let entry = events.address(&client, "forward", "listen")?;
    events.wait(&client, "ready")?;
    Ok((entry, vec![client, server]))
}

/// Room for the idle streams, which a default limit might refuse.
const MAX_CHANNELS: &str = "4096";
