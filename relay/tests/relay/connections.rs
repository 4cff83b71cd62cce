//! Connections of the second version, as a host sees them that believes neither the relay nor the client.

use relay::host::Protocol;
use ssh_core::OpenError;
use ssh_core::client::{self, danger::AcceptAnyHostKey};
use ssh_core::crypto::rustcrypto::PROVIDER;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use crate::comeback::started_host;
use crate::common::{PATIENCE, echo, start};
use crate::sessions::{CLIENT_V2, session};

/// The fields of a channel to this port, or of a request for it if they end there.
fn fields(port: u16) -> Vec<u8> {
    [&9_u32.to_be_bytes()[..], b"127.0.0.1", &u32::from(port).to_be_bytes()].concat()
}

/// The relay lets whoever wants to be encrypted through, since they may come back to a connection that they have; who does
/// not gets no further than to a host that has not offered the port.
#[tokio::test]
async fn a_port_that_is_not_offered_is_not_dialled() {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", serde_json::json!({})).await;
    let (_host, ..) = started_host(&relay, Protocol::V2).await;
    let client = session(&relay, "/t/abc/client", CLIENT_V2, &relay.token(Some("abc"), "connect")).await;
    // Somebody listens there all the same.
    let port = echo().await;
    // Whom it comes from, no token, and whether it is to be encrypted.
    let wish = |encrypted: u8| [&fields(port)[..], &[0; 12], &[encrypted]].concat();
    let plain = client.open_channel_with("forwarded-tcpip", &wish(0)).await.unwrap_err();
    assert!(plain.to_string().contains("no host forwards port"), "{plain}");

    for names_it in [true, false] {
        let (stream, answer) = client.open_channel_with("forwarded-tcpip", &wish(1)).await.unwrap();
        assert_eq!(*answer, [1]);
        let config =
            client::Config::builder("tunnel").verify_host_key(AcceptAnyHostKey).provider(&PROVIDER).build();
        let inner = client::connect(stream, config.unwrap()).await.unwrap();
        let named = if names_it { fields(port) } else { Vec::new() };
        let opened = timeout(PATIENCE, inner.open_channel_with("session", &named)).await.unwrap();
        match (names_it, opened) {
            (true, Err(OpenError::Refused(failure))) => {
                assert!(failure.text.contains("not offered"), "{failure}");
            }
            // As an SDK's client does, which expects no refusal here.
            (false, Ok((mut channel, _))) => {
                let mut rest = Vec::new();
                let read = timeout(PATIENCE, channel.read_to_end(&mut rest)).await.unwrap();
                assert_eq!((read.unwrap_or(0), rest.len()), (0, 0));
            }
            (_, opened) => panic!("{opened:?}"),
        }
    }
}
