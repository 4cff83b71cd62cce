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
        Err(error @ OpenError::TooManyChannels { .. }) => {
            offer.reject(OpenFailureReason::RESOURCE_SHORTAGE, &error.to_string());
        }
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

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::config::Algorithms;
    use crate::{client, server};

    async fn sessions() -> (Session, Session) {
        let algorithms = Algorithms::insecure_without_any_security;
        let client = client::Config::builder("ada")
            .verify_host_key(client::danger::AcceptAnyHostKey)
            .algorithms(algorithms())
            .build()
            .unwrap();
        let server = server::Config::builder(server::danger::AcceptEverybody)
            .algorithms(algorithms())
            .build()
            .unwrap();
        let (near, far) = tokio::io::duplex(1 << 16);
        let (near, far) = tokio::join!(client::connect(near, client), server::accept(far, server));
        (near.unwrap(), far.unwrap())
    }

    async fn next_request(incoming: &mut crate::session::IncomingStream) -> IncomingRequest {
        match tokio::time::timeout(Duration::from_secs(10), incoming.next()).await {
            Ok(Some(Incoming::Request(request))) => request,
            other => panic!("{other:?}"),
        }
    }

    /// The numbers of requests of which something is kept: that they are waited for, or an answer.
    fn kept(session: &Session) -> Vec<u64> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut poll = |number| session.shared().with(|engine| engine.poll_global_reply(number, &mut cx));
        (0..200).filter(|number| !matches!(poll(*number), Poll::Ready(None))).collect()
    }

    #[tokio::test]
    async fn a_dropped_pipe_waits_for_no_answer() {
        let (near, inner_near) = sessions().await;
        let (inner_far, far) = sessions().await;
        let (mut at_far, mut at_near) = (far.incoming(), near.incoming());
        let pipe = tokio::spawn({
            let (inner_near, inner_far) = (inner_near.clone(), inner_far.clone());
            async move { inner_near.pipe(&inner_far).await }
        });
        let asked = near.start_request("slow", b"").unwrap();
        let slow = next_request(&mut at_far).await;
        pipe.abort();
        assert!(pipe.await.is_err());
        // Whoever asked is not left to wait either.
        assert_eq!(asked.await.unwrap(), GlobalReply::Failure(Bytes::new()));
        slow.accept(b"late");
        for round in 0..100_u8 {
            let (ours, theirs, incoming) = match round % 2 {
                0 => (&inner_far, &far, &mut at_far),
                _ => (&inner_near, &near, &mut at_near),
            };
            let answering = async { next_request(incoming).await.accept(&[round]) };
            let (answer, ()) = tokio::join!(ours.request("quick", b""), answering);
            assert_eq!(answer.unwrap().unwrap(), [round][..]);
            assert!(!theirs.is_closed());
        }
        assert_eq!((kept(&inner_near), kept(&inner_far)), (vec![], vec![]));
    }
}
