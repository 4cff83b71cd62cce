//! The numbered trace events of a session's life. One test alone: subscribers of other threads get in the way of a thread's own.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use futures::StreamExt as _;
use parking_lot::Mutex;
use ssh_core::config::Limits;
use ssh_core::session::OpenFailureReason;
use ssh_core::trace::TraceEvent;
use support::{Sides, sessions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Collects the field `event` of everything that this thread logs.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<Vec<u64>>>);

impl Subscriber for Numbers {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Number(&self.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Number<'a>(&'a Mutex<Vec<u64>>);

impl Visit for Number<'_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "event" {
            self.0.lock().push(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Numbers {
    fn has(&self, event: TraceEvent) -> bool {
        self.0.lock().contains(&u64::from(event.id()))
    }
}

/// A session with a channel, a refused one, refused requests, data, and an end.
async fn live(trace_channel_data: bool) {
    let mut limits = Limits::default();
    limits.trace_channel_data = trace_channel_data;
    let (client, server) = sessions(&Sides { limits, ..Sides::default() }).await;
    let serving = tokio::spawn(async move {
        let mut channel = server.next_channel(None).await.unwrap().accept().unwrap();
        let request = channel.next_request().await.unwrap();
        channel.answer(&request, false).unwrap();
        channel.write_all(b"data").await.unwrap();
        let refused = server.next_channel(None).await.unwrap();
        refused.reject(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED, "no");
        // A request that nobody knows.
        drop(server.incoming().next().await);
        server
    });
    let mut channel = client.open_channel("session").await.unwrap();
    assert!(!channel.request("x", &[]).await.unwrap());
    let mut data = [0; 4];
    channel.read_exact(&mut data).await.unwrap();
    assert!(client.open_channel("session").await.is_err());
    assert_eq!(client.request("y", &[]).await.unwrap(), None);
    channel.close().unwrap();
    channel.closed().await;
    client.close();
    serving.await.unwrap().closed().await;
}

#[tokio::test]
async fn a_session_tells_its_life_in_numbers() {
    use TraceEvent as E;
    let numbers = Numbers::default();
    let guard = tracing::subscriber::set_default(numbers.clone());
    live(false).await;
    let wanted = [
        E::SessionConnecting,
        E::ProtocolVersion,
        E::AlgorithmNegotiation,
        E::SessionEncrypted,
        E::SessionAuthenticating,
        E::SessionAuthenticated,
        E::ChannelOpened,
        E::ChannelOpenFailed,
        E::ChannelRequestFailed,
        E::SessionRequestFailed,
        E::ChannelClosed,
        E::SendingMessage,
        E::ReceivingMessage,
        E::SessionClosing,
    ];
    for event in wanted {
        assert!(numbers.has(event), "{event:?}");
    }
    assert!(!numbers.has(E::SendingChannelData) && !numbers.has(E::ReceivingChannelData));
    let order: Vec<usize> = wanted[..6]
        .iter()
        .map(|event| numbers.0.lock().iter().position(|seen| *seen == u64::from(event.id())).unwrap())
        .collect();
    assert!(order.is_sorted(), "{order:?}");
    live(true).await;
    assert!(numbers.has(E::SendingChannelData) && numbers.has(E::ReceivingChannelData));
    drop(guard);
}
