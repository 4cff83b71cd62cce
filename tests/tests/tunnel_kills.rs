//! A tunnel whose relay, whose client's link and whose host's link die again and again while it carries streams: no byte
//! is lost, and no application notices.
#![cfg(target_os = "linux")]

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tests::adit::event_within;
use tests::flows::{FarEnds, Flows};
use tests::memory::peak_kib;
use tests::outcome::{Failure, Outcome, ensure, within};
use tests::process::Process;
use tests::relay::{TUNNEL, TestRelay};
use tests::tunnel::{COMEBACK, Client, Host, Machine, on_relay, with};

/// What dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    ClientLink,
    HostLink,
    /// As of a machine that loses its power.
    RelayAtOnce,
    /// By SIGTERM.
    RelayInOrder,
}

/// In turn.
const KILLS: [Kill; 6] = [
    Kill::ClientLink,
    Kill::RelayAtOnce,
    Kill::HostLink,
    Kill::ClientLink,
    Kill::RelayInOrder,
    Kill::HostLink,
];

/// How much, and how often.
struct Size {
    streams: u64,
    /// In bytes, each way.
    length: u64,
    kills: u64,
}

impl Size {
    /// The full size is `ADIT_KILLS_STREAMS=32 ADIT_KILLS_MIB=64 ADIT_KILLS=30`, with `ADIT_BIN` a release build.
    fn or(streams: u64, mib: u64, kills: u64) -> Outcome<Self> {
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text.parse().map_err(|_| Failure::new(format!("{name} is no number"))),
            Err(_) => Ok(default),
        };
        Ok(Self {
            streams: number("ADIT_KILLS_STREAMS", streams)?,
            length: number("ADIT_KILLS_MIB", mib)? * 1024 * 1024,
            kills: number("ADIT_KILLS", kills)?,
        })
    }
}

/// The three processes.
struct World {
    protocol: &'static str,
    relay: TestRelay,
    host: Host,
    client: Client,
    /// The most that any incarnation of the relay has had resident before it ended, in KiB.
    relay_peak: u64,
}

impl World {
    async fn kill(&mut self, kill: Kill) -> Outcome {
        match kill {
            Kill::ClientLink => self.cut("/client").await?,
            Kill::HostLink => self.cut("/host").await?,
            Kill::RelayAtOnce => self.restart(Signal::KILL).await?,
            Kill::RelayInOrder => self.restart(Signal::TERM).await?,
        }
        if kill != Kill::ClientLink {
            came_back(&mut self.host.process).await?;
        }
        // In v2 a client keeps its session with the relay while the host is away.
        if self.protocol == "v1" || kill != Kill::HostLink {
            came_back(&mut self.client.process).await?;
        }
        Ok(())
    }

    /// A link may still be about to come back from the kill before.
    async fn cut(&self, path: &str) -> Outcome {
        within(COMEBACK, &format!("waiting for a link to {path}"), async {
            while self.relay.links.cut(path) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })
        .await
    }

    async fn restart(&mut self, signal: Signal) -> Outcome {
        self.note_relay()?;
        let code = self.relay.stop(signal).await?;
        let wanted = (signal == Signal::TERM).then_some(0);
        ensure(code == wanted, || format!("the relay ended with {code:?}"))?;
        self.relay.restart().await
    }

    fn note_relay(&mut self) -> Outcome {
        self.relay_peak = self.relay_peak.max(peak(self.relay.id())?);
        Ok(())
    }

    fn explain(&self, failure: Failure) -> Failure {
        let failure = failure.with_log("adit relay", &self.relay.log());
        self.client.process.explain(self.host.process.explain(failure))
    }
}

/// The same session, not another.
async fn came_back(process: &mut Process) -> Outcome {
    let resumed = event_within(COMEBACK, process, "resumed").await?;
    ensure(resumed.get("new_session") == Some(&Value::Bool(false)), || resumed.to_string())
}

fn peak(process: Option<u32>) -> Outcome<u64> {
    process.and_then(peak_kib).ok_or_else(|| Failure::new("no memory to be seen"))
}

async fn survives(protocol: &'static str, size: Size) -> Outcome {
    let far = FarEnds::listen(size.length).await?;
    let machine = Machine::new().await?;
    let relay = TestRelay::start(&machine.adit).await?;
    let port = far.port;
    let (arguments, shown) = (on_relay(&relay), port.to_string());
    let host = machine.host(&with(&[&shown, "--tunnel", TUNNEL, "--protocol", protocol], &arguments)).await?;
    let client = machine.connect(&[&host.link, "--protocol", protocol]).await?;
    let started = tokio::time::Instant::now();
    let flows = Flows::start(client.local_port(port)?, size.streams, size.length, far).await?;
    let mut world = World { protocol, relay, host, client, relay_peak: 0 };
    let killed = kill_in_turn(&mut world, &flows, size.kills).await;
    killed.map_err(|failure| world.explain(failure))?;
    let total = flows.total();
    flows.finish(COMEBACK).await.map_err(|failure| world.explain(failure))?;
    let took = started.elapsed();
    world.note_relay()?;
    let (of_relay, of_end) = most_kib(protocol, size.streams);
    let peaks = [
        ("relay", world.relay_peak, of_relay),
        ("host", peak(world.host.process.id())?, of_end),
        ("client", peak(world.client.process.id())?, of_end),
    ];
    eprintln!(
        "{protocol}: {} streams, {} MiB each way, {} MiB in all, {} kills, {took:.1?}",
        size.streams,
        size.length >> 20,
        total >> 20,
        size.kills
    );
    for (name, kib, most) in peaks {
        eprintln!("{protocol}: {name}: {} MiB resident at most, {} allowed", kib >> 10, most >> 10);
        ensure(kib < most, || format!("{name} has had {kib} KiB, {most} allowed"))?;
    }
    world.client.stop().await
}

/// What the relay and what each end may have resident, in KiB. One session carries all streams in v1; in v2 there is one for
/// each, with a window of 4 MiB, 2 MiB that wait for an acknowledgement,
/// and buffers of 1 MiB each way.
fn most_kib(protocol: &str, streams: u64) -> (u64, u64) {
    match protocol {
        "v1" => (64 * 1024, 128 * 1024),
        _ => (128 * 1024, (64 + 10 * streams) * 1024),
    }
}

/// Spreads the kills over the whole transfer. At each of them everything is under way: the streams are kept from being more
/// than one step ahead.
async fn kill_in_turn(world: &mut World, flows: &Flows, kills: u64) -> Outcome {
    let steps = kills + 1;
    flows.allow(2, steps);
    for (number, kill) in (1..=kills).zip(KILLS.into_iter().cycle()) {
        let doing = |failure: Failure| failure.while_doing(&format!("kill {number}, {kill:?}"));
        flows.reach(flows.total() / steps * number, COMEBACK).await.map_err(doing)?;
        world.kill(kill).await.map_err(doing)?;
        ensure(flows.moved() < flows.total(), || "everything has come already".into()).map_err(doing)?;
        flows.allow(number + 2, steps);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_survive_whatever_dies() -> Outcome {
    survives("v1", Size::or(32, 4, 12)?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_survive_by_the_second_version() -> Outcome {
    survives("v2", Size::or(16, 4, 12)?).await
}
