//! What the relay counts, for Prometheus. Labels have few values, none of which a peer chooses.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::bandwidth::Waited;
use crate::live::Version;

/// The counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    upgrades: Family<Upgrade, Counter>,
    requests: Family<Answer, Counter>,
    connected: Family<Connected, Gauge>,
    pub(crate) connections: Gauge,
    pub(crate) refused_connections: Counter,
    pub(crate) received: Counter<u64, AtomicU64>,
    pub(crate) sent: Counter<u64, AtomicU64>,
    pub(crate) bandwidth_wait: Waited,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Upgrade {
    role: Role,
    result: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connected {
    role: Role,
    version: VersionLabel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Role {
    Host,
    Client,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Accepted,
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum VersionLabel {
    V1,
    V2,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("adit_relay");
        let metrics = (
            Family::<Upgrade, Counter>::default(),
            Family::<Answer, Counter>::default(),
            Family::<Connected, Gauge>::default(),
            Gauge::default(),
            Counter::default(),
            Counter::default(),
            Counter::default(),
        );
        let (upgrades, requests, connected, connections, refused_connections, received, sent) = metrics;
        let bandwidth_wait = Waited::default();
        registry.register("upgrades", "WebSocket upgrades that were decided", upgrades.clone());
        registry.register("http_requests", "HTTP requests by status", requests.clone());
        registry.register("connected", "hosts and clients that are connected", connected.clone());
        registry.register("connections", "TCP connections that are open", connections.clone());
        registry.register("refused_connections", "TCP connections past a limit", refused_connections.clone());
        registry.register("received_bytes", "payload received over WebSockets", received.clone());
        registry.register("sent_bytes", "payload sent over WebSockets", sent.clone());
        registry.register(
            "bandwidth_wait_seconds",
            "time that connections have waited for the bandwidth of their owner",
            bandwidth_wait.clone(),
        );
        Self {
            registry,
            upgrades,
            requests,
            connected,
            connections,
            refused_connections,
            received,
            sent,
            bandwidth_wait,
        }
    }

    pub(crate) fn upgrade(&self, role: Role, accepted: bool) {
        let result = if accepted { Outcome::Accepted } else { Outcome::Refused };
        self.upgrades.get_or_create(&Upgrade { role, result }).inc();
    }

    pub(crate) fn answered(&self, status: u16) {
        self.requests.get_or_create(&Answer { status }).inc();
    }

    /// Counts a host or client until the guard is dropped.
    pub(crate) fn connect(&self, role: Role, version: Version) -> ConnectedGuard {
        let version = match version {
            Version::V1 => VersionLabel::V1,
            Version::V2 => VersionLabel::V2,
        };
        let gauge = self.connected.get_or_create(&Connected { role, version }).clone();
        gauge.inc();
        ConnectedGuard(gauge)
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// A host or client that is counted.
pub(crate) struct ConnectedGuard(Gauge);

impl Drop for ConnectedGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}
