//! What a command says: events for scripts on stdout, or lines for people on stderr.

mod event;

use std::fmt;
use std::io::{self, Write as _};
use std::sync::Arc;

use event::json;
pub(crate) use event::{Elsewhere, Event, Kind, PortEvent, quoted};

use crate::error::{CliError, Code};
use crate::lines::{self, Lines, Stream, Weight};

/// Where events go. They are written in the background: see [`Lines`].
#[derive(Clone)]
pub(crate) struct Output {
    form: Form,
    /// Without a thread to spare, lines are written in place.
    lines: Option<Arc<Lines>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    /// Lines for what goes wrong only: nobody looks at the stderr of an OpenSSH ProxyCommand before.
    Terse,
    /// One object a line.
    Json,
    /// The same on stderr, where stdout carries a forwarded stream.
    JsonOnStderr,
}

impl Output {
    /// `stdout_is_taken` says that stdout carries something else.
    pub(crate) fn new(json: bool, stdout_is_taken: bool) -> Self {
        let form = match (json, stdout_is_taken) {
            (false, false) => Form::Text,
            (false, true) => Form::Terse,
            (true, false) => Form::Json,
            (true, true) => Form::JsonOnStderr,
        };
        let lines = Lines::start(match form {
            Form::Text | Form::Terse => |count| Form::Text.line(&left_out(count)),
            Form::Json => |count| Form::Json.line(&left_out(count)),
            Form::JsonOnStderr => |count| Form::JsonOnStderr.line(&left_out(count)),
        });
        Self { form, lines: lines.ok() }
    }

    /// Whether a script reads along, so that nobody can be asked anything.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.form, Form::Json | Form::JsonOnStderr)
    }

    /// Says it, unless nobody has read for so long that there is no room left.
    pub(crate) fn event(&self, event: &Event<'_>) {
        if self.form == Form::Terse && event.is_progress() {
            return;
        }
        let (stream, line) = self.form.line(event);
        self.write(stream, line, event.weight());
    }

    /// Says what a command was run for, which ends by itself: nothing of it is left out, however slow its reader is.
    ///
    /// # Errors
    /// As for [`print()`].
    pub(crate) fn result(&self, event: &Event<'_>) -> Result<(), CliError> {
        match self.form.line(event) {
            (Stream::Stdout, line) => {
                // What was said before comes first.
                self.flush();
                print(line)
            }
            (stream, line) => {
                self.write(stream, line, event.weight());
                Ok(())
            }
        }
    }

    pub(crate) fn warning(&self, message: impl Into<String>) {
        self.event(&Event::Warning { message: message.into() });
    }

    pub(crate) fn error(&self, error: &CliError) {
        self.event(&Event::Error { code: error.code.name(), message: &error.message });
    }

    /// Waits, for a moment at most, until all is written: before the end, and before something else writes to the same
    /// stream.
    pub(crate) fn flush(&self) {
        if let Some(lines) = &self.lines {
            lines.flush();
        }
    }

    fn write(&self, stream: Stream, line: Vec<u8>, weight: Weight) {
        match &self.lines {
            Some(lines) => lines.push(stream, line, weight),
            // There is nobody to tell that it failed.
            None => drop(lines::write(stream, &line)),
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("form", &self.form).finish_non_exhaustive()
    }
}

/// Writes results to stdout, and waits until they are taken. Who has read enough may close the pipe: that is no failure.
///
/// # Errors
/// They cannot be written, to a full disk for example.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::new(Code::Internal, format!("cannot write to stdout: {error}")))
        }
        _ => Ok(()),
    }
}

/// A line of the log is cut at this many bytes.
const MAX_LOG_LINE: usize = 4096 - 4;

/// The log goes the same way, to stderr: each write is a line.
pub(crate) struct Log(pub(crate) Output);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(Stream::Stderr, cut(line), Weight::Light);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A line of the log, no longer than it may be.
fn cut(line: &[u8]) -> Vec<u8> {
    let mut shown = line.get(..MAX_LOG_LINE).unwrap_or(line).to_vec();
    if shown.len() < line.len() {
        shown.extend_from_slice("…\n".as_bytes());
    }
    shown
}

impl Form {
    fn line(self, event: &Event<'_>) -> (Stream, Vec<u8>) {
        let (stream, mut line) = match self {
            Self::Text | Self::Terse => (Stream::Stderr, event.to_string()),
            Self::Json => (Stream::Stdout, json(event)),
            Self::JsonOnStderr => (Stream::Stderr, json(event)),
        };
        line.push('\n');
        (stream, line.into_bytes())
    }
}

fn left_out(count: u64) -> Event<'static> {
    Event::Warning { message: format!("{count} lines were left out, because nobody read the output") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_has_4_kib_at_most() {
        assert_eq!(cut(b"short\n"), b"short\n");
        let long = [vec![b'x'; 10_000], b"\n".to_vec()].concat();
        let shown = cut(&long);
        assert_eq!(shown.len(), 4096);
        assert!(shown.ends_with("x…\n".as_bytes()));
        assert_eq!(cut(&long[10_001 - MAX_LOG_LINE..]).len(), MAX_LOG_LINE);
    }
}
