//! How long our ends leave a relay alone that is not there, or that asks for time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use relay::client::{self, Client, Pin, PortPolicy};
use relay::dial::{Dialer, Proxies};
use relay::host::{self, Host, Protocol};
use ssh_core::crypto::rustcrypto::PROVIDER;
use ssh_core::keys::{Curve, KeyKind, KeyPair, SigningKey};
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use crate::common::{PATIENCE, TestRelay, start};
use crate::sessions::until;

pub type Delays = mpsc::UnboundedReceiver<(u32, Duration)>;

pub async fn started_host(relay: &TestRelay, protocol: Protocol) -> (Host, Pin, Delays) {
    let pair = KeyPair::generate(&PROVIDER, KeyKind::Ecdsa(Curve::P256), 0).unwrap();
    let key = SigningKey::new(&pair.private, &PROVIDER).unwrap();
    let pin = Pin::Key(key.public_key().fingerprint());
    let (sender, delays) = mpsc::unbounded_channel();
    let config = host::Config {
        url: format!("ws://{}/t/abc/host", relay.address),
        token: Some(Zeroizing::new(relay.token(Some("abc"), "host")).into()),
        protocol,
        allow_plain: false,
        dialer: Dialer::new(None, Proxies::default()).unwrap(),
        provider: &PROVIDER,
        ports: BTreeSet::from([9]),
        on_event: Arc::new(move |event| {
            if let host::Event::Reconnecting { attempt, after, .. } = event {
                let _ = sender.send((attempt, after));
            }
        }),
    };
    let host = Host::start(config, key).await.unwrap();
    until("no host", || relay.relay.live_counts("abc").host).await;
    (host, pin, delays)
}

async fn started_client(relay: &TestRelay, protocol: Protocol, pin: Pin) -> (Client, Delays) {
    let (sender, delays) = mpsc::unbounded_channel();
    let config = client::Config {
        url: format!("ws://{}/t/abc/client", relay.address),
        token: Some(Zeroizing::new(relay.token(Some("abc"), "connect")).into()),
        pin,
        protocol,
        end_to_end: true,
        dialer: Dialer::new(None, Proxies::default()).unwrap(),
        provider: &PROVIDER,
        ports: PortPolicy::Nowhere,
        on_event: Arc::new(move |event| {
            if let client::Event::Reconnecting { attempt, after, .. } = event {
                let _ = sender.send((attempt, after));
            }
        }),
    };
    (Client::connect(config).await.unwrap(), delays)
}

async fn delay(delays: &mut Delays) -> (u32, Duration) {
    tokio::time::timeout(PATIENCE, delays.recv()).await.expect("nothing is tried").unwrap()
}

/// Row "relay restarted, upgraded, drained" of the threat model: a relay that still answers, with 503 and a time, is given that
/// time; the first try comes soon all the same, since nobody knows what it will say.
#[tokio::test]
async fn a_relay_that_asks_for_time_is_given_it() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let relay = start(|_| {}).await;
        relay.tunnel("abc", serde_json::json!({})).await;
        let (_host, pin, mut of_host) = started_host(&relay, protocol).await;
        let (_client, mut of_client) = started_client(&relay, protocol, pin).await;
        relay.relay.drain();
        for delays in [&mut of_host, &mut of_client] {
            let (number, soon) = delay(delays).await;
            assert!(number == 1 && soon <= Duration::from_millis(500), "{protocol:?}: {soon:?}");
            let (number, asked) = delay(delays).await;
            // It says 5 s, and at most a second is added.
            let given = Duration::from_secs(5)..=Duration::from_secs(6);
            assert!(number == 2 && given.contains(&asked), "{protocol:?}: {asked:?}");
        }
    }
}
