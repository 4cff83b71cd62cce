//! Many cases in one test: run a few at a time, then name every one that failed.

use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;

use crate::outcome::{Failure, Outcome, within};

/// Cases at once. Two processes each: enough to fill a small machine, not enough to drown it.
const AT_ONCE: usize = 4;

/// A named case.
pub struct Case<'a> {
    name: String,
    run: BoxFuture<'a, Outcome>,
}

impl<'a> Case<'a> {
    /// A case that runs `run`.
    pub fn new(name: impl Into<String>, run: impl Future<Output = Outcome> + Send + 'a) -> Self {
        Self { name: name.into(), run: Box::pin(run) }
    }
}

/// Runs all `cases`, each no longer than `limit`.
///
/// # Errors
/// When one failed, or when there is none: a loop over nothing would pass for ever.
pub async fn run_all(what: &str, limit: Duration, cases: Vec<Case<'_>>) -> Outcome {
    let count = cases.len();
    if count == 0 {
        return Err(Failure::new(format!("{what}: no case to run")));
    }
    let failures: Vec<String> = stream::iter(cases)
        .map(|case| async move { within(limit, &case.name, case.run).await })
        .buffer_unordered(AT_ONCE)
        .filter_map(|outcome| async move { outcome.err().map(|failure| failure.to_string()) })
        .collect()
        .await;
    if failures.is_empty() {
        eprintln!("{what}: all {count} cases passed");
        return Ok(());
    }
    let list = failures.join("\n  ");
    Err(Failure::new(format!("{what}: {} of {count} cases failed\n  {list}", failures.len())))
}
