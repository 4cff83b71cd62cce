//! The host's ports, and where they are listened on.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ssh_core::session::IncomingRequest;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{ClientError, Event, Mapping, PortPolicy, Shared, connections};
use crate::wire::Forward;

/// More are not taken: a relay offers 32.
const MOST: usize = 256;
/// So many numbers are tried after the one that was wanted.
const TRIES: u16 = 100;
/// Ports below need a privilege, and are listened on that much higher.
const PRIVILEGED: u16 = 1024;
const ABOVE: u16 = 8000;
/// Connections of one port at once.
const CONNECTIONS: usize = 1024;

/// The ports. Listeners outlive sessions, so that a port stays where it was.
#[derive(Default)]
pub(super) struct Ports {
    rows: BTreeMap<u16, Row>,
    /// Whether [`Event::Ready`] was told.
    announced: bool,
    /// Whether all ports of the session that there is are known.
    is_settled: bool,
}

struct Row {
    place: Place,
    /// Not offered by this session yet.
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

struct Listening {
    local: SocketAddr,
    /// The listeners and their connections' tasks; those go on when the port goes.
    _accepting: JoinSet<()>,
}

impl Ports {
    /// A new session has begun.
    pub(super) fn expect_again(&mut self) {
        self.is_settled = false;
        for row in self.rows.values_mut() {
            row.stale = true;
        }
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
        let gone: Vec<u16> = self.rows.iter().filter(|(_, row)| row.stale).map(|(port, _)| *port).collect();
        for port in gone {
            self.remove(shared, port);
        }
        if !std::mem::replace(&mut self.announced, true) {
            let ports = self.rows.iter().filter_map(|(port, row)| row.mapping(*port)).collect();
            shared.tell(Event::Ready { ports });
        }
        Ok(())
    }

    /// The host's ports have changed, and others may have gone with them that were in the way.
    async fn try_again(&mut self, shared: &Arc<Shared>, changed: u16) -> Result<(), ClientError> {
        for (port, has_failed) in self.without_a_place() {
            if port != changed && has_failed {
                self.place(shared, port, has_failed).await?;
            }
        }
        Ok(())
    }

    /// The ports that have none yet, and whether it was said that they cannot have one.
    fn without_a_place(&self) -> Vec<(u16, bool)> {
        let wanted = |(port, row): (&u16, &Row)| match row.place {
            Place::Waits => Some((*port, false)),
            Place::Failed => Some((*port, true)),
            Place::There(_) | Place::Nowhere => None,
        };
        self.rows.iter().filter_map(wanted).collect()
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
        let row = self.rows.entry(port).or_insert(Row { place: Place::Waits, stale: false });
        row.place = place;
        if let (Some(mapping), true) = (row.mapping(port), self.announced) {
            shared.tell(Event::PortAdded(mapping));
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
        match request.name() {
            "tcpip-forward" => match self.offer(shared, port).await? {
                true => request.accept(&u32::from(port).to_be_bytes()),
                false => {
                    request.refuse();
                    return Ok(());
                }
            },
            "cancel-tcpip-forward" if self.remove(shared, port) => request.accept(&[]),
            _ => {
                request.refuse();
                return Ok(());
            }
        }
        self.try_again(shared, port).await
    }

    /// Whether the port is taken.
    async fn offer(&mut self, shared: &Arc<Shared>, port: u16) -> Result<bool, ClientError> {
        let is_full = self.rows.len() >= MOST;
        match self.rows.get_mut(&port) {
            Some(row) if row.stale => row.stale = false,
            Some(_) => return Ok(false),
            None if is_full => return Ok(false),
            None => self.place(shared, port, false).await?,
        }
        shared.offered.send_modify(|ports| {
            ports.insert(port);
        });
        Ok(true)
    }

    fn remove(&mut self, shared: &Shared, port: u16) -> bool {
        let Some(row) = self.rows.remove(&port) else { return false };
        shared.offered.send_modify(|ports| {
            ports.remove(&port);
        });
        if let (Some(mapping), true) = (row.mapping(port), self.announced) {
            shared.tell(Event::PortRemoved(mapping));
        }
        true
    }
}

impl Row {
    fn mapping(&self, remote: u16) -> Option<Mapping> {
        match &self.place {
            Place::There(listening) => Some(Mapping { remote, local: listening.local }),
            Place::Nowhere | Place::Waits | Place::Failed => None,
        }
    }
}

impl Listening {
    fn start(shared: &Arc<Shared>, port: u16, local: SocketAddr, sockets: Vec<TcpListener>) -> Self {
        let mut accepting = JoinSet::new();
        let permits = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
        for socket in sockets {
            let (shared, permits) = (Arc::clone(shared), Arc::clone(&permits));
            accepting.spawn(async move {
                loop {
                    let Ok((stream, from)) = socket.accept().await else {
                        // Out of descriptors, most likely: trying again at once would only spin.
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    };
                    let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                        reset(&stream);
                        continue;
                    };
                    let shared = Arc::clone(&shared);
                    tokio::spawn(async move {
                        connections::carry(&shared, stream, from, port).await;
                        drop(permit);
                    });
                }
            });
        }
        Self { local, _accepting: accepting }
    }
}

const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Closes a connection so that the other side gets an error, and not an empty stream.
pub(super) fn reset(socket: &TcpStream) {
    // Without it the connection is closed all the same.
    let _ = socket.set_zero_linger();
}

type Bound = Option<(SocketAddr, Vec<TcpListener>)>;

/// Listens for a port of the host wherever the policy says; on failure, which port it was. Not `elsewhere`, a number that
/// is taken is no failure if another one would do. `offered` are the host's other ports.
async fn bind(
    policy: &PortPolicy,
    port: u16,
    elsewhere: bool,
    offered: &[u16],
) -> Result<Bound, (u16, io::Error)> {
    let (map, may_differ) = match policy {
        PortPolicy::Nowhere => return Ok(None),
        PortPolicy::Next(map) | PortPolicy::Beside(map) => (map, true),
        PortPolicy::Same(map) => (map, false),
    };
    if let Some(local) = map.get(&port) {
        return localhost(*local).await.map(Some).map_err(|error| (*local, error));
    }
    let same = match policy {
        PortPolicy::Beside(_) => Err(io::ErrorKind::AddrInUse.into()),
        _ => localhost(port).await,
    };
    let mut first = match same {
        Ok(bound) => return Ok(Some(bound)),
        Err(error) if !may_differ => return Err((port, error)),
        Err(_) if !elsewhere => return Ok(None),
        Err(error) => error,
    };
    let start = match first.kind() {
        io::ErrorKind::PermissionDenied if port < PRIVILEGED => port.saturating_add(ABOVE.saturating_sub(1)),
        _ => port,
    };
    // Not the number of another port of the host, nor one that the command line gives to another port.
    let wanted: Vec<u16> = map.values().chain(offered).copied().collect();
    for next in (1..=TRIES).filter_map(|step| start.checked_add(step)).filter(|next| !wanted.contains(next)) {
        match localhost(next).await {
            Ok(bound) => return Ok(Some(bound)),
            Err(error) => first = error,
        }
    }
    localhost(0).await.map(Some).map_err(|_| (port, first))
}

/// Both loopback addresses, if there is IPv6.
async fn localhost(port: u16) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let first = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = first.local_addr()?;
    let twin = match TcpListener::bind((Ipv6Addr::LOCALHOST, address.port())).await {
        // Somebody else's port: whoever resolves `localhost` to `::1` would talk to them.
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        twin => twin.ok(),
    };
    Ok((address, [first].into_iter().chain(twin).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_number_is_passed_over_or_an_error() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let next = PortPolicy::Next(BTreeMap::new());
        let (local, _sockets) = bind(&next, port, true, &[]).await.unwrap().unwrap();
        assert_ne!(local.port(), port);
        assert!(bind(&next, port, false, &[]).await.unwrap().is_none(), "others have not been heard of");
        // Numbers of the host's other ports are theirs.
        let others: Vec<u16> = (1..=50).filter_map(|step| port.checked_add(step)).collect();
        let (local, _sockets) = bind(&next, port, true, &others).await.unwrap().unwrap();
        assert!(!others.contains(&local.port()), "{local}");
        let same = PortPolicy::Same(BTreeMap::new());
        let (failed, error) = bind(&same, port, false, &[]).await.unwrap_err();
        assert_eq!((failed, error.kind()), (port, io::ErrorKind::AddrInUse));
        // Beside the host it is the host's, whether somebody listens there or not.
        drop(taken);
        let beside = PortPolicy::Beside(BTreeMap::from([(1, 0)]));
        let (local, _sockets) = bind(&beside, port, true, &[]).await.unwrap().unwrap();
        assert_ne!(local.port(), port);
        assert!(bind(&beside, 1, true, &[]).await.unwrap().is_some(), "a number of the command line");
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = taken.local_addr().unwrap().port();
        // A number of the command line is meant as it stands.
        let map = BTreeMap::from([(1, port)]);
        assert_eq!(bind(&PortPolicy::Next(map), 1, true, &[]).await.unwrap_err().0, port);
        assert!(bind(&PortPolicy::Nowhere, port, true, &[]).await.unwrap().is_none());
    }
}
