//! One error type: a sentence for the person at the terminal.

use std::fmt;

/// What went wrong, with what we were doing in front.
#[derive(Debug)]
pub(crate) struct BenchError(String);

pub(crate) type Result<T> = std::result::Result<T, BenchError>;

impl BenchError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Puts "while doing what" in front of an error.
pub(crate) trait Context<T> {
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|error| BenchError(format!("{doing}: {error}")))
    }
}
