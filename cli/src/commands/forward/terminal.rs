//! The person at the terminal, if there is one.

use std::io::{self, BufRead as _, BufReader, IsTerminal as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::commands::hidden::{self, Hidden};
use crate::output::Output;

/// Somebody who can be asked.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    /// What was said comes before a question.
    output: Output,
    /// Whether standard input is the terminal. If not, it carries what is forwarded, and the terminal is `/dev/tty`.
    is_stdin: bool,
}

impl Terminal {
    /// Nobody is asked if a script reads the output, or if stdin is not a terminal; unless `stdin_is_data`, when that says
    /// nothing of who is there, and the terminal that the process belongs to counts.
    pub(crate) fn find(output: &Output, stdin_is_data: bool) -> Option<Self> {
        let is_stdin = std::io::stdin().is_terminal();
        let is_there = is_stdin || (stdin_is_data && hidden::tty().is_some());
        (is_there && !output.is_json()).then(|| Self { output: output.clone(), is_stdin })
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
        let _asking = Asking::new();
        let _hidden = Hidden::new();
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
        let _asking = Asking::new();
        let (output, is_stdin) = (self.output.clone(), self.is_stdin);
        let asked = tokio::task::spawn_blocking(move || {
            output.flush();
            io::Write::write_all(&mut io::stderr().lock(), prompt.as_bytes())?;
            let mut line = String::new();
            if is_stdin {
                return io::stdin().read_line(&mut line).map(|_| line);
            }
            let tty = hidden::tty().ok_or(io::ErrorKind::NotFound)?;
            BufReader::new(tty).read_line(&mut line).map(|_| line)
        });
        asked.await.map_err(io::Error::other)?
    }
}

/// Ends when `limit` has passed, not counting the time in which somebody was asked.
pub(crate) async fn patience(limit: Duration) {
    let mut left = limit;
    while !left.is_zero() {
        let before = Instant::now();
        tokio::time::sleep(left.min(TICK)).await;
        if ASKING.load(Ordering::Relaxed) == 0 {
            left = left.saturating_sub(before.elapsed());
        }
    }
}

/// While it is kept, somebody is asked: at the terminal, or by an agent.
pub(super) struct Asking(());

impl Asking {
    pub(super) fn new() -> Self {
        ASKING.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Questions under way. There is one person, and one login at a time.
static ASKING: AtomicUsize = AtomicUsize::new(0);

const TICK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn patience_does_not_count_questions() {
        let start = Instant::now();
        let question = async {
            let _asking = Asking::new();
            tokio::time::sleep(Duration::from_millis(600)).await;
        };
        tokio::join!(question, patience(Duration::from_millis(200)));
        assert!(start.elapsed() >= Duration::from_millis(700), "{:?}", start.elapsed());
    }
}
