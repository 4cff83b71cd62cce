//! Ends of tunnels that come to another network.

use std::convert::Infallible;
use std::time::Duration;

use ssh_core::Session;
use ssh_core::network::NetworkWatch;
use tokio::sync::watch;

use crate::dial::Dialer;

/// A relay, or a host behind it, that does not answer for this long once the network is another is not reached any more.
const PATIENCE: Duration = Duration::from_secs(3);

/// Has `session` look whether its peer is still there, and those who wait before they dial again do so at once, whenever the
/// way to the relay is another. There is no session while it cannot be lost without loss.
pub(crate) async fn watch(
    dialer: &Dialer,
    news: &watch::Sender<()>,
    session: impl Fn() -> Option<Session>,
) -> Infallible {
    let mut network = NetworkWatch::new();
    loop {
        network.changed(|| dialer.peer()).await;
        tracing::debug!("the network has changed");
        news.send_replace(());
        if let Some(session) = session()
            && let Err(error) = session.network_changed(PATIENCE).await
        {
            tracing::debug!(%error, "the relay is not reached any more");
        }
    }
}
