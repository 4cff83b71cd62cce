//! Machines that come to another network while streams go through them. What was left is not told, and nothing that is
//! sent there is refused: it is only never heard of again.
#![cfg(target_os = "linux")]

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tests::adit::{Adit, event, event_within, port};
use tests::flows::{FarEnds, Flows};
use tests::keys::KeyKind;
use tests::network::{Network, Station};
use tests::outcome::{Failure, Outcome, ensure};
use tests::peers::{Keyring, USER};
use tests::process::Process;
use tests::relay::TUNNEL;
use tests::tunnel::{COMEBACK, Machine, with};
use tokio::time::Instant;

/// Bytes of a stream, each way.
const LENGTH: u64 = 2 * 1024 * 1024;
const STREAMS: u64 = 4;
/// Who waits for keepalives alone takes 15 s of silence for the loss of a stream.
const EARLY: Duration = Duration::from_secs(12);

/// What streams go through.
struct Tunnel {
    /// A server looks at them again when a client comes back.
    _keys: Option<Keyring>,
    /// Its entry and its exit, and the stations of both.
    ends: [(Process, Station); 2],
    flows: Flows,
}

impl Tunnel {
    async fn new(
        entry: (Process, Station),
        local: u16,
        exit: (Process, Station),
        far: FarEnds,
    ) -> Outcome<Self> {
        let streams = (0..STREAMS).map(|_| entry.1.connect(local)).collect::<Outcome<_>>()?;
        let flows = Flows::over(streams, LENGTH, far).await?;
        Ok(Self { _keys: None, ends: [entry, exit], flows })
    }

    fn explain(&self, failure: Failure) -> Failure {
        self.ends.iter().fold(failure, |failure, (process, _)| process.explain(failure))
    }

    /// Moves each of these ends to that link in turn, when an equal part of everything has come, and waits until it is back.
    async fn moves(mut self, moves: &[(usize, u8)]) -> Outcome {
        // More is left for the last move than can have come before it is made.
        let steps = moves.len() as u64 + 2;
        self.flows.allow(2, steps);
        for (number, (end, link)) in (1..).zip(moves) {
            let moved = self.one(number, steps, *end, *link).await;
            moved.map_err(|failure| self.explain(failure.while_doing(&format!("move {number}"))))?;
        }
        let Self { ends, flows, _keys } = self;
        let finished = flows.finish(COMEBACK).await;
        finished
            .map_err(|failure| ends.iter().fold(failure, |failure, (process, _)| process.explain(failure)))
    }

    async fn one(&mut self, number: u64, steps: u64, end: usize, link: u8) -> Outcome {
        self.flows.reach(self.flows.total() / steps * number, COMEBACK).await?;
        let (process, station) = self.ends.get_mut(end).ok_or_else(|| Failure::new("no such end"))?;
        // It may have come back when the other end did.
        process.lines_so_far();
        station.move_to(link).await?;
        let start = Instant::now();
        let resumed = event_within(COMEBACK, process, "resumed").await?;
        ensure(resumed.get("new_session") == Some(&Value::Bool(false)), || resumed.to_string())?;
        let took = start.elapsed();
        eprintln!("move {number}: back after {took:.1?}");
        ensure(took < EARLY, || format!("it took {took:?} to come back"))?;
        ensure(self.flows.moved() < self.flows.total(), || "everything has come already".into())?;
        self.flows.allow(number + 2, steps);
        Ok(())
    }
}

/// `adit forward` at the first station, `adit serve` at the second.
async fn forward(client: Station, server: Station, files: &TempDir, of_server: &[&str]) -> Outcome<Tunnel> {
    let (adit, keys) = (Adit::find().await?, Keyring::generate().await?);
    let (host_key, user_key) = (keys.host(KeyKind::Ed25519)?, keys.user(KeyKind::Ed25519)?);
    let mut command = adit.command(["serve", "--json", "--permit-open", "any", "--listen"]);
    command.arg(format!("{}:2222", server.address(0)));
    command.arg("--host-key").arg(&host_key.path).arg("--authorized-keys").arg(&user_key.public);
    command.args(of_server);
    let mut serving = Process::spawn("adit serve", &mut server.wrap(&command))?;
    event(&mut serving, "listening").await?;

    let (listener, target) = server.listen()?;
    let far = FarEnds::at(listener, target, LENGTH);
    let mut command = adit.command(["forward", "--json", "--no-agent", "--host-key", &host_key.fingerprint]);
    command.arg("-i").arg(&user_key.path).env("HOME", files.path());
    command.args(["-L", &format!("0:127.0.0.1:{target}"), &format!("{USER}@{}:2222", server.address(0))]);
    let mut forwarding = Process::spawn("adit forward", &mut client.wrap(&command))?;
    let entry = event(&mut forwarding, "forward").await.map_err(|failure| forwarding.explain(failure))?;
    let local = port(&entry, "listen")?;
    event(&mut forwarding, "ready").await?;
    let tunnel = Tunnel::new((forwarding, client), local, (serving, server), far).await?;
    Ok(Tunnel { _keys: Some(keys), ..tunnel })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_comes_along_to_other_networks() -> Outcome {
    let Some(mut network) = Network::make().await? else { return Ok(()) };
    let (client, server, files) = (network.station().await?, network.station().await?, TempDir::new()?);
    let tunnel = forward(client, server, &files, &[]).await?;
    tunnel.moves(&[(0, 1), (0, 0), (0, 1)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_is_back_as_soon_as_the_network_is() -> Outcome {
    let Some(mut network) = Network::make().await? else { return Ok(()) };
    let (client, server, files) = (network.station().await?, network.station().await?, TempDir::new()?);
    let mut tunnel = forward(client.clone(), server, &files, &[]).await?;
    tunnel.flows.allow(1, 2);
    tunnel.flows.reach(tunnel.flows.total() / 2, COMEBACK).await?;
    client.leave(0).await?;
    let lost = event_within(COMEBACK, &mut tunnel.ends[0].0, "disconnected").await?;
    ensure(lost["resumable"] == true, || lost.to_string())?;
    // By then it waits for seconds between one try and the next.
    while event(&mut tunnel.ends[0].0, "reconnecting").await?["delay_ms"].as_u64() < Some(4000) {}
    tunnel.moves(&[(0, 0)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_whose_session_cannot_go_on_logs_in_again() -> Outcome {
    /// Keepalives alone take 80 s.
    const EARLIER: Duration = Duration::from_secs(45);
    let Some(mut network) = Network::make().await? else { return Ok(()) };
    let (client, server, files) = (network.station().await?, network.station().await?, TempDir::new()?);
    let mut tunnel = forward(client.clone(), server, &files, &["--no-reconnect"]).await?;
    tunnel.flows.allow(1, 2);
    tunnel.flows.reach(tunnel.flows.total() / 2, COMEBACK).await?;
    client.move_to(1).await?;
    let process = &mut tunnel.ends[0].0;
    let lost = event_within(EARLIER, process, "disconnected").await?;
    ensure(lost["resumable"] == false, || lost.to_string())?;
    let again = event_within(COMEBACK, process, "resumed").await?;
    ensure(again["new_session"] == true && again["streams_lost"] == STREAMS, || again.to_string())
}

/// `adit connect` at the first station, `adit host` at the second, `adit relay` at a third.
async fn tunnel(network: &mut Network, protocol: &str, files: &TempDir) -> Outcome<(Tunnel, Process)> {
    let (client, host, relay) =
        (network.station().await?, network.station().await?, network.station().await?);
    let (data, url) = (files.path().join("data"), format!("http://{}:8080", relay.address(0)));
    let adit = Adit::find().await?;
    let listen = format!("{}:8080", relay.address(0));
    let mut command = adit.command(["relay", "--json", "--listen", &listen, "--public-url", &url]);
    command.arg("--data-dir").arg(&data);
    let mut relaying = Process::spawn("adit relay", &mut relay.wrap(&command))?;
    event(&mut relaying, "listening").await?;

    let (listener, target) = host.listen()?;
    let far = FarEnds::at(listener, target, LENGTH);
    let token = data.join("admin-token").display().to_string();
    let arguments = ["--relay".to_owned(), url, "--token-file".to_owned(), token];
    let shown = target.to_string();
    let of_host = with(&[&shown, "--tunnel", TUNNEL, "--protocol", protocol], &arguments);
    let hosting = Machine::at(host.clone()).await?.host(&of_host).await?;
    let at_client = Machine::at(client.clone()).await?;
    let connected = at_client.connect(&[&hosting.link, "--protocol", protocol]).await?;
    let local = connected.local_port(target)?;
    let tunnel = Tunnel::new((connected.process, client), local, (hosting.process, host), far).await?;
    Ok((tunnel, relaying))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_of_a_tunnel_come_along_by_v1() -> Outcome {
    let Some(mut network) = Network::make().await? else { return Ok(()) };
    let files = TempDir::new()?;
    let (tunnel, relay) = tunnel(&mut network, "v1", &files).await?;
    tunnel.moves(&[(0, 1), (1, 1), (0, 0), (1, 0)]).await.map_err(|failure| relay.explain(failure))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_of_a_tunnel_come_along_by_v2() -> Outcome {
    let Some(mut network) = Network::make().await? else { return Ok(()) };
    let files = TempDir::new()?;
    let (tunnel, relay) = tunnel(&mut network, "v2", &files).await?;
    tunnel.moves(&[(0, 1), (1, 1), (0, 0), (1, 0)]).await.map_err(|failure| relay.explain(failure))
}
