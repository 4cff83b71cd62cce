//! The harness's error: one text that says what went wrong, with what the processes said.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::time::Duration;

/// How long one step (a start, a login, a connection) may take. Generous: a loaded machine is not a failure.
pub const STEP: Duration = Duration::from_secs(30);

/// Why a case failed, for a person to read.
pub struct Failure(String);

/// What every harness function returns.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with this explanation, and the place that it is from.
    #[track_caller]
    pub fn new(why: impl fmt::Display) -> Self {
        Self(format!("{why} (at {})", Location::caller()))
    }

    /// The same failure with what was being done in front of it.
    #[must_use]
    pub fn while_doing(self, what: &str) -> Self {
        Self(format!("{what}: {}", self.0))
    }

    /// The same failure with the end of a process's log below it.
    #[must_use]
    pub fn with_log(self, name: &str, log: &str) -> Self {
        /// Lines of a log worth showing: the cause is near its end.
        const SHOWN: usize = 100;
        if log.trim().is_empty() {
            return Self(format!("{}\n    {name} logged nothing", self.0));
        }
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(SHOWN)..).unwrap_or_default().join("\n      | ");
        Self(format!("{}\n    log of {name}:\n      | {tail}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// A test that returns `Outcome` shows its failure through `Debug`.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// Fails with `why` unless `holds`.
///
/// # Errors
/// When it does not hold.
#[track_caller]
pub fn ensure(holds: bool, why: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Failure::new(why())) }
}

/// Waits for `future` no longer than `limit`.
///
/// # Errors
/// What `future` fails with, or that the time is up.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    match tokio::time::timeout(limit, future).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(failure)) => Err(failure.while_doing(what)),
        Err(_) => Err(Failure(format!("{what}: not done after {limit:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails() -> Outcome {
        std::fs::read_to_string("there/is/no/such/file")?;
        Ok(())
    }

    #[test]
    fn a_failure_names_the_place_that_it_is_from() {
        for outcome in [fails(), ensure(false, || "why".to_owned()), Err(Failure::new("why"))] {
            let text = outcome.map_err(|failure| failure.to_string()).unwrap_err();
            assert!(text.contains("outcome.rs:"), "{text}");
        }
    }
}
