//! The person at the terminal, if there is one.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::output::Output;

/// Somebody who can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    /// What was said comes before a question.
    output: Output,
    asking: Arc<AtomicBool>,
}

impl Terminal {
    /// Nobody is asked if stdin is not a terminal or a script reads the output.
    pub(crate) fn find(output: &Output) -> Option<Self> {
        (std::io::stdin().is_terminal() && !output.is_json()).then(|| Self::new(output.clone()))
    }

    fn new(output: Output) -> Self {
        Self { output, asking: Arc::default() }
    }

    /// Says something that belongs to the next question, on a line of its own.
    pub(crate) fn say(&self, text: &str) {
        self.output.flush();
        // Without a terminal to say it on, nobody is asked either.
        let _ = io::Write::write_all(&mut io::stderr().lock(), format!("{}\n", text.trim_end()).as_bytes());
    }

    /// Asks for a secret, which is not shown.
    ///
    /// # Cancel safety
    /// The terminal shows again what is typed; the next line goes nowhere.
    pub(crate) async fn secret(&self, prompt: String) -> io::Result<Zeroizing<String>> {
        let _asking = Asking::new(&self.asking);
        let _echo = EchoGuard::new();
        let output = self.output.clone();
        let asked = tokio::task::spawn_blocking(move || {
            output.flush();
            rpassword::prompt_password(prompt).map(Zeroizing::new)
        });
        asked.await.map_err(io::Error::other)?
    }

    /// Asks for a line.
    ///
    /// # Cancel safety
    /// The next line goes nowhere.
    pub(crate) async fn line(&self, prompt: String) -> io::Result<String> {
        let _asking = Asking::new(&self.asking);
        let output = self.output.clone();
        let asked = tokio::task::spawn_blocking(move || {
            output.flush();
            io::Write::write_all(&mut io::stderr().lock(), prompt.as_bytes())?;
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        });
        asked.await.map_err(io::Error::other)?
    }
}

/// Ends when `limit` has passed, not counting the time in which somebody was asked.
pub(crate) async fn patience(limit: Duration, terminal: Option<&Terminal>) {
    let Some(terminal) = terminal else { return tokio::time::sleep(limit).await };
    let mut left = limit;
    while !left.is_zero() {
        let before = Instant::now();
        tokio::time::sleep(left.min(TICK)).await;
        if !terminal.asking.load(Ordering::Relaxed) {
            left = left.saturating_sub(before.elapsed());
        }
    }
}

struct Asking<'a>(&'a AtomicBool);

impl<'a> Asking<'a> {
    fn new(asking: &'a AtomicBool) -> Self {
        asking.store(true, Ordering::Relaxed);
        Self(asking)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Restores the terminal when a question is given up, for instance after SIGINT: the thread that asks cannot.
struct EchoGuard {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl EchoGuard {
    fn new() -> Self {
        Self {
            #[cfg(unix)]
            before: rustix::termios::tcgetattr(std::io::stdin()).ok(),
        }
    }
}

impl Drop for EchoGuard {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            // Without a terminal there is nothing to restore.
            let _ =
                rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, before);
        }
    }
}

const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn patience_does_not_count_questions() {
        let terminal = Terminal::new(Output::new(false, false));
        let start = Instant::now();
        let asked = terminal.clone();
        let question = async move {
            let _asking = Asking::new(&asked.asking);
            tokio::time::sleep(Duration::from_millis(600)).await;
        };
        tokio::join!(question, patience(Duration::from_millis(200), Some(&terminal)));
        assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
    }
}
