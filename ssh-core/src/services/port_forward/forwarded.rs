//! Connecting to ports that the peer has asked us to forward, without a TCP connection on this side.

use super::event::Target;
#[cfg(doc)]
use super::hooks::ConnectingHook;
use super::hooks::ForwardedPortConnecting;
use super::messages::{ChannelTarget, FORWARDED_TCPIP};
use super::{ForwardError, PortForwarding};
use crate::channel::Channel;
use crate::error::Error;
use crate::protocol::OpenError;

/// The ports that the peer asked us to listen on.
impl PortForwarding {
    /// The ports that the peer asked us to listen on, with the hosts as it spelled them.
    #[must_use]
    pub fn forwarded_ports(&self) -> Vec<Target> {
        self.shared.granted.ports()
    }

    /// The ports that this side asked the peer to listen on, with those that the peer chose; Unix sockets too.
    #[must_use]
    pub fn requested_ports(&self) -> Vec<Target> {
        self.shared.requested.ports()
    }

    /// Follows [`forwarded_ports`](Self::forwarded_ports), starting with those there are now. What comes and goes faster than
    /// it is looked at is skipped.
    #[must_use]
    pub fn watch_forwarded_ports(&self) -> ForwardedPorts<'_> {
        ForwardedPorts { forwarding: self, changes: self.shared.granted.changes(), first: true }
    }

    /// Waits until the peer has asked us to listen on this port.
    ///
    /// # Errors
    /// The session's error once it is over.
    ///
    /// # Cancel safety
    /// A dropped future changes nothing.
    pub async fn wait_for_forwarded_port(&self, port: u16) -> Result<(), Error> {
        let mut ports = self.watch_forwarded_ports();
        let find = async { while !ports.next().await.iter().any(|target| target.port() == port) {} };
        tokio::select! {
            () = find => Ok(()),
            error = self.closed() => Err(error),
        }
    }

    /// Opens a connection to whatever the peer has behind a port that it asked us to listen on, as if somebody had connected
    /// to that port here.
    ///
    /// # Errors
    /// [`ForwardError::NotForwarded`] if the peer has not asked for this port, or the [hook](ConnectingHook) rejects it, [`ForwardError::Open`] with its reason if it
    /// refuses.
    ///
    /// # Cancel safety
    /// The channel of a dropped future is closed as soon as it is confirmed.
    pub async fn connect_to_forwarded_port(&self, port: u16) -> Result<Channel, ForwardError> {
        let target = self.forwarded_ports().into_iter().find(|target| target.port() == port);
        let target = target.ok_or(ForwardError::NotForwarded { port })?;
        let fields = ChannelTarget {
            host: target.host().to_owned(),
            port,
            // Some peers refuse an originator that is no address.
            originator: "127.0.0.1".to_owned(),
            originator_port: 0,
        };
        let connection = ForwardedPortConnecting { port: target.clone(), is_incoming: false };
        if !self.shared.hooks.admit(&connection).await {
            return Err(ForwardError::NotForwarded { port });
        }
        let mut fields = fields.encode();
        fields.extend(self.shared.hooks.messages.channel_open(&target));
        let opened = self.shared.session.open_channel_with(FORWARDED_TCPIP, &fields).await;
        opened.map(|(channel, _)| channel).map_err(|source: OpenError| ForwardError::Open { target, source })
    }
}

/// The ports that the peer asked us to listen on, as they change.
#[derive(Debug)]
pub struct ForwardedPorts<'a> {
    forwarding: &'a PortForwarding,
    changes: tokio::sync::watch::Receiver<()>,
    first: bool,
}

impl ForwardedPorts<'_> {
    /// The ports: at once the first time, then whenever they have changed.
    ///
    /// # Cancel safety
    /// A dropped future has missed nothing.
    pub async fn next(&mut self) -> Vec<Target> {
        if !std::mem::replace(&mut self.first, false) {
            // The sender lives as long as the forwarding.
            let _ = self.changes.changed().await;
        } else {
            self.changes.mark_unchanged();
        }
        self.forwarding.forwarded_ports()
    }
}
