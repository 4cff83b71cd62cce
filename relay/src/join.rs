//! Two channels as one.

use std::io;
use std::time::Duration;

use ssh_core::channel::{ChannelReader, ChannelWriter, ExitStatus};
use ssh_core::protocol::wire::Write as _;
use ssh_core::{Channel, Session};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use crate::bandwidth::Bandwidth;

/// One of two channels that are to be joined.
pub(crate) struct End {
    pub(crate) channel: Channel,
    /// As [`hears_eof`] says of its session.
    pub(crate) hears_eof: bool,
}

/// At most this much of one direction is on its way through the relay beside the channels' windows, in bytes.
const MOST: usize = 256 * 1024;
const CHUNKS: usize = 16;
/// An answer to a client that has ended its way is waited for so long, if the host has not heard of the end; as `pump` waits.
const PATIENCE: Duration = Duration::from_secs(30);
/// A target that has said all may still read. A client that does not hear of the end is told by a close once it has said nothing
/// for so long; as `pump` waits.
const QUIET: Duration = Duration::from_millis(500);

/// Carries bytes between the channel of a client, `near`, and that of a host, `far`, until both have ended or one is closed or
/// lost, which closes the other.
///
/// What is not taken stays in the window of the channel that it came from, so a slow reader stops the writer. SDK peers
/// neither send an end of data before they close nor answer a close, so a close counts for both directions once what came
/// before it has been passed on; past an end of data it counts at once, since whoever closes takes nothing any more. Both
/// directions are taken from the bucket, if there is one.
///
/// What breaks on one side is told to the other, by the `exit-signal` that pumps send: an end that is none must not look whole.
///
/// For a peer that [does not hear](hears_eof) of an end of data, that of the other side is the end of both directions once the peer
/// has been silent: for 30 s if it is the host, which may be about to answer, and for half a second if it is the client.
pub(crate) async fn join(near: End, far: End, bandwidth: Option<&Bandwidth>) {
    let (near_hears, far_hears) = (near.hears_eof, far.hears_eof);
    let (near, far) = (near.channel, far.channel);
    let _ = near.refuse_requests();
    let _ = far.refuse_requests();
    // Beside the halves, which the directions hold.
    let (near_lasts, far_lasts) = (near.writer(), far.writer());
    let (client_ends, client_ended) = watch::channel(false);
    let (host_ends, host_ended) = watch::channel(false);
    let (mut near_reader, mut near_writer) = near.split();
    let (mut far_reader, mut far_writer) = far.split();
    let quiet = (!near_hears).then_some(Patience { begins: host_ended, time: QUIET });
    let to_far = carry(&mut near_reader, &mut far_writer, bandwidth, quiet);
    let patience = (!far_hears).then_some(Patience { begins: client_ended, time: PATIENCE });
    let to_near = carry(&mut far_reader, &mut near_writer, bandwidth, patience);
    tokio::pin!(to_far, to_near);
    tokio::select! {
        ended = &mut to_far => if let Ok(Ended::Eof) = ended {
            client_ends.send_replace(true);
            tokio::select! {
                _ = to_near => {}
                () = near_lasts.closed() => {}
            }
        },
        ended = &mut to_near => if let Ok(Ended::Eof) = ended {
            host_ends.send_replace(true);
            tokio::select! {
                _ = to_far => {}
                () = far_lasts.closed() => {}
            }
        },
    }
}

/// Whether the peer of a session tells whoever reads a channel of the end of its data. The Dev Tunnels libraries in TypeScript and
/// in Go do not: their streams and forwards end with a CLOSE only.
pub(crate) fn hears_eof(session: &Session) -> bool {
    let line = session.connection().peer_version();
    let name = line.strip_prefix("SSH-2.0-").and_then(|software| software.split(['_', ' ']).next());
    !matches!(name, Some("dev-tunnels-ssh" | "dev-tunnels-ssh-go"))
}

/// How long a side that has not heard of the other's end may be silent after it.
struct Patience {
    begins: watch::Receiver<bool>,
    time: Duration,
}

/// How a direction ended.
enum Ended {
    Eof,
    Closed,
}

async fn carry(
    reader: &mut ChannelReader,
    writer: &mut ChannelWriter,
    bandwidth: Option<&Bandwidth>,
    mut patience: Option<Patience>,
) -> io::Result<Ended> {
    let mut chunks = Vec::new();
    let most = bandwidth.map_or(MOST, |bandwidth| bandwidth.largest_take().min(MOST));
    loop {
        let count = tokio::select! {
            biased;
            count = reader.read_chunks(most, CHUNKS, &mut chunks) => match count {
                Ok(count) => count,
                Err(lost) => {
                    tell_break(writer, b"the connection was lost");
                    return Err(lost);
                }
            },
            () = run_out(patience.as_mut()) => return Err(io::ErrorKind::TimedOut.into()),
        };
        if count == 0 {
            break;
        }
        for chunk in chunks.drain(..) {
            writer.write_all(&chunk).await?;
        }
        if let Some(bandwidth) = bandwidth {
            bandwidth.spend(count).await;
        }
    }
    if let Some(ExitStatus::Signal { message, .. }) = reader.exit_status() {
        tell_break(writer, message.as_bytes());
        return Ok(Ended::Closed);
    }
    if reader.is_closed() {
        return Ok(Ended::Closed);
    }
    writer.shutdown().await?;
    Ok(Ended::Eof)
}

/// Tells a side that what it was sent is not whole, if it is there still.
fn tell_break(writer: &ChannelWriter, why: &[u8]) {
    // RFC 4254 §6.10.
    let mut fields = Vec::new();
    fields.put_string(b"ABRT");
    fields.put_bool(false);
    fields.put_string(why);
    fields.put_string(b"");
    let _ = writer.notify("exit-signal", &fields);
}

/// Ready when the other direction has ended and it has been waited for long enough since; never if there is no patience to run out.
async fn run_out(patience: Option<&mut Patience>) {
    match patience {
        // Boxed, so that the many who never wait here are not larger for it.
        Some(Patience { begins, time }) => {
            Box::pin(async move {
                if begins.wait_for(|begins| *begins).await.is_err() {
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(*time).await;
            })
            .await;
        }
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use ssh_core::client::{self, danger};
    use ssh_core::config::{Algorithms, Limits};
    use ssh_core::session::Incoming;
    use tokio::io::AsyncReadExt as _;
    use tokio::time::Instant;

    use super::*;
    use crate::sessions;

    /// A channel of the relay's, and its peer's end.
    async fn channels() -> (Channel, Channel, [Session; 2]) {
        let (stream, peers) = tokio::io::duplex(64 * 1024);
        let mut limits = Limits::default();
        limits.keepalive = None;
        let config = client::Config::builder("tunnel")
            .verify_host_key(danger::AcceptAnyHostKey)
            .algorithms(Algorithms::insecure_without_any_security())
            .limits(limits)
            .build()
            .unwrap();
        let accepted = sessions::of_client(stream, Duration::from_secs(20));
        let (session, peer) = tokio::try_join!(accepted, client::connect(peers, config)).unwrap();
        let mut incoming = session.incoming();
        let take = async {
            loop {
                if let Some(Incoming::Channel(offer)) = incoming.next().await {
                    return Ok(offer.accept().unwrap());
                }
            }
        };
        let (ours, theirs) = tokio::try_join!(take, peer.open_channel("forwarded-tcpip")).unwrap();
        (ours, theirs, [session, peer])
    }

    /// A host that does not hear of the end of the data is closed when it has been silent for long enough; one that does has all the
    /// time that it wants.
    #[tokio::test(start_paused = true)]
    async fn an_answer_is_waited_for_from_who_has_not_heard_of_the_end() {
        let secs = Duration::from_secs;
        for hears_eof in [false, true] {
            let ((near, mut client, _near), (far, mut host, _far)) = tokio::join!(channels(), channels());
            let (near, far) = (End { channel: near, hears_eof: true }, End { channel: far, hears_eof });
            let joined = tokio::spawn(async move { join(near, far, None).await });
            tokio::time::sleep(2 * PATIENCE).await;
            client.write_all(b"question").await.unwrap();
            client.send_eof().unwrap();
            let mut heard = Vec::new();
            host.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"question");
            // Each word begins the wait anew.
            let mut word = [0; 4];
            for _ in 0..3 {
                tokio::time::sleep(PATIENCE - secs(1)).await;
                host.write_all(b"word").await.unwrap();
                client.read_exact(&mut word).await.unwrap();
            }
            let since = Instant::now();
            match tokio::time::timeout(2 * PATIENCE, host.closed()).await {
                Ok(_) => {
                    assert!(!hears_eof, "it is given up");
                    let waited = since.elapsed();
                    assert!(waited >= PATIENCE - secs(1) && waited <= PATIENCE + secs(1), "{waited:?}");
                    joined.await.unwrap();
                }
                Err(_) => assert!(hears_eof, "it is not given up"),
            }
        }
    }

    /// A client that does not hear of the end of the data gets all of it and then, when what it says itself is through, a close.
    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_host_is_a_close_to_who_hears_of_nothing_else() {
        for hears_eof in [false, true] {
            let ((near, mut client, _near), (far, mut host, _far)) = tokio::join!(channels(), channels());
            let (near, far) = (End { channel: near, hears_eof }, End { channel: far, hears_eof: true });
            tokio::spawn(async move { join(near, far, None).await });
            let data = vec![7; 3 * 1024 * 1024];
            let mut read = Vec::new();
            let sending = async {
                host.write_all(&data).await.unwrap();
                host.send_eof().unwrap();
            };
            tokio::join!(sending, async { client.read_to_end(&mut read).await.unwrap() });
            assert!(read == data);
            // What it says now still reaches the target.
            let mut word = [0; 4];
            for _ in 0..10 {
                tokio::time::sleep(QUIET / 2).await;
                client.write_all(b"word").await.unwrap();
                host.read_exact(&mut word).await.unwrap();
            }
            let closed = tokio::time::timeout(Duration::from_secs(5), client.closed()).await;
            assert_eq!(closed.is_ok(), !hears_eof);
        }
    }
}
