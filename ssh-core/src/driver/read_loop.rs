use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, ReadHalf};

use super::Supervisor;
use super::shared::{EndOnDrop, Gone, Shared};
use super::stream::{BoxStream, ReadLink};
use crate::error::Error;
use crate::protocol::{Engine, Inbound, Input, Packet};
use crate::trace::tell;

/// A read asks for this much at first, in bytes, and for twice as much whenever it got all of it.
const FIRST_READ: usize = 16 * 1024;
/// And for no more than this: many packets for each system call, and still in a core's cache.
const LARGEST_READ: usize = 1024 * 1024;
/// While input is paused, deadlines are looked at this often at least.
const PAUSE_LOOK: Duration = Duration::from_secs(1);
/// After the end the peer gets this long to read what was sent and close its side; cutting it off at once could
/// destroy the SSH_MSG_DISCONNECT on its way.
const LINGER: Duration = Duration::from_secs(2);

/// Reads, opens and dispatches until the session is over, from one stream after the other.
pub(super) fn run(
    shared: Arc<Shared>,
    link: ReadLink,
    supervisor: Option<Arc<dyn Supervisor>>,
) -> impl Future<Output = ()> {
    // Made now, so that a loop that is dropped before its first poll ends the session too.
    let guard = EndOnDrop::new(shared);
    keep_reading(guard, link, supervisor)
}

async fn keep_reading(guard: EndOnDrop, mut link: ReadLink, supervisor: Option<Arc<dyn Supervisor>>) {
    let shared = Arc::clone(&guard.0);
    loop {
        match read(&shared, &mut link).await {
            Gone::Ended => {
                drop(guard);
                return linger(link.stream).await;
            }
            Gone::Moved(target, generation) => {
                guard.disarm();
                link.generation = generation;
                return target.deposit_reader(link);
            }
            // The socket is closed at once.
            Gone::Lost => drop(link),
        }
        match without_stream(&shared, supervisor.as_deref()).await {
            Some(next) => link = next,
            None => {
                drop(guard);
                if let Some(link) = late(&shared).await {
                    linger(link.stream).await;
                }
                return;
            }
        }
    }
}

/// The stream that a session had just found when it ended.
async fn late(shared: &Shared) -> Option<ReadLink> {
    if shared.disconnected() {
        return None;
    }
    let deposited = async {
        loop {
            if let Some(link) = shared.take_reader() {
                return link;
            }
            shared.reader_deposited().await;
        }
    };
    tokio::time::timeout(LINGER, deposited).await.ok()
}

/// Keeps the session's deadlines until it has a stream again, or `None` when it is over.
async fn without_stream(shared: &Arc<Shared>, supervisor: Option<&dyn Supervisor>) -> Option<ReadLink> {
    let supervise = || async {
        match supervisor {
            Some(supervisor) => supervisor.reconnect(shared).await,
            None => std::future::pending().await,
        }
    };
    let supervised = supervise();
    tokio::pin!(supervised);
    let mut supervising = true;
    loop {
        let (generation, detached) = shared.with(|engine| (engine.generation(), engine.detached().is_some()));
        if let Some(link) = shared.take_reader() {
            return Some(link);
        }
        if shared.end_reason().is_some() {
            return None;
        }
        // The stream that was found can be lost again before it gets here: the writing half may be quicker.
        if detached && !supervising {
            supervised.set(supervise());
            supervising = true;
        }
        let deadline = shared.arm();
        let sleep = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.reader_deposited() => {}
            () = shared.reader_notified() => {}
            () = shared.replaced(generation) => {}
            () = sleep => { let _ = shared.with(|engine| engine.handle_timeout(super::now())); }
            () = supervised.as_mut(), if supervising => supervising = false,
        }
    }
}

/// After the end: lets the peer read what was sent.
async fn linger(mut stream: ReadHalf<BoxStream>) {
    let mut rest = vec![0; FIRST_READ];
    let drain = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// Reads until the stream is done with.
async fn read(shared: &Shared, link: &mut ReadLink) -> Gone {
    let ReadLink { stream, inbound, batch, generation } = link;
    let generation = *generation;
    let mut read_size = FIRST_READ;
    let sleep = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(sleep);
    // What was read for another session's sake, or waited for a key.
    if let Err(gone) = dispatch(shared, generation, inbound, batch) {
        return gone;
    }
    loop {
        let paused = match shared.with_stream(generation, |engine| engine.wants_input_paused()) {
            Ok(paused) => paused,
            Err(gone) => return gone,
        };
        if paused {
            // The deadlines must still be kept, or a peer that never reads would never be given up.
            let look = super::now() + PAUSE_LOOK;
            let at = shared.arm().map_or(look, |deadline| deadline.min(look));
            sleep.as_mut().reset(at.into());
            tokio::select! {
                () = shared.output_drained() => {}
                () = shared.reader_notified() => {}
                () = shared.replaced(generation) => {}
                () = sleep.as_mut() => on_timeout(shared, generation),
            }
            continue;
        }
        let deadline = shared.arm();
        if let Some(at) = deadline {
            sleep.as_mut().reset(at.into());
        }
        let buffer = inbound.reserve(read_size);
        let room = buffer.capacity().saturating_sub(buffer.len());
        let read = tokio::select! {
            biased;
            read = stream.read_buf(buffer) => read,
            () = sleep.as_mut(), if deadline.is_some() => {
                on_timeout(shared, generation);
                continue;
            }
            () = shared.reader_notified() => continue,
            () = shared.replaced(generation) => continue,
        };
        match read {
            Ok(0) => lose(shared, generation, inbound.lost(&Error::end_of_stream())),
            Err(error) => {
                tell!(StreamReadError, %error, "reading failed");
                lose(shared, generation, inbound.lost(&error));
            }
            Ok(n) => {
                let size = next_read_size(read_size, n, room);
                if size == FIRST_READ && read_size > FIRST_READ {
                    inbound.shrink();
                    shared.with(Engine::shrink);
                }
                read_size = size;
                if let Err(gone) = dispatch(shared, generation, inbound, batch) {
                    return gone;
                }
                // A stream that always has more to read must not put the deadlines off.
                if deadline.is_some_and(|at| super::now() >= at) {
                    on_timeout(shared, generation);
                }
            }
        }
    }
}

/// Opens all that has arrived without the lock, then hands it over under one.
fn dispatch(
    shared: &Shared,
    generation: u64,
    inbound: &mut Inbound,
    batch: &mut Vec<Packet>,
) -> Result<(), Gone> {
    if let Some(next) = shared.with_stream(generation, |engine| engine.take_opener())? {
        inbound.install(next);
    }
    loop {
        let mut ident = None;
        let failed = loop {
            match inbound.poll() {
                Ok(Some(Input::Packet(packet))) => batch.push(packet),
                Ok(Some(Input::Ident(version))) => ident = Some(version),
                Ok(None) => break None,
                Err(error) => {
                    tell!(ReceiveMessageFailed, %error, "a packet was not opened");
                    break Some(error);
                }
            }
        };
        // What came before a broken packet still counts.
        let now = super::now();
        let next = shared.with_stream(generation, |engine| {
            if let Some(version) = ident {
                engine.handle_ident(version);
            }
            for packet in batch.drain(..) {
                engine.handle_packet(packet, now)?;
            }
            Ok::<_, Error>(engine.take_opener())
        })?;
        match (next, failed) {
            (Err(error), _) | (Ok(_), Some(error)) => {
                lose(shared, generation, error);
                return Ok(());
            }
            (Ok(Some(next)), None) => inbound.install(next),
            (Ok(None), None) => return Ok(()),
        }
    }
}

fn on_timeout(shared: &Shared, generation: u64) {
    // A failure has ended the session, or taken its stream, which the loop sees.
    let _ = shared.with_stream(generation, |engine| engine.handle_timeout(super::now()));
}

fn lose(shared: &Shared, generation: u64, error: Error) {
    match shared.with_stream(generation, |_| ()) {
        Err(Gone::Moved(target, generation)) => {
            let _ = target.with_stream(generation, |engine| engine.lose(error, super::now()));
        }
        _ => {
            let _ = shared.with_stream(generation, |engine| engine.lose(error, super::now()));
        }
    }
}

fn next_read_size(size: usize, read: usize, room: usize) -> usize {
    if read >= room.min(size) {
        size.saturating_mul(2).min(LARGEST_READ)
    } else if read < size / 8 {
        (size / 2).max(FIRST_READ)
    } else {
        size
    }
}
