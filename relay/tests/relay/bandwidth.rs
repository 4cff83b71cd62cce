//! Row "noisy tenant" of the threat model: who has a flood to send gets the bandwidth of one owner and no more.

use std::time::Duration;

use futures::StreamExt as _;
use relay::model::Tunnel;
use relay::store::Record;
use ssh_core::session::Incoming;
use ssh_core::{Channel, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::common::{PATIENCE, TestRelay, start};
use crate::sessions::{fields, session};

const HOST: &str = "tunnel-relay-host";

const RATE: u64 = 2_000_000;
const FLOOD: usize = 8_000_000;
const QUIET: usize = 10;

/// A tunnel of this owner, and its host: what comes in a client's stream goes to `serve`.
async fn host<F>(
    relay: &TestRelay,
    owner: &str,
    protocol: &str,
    serve: impl Fn(Channel) -> F + Send + 'static,
) -> Session
where
    F: Future<Output = ()> + Send + 'static,
{
    let tunnel = Tunnel { tunnel_id: owner.into(), ..Tunnel::default() };
    let record = Record::new(tunnel, owner.into(), relay.relay.now()).unwrap();
    assert!(relay.relay.store().create(record).unwrap());
    let token = relay.token(Some(owner), "host");
    let session = session(relay, &format!("/t/{owner}/host"), protocol, &token).await;
    let mut incoming = session.incoming();
    tokio::spawn(async move {
        while let Some(item) = incoming.next().await {
            if let Incoming::Channel(offer) = item
                && let Ok(channel) = offer.accept()
            {
                tokio::spawn(serve(channel));
            }
        }
    });
    session
}

async fn flood(mut channel: Channel) {
    let _ = channel.write_all(&vec![7; FLOOD]).await;
    let _ = channel.shutdown().await;
}

async fn echo(channel: Channel) {
    let (mut reader, mut writer) = tokio::io::split(channel);
    let _ = tokio::io::copy(&mut reader, &mut writer).await;
}

async fn connect(
    relay: &TestRelay,
    owner: &str,
) -> relay::websocket_stream::WebSocketStream<tokio::net::TcpStream> {
    let token = relay.token(Some(owner), "connect");
    relay.websocket(&format!("/t/{owner}/client"), "tunnel-relay-client", &token).await
}

/// The slowest but one of a hundred echoes of 1 KiB, over all quiet owners.
async fn slowest_echo(relay: &TestRelay) -> Duration {
    let of_one = async |number: usize| {
        let mut stream = connect(relay, &format!("quiet-{number}")).await;
        let (message, mut answer) = ([number.to_le_bytes()[0]; 1024], [0; 1024]);
        let mut times = Vec::new();
        for _ in 0..20 {
            let started = Instant::now();
            stream.write_all(&message).await.unwrap();
            stream.flush().await.unwrap();
            stream.read_exact(&mut answer).await.unwrap();
            times.push(started.elapsed());
            assert_eq!(answer, message);
        }
        times
    };
    let mut times: Vec<Duration> =
        futures::future::join_all((0..QUIET).map(of_one)).await.into_iter().flatten().collect();
    times.sort_unstable();
    times[times.len() * 99 / 100 - 1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_noisy_owner_gets_its_share_and_others_do_not_notice() {
    let relay = start(|config| config.limits.set("bytes_per_second_per_owner", RATE).unwrap()).await;
    let mut hosts = Vec::new();
    for number in 0..QUIET {
        hosts.push(host(&relay, &format!("quiet-{number}"), HOST, echo).await);
    }
    let _noisy = host(&relay, "noisy", HOST, flood).await;
    let calm = slowest_echo(&relay).await;

    // Two connections share what the owner has.
    let started = Instant::now();
    let receive = async || {
        let mut received = Vec::new();
        connect(&relay, "noisy").await.read_to_end(&mut received).await.unwrap();
        assert_eq!(received.len(), FLOOD);
        assert!(received.iter().all(|byte| *byte == 7), "nothing is dropped, nothing is changed");
    };
    let flooded = async {
        tokio::time::timeout(PATIENCE, async { tokio::join!(receive(), receive()) }).await.unwrap();
        started.elapsed()
    };
    let disturbed = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        slowest_echo(&relay).await
    };
    let (flooded, disturbed) = tokio::join!(flooded, disturbed);
    println!("p99 of the quiet: {calm:?}, beside the flood {disturbed:?}; the flood took {flooded:?}");
    // 16 MB at 2 MB/s, less half a second's worth at once.
    assert!(flooded >= Duration::from_secs(7), "{flooded:?}");
    assert!(disturbed <= (2 * calm).max(Duration::from_secs(1)), "{calm:?} became {disturbed:?}");
    let metrics = relay.ask("GET", "/metrics", &[], None).await.body;
    let waited =
        metrics.lines().find_map(|line| line.strip_prefix("adit_relay_bandwidth_wait_seconds_total "));
    let waited: f64 = waited.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap();
    assert!(waited > 5.0, "{waited}");
}

/// Channels of v2 take from the same bucket, and nothing else of the session waits for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channels_of_v2_are_paced() {
    let relay = start(|config| config.limits.set("bytes_per_second_per_owner", RATE).unwrap()).await;
    let noisy = host(&relay, "noisy", "tunnel-relay-host-v2-dev", flood).await;
    noisy.request("tcpip-forward", &fields(3000, false)).await.unwrap().unwrap();
    let token = relay.token(Some("noisy"), "connect");
    let client = session(&relay, "/t/noisy/client", "tunnel-relay-client-v2-dev", &token).await;
    let started = Instant::now();
    let (mut channel, _) = client.open_channel_with("forwarded-tcpip", &fields(3000, true)).await.unwrap();
    let mut received = vec![0; FLOOD];
    let receive = channel.read_exact(&mut received);
    let ask = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let asked = Instant::now();
        noisy.request("RefreshPorts", &[]).await.unwrap();
        client.request("RefreshPorts", &[]).await.unwrap();
        asked.elapsed()
    };
    let both = async { tokio::join!(receive, ask) };
    let (received_all, asked) = tokio::time::timeout(PATIENCE, both).await.unwrap();
    received_all.unwrap();
    assert!(received.iter().all(|byte| *byte == 7));
    let took = started.elapsed();
    println!("8 MB took {took:?}, a request meanwhile {asked:?}");
    // Less half a second's worth at once.
    assert!(took >= Duration::from_millis(3300), "{took:?}");
    assert!(asked < Duration::from_secs(2), "a request waited for {asked:?}");
}
