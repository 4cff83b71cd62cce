use futures::StreamExt as _;
use ssh_core::channel::ChannelWriter;
use ssh_core::session::IncomingStream;

use crate::{DisconnectReason, Session};

/// Refuses whatever the other side asks for besides the stream, and ends the session when it closes the channel: a session
/// without its only channel is of no use, and some peers leave it at that.
pub(crate) async fn run(session: Session, channel: ChannelWriter, mut incoming: IncomingStream) {
    let refusing = async { while incoming.next().await.is_some() {} };
    tokio::select! {
        () = refusing => {}
        () = channel.closed() => session.disconnect(DisconnectReason::BY_APPLICATION, "the stream was closed"),
    }
}
