//! Remote dynamic forwards: the peer listens, and we are the proxy behind it.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::Shared;
use super::dial::dial;
use super::dynamic::{Taken, end_with, take_request};
use super::event::{ForwardEvent, Target};
use super::hooks::{ForwardedPortConnecting, ForwardedStream};
use super::pump::Abort;
use super::socket::Socket;
use crate::channel::Channel;
use crate::error::IoError;
use crate::protocol::{OpenError, OpenFailure, OpenFailureReason};

/// Takes what the client behind `channel` wants, and connects to it.
pub(super) async fn serve(
    shared: &Shared,
    connection: &ForwardedPortConnecting,
    channel: Channel,
    from: String,
) {
    let abort = Abort::unless_whole(&channel);
    let Some(stream) = shared.hooks.wrap(connection, channel).await else { return };
    // A stream that is dropped before it is carried is closed, and so is one that is no client's of a proxy.
    match stream {
        ForwardedStream::Channel(mut channel) => {
            abort.take_back();
            if let Some((socket, target)) = shake_hands(shared, &mut channel, from).await {
                socket.run(channel, &target).await;
            }
        }
        ForwardedStream::Wrapped(mut stream) => match shake_hands(shared, &mut stream, from).await {
            Some((socket, target)) => socket.run_wrapped(stream, abort, &target).await,
            None => abort.take_back(),
        },
    }
}

/// The connection that the client asked for, when it has been told of it.
async fn shake_hands<S>(shared: &Shared, stream: &mut S, from: String) -> Option<(Socket, Target)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Taken::Request(request) = take_request(shared, stream, &from).await else { return None };
    let target = request.target.clone();
    let mut socket = match dial(&target).await {
        Ok(socket) => socket,
        Err(error) => {
            shared.events.emit(ForwardEvent::DialFailed { target, error: IoError::from(&error) });
            end_with(stream, &request.failure(&refusal(&error))).await;
            return None;
        }
    };
    shared.events.emit(ForwardEvent::Connection { from, target: target.clone() });
    stream.write_all(request.success()).await.ok()?;
    // What came behind the request is the first of what it is for.
    let early = match &mut socket {
        Socket::Tcp(socket) => socket.write_all(&request.early).await,
        #[cfg(unix)]
        Socket::Unix(socket) => socket.write_all(&request.early).await,
    };
    early.is_ok().then_some((socket, target))
}

/// As a peer that could not connect would say it.
fn refusal(error: &io::Error) -> OpenError {
    OpenError::Refused(OpenFailure { reason: OpenFailureReason::CONNECT_FAILED, text: error.to_string() })
}
