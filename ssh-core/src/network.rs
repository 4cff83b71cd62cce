//! Whether this machine still reaches a peer by the way that it did.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime};

/// Notices that this machine has come to another network, or back from sleep, within about a second:
/// [`Session::network_changed`](crate::Session::network_changed) is for those who are told.
///
/// It asks the system from which of its addresses a packet to the peer would leave now, and looks for a leap of the wall
/// clock. Nothing is sent.
#[derive(Debug)]
pub struct NetworkWatch {
    /// The last peer, and the address from which a packet to it would have left, if there was a way.
    last: Option<(SocketAddr, Option<IpAddr>)>,
    looked: SystemTime,
}

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);
/// If the next look comes later than this, the machine was asleep, or this process.
const SLEPT: Duration = Duration::from_secs(10);

impl NetworkWatch {
    /// Watches from now on.
    #[must_use]
    pub fn new() -> Self {
        Self { last: None, looked: wall_clock() }
    }

    /// Waits until the way to the peer is another, or the machine was asleep. `peer` is asked at each look; without a peer,
    /// and while nothing leads to it, there is no news; once something does again, there is.
    ///
    /// # Cancel safety
    /// What happens until the next call is noticed by it.
    pub async fn changed(&mut self, peer: impl Fn() -> Option<SocketAddr>) {
        loop {
            if self.look(peer(), source_for, wall_clock()) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn look(
        &mut self,
        peer: Option<SocketAddr>,
        source: impl Fn(SocketAddr) -> io::Result<IpAddr>,
        now: SystemTime,
    ) -> bool {
        let passed = now.duration_since(self.looked).unwrap_or_default();
        self.looked = now;
        let slept = self.last.is_some() && passed > SLEPT;
        let Some(peer) = peer else { return slept };
        let source = source(peer).ok();
        let before = self.last.replace((peer, source));
        // Another peer is another matter, and without any way there is nothing to be tried yet.
        slept || (source.is_some() && before.is_some_and(|(before, from)| before == peer && from != source))
    }
}

impl Default for NetworkWatch {
    fn default() -> Self {
        Self::new()
    }
}

/// From where a packet to the peer would leave: what connecting a UDP socket, which sends nothing, chooses.
fn source_for(peer: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(peer)?;
    Ok(socket.local_addr()?.ip())
}

#[expect(clippy::disallowed_methods, reason = "the runtime's clock stands still while the machine sleeps")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 22);
    const OTHER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 22);

    #[test]
    fn another_way_to_the_same_peer_is_news_and_so_is_sleep() {
        let mut watch = NetworkWatch { last: None, looked: SystemTime::UNIX_EPOCH };
        let mut at = Duration::ZERO;
        let steps = [
            // Seconds passed, the peer, this machine's address on the way to it, whether that is news.
            (1, None, None, false),
            (60, None, None, false),
            (1, Some(PEER), Some(1), false),
            (1, Some(PEER), Some(1), false),
            (1, Some(PEER), Some(2), true),
            (1, Some(PEER), Some(2), false),
            // Away and back again, or elsewhere.
            (1, Some(PEER), None, false),
            (1, Some(PEER), None, false),
            (1, Some(PEER), Some(2), true),
            (1, Some(PEER), None, false),
            (1, Some(PEER), Some(3), true),
            (1, Some(OTHER), Some(1), false),
            (1, None, None, false),
            (1, Some(OTHER), Some(1), false),
            (10, Some(OTHER), Some(1), false),
            (11, Some(OTHER), Some(1), true),
            (1, Some(OTHER), Some(1), false),
            (3600, Some(OTHER), None, true),
            (1, Some(OTHER), Some(1), true),
        ];
        for (number, (passed, peer, from, news)) in steps.into_iter().enumerate() {
            at += Duration::from_secs(passed);
            let source = |_| {
                let from: u8 = from.ok_or(io::ErrorKind::NetworkUnreachable)?;
                Ok(Ipv4Addr::new(198, 51, 100, from).into())
            };
            assert_eq!(watch.look(peer, source, SystemTime::UNIX_EPOCH + at), news, "step {number}");
        }
        // A clock that is set back is no news.
        let source = |_| Ok(Ipv4Addr::new(198, 51, 100, 1).into());
        assert!(!watch.look(Some(OTHER), source, SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn the_system_knows_from_where_a_packet_leaves() {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        assert_eq!(source_for(local).unwrap(), IpAddr::from(Ipv4Addr::LOCALHOST));
    }
}
