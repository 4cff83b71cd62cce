//! Lines for stdout and stderr, written by a thread of their own: a pipe that nobody reads holds up nobody else.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Where a line goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// What may happen to a line for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// It is left out and counted.
    Light,
    /// It waits for up to [`PATIENCE`], then it is left out and counted too.
    Heavy,
}

/// A line as it is written, with its end.
type Line = (Stream, Vec<u8>);

/// The lines that wait to be written, in their order.
pub(crate) struct Lines {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    filled: Condvar,
    /// There is room, or nothing left.
    emptied: Condvar,
    /// Makes the line that says how many were left out.
    left_out: fn(u64) -> Line,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Line>,
    is_writing: bool,
    left_out: u64,
}

impl Lines {
    /// Starts the thread that writes to stdout and stderr.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(left_out: fn(u64) -> Line) -> io::Result<Arc<Self>> {
        Self::start_with(left_out, write)
    }

    fn start_with(
        left_out: fn(u64) -> Line,
        mut write: impl FnMut(Stream, &[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let lines = Arc::new(Self {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            left_out,
        });
        let writer = Arc::clone(&lines);
        std::thread::Builder::new().name("output".into()).spawn(move || {
            // A full disk may have room again. How many lines were lost meanwhile is said once a minute at most.
            let (mut lost, mut said) = (0_u64, None::<Instant>);
            loop {
                let (stream, line) = writer.next();
                if lost > 0 && said.is_none_or(|said| said.elapsed() >= MINUTE) {
                    let (stream, line) = (writer.left_out)(lost);
                    if write(stream, &line).is_ok() {
                        (lost, said) = (0, Some(Instant::now()));
                    }
                }
                if write(stream, &line).is_err() {
                    lost = lost.saturating_add(1);
                }
            }
        })?;
        Ok(lines)
    }

    /// Takes a line over. This blocks for [`PATIENCE`] at most, and not at all for one that is [`Weight::Light`].
    pub(crate) fn push(&self, stream: Stream, line: Vec<u8>, weight: Weight) {
        let mut waiting = self.lock();
        if weight == Weight::Heavy {
            waiting = self.wait(waiting, PATIENCE, |waiting| waiting.lines.len() < ROOM);
        }
        if waiting.lines.len() >= ROOM {
            waiting.left_out = waiting.left_out.saturating_add(1);
            return;
        }
        if let Some(line) = self.take_left_out(&mut waiting) {
            waiting.lines.push_back(line);
        }
        waiting.lines.push_back((stream, line));
        drop(waiting);
        self.filled.notify_one();
    }

    /// Waits until all is written, but for [`PATIENCE`] at most.
    pub(crate) fn flush(&self) {
        drop(self.wait(self.lock(), PATIENCE, Waiting::is_empty));
    }

    /// The next line to write; the one before has been written.
    fn next(&self) -> Line {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        let line = loop {
            if let Some(line) = waiting.lines.pop_front() {
                break line;
            }
            if let Some(line) = self.take_left_out(&mut waiting) {
                break line;
            }
            self.emptied.notify_all();
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        };
        waiting.is_writing = true;
        drop(waiting);
        self.emptied.notify_all();
        line
    }

    fn take_left_out(&self, waiting: &mut Waiting) -> Option<Line> {
        let count = std::mem::take(&mut waiting.left_out);
        (count > 0).then(|| (self.left_out)(count))
    }

    fn wait<'a>(
        &self,
        waiting: MutexGuard<'a, Waiting>,
        limit: Duration,
        until: impl Fn(&Waiting) -> bool,
    ) -> MutexGuard<'a, Waiting> {
        let waited = self.emptied.wait_timeout_while(waiting, limit, |waiting| !until(waiting));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// What is inside is right after every statement, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.is_writing && self.left_out == 0
    }
}

/// In one write, so that lines of several processes do not mix. A closed pipe or a full disk must not end the service.
///
/// # Errors
/// The line is lost.
pub(crate) fn write(stream: Stream, line: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Stdout => {
            let mut to = io::stdout().lock();
            to.write_all(line).and_then(|()| to.flush())
        }
        Stream::Stderr => io::stderr().lock().write_all(line),
    }
}

/// Lines that wait at most.
const ROOM: usize = 1024;
const MINUTE: Duration = Duration::from_secs(60);
/// How long something important waits for a reader.
const PATIENCE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn left_out(count: u64) -> Line {
        (Stream::Stderr, format!("{count} left out").into_bytes())
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_the_rest_keeps_its_order() {
        let (allow, allowed) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let write = move |_, line: &[u8]| {
            let _ = allowed.recv();
            tell.send(String::from_utf8(line.to_vec()).unwrap()).unwrap();
            Ok(())
        };
        let lines = Lines::start_with(left_out, write).unwrap();
        let push = |text: &str, weight| lines.push(Stream::Stdout, text.into(), weight);
        push("first", Weight::Light);
        // The writer holds the first one.
        while !lines.lock().is_writing {
            std::thread::yield_now();
        }
        for number in 0..ROOM + 7 {
            push(&number.to_string(), Weight::Light);
        }
        push("heavy", Weight::Heavy);
        // Nobody reads: this gives up.
        lines.flush();
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));

        drop(allow);
        let next = || told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(next(), "first");
        for number in 0..ROOM {
            assert_eq!(next(), number.to_string());
        }
        assert_eq!(next(), "8 left out");
        push("last", Weight::Light);
        lines.flush();
        assert_eq!(told.try_recv().as_deref(), Ok("last"));
    }

    #[test]
    fn lines_that_a_full_disk_did_not_take_are_counted() {
        let (tell, told) = mpsc::channel();
        let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let is_full = Arc::clone(&full);
        let write = move |_, line: &[u8]| {
            if is_full.load(std::sync::atomic::Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            tell.send(String::from_utf8(line.to_vec()).unwrap()).unwrap();
            Ok(())
        };
        let lines = Lines::start_with(left_out, write).unwrap();
        for text in ["1", "2", "3"] {
            lines.push(Stream::Stderr, text.into(), Weight::Light);
        }
        lines.flush();
        full.store(false, std::sync::atomic::Ordering::SeqCst);
        lines.push(Stream::Stderr, "4".into(), Weight::Light);
        let next = || told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((next(), next()), ("3 left out".to_owned(), "4".to_owned()));
    }
}
