//! The relay's access and audit log, with its warnings: JSON lines, on stderr or in a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::error::{CliError, Code};
use crate::output::{Log, Output};

/// Where the lines go.
pub(crate) enum AuditLog {
    Stderr(Output),
    File(Arc<File>),
}

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
        Ok(Self::File(Arc::new(opened)))
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
            Self::File(file) => Box::new(&**file),
        }
    }
}
