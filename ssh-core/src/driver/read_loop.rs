use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, ReadHalf};

use super::shared::{EndOnDrop, Shared};
use crate::error::Error;
use crate::protocol::{Engine, Inbound, Input, Packet};

/// A read asks for this much at first, in bytes, and for twice as much whenever it got all of it.
const FIRST_READ: usize = 16 * 1024;
/// And for no more than this: many packets for each system call, and still in a core's cache.
const LARGEST_READ: usize = 1024 * 1024;
/// While input is paused, deadlines are looked at this often at least.
const PAUSE_LOOK: Duration = Duration::from_secs(1);
/// After the end the peer gets this long to read what was sent and close its side; cutting it off at once could
/// destroy the SSH_MSG_DISCONNECT on its way.
const LINGER: Duration = Duration::from_secs(2);

/// Reads, opens and dispatches until the session is over.
pub(super) fn run<S>(shared: Arc<Shared>, stream: ReadHalf<S>, inbound: Inbound) -> impl Future<Output = ()>
where
    S: AsyncRead,
{
    // Made now, so that a loop that is dropped before its first poll ends the session too.
    let guard = EndOnDrop(shared);
    read(guard, stream, inbound)
}

async fn read<S>(guard: EndOnDrop, mut stream: ReadHalf<S>, mut inbound: Inbound)
where
    S: AsyncRead,
{
    let shared = Arc::clone(&guard.0);
    let mut batch = Vec::with_capacity(64);
    let mut read_size = FIRST_READ;
    let sleep = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(sleep);
    while shared.with(|engine| engine.ended().is_none()) {
        if shared.with(|engine| engine.wants_input_paused()) {
            // The deadlines must still be kept, or a peer that never reads would never be given up.
            let look = super::now() + PAUSE_LOOK;
            let at = shared.arm().map_or(look, |deadline| deadline.min(look));
            sleep.as_mut().reset(at.into());
            tokio::select! {
                () = shared.output_drained() => {}
                () = shared.reader_notified() => {}
                () = sleep.as_mut() => on_timeout(&shared),
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
                on_timeout(&shared);
                continue;
            }
            () = shared.reader_notified() => continue,
        };
        match read {
            Ok(0) => end(&shared, Error::unexpected_end()),
            Err(error) => end(&shared, error.into()),
            Ok(n) => {
                let size = next_read_size(read_size, n, room);
                if size == FIRST_READ && read_size > FIRST_READ {
                    inbound.shrink();
                    shared.with(Engine::shrink);
                }
                read_size = size;
                if let Err(error) = dispatch(&shared, &mut inbound, &mut batch) {
                    end(&shared, error);
                }
                // A stream that always has more to read must not put the deadlines off.
                if deadline.is_some_and(|at| super::now() >= at) {
                    on_timeout(&shared);
                }
            }
        }
    }
    drop(guard);
    drop(inbound);
    let mut rest = vec![0; FIRST_READ];
    let drain = async { while matches!(stream.read(&mut rest).await, Ok(1..)) {} };
    let _ = tokio::time::timeout(LINGER, drain).await;
}

/// Opens all that has arrived without the lock, then hands it over under one.
fn dispatch(shared: &Shared, inbound: &mut Inbound, batch: &mut Vec<Packet>) -> Result<(), Error> {
    loop {
        let mut ident = None;
        let failed = loop {
            match inbound.poll() {
                Ok(Some(Input::Packet(packet))) => batch.push(packet),
                Ok(Some(Input::Ident(version))) => ident = Some(version),
                Ok(None) => break None,
                Err(error) => break Some(error),
            }
        };
        // What came before a broken packet still counts.
        let now = super::now();
        let next = shared.with(|engine| {
            if let Some(version) = ident {
                engine.handle_ident(version);
            }
            for packet in batch.drain(..) {
                engine.handle_packet(packet, now)?;
            }
            Ok::<_, Error>(engine.take_opener())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        match next {
            Some(next) => inbound.install(next),
            None => return Ok(()),
        }
    }
}

fn on_timeout(shared: &Shared) {
    // A failure has ended the session, which the loop sees.
    let _ = shared.with(|engine| engine.handle_timeout(super::now()));
}

fn end(shared: &Shared, error: Error) {
    shared.with(|engine| engine.end(error));
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
