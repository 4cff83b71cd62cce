//! The host's ports, and where they are listened on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use ssh_core::session::IncomingRequest;
use tokio::time::Instant;

use super::connections::SESSION;
use super::listening::{Listening, bind};
use super::{ClientError, Event, Mapping, Offered, PortPolicy, Protocol, Shared};
use crate::wire::Forward;

/// More are not taken: a relay offers 32.
const MOST: usize = 256;
/// In v2 a relay takes the ports of a host back one by one when it is lost, as those that the host itself takes back, and
/// offers them again one after the other. A host that offers others is there; the rest of what it offers follows within this,
/// unless an answer takes longer on its way.
const OTHERS: Duration = Duration::from_secs(1);

/// The ports. Listeners outlive sessions, and in v2 hosts that are away for a moment, so that a port stays where it was.
pub(super) struct Ports {
    rows: BTreeMap<u16, Row>,
    /// Whether [`Event::Ready`] was told.
    announced: bool,
    /// Whether all ports of the session that there is are known.
    is_settled: bool,
    /// When the session began, or has last said something about ports.
    heard: Instant,
}

struct Row {
    place: Place,
    /// Not offered by this session yet, or not any more.
    stale: bool,
}

/// Where a port of the host is listened on.
enum Place {
    There(Listening),
    /// With [`PortPolicy::Nowhere`].
    Nowhere,
    /// Its number is taken, and it gets another one when all ports are known.
    Waits,
    /// It cannot be listened on, which was said; it is tried again whenever the host's ports change.
    Failed,
}

impl Ports {
    pub(super) fn new() -> Self {
        Self { rows: BTreeMap::new(), announced: false, is_settled: false, heard: Instant::now() }
    }

    /// A session has ended, or a new one has begun.
    pub(super) fn expect_again(&mut self, shared: &Shared) {
        self.is_settled = false;
        self.heard = Instant::now();
        for row in self.rows.values_mut() {
            row.stale = true;
        }
        self.publish(shared);
    }

    /// The session has offered what it had.
    ///
    /// # Errors
    /// If a port cannot be listened on, before [`Event::Ready`].
    pub(super) async fn settle(&mut self, shared: &Arc<Shared>) -> Result<(), ClientError> {
        self.is_settled = true;
        for (port, has_failed) in self.without_a_place() {
            self.place(shared, port, has_failed).await?;
        }
        if shared.config.protocol == Protocol::V1 {
            self.remove_stale(shared).await;
        }
        if !std::mem::replace(&mut self.announced, true) {
            let ports = self.rows.iter().filter_map(|(port, row)| row.mapping(*port)).collect();
            shared.tell(Event::Ready { ports });
        }
        Ok(())
    }

    /// When those are to be given up that the host does not offer, if there are any. In v1 it is the host itself that says
    /// which those are, and [`settle`](Self::settle) gives up the rest.
    pub(super) fn gives_up_at(&self, shared: &Shared) -> Option<Instant> {
        let is_stale = |row: &Row| row.stale;
        if shared.config.protocol == Protocol::V1 || !self.rows.values().any(is_stale) {
            return None;
        }
        // Without a port there may be no host, for which connections wait so long.
        let patience = if self.rows.values().all(is_stale) { SESSION } else { OTHERS };
        self.heard.checked_add(patience)
    }

    /// Gives those up that the host does not offer.
    ///
    /// # Errors
    /// As [`settle`](Self::settle).
    pub(super) async fn give_up(&mut self, shared: &Arc<Shared>) -> Result<(), ClientError> {
        self.remove_stale(shared).await;
        self.try_again(shared, None).await
    }

    async fn remove_stale(&mut self, shared: &Shared) {
        let gone: Vec<u16> = self.rows.iter().filter(|(_, row)| row.stale).map(|(port, _)| *port).collect();
        for port in gone {
            self.remove(shared, port).await;
        }
    }

    /// The host's ports have changed, and others may have gone with them that were in the way.
    async fn try_again(&mut self, shared: &Arc<Shared>, changed: Option<u16>) -> Result<(), ClientError> {
        for (port, has_failed) in self.without_a_place() {
            if Some(port) != changed && has_failed {
                self.place(shared, port, has_failed).await?;
            }
        }
        Ok(())
    }

    /// The ports that have none yet, and whether it was said that they cannot have one.
    fn without_a_place(&self) -> Vec<(u16, bool)> {
        self.rows.iter().filter_map(|(port, row)| Some((*port, row.lacks_a_place()?))).collect()
    }

    /// Gives a port of the host its place, where it can have one now.
    ///
    /// # Errors
    /// If it cannot be listened on, and [`Event::Ready`] has not been told. Later that is an event: others are in use.
    async fn place(&mut self, shared: &Arc<Shared>, port: u16, has_failed: bool) -> Result<(), ClientError> {
        let offered: Vec<u16> = self.rows.keys().copied().collect();
        // The next free number may be that of a port which has not been heard of yet.
        let bound = bind(&shared.config.ports, port, self.is_settled, &offered).await;
        let place = match bound {
            Ok(Some((local, sockets))) => Place::There(Listening::start(shared, port, local, sockets)),
            Ok(None) if matches!(shared.config.ports, PortPolicy::Nowhere) => Place::Nowhere,
            Ok(None) => Place::Waits,
            Err((local, error)) if !self.announced => {
                return Err(ClientError::Bind { port: local, kind: error.kind(), error: (&error).into() });
            }
            Err((local, error)) => {
                if !has_failed {
                    shared.tell(Event::PortFailed {
                        remote: port,
                        local: (Ipv4Addr::LOCALHOST, local).into(),
                        reason: error.to_string(),
                    });
                }
                Place::Failed
            }
        };
        if let Some(row) = self.rows.get_mut(&port) {
            row.place = place;
            if let (Some(mapping), true) = (row.mapping(port), self.announced) {
                shared.tell(Event::PortAdded(mapping));
            }
        }
        Ok(())
    }

    /// Serves the host's requests.
    ///
    /// # Errors
    /// If a port cannot be listened on where it has to be, before [`Event::Ready`].
    pub(super) async fn on_request(
        &mut self,
        shared: &Arc<Shared>,
        request: IncomingRequest,
    ) -> Result<(), ClientError> {
        let port = match Forward::decode(request.fields()) {
            Ok(forward) if forward.port > 0 => forward.port,
            _ => {
                request.refuse();
                return Ok(());
            }
        };
        self.heard = Instant::now();
        match request.name() {
            "tcpip-forward" => match self.offer(shared, port).await? {
                true => request.accept(&u32::from(port).to_be_bytes()),
                false => {
                    request.refuse();
                    return Ok(());
                }
            },
            "cancel-tcpip-forward" if self.cancel(shared, port).await => request.accept(&[]),
            _ => {
                request.refuse();
                return Ok(());
            }
        }
        self.try_again(shared, Some(port)).await
    }

    /// Whether the port is taken.
    async fn offer(&mut self, shared: &Arc<Shared>, port: u16) -> Result<bool, ClientError> {
        let is_full = self.rows.len() >= MOST;
        match self.rows.get_mut(&port) {
            Some(row) if row.stale => row.stale = false,
            Some(_) => return Ok(false),
            None if is_full => return Ok(false),
            None => drop(self.rows.insert(port, Row { place: Place::Waits, stale: false })),
        }
        // Before it is listened on: who connects is to find it offered.
        self.publish(shared);
        if let Some(has_failed) = self.rows.get(&port).and_then(Row::lacks_a_place) {
            self.place(shared, port, has_failed).await?;
        }
        Ok(true)
    }

    /// The host takes the port back, or a relay of v2 does so in its name. Whether it was offered.
    async fn cancel(&mut self, shared: &Shared, port: u16) -> bool {
        if shared.config.protocol == Protocol::V1 {
            return self.remove(shared, port).await;
        }
        let is_new = self.rows.get_mut(&port).is_some_and(|row| !std::mem::replace(&mut row.stale, true));
        self.publish(shared);
        is_new
    }

    async fn remove(&mut self, shared: &Shared, port: u16) -> bool {
        let Some(row) = self.rows.remove(&port) else { return false };
        let mapping = row.mapping(port);
        // Before anybody is told, and told to wait no longer.
        if let Place::There(listening) = row.place {
            listening.close().await;
        }
        self.publish(shared);
        if let (Some(mapping), true) = (mapping, self.announced) {
            shared.tell(Event::PortRemoved(mapping));
        }
        true
    }

    fn publish(&self, shared: &Shared) {
        let mut offered = Offered::default();
        for (port, row) in &self.rows {
            let list = if row.stale { &mut offered.awaited } else { &mut offered.ports };
            list.insert(*port);
        }
        shared.offered.send_replace(offered);
    }
}

impl Row {
    /// Whether it was said that it can have no place here, if it has none and is to have one.
    fn lacks_a_place(&self) -> Option<bool> {
        match self.place {
            _ if self.stale => None,
            Place::Waits => Some(false),
            Place::Failed => Some(true),
            Place::There(_) | Place::Nowhere => None,
        }
    }

    fn mapping(&self, remote: u16) -> Option<Mapping> {
        match &self.place {
            Place::There(listening) => Some(Mapping { remote, local: listening.local }),
            Place::Nowhere | Place::Waits | Place::Failed => None,
        }
    }
}
