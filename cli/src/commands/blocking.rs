//! Work that may wait for somebody else, off the thread that hears signals.

use crate::error::{CliError, Code};

/// Runs this on another thread: a file may be a pipe that nobody writes to, and a signal is to be heard all the same.
/// Whoever stops waiting leaves the thread behind, which the end of the process does not wait for.
///
/// # Errors
/// Those of the work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CliError> + Send + 'static,
) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(CliError::new(Code::Internal, format!("cannot read what is needed: {error}")))
    })
}
