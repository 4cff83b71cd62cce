//! The relay's access and audit log, with its warnings: JSON lines, on stderr or in a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::error::{CliError, Code};
use crate::output::{Log, Output};

/// Where the lines go.
pub(crate) enum AuditLog {
    Stderr(Output),
    File(Arc<Lines>),
}

/// A file of lines. What it does not take, as on a full disk, is lost, and counted: the service goes on.
pub(crate) struct Lines {
    file: File,
    path: PathBuf,
    output: Output,
    lost: Mutex<Lost>,
}

/// Lines that are in no file.
#[derive(Default)]
struct Lost {
    since_told: u64,
    told: Option<Instant>,
}

/// The same trouble is told of this often.
const AGAIN: Duration = Duration::from_secs(60);

impl AuditLog {
    /// Opens the file, to which lines are appended.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(path: &Path, output: &Output) -> Result<Self, CliError> {
        if path == Path::new("-") {
            return Ok(Self::Stderr(output.clone()));
        }
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        // It names people and addresses.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let opened = options.open(path).map_err(|error| {
            let shown = path.display();
            CliError::new(Code::File, format!("cannot open the log {shown}: {error}; choose another --log"))
        })?;
        let (path, output) = (path.to_owned(), output.clone());
        Ok(Self::File(Arc::new(Lines { file: opened, path, output, lost: Mutex::default() })))
    }

    /// What belongs into it; and what goes wrong in the relay, of which its operator would not hear otherwise.
    pub(crate) fn takes(metadata: &Metadata<'_>) -> bool {
        let is_trouble = *metadata.level() <= Level::WARN && metadata.target().starts_with("relay::");
        is_trouble || matches!(metadata.target(), "access" | "audit")
    }
}

impl<'a> MakeWriter<'a> for AuditLog {
    type Writer = Box<dyn io::Write + 'a>;

    fn make_writer(&'a self) -> Self::Writer {
        match self {
            Self::Stderr(output) => Box::new(Log(output.clone())),
            Self::File(lines) => Box::new(&**lines),
        }
    }
}

/// One line at a time, and never an error, which would be shown where nobody counts it.
impl io::Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(error) = (&self.file).write_all(line) {
            self.lose(&error);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn lose(&self, error: &io::Error) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.since_told = lost.since_told.saturating_add(1);
        if lost.told.is_some_and(|told| told.elapsed() < AGAIN) {
            return;
        }
        lost.told = Some(Instant::now());
        let count = std::mem::take(&mut lost.since_told);
        drop(lost);
        let shown = self.path.display();
        self.output
            .warning(format!("the log {shown} cannot be written: {error}; lines that are lost: {count}"));
    }
}
