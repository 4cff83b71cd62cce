//! Listening here, and which numbers that is done on.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{PortPolicy, Shared, connections};

/// So many numbers are tried after the one that was wanted.
const TRIES: u16 = 100;
/// Ports below need a privilege, and are listened on that much higher.
const PRIVILEGED: u16 = 1024;
const ABOVE: u16 = 8000;
/// Connections of one port at once.
const CONNECTIONS: usize = 1024;

/// A port of the host, listened on here.
pub(super) struct Listening {
    pub(super) local: SocketAddr,
    /// The listeners and their connections' tasks; those go on when the port goes.
    accepting: JoinSet<()>,
}

impl Listening {
    pub(super) fn start(
        shared: &Arc<Shared>,
        port: u16,
        local: SocketAddr,
        sockets: Vec<TcpListener>,
    ) -> Self {
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
        Self { local, accepting }
    }

    /// Nobody can connect any more once this is done.
    pub(super) async fn close(mut self) {
        self.accepting.shutdown().await;
    }
}

const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Closes a connection so that the other side gets an error, and not an empty stream.
pub(super) fn reset(socket: &TcpStream) {
    // Without it the connection is closed all the same.
    let _ = socket.set_zero_linger();
}

pub(super) type Bound = Option<(SocketAddr, Vec<TcpListener>)>;

/// Listens for a port of the host wherever the policy says; on failure, which port it was. Not `elsewhere`, a number that
/// is taken is no failure if another one would do. `offered` are the host's other ports.
pub(super) async fn bind(
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
    use std::collections::BTreeMap;

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
