//! Pipes: everything that comes at one end leaves at the other.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::channel::{Channel, Handle};
use crate::error::{DisconnectReason, Error};
use crate::protocol::{ExitStatus, GlobalReply, OpenError, Piece, Progress};
use crate::session::{Incoming, IncomingChannel, IncomingRequest, OpenFailureReason, Session};

impl Session {
    /// Passes the channels and requests of each peer on to the other one, until either session ends; the other one is
    /// then closed for the same reason. It takes everything that [`incoming`](Session::incoming) has on both sides.
    ///
    /// Channels are opened at the far side with the same type and fields before they are confirmed or refused at the near
    /// one, and piped as [`Channel::pipe`] does. Requests keep their fields, and so do their answers, which leave in
    /// the order of the requests. Keepalives, first requests with an open and reconnecting are each session's own affair.
    ///
    /// Gives why the session that ended first did.
    ///
    /// # Cancel safety
    /// A dropped future cuts all channels; the sessions stay.
    pub async fn pipe(&self, other: &Session) -> Error {
        let forwards = async { futures::future::join(pass_on(self, other), pass_on(other, self)).await };
        let ended = tokio::select! {
            error = self.closed() => error,
            error = other.closed() => error,
            _ = forwards => self.closed().await,
        };
        let reason = ended.disconnect_reason().unwrap_or(DisconnectReason::CONNECTION_LOST);
        let (reason, text) = match &ended {
            Error::Disconnected { reason, text } => (*reason, text.to_string()),
            error => (reason, error.disconnect_text()),
        };
        for session in [self, other] {
            // The one that has ended is not touched by this.
            session.disconnect(reason, &text);
        }
        ended
    }
}

impl Channel {
    /// Passes everything that comes on either channel on to the other one until one of them closes, then closes the other:
    /// data, extended data of every type, EOF, requests with their answers, exit status and signal. Requests stay behind
    /// the data that they followed, but for `signal`, `break` and `window-change`. What is taken from one side and not
    /// accepted by the other is bounded by their windows and 128 KiB.
    ///
    /// # Cancel safety
    /// A dropped future closes both channels.
    pub async fn pipe(self, other: Channel) {
        for channel in [&self, &other] {
            let Handle { shared, id, .. } = &**channel.handle();
            shared.with(|engine| engine.keep_extended(*id));
        }
        let (a, b) = (&self, &other);
        futures::future::join(one_way(a, b), one_way(b, a)).await;
    }
}

/// Until `from` is closed, which closes `to`. If `to` is closed first, the other way delivers the rest and closes `from`.
async fn one_way(from: &Channel, to: &Channel) {
    let mut progress = Progress::default();
    let mut answers = FuturesUnordered::new();
    loop {
        let piece = tokio::select! {
            biased;
            Some(()) = answers.next(), if !answers.is_empty() => continue,
            piece = next_piece(from, &mut progress) => piece,
        };
        match piece {
            Ok(Piece::Request(request)) => answers.push(pass_request(from, to, request)),
            // An error means that it is closed, which comes next.
            Ok(Piece::Eof) => drop(to.send_eof()),
            Ok(Piece::Closed) | Err(_) => break,
            Ok(piece @ (Piece::Data(_) | Piece::Extended(..))) => {
                let write = write_piece(to, piece);
                tokio::pin!(write);
                let written = loop {
                    tokio::select! {
                        biased;
                        Some(()) = answers.next(), if !answers.is_empty() => {}
                        request = next_urgent(from) => answers.push(pass_request(from, to, request)),
                        written = &mut write => break written,
                    }
                };
                if written.is_err() {
                    return;
                }
            }
        }
    }
    drop(answers);
    // From here on an error means that the far side is closed already.
    let _ = match from.exit_status() {
        Some(ExitStatus::Code(status)) => to.close_with_status(status),
        Some(ExitStatus::Signal { name, message }) => to.close_with_signal(&name, &message),
        None => Ok(()),
    };
    // Without EOF, unless there was one: an end that nobody meant stays one.
    let _ = to.handle().shared.with(|engine| engine.close_channel(to.id()));
}

async fn next_piece(from: &Channel, progress: &mut Progress) -> Result<Piece, Error> {
    let Handle { shared, id, .. } = &**from.handle();
    std::future::poll_fn(|cx| shared.with(|engine| engine.poll_piece(*id, progress, cx))).await
}

async fn next_urgent(from: &Channel) -> crate::channel::PeerRequest {
    let Handle { shared, id, .. } = &**from.handle();
    std::future::poll_fn(|cx| shared.with(|engine| engine.poll_urgent(*id, cx))).await
}

/// Data and extended data alone take time to write.
async fn write_piece(to: &Channel, piece: Piece) -> io::Result<()> {
    match piece {
        Piece::Data(chunks) => {
            let mut writer = to.writer();
            for chunk in chunks {
                writer.write_all(&chunk).await?;
            }
            Ok(())
        }
        Piece::Extended(code, data) => to.extended_writer(code).write_all(&data).await,
        Piece::Request(_) | Piece::Eof | Piece::Closed => Ok(()),
    }
}

/// Sends the request at once, so that it keeps its place, and then waits for its answer.
fn pass_request<'a>(
    from: &'a Channel,
    to: &'a Channel,
    request: crate::channel::PeerRequest,
) -> impl Future<Output = ()> + 'a {
    let sent = if request.wants_reply() {
        to.start_request(&request.name, &request.fields).map(Some)
    } else {
        to.notify(&request.name, &request.fields).map(|()| None)
    };
    async move {
        let accepted = match sent {
            Ok(Some(reply)) => reply.await.unwrap_or(false),
            Ok(None) => return,
            Err(_) => false,
        };
        // An error means that the session is over.
        let _ = from.answer(&request, accepted);
    }
}

async fn pass_on(from: &Session, to: &Session) {
    let mut incoming = from.incoming();
    // The sessions' limits bound them.
    let mut tasks = JoinSet::new();
    while let Some(item) = incoming.next().await {
        while tasks.try_join_next().is_some() {}
        match item {
            Incoming::Channel(channel) => drop(tasks.spawn(pass_channel(channel, to.clone()))),
            Incoming::Request(request) => {
                if let Some(answering) = pass_session_request(request, to) {
                    tasks.spawn(answering);
                }
            }
        }
    }
}

async fn pass_channel(offer: IncomingChannel, to: Session) {
    match to.open_channel_with(offer.kind(), offer.fields()).await {
        Ok((far, confirmation)) => {
            if let Ok(near) = offer.accept_with(&confirmation) {
                near.pipe(far).await;
            }
        }
        Err(OpenError::Refused(failure)) => offer.reject(failure.reason, &failure.text),
        Err(error) => offer.reject(OpenFailureReason::CONNECT_FAILED, &error.to_string()),
    }
}

/// Sends the request at once, so that it keeps its place; what is left is the answer, if one is wanted.
fn pass_session_request(
    request: IncomingRequest,
    to: &Session,
) -> Option<impl Future<Output = ()> + Send + 'static> {
    let sent = if request.wants_reply() {
        to.start_request(request.name(), request.fields())
    } else {
        // An error means that the session is over.
        let _ = to.notify(request.name(), request.fields());
        return None;
    };
    Some(async move {
        let reply = match sent {
            Ok(reply) => reply.await,
            Err(error) => Err(error),
        };
        request.reply(reply.unwrap_or_else(|_| GlobalReply::Failure(Bytes::new())));
    })
}

impl Channel {
    /// Sends a request now; the future is its answer.
    pub(crate) fn start_request(
        &self,
        name: &str,
        fields: &[u8],
    ) -> Result<impl Future<Output = Result<bool, Error>> + Send + use<>, Error> {
        let handle = Arc::clone(self.handle());
        let number = handle.shared.with(|engine| engine.channel_request(handle.id, name, true, fields))?;
        let number = number.ok_or(Error::Bug("a request that wants an answer has no number"))?;
        let pending = PendingReply { handle, number };
        Ok(async move {
            let Handle { shared, id, .. } = &*pending.handle;
            let reply = std::future::poll_fn(|cx| {
                shared.with(|engine| engine.poll_channel_reply(*id, pending.number, cx))
            })
            .await;
            reply.ok_or(Error::Closed)
        })
    }
}

/// A reply that is given up if nobody waits for it any more.
struct PendingReply {
    handle: Arc<Handle>,
    number: u64,
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        self.handle.shared.with(|engine| engine.abandon_channel_reply(self.handle.id, self.number));
    }
}

impl Session {
    /// Sends a request now; the future is its answer.
    pub(crate) fn start_request(
        &self,
        name: &str,
        fields: &[u8],
    ) -> Result<impl Future<Output = Result<GlobalReply, Error>> + Send + use<>, Error> {
        let shared = Arc::clone(self.shared());
        let now = crate::driver::now();
        let number = shared.with(|engine| engine.global_request(name, true, fields, now))?;
        let number = number.ok_or(Error::Bug("a request that wants an answer has no number"))?;
        Ok(async move {
            // If it is dropped, the session is going too.
            let reply =
                std::future::poll_fn(|cx| shared.with(|engine| engine.poll_global_reply(number, cx))).await;
            reply.ok_or_else(|| shared.end_reason().unwrap_or(Error::Closed))
        })
    }
}
