//! What is connected now.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use ssh_core::Session;
use ssh_core::error::DisconnectReason;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::access::{Caller, Credential};
use crate::bandwidth::Bandwidth;
use crate::relay::LiveCounts;
use crate::scopes::Scope;
use crate::tokens::LEEWAY;

/// The tunnels that somebody is connected to, by id. No guard of a map lives across an await.
#[derive(Debug, Default)]
pub(crate) struct Live {
    tunnels: DashMap<String, Arc<LiveTunnel>>,
    next: AtomicU64,
}

/// One tunnel's connections.
#[derive(Debug)]
pub(crate) struct LiveTunnel {
    pub(crate) id: String,
    /// Its host; changes are watched by clients that wait for one and by those that show its ports.
    pub(crate) host: watch::Sender<Option<Arc<HostLink>>>,
    clients: DashMap<u64, Arc<ClientLink>>,
}

/// Which of the two protocols a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Bytes of clients in channels of the host.
    V1,
    /// Sessions on both sides, joined channel by channel.
    V2,
}

/// A connected host.
#[derive(Debug)]
pub(crate) struct HostLink {
    pub(crate) number: u64,
    pub(crate) version: Version,
    pub(crate) session: Session,
    /// The ports that it forwards; of a host of v2 alone.
    pub(crate) ports: watch::Sender<BTreeSet<u16>>,
    pub(crate) admission: Admission,
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct ClientLink {
    pub(crate) number: u64,
    pub(crate) owner: String,
    pub(crate) admission: Admission,
    pub(crate) leave: Leave,
    /// What its bytes are taken from, if they are.
    pub(crate) bandwidth: Option<Arc<Bandwidth>>,
}

/// Tells a client's task that it is to go.
#[derive(Debug, Default)]
pub(crate) struct Leave {
    told: Notify,
    why: OnceLock<Why>,
}

/// Why somebody is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The right was withdrawn.
    Withdrawn,
    /// The token has expired; whoever has another may come back at once.
    Expired,
    /// The relay stops, and another one follows.
    Restart,
}

impl Leave {
    /// The first reason counts.
    fn tell(&self, why: Why) {
        let _ = self.why.set(why);
        // Kept until it is waited for.
        self.told.notify_one();
    }

    pub(crate) async fn told(&self) -> Why {
        self.told.notified().await;
        self.why.get().copied().unwrap_or(Why::Withdrawn)
    }
}

/// By what right a connection is here, to be looked at again when rights change.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub(crate) caller: Caller,
    pub(crate) scope: Scope,
    /// When the right ends by itself. No setting of the wall clock brings that nearer or puts it off.
    ends: Option<Instant>,
}

impl Admission {
    /// From `now`, in seconds since 1970. A connection ends with its token; the leeway is for who comes during it.
    pub(crate) fn new(caller: Caller, scope: Scope, now: u64) -> Self {
        let left = match &caller.credential {
            Credential::Token(token) => Some(match token.expires.saturating_sub(now) {
                0 => token.expires.saturating_add(LEEWAY.as_secs()).saturating_sub(now),
                left => left,
            }),
            _ => None,
        };
        let ends = left.and_then(|left| Instant::now().checked_add(Duration::from_secs(left)));
        Self { caller, scope, ends }
    }

    /// Whether the right has ended by itself.
    pub(crate) fn is_over(&self) -> bool {
        self.ends.is_some_and(|end| end <= Instant::now())
    }
}

impl Live {
    /// A tunnel's connections. They are kept while somebody holds them.
    pub(crate) fn tunnel(&self, id: &str) -> Arc<LiveTunnel> {
        if let Some(tunnel) = self.tunnels.get(id) {
            return Arc::clone(&tunnel);
        }
        let new = || {
            Arc::new(LiveTunnel {
                id: id.to_owned(),
                host: watch::Sender::new(None),
                clients: DashMap::new(),
            })
        };
        Arc::clone(&self.tunnels.entry(id.to_owned()).or_insert_with(new))
    }

    /// A number that no other connection has.
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Forgets a tunnel that nobody is connected to or waits for.
    pub(crate) fn tidy(&self, id: &str) {
        // The map's own reference, and those of whoever is about to use it.
        self.tunnels.remove_if(id, |_, tunnel| {
            Arc::strong_count(tunnel) == 1 && tunnel.host.borrow().is_none() && tunnel.clients.is_empty()
        });
    }

    pub(crate) fn counts(&self, id: &str) -> LiveCounts {
        self.tunnels.get(id).map_or_else(LiveCounts::default, |tunnel| LiveCounts {
            host: tunnel.host.borrow().is_some(),
            clients: tunnel.client_count(),
        })
    }

    /// The clients of all tunnels of one owner.
    pub(crate) fn clients_of(&self, owner: &str) -> usize {
        self.tunnels
            .iter()
            .map(|tunnel| tunnel.clients.iter().filter(|client| client.owner == owner).count())
            .fold(0, usize::saturating_add)
    }

    /// All tunnels that there are now.
    pub(crate) fn all(&self) -> Vec<Arc<LiveTunnel>> {
        self.tunnels.iter().map(|tunnel| Arc::clone(&tunnel)).collect()
    }

    /// One tunnel, if somebody is connected to it.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<LiveTunnel>> {
        self.tunnels.get(id).map(|tunnel| Arc::clone(&tunnel))
    }
}

impl HostLink {
    /// Ends its session.
    pub(crate) fn send_away(&self, why: Why) {
        let (reason, text) = match why {
            Why::Withdrawn => {
                (DisconnectReason::BY_APPLICATION, "the right to host this tunnel was withdrawn")
            }
            // A lost connection is what SDKs come back from, after asking for another token.
            Why::Expired => (DisconnectReason::CONNECTION_LOST, "the token has expired"),
            Why::Restart => (DisconnectReason::CONNECTION_LOST, "the relay restarts"),
        };
        self.session.disconnect(reason, text);
    }
}

impl LiveTunnel {
    pub(crate) fn client_count(&self) -> u32 {
        u32::try_from(self.clients.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn current_host(&self) -> Option<Arc<HostLink>> {
        self.host.borrow().clone()
    }

    /// Makes this the tunnel's host. One that was there before is told that it is one too many, or the two would take
    /// the place from each other for ever.
    pub(crate) fn host_came(&self, host: Arc<HostLink>) {
        if let Some(old) = self.host.send_replace(Some(host)) {
            old.session.disconnect(
                DisconnectReason::TOO_MANY_CONNECTIONS,
                "another host has connected to this tunnel",
            );
        }
    }

    /// The host with this number has gone. Whether it was still the tunnel's host.
    pub(crate) fn host_went(&self, number: u64) -> bool {
        self.host.send_if_modified(|host| {
            let is_it = host.as_ref().is_some_and(|host| host.number == number);
            if is_it {
                *host = None;
            }
            is_it
        })
    }

    /// Takes a client on the list, and says how many there are with it.
    pub(crate) fn client_came(&self, client: Arc<ClientLink>) -> u32 {
        self.clients.insert(client.number, client);
        self.client_count()
    }

    pub(crate) fn client_went(&self, number: u64) {
        self.clients.remove(&number);
    }

    /// Ends the connections that there is a reason to end.
    pub(crate) fn end(&self, reason: impl Fn(&Admission) -> Option<Why>) {
        if let Some(host) = self.current_host()
            && let Some(why) = reason(&host.admission)
        {
            host.send_away(why);
        }
        for client in &self.clients {
            if let Some(why) = reason(&client.admission) {
                client.leave.tell(why);
            }
        }
    }

    /// Asks everybody to come back: a lost connection is what every SDK comes back from at once.
    pub(crate) fn send_away(&self) {
        self.end(|_| Some(Why::Restart));
    }
}
