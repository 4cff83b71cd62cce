//! By the second version a relay's word on the host's ports is all that a client has: what becomes of connections and of
//! listeners while a port, or the host, is away.

use std::time::Duration;

use rustix::process::Signal;
use tests::adit::{event, event_within};
use tests::outcome::{Failure, Outcome, STEP, ensure, within};
use tests::relay::{TUNNEL, TestRelay};
use tests::traffic::Target;
use tests::tunnel::{COMEBACK, Client, Host, Machine, mapping, on_relay, with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

struct World {
    machine: Machine,
    relay: TestRelay,
    target: Target,
    arguments: Vec<String>,
    host: Host,
    client: Client,
}

impl World {
    /// Both ends, and one port, which is in a file.
    async fn new() -> Outcome<Self> {
        let (machine, target) = (Machine::new().await?, Target::echo().await?);
        let relay = TestRelay::start(&machine.adit).await?;
        offer(&machine, &[target.port])?;
        let mut arguments = on_relay(&relay);
        let file = machine.home.path().join("ports").display().to_string();
        let more = ["--tunnel", TUNNEL, "--protocol", "v2", "--ports-file", &file];
        arguments.extend(more.map(str::to_owned));
        let host = machine.host(&with(&[], &arguments)).await?;
        let client = machine.connect(&[&host.link, "--protocol", "v2"]).await?;
        Ok(Self { machine, relay, target, arguments, host, client })
    }

    async fn connect(&self) -> Outcome<TcpStream> {
        let local = self.client.local_port(self.target.port)?;
        within(STEP, "connecting", tests::endpoint::connect(local)).await
    }

    fn cut(&self, path: &str) -> Outcome {
        ensure(self.relay.links.cut(path) > 0, || format!("there was no {path} to cut"))
    }
}

fn offer(machine: &Machine, ports: &[u16]) -> Outcome {
    let text: String = ports.iter().map(|port| format!("{port}\n")).collect();
    Ok(std::fs::write(machine.home.path().join("ports"), text)?)
}

async fn echoes(stream: &mut TcpStream, limit: Duration) -> Outcome {
    let mut back = [0; 5];
    stream.write_all(b"there").await?;
    within(limit, "the echo", async { Ok(stream.read_exact(&mut back).await?) }).await?;
    ensure(&back == b"there", || format!("{back:?}"))
}

/// What is open goes on without its port, whichever link breaks: the host dials nothing for it.
#[tokio::test]
async fn a_connection_outlives_its_port() -> Outcome {
    let mut world = World::new().await?;
    let mut open = world.connect().await?;
    echoes(&mut open, STEP).await?;
    offer(&world.machine, &[])?;
    event(&mut world.host.process, "ports").await?;
    for path in ["/client", "/host"] {
        world.cut(path)?;
        let echo = echoes(&mut open, COMEBACK).await;
        echo.map_err(|failure| world.client.process.explain(world.host.process.explain(failure)))?;
    }
    Ok(())
}

/// The next host knows nothing of it, nor has its port; whoever waits for it hears so.
#[tokio::test]
async fn a_connection_ends_with_its_host_where_another_has_no_such_port() -> Outcome {
    let mut world = World::new().await?;
    let mut open = world.connect().await?;
    echoes(&mut open, STEP).await?;
    world.host.process.signal(Signal::KILL)?;
    offer(&world.machine, &[1])?;
    world.host = world.machine.host(&with(&[], &world.arguments)).await?;
    let ended = within(COMEBACK, "the end", async { Ok(open.read_u8().await) }).await?;
    let kind = ended.err().map(|error| error.kind());
    ensure(kind == Some(std::io::ErrorKind::ConnectionReset), || format!("it ended with {kind:?}"))
}

/// Listeners stay for a host that is away for a moment, and connections wait for it: also where the client was away too.
#[tokio::test]
async fn who_connects_while_the_host_is_away_is_served_once_it_is_back() -> Outcome {
    let mut world = World::new().await?;
    for lost in [&["/host"][..], &["/host", "/client"]] {
        world.host.process.signal(Signal::STOP)?;
        let connected = connected_without_host(&world, lost).await;
        // Who stands still does not even end.
        world.host.process.signal(Signal::CONT)?;
        let doing = |failure: Failure| failure.while_doing(&format!("{lost:?}"));
        for mut stream in connected.map_err(doing)? {
            let echo = echoes(&mut stream, COMEBACK).await;
            echo.map_err(|failure| doing(world.client.process.explain(failure)))?;
        }
    }
    let said = world.client.process.lines_so_far();
    ensure(!said.iter().any(|line| line.contains("port_")), || format!("{said:?}"))
}

async fn connected_without_host(world: &World, lost: &[&str]) -> Outcome<[TcpStream; 2]> {
    for path in lost {
        world.cut(path)?;
    }
    let early = world.connect().await?;
    // By then a client would have heard of all ports that there are.
    tokio::time::sleep(Duration::from_secs(5)).await;
    Ok([early, world.connect().await?])
}

/// One that stays away is told of after a while, and nobody waits for it any longer.
#[tokio::test]
async fn a_host_that_stays_away_is_not_waited_for() -> Outcome {
    let mut world = World::new().await?;
    world.host.process.signal(Signal::KILL)?;
    let mut early = world.connect().await?;
    let removed = event_within(COMEBACK, &mut world.client.process, "port_removed").await?;
    ensure(mapping(&removed)?.0 == world.target.port, || removed.to_string())?;
    let ended = within(STEP, "the end", async { Ok(early.read_u8().await) }).await?;
    let kind = ended.err().map(|error| error.kind());
    ensure(kind == Some(std::io::ErrorKind::ConnectionReset), || format!("it ended with {kind:?}"))?;
    ensure(world.connect().await.is_err(), || "the port is still listened on".into())?;
    world.host = world.machine.host(&with(&[], &world.arguments)).await?;
    let added = event_within(COMEBACK, &mut world.client.process, "port_added").await?;
    ensure(mapping(&added)?.0 == world.target.port, || added.to_string())
}
