//! Memory of a client that does nothing, in the relay and in its host.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use relay::AccessToken;
use relay::client::{Client, Config, Pin, PortPolicy, Protocol};
use relay::dial::{Dialer, Proxies};
use relay::link::Link;
use tokio::net::TcpListener;

use super::error::{BenchError, Context, Result};
use super::options::{RelayOptions, Version};
use super::process::Process;
use super::procfs;
use super::report::{Better, Metric, Sample};
use super::scratch::Scratch;
use super::through_relay::Relay;

/// Whether this many clients have descriptors enough, in this process and in the relay, which inherits the limit.
///
/// # Errors
/// When they have not, with what to do about it.
pub(crate) fn check_limit(options: &RelayOptions, limit: Option<u64>) -> Result<()> {
    let needed = u64::from(options.clients) + SPARE_DESCRIPTORS;
    match limit {
        Some(limit) if limit < needed => Err(BenchError::new(format!(
            "{} clients need {needed} open files, and the hard limit is {limit}; raise it (`ulimit -Hn {needed}` as \
             root), or take fewer by --clients {}, or leave them out by --only bulk,latency,connect",
            options.clients,
            limit.saturating_sub(SPARE_DESCRIPTORS)
        ))),
        _ => Ok(()),
    }
}

/// Connects the clients to a relay of their own and takes the memory before and after.
///
/// # Errors
/// When a client does not get through.
pub(crate) fn measure(options: &RelayOptions, scratch: &Scratch) -> Result<Vec<Sample>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("runtime")?;
    let relay = Relay::start(options, scratch)?;
    // Nobody connects to it; a host wants to have a port all the same.
    let target = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).context("target")?;
    let port = target.local_addr().context("target")?.port();
    let (mut hosts, mut links) = (Vec::new(), Vec::new());
    for number in 0..options.clients.div_ceil(CLIENTS_PER_TUNNEL) {
        let (host, link) = relay.host(&format!("bench-{number}"), port, options, scratch)?;
        hosts.push(host);
        links.push(link.parse::<Link>().context("link")?);
    }
    let outcome = runtime.block_on(async {
        // What the first clients set up for all is not counted to any.
        let first = connect(&links, options, WARM_UP_CLIENTS).await?;
        tokio::time::sleep(SETTLE).await;
        let before = (resident(&relay.process)?, hosts.iter().map(resident).sum::<Result<f64>>()?);
        let clients = connect(&links, options, options.clients).await?;
        tokio::time::sleep(SETTLE).await;
        let after = (resident(&relay.process)?, hosts.iter().map(resident).sum::<Result<f64>>()?);
        let count = clients.len() as f64;
        drop((first, clients));
        Ok(vec![
            (&PER_CLIENT_RELAY, (after.0 - before.0) / count),
            (&PER_CLIENT_HOST, (after.1 - before.1) / count),
            (&RELAY, after.0),
            (&BASE, before.0),
            (&CLIENTS, count),
        ])
    });
    runtime.shutdown_background();
    outcome.map_err(|error: BenchError| {
        let words = [&relay.process].into_iter().chain(&hosts).map(Process::last_words);
        BenchError::new(format!("{error}\n{}", words.collect::<Vec<_>>().join("\n")))
    })
}

async fn connect(links: &[Link], options: &RelayOptions, count: u32) -> Result<Vec<Client>> {
    let dialer = Dialer::new(None, Proxies::default()).context("dialer")?;
    let one = |number: usize| {
        let link = &links[number % links.len()];
        let config = Config {
            url: link.client_url(),
            token: link.token.clone().map(AccessToken::new),
            pin: link.host_key.map_or(Pin::None, Pin::Key),
            protocol: match options.protocol {
                Version::V1 => Protocol::V1,
                Version::V2 => Protocol::V2,
            },
            end_to_end: !options.no_e2e,
            dialer: dialer.clone(),
            provider: &ssh_core::crypto::aws_lc::PROVIDER,
            ports: PortPolicy::Nowhere,
            on_event: Arc::new(|_| {}),
        };
        async move { Client::connect(config).await.context(format!("idle client {number}")) }
    };
    let connecting = futures::stream::iter((0..count as usize).map(one)).buffer_unordered(AT_ONCE);
    connecting.collect::<Vec<_>>().await.into_iter().collect()
}

fn resident(process: &Process) -> Result<f64> {
    Ok(procfs::resident_kib(process.id()).context(process.name())? as f64)
}

static PER_CLIENT_RELAY: Metric = Metric::new("idle client, relay", "KiB", Better::Lower);
static PER_CLIENT_HOST: Metric = Metric::new("idle client, host", "KiB", Better::Lower);
static RELAY: Metric = Metric::new("rss of the relay", "KiB", Better::Lower);
static BASE: Metric = Metric::new("rss, few clients", "KiB", Better::Lower);
static CLIENTS: Metric = Metric::new("idle clients", "", Better::Higher);

/// Fewer than a tunnel takes by default, since some come before those that are counted.
const CLIENTS_PER_TUNNEL: u32 = 900;
const WARM_UP_CLIENTS: u32 = 20;
/// Handshakes at once.
const AT_ONCE: usize = 32;
/// Long enough for the ports to be told of, and for a keepalive of each client.
const SETTLE: Duration = Duration::from_secs(8);
/// For everything that is no client: hosts, the store, logs, the runtime.
const SPARE_DESCRIPTORS: u64 = 256;
