//! A relay that restarts under many clients: all of them come back, in time and not all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use relay::client::{Client, Connection, Event, Pin, PortPolicy};
use relay::config::AdminToken;
use relay::dial::{Dialer, Proxies};
use relay::host::{Host, Protocol};
use relay::{Config, Relay, Server, client, host};
use ssh_core::crypto::rustcrypto::PROVIDER;
use ssh_core::keys::{Curve, KeyKind, KeyPair, SigningKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::common::{ADMIN, PATIENCE, TestRelay, echo};

/// As many as one process may have descriptors for; `ADIT_STORM_CLIENTS=500` is the full size.
const CLIENTS: usize = 200;
/// How long there is no relay.
const OUTAGE: Duration = Duration::from_secs(2);
/// After the relay is there again, until the last one is back: the longest delay between tries is 5 s, the host has its own,
/// and a debug build on a busy machine takes its time for so many key exchanges.
const BACK: Duration = Duration::from_secs(20);
/// One in so many of the clients, at most, tries within the same tenth of a second.
const SPREAD: usize = 3;

/// What the clients did, and when.
#[derive(Debug, Default)]
struct Log {
    tries: Vec<Instant>,
    back: Vec<Instant>,
    lost_streams: usize,
}

/// A relay that can be killed: its tasks are in a runtime of their own, which ends without a word to anybody.
fn start(data: &Path, port: u16) -> (Runtime, TestRelay) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut config = Config::default();
    config.data_dir = Some(data.to_owned());
    config.admin_token = AdminToken::new(ADMIN);
    // All of them come from one address here.
    config.limits.connections_per_address = 10_000;
    config.limits.requests_per_minute = 1_000_000;
    let relay = Relay::new(config).unwrap();
    // It comes back to its port. Where there is another address of this machine, nobody takes it meanwhile.
    let ip = if cfg!(target_os = "linux") { Ipv4Addr::new(127, 0, 0, 2) } else { Ipv4Addr::LOCALHOST };
    let (for_server, address) = (Arc::clone(&relay), SocketAddr::from((ip, port)));
    let server = std::thread::scope(|scope| {
        let bound = scope.spawn(|| runtime.block_on(Server::bind(for_server, address)));
        bound.join().unwrap().unwrap()
    });
    let address = server.local_addr().unwrap();
    runtime.spawn(server.run());
    (runtime, TestRelay { relay, address })
}

async fn client(relay: &TestRelay, token: &str, pin: Pin, log: &Arc<Mutex<Log>>) -> Client {
    let log = Arc::clone(log);
    let on_event = move |event: Event| match event {
        Event::Reconnecting { after, .. } => log.lock().tries.push(Instant::now() + after),
        Event::Resumed { streams_kept } => {
            let mut log = log.lock();
            log.back.push(Instant::now());
            log.lost_streams += usize::from(!streams_kept);
        }
        _ => {}
    };
    let config = client::Config {
        url: format!("ws://{}/t/abc/client", relay.address),
        token: Some(Zeroizing::new(token.to_owned()).into()),
        pin,
        protocol: Protocol::V1,
        end_to_end: true,
        dialer: Dialer::new(None, Proxies::default()).unwrap(),
        provider: &PROVIDER,
        ports: PortPolicy::Nowhere,
        on_event: Arc::new(on_event),
    };
    Client::connect(config).await.unwrap()
}

async fn says(connection: &mut Connection, what: &[u8; 8]) {
    let mut back = [0; 8];
    connection.channel.write_all(what).await.unwrap();
    connection.channel.flush().await.unwrap();
    connection.channel.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, what);
}

async fn says_all(connections: &mut [Connection], what: &[u8; 8]) {
    let all = futures::future::join_all(connections.iter_mut().map(|connection| says(connection, what)));
    tokio::time::timeout(PATIENCE * 2, all).await.expect("a stream does not go on");
}

/// Row "relay restarted" of the threat model: killed, and told to stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_clients_come_back_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (mut runtime, mut relay) = start(folder.path(), 0);
    relay.tunnel("abc", serde_json::json!({})).await;
    let (host_token, token) = (relay.token(Some("abc"), "host"), relay.token(Some("abc"), "connect"));
    let pair = KeyPair::generate(&PROVIDER, KeyKind::Ecdsa(Curve::P256), 0).unwrap();
    let key = SigningKey::new(&pair.private, &PROVIDER).unwrap();
    let pin = Pin::Key(key.public_key().fingerprint());
    let port = echo().await;
    let config = host::Config {
        url: format!("ws://{}/t/abc/host", relay.address),
        token: Some(Zeroizing::new(host_token).into()),
        protocol: Protocol::V1,
        allow_plain: false,
        dialer: Dialer::new(None, Proxies::default()).unwrap(),
        provider: &PROVIDER,
        ports: BTreeSet::from([port]),
        on_event: Arc::new(|_| {}),
    };
    let _host = Host::start(config, key).await.unwrap();
    let log = Arc::<Mutex<Log>>::default();
    let mut clients = Vec::new();
    let wanted = std::env::var("ADIT_STORM_CLIENTS").map_or(CLIENTS, |text| text.parse().unwrap());
    while clients.len() < wanted {
        let some =
            (0..wanted.saturating_sub(clients.len()).min(50)).map(|_| client(&relay, &token, pin, &log));
        clients.extend(futures::future::join_all(some).await);
    }
    let opened = futures::future::join_all(clients.iter().map(|client| client.open(port))).await;
    let mut streams: Vec<Connection> = opened.into_iter().map(Result::unwrap).collect();
    says_all(&mut streams, b"at first").await;

    for is_told in [false, true] {
        *log.lock() = Log::default();
        if is_told {
            relay.relay.drain();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let address = relay.address;
        drop(relay);
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
        tokio::time::sleep(OUTAGE).await;
        (runtime, relay) = start(folder.path(), address.port());
        let there = Instant::now();
        let all_back = async {
            while log.lock().back.len() < wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(BACK, all_back).await;
        let count = log.lock().back.len();
        assert!(in_time.is_ok(), "only {count} of {wanted} came back");
        says_all(&mut streams, b"and then").await;
        let log = log.lock();
        let last = log.back.iter().max().unwrap().saturating_duration_since(there);
        let (tries, busiest) = busiest(&log.tries, there);
        println!(
            "told: {is_told}; the last one was back {last:.1?} after the relay, of {} tries {tries} found it, {busiest} within 100 ms",
            log.tries.len()
        );
        assert_eq!((log.back.len(), log.lost_streams), (wanted, 0));
        assert!(busiest <= wanted / SPREAD, "{busiest} of {wanted} clients come at once");
    }
    for client in clients {
        drop(client);
    }
    drop(relay);
    tokio::task::spawn_blocking(move || runtime.shutdown_background()).await.unwrap();
}

/// How many tries there were from then on, and the most within a tenth of a second.
fn busiest(tries: &[Instant], from: Instant) -> (usize, usize) {
    let mut slots = BTreeMap::new();
    for after in tries.iter().filter_map(|at| at.checked_duration_since(from)) {
        *slots.entry(after.as_millis() / 100).or_insert(0_usize) += 1;
    }
    (slots.values().sum(), slots.values().copied().max().unwrap_or(0))
}
