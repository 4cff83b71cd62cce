//! Tokens that are renewed once the relay refuses them.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use relay::AccessToken;
use relay::client::{self, Client, ClientError, Pin, PortPolicy, Protocol};
use relay::dial::{DialError, Dialer, Proxies};
use relay::host::{self, Host};
use ssh_core::crypto::rustcrypto::PROVIDER;
use ssh_core::keys::{Curve, KeyKind, KeyPair, SigningKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::common::{PATIENCE, TestRelay, echo, start};

/// Hands out the tokens that were put there, and counts how often it is asked.
#[derive(Clone, Default)]
struct Purse {
    tokens: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Purse {
    fn token(&self, first: &str) -> AccessToken {
        let purse = self.clone();
        AccessToken::renewed_by(Zeroizing::new(first.to_owned()), move || {
            purse.asked.fetch_add(1, Ordering::Relaxed);
            let next = purse.tokens.lock().pop().map(Zeroizing::new);
            async move { next }
        })
    }
}

struct World {
    relay: TestRelay,
    key: SigningKey,
    port: u16,
}

impl World {
    async fn new() -> Self {
        let relay = start(|_| {}).await;
        relay.tunnel("abc", serde_json::json!({})).await;
        let pair = KeyPair::generate(&PROVIDER, KeyKind::Ecdsa(Curve::P256), 0).unwrap();
        let key = SigningKey::new(&pair.private, &PROVIDER).unwrap();
        Self { relay, key, port: echo().await }
    }

    async fn host(&self, token: AccessToken, resumed: &Arc<AtomicUsize>) -> Host {
        let resumed = Arc::clone(resumed);
        let config = host::Config {
            url: format!("ws://{}/t/abc/host", self.relay.address),
            token: Some(token),
            protocol: Protocol::V1,
            allow_plain: false,
            dialer: Dialer::new(None, Proxies::default()).unwrap(),
            provider: &PROVIDER,
            ports: BTreeSet::from([self.port]),
            on_event: Arc::new(move |event| {
                if matches!(event, host::Event::Resumed) {
                    resumed.fetch_add(1, Ordering::Relaxed);
                }
            }),
        };
        Host::start(config, self.key.clone()).await.unwrap()
    }

    async fn client(&self, token: AccessToken) -> Result<Client, ClientError> {
        let config = client::Config {
            url: format!("ws://{}/t/abc/client", self.relay.address),
            token: Some(token),
            pin: Pin::Key(self.key.public_key().fingerprint()),
            protocol: Protocol::V1,
            end_to_end: true,
            dialer: Dialer::new(None, Proxies::default()).unwrap(),
            provider: &PROVIDER,
            ports: PortPolicy::Nowhere,
            on_event: Arc::new(|_| {}),
        };
        Client::connect(config).await
    }

    fn revoke(&self, token: &str) {
        self.relay.relay.revoke(&self.relay.token_id(token), self.relay.relay.now() + 600).unwrap();
    }
}

#[tokio::test]
async fn streams_outlive_the_tokens_of_both_ends() {
    let world = World::new().await;
    let (host_tokens, client_tokens) = (Purse::default(), Purse::default());
    let (first_host, first_client) =
        (world.relay.token(Some("abc"), "host"), world.relay.token(Some("abc"), "connect"));
    host_tokens.tokens.lock().push(world.relay.token(Some("abc"), "host"));
    client_tokens.tokens.lock().push(world.relay.token(Some("abc"), "connect"));
    let resumed = Arc::default();
    let _host = world.host(host_tokens.token(&first_host), &resumed).await;
    let client = world.client(client_tokens.token(&first_client)).await.unwrap();
    let mut connection = client.open(world.port).await.unwrap();
    for (round, revoked) in [(0_u8, None), (1, Some(&first_client)), (2, Some(&first_host))] {
        if let Some(token) = revoked {
            world.revoke(token);
        }
        let said = timeout(PATIENCE, async {
            connection.channel.write_all(&[round; 9]).await.unwrap();
            connection.channel.flush().await.unwrap();
            let mut back = [9; 9];
            connection.channel.read_exact(&mut back).await.unwrap();
            assert_eq!(back, [round; 9]);
        });
        said.await.unwrap_or_else(|_| panic!("round {round}"));
        let both = if revoked == Some(&first_host) { (1, 1) } else { (0, usize::from(revoked.is_some())) };
        timeout(PATIENCE, async {
            while (host_tokens.asked.load(Ordering::Relaxed), client_tokens.asked.load(Ordering::Relaxed))
                != both
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("round {round}"));
    }
    timeout(PATIENCE, async {
        while resumed.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_token_is_renewed_once_for_an_attempt() {
    let world = World::new().await;
    let host_token = world.relay.token(Some("abc"), "host");
    let _host = world.host(Zeroizing::new(host_token).into(), &Arc::default()).await;
    let gone = || {
        let token = world.relay.token(Some("abc"), "connect");
        world.revoke(&token);
        token
    };
    // The next is refused too; the same again; none.
    let refused = gone();
    for (next, asked) in [(vec![gone(), gone()], 1), (vec![refused.clone()], 1), (vec![], 1)] {
        let purse = Purse::default();
        *purse.tokens.lock() = next;
        let error = world.client(purse.token(&refused)).await.unwrap_err();
        assert!(matches!(error, ClientError::Dial(DialError::Refused { status: 401, .. })), "{error}");
        assert_eq!(purse.asked.load(Ordering::Relaxed), asked);
    }
}
