//! A command at a terminal of its own, and somebody who reads and types there.

use std::ffi::OsStr;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::outcome::{Failure, Outcome, STEP, ensure, within};

/// The terminal. It shows what is typed, unless the command has told it not to.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    /// What was shown and not yet read.
    shown: String,
}

impl Terminal {
    /// Runs `command` there, by way of util-linux's `script`.
    ///
    /// # Errors
    /// When `script` is missing.
    pub fn run(command: &Command) -> Outcome<Self> {
        let command = command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line: Vec<String> = words.map(quoted).collect();
        let mut script = Command::new("script");
        // Who starts these tests in the background may have had SIGINT ignored; at a terminal it is not.
        let line = format!("exec env --default-signal=HUP,INT,QUIT {}", line.join(" "));
        script.args(["-qec", &line, "/dev/null"]);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = script.spawn()?;
        let missing = || Failure::new("a stream of `script` is missing");
        let (keys, screen) =
            (child.stdin.take().ok_or_else(missing)?, child.stdout.take().ok_or_else(missing)?);
        Ok(Self { child, keys, screen, shown: String::new() })
    }

    /// Reads until `text` is shown; what was shown before it, and is now read.
    ///
    /// # Errors
    /// When the command ends, or the time is up, before it is.
    pub async fn read_until(&mut self, text: &str) -> Outcome<String> {
        let done = within(STEP, text, async {
            loop {
                if let Some((before, rest)) = self.shown.split_once(text) {
                    let (before, rest) = (before.to_owned(), rest.to_owned());
                    self.shown = rest;
                    return Ok(before);
                }
                let mut part = [0; 1024];
                let count = self.screen.read(&mut part).await?;
                ensure(count > 0, || "the command has ended".to_owned())?;
                self.shown.push_str(&String::from_utf8_lossy(part.get(..count).unwrap_or_default()));
            }
        })
        .await;
        done.map_err(|failure| failure.with_log("the screen", &self.shown))
    }

    /// Types a line.
    ///
    /// # Errors
    /// When nobody reads it.
    pub async fn type_line(&mut self, line: &str) -> Outcome {
        self.type_keys(&format!("{line}\n")).await
    }

    /// Interrupts what runs there, waits for its end, and gives what was shown and not read.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn interrupt(mut self) -> Outcome<String> {
        self.type_keys("\x03").await?;
        self.end().await
    }

    /// Waits for the end of what runs there, and gives what was shown and not read.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn end(mut self) -> Outcome<String> {
        within(STEP, "the end", async {
            let mut rest = Vec::new();
            self.screen.read_to_end(&mut rest).await?;
            self.child.wait().await?;
            self.shown.push_str(&String::from_utf8_lossy(&rest));
            Ok(self.shown)
        })
        .await
    }

    async fn type_keys(&mut self, keys: &str) -> Outcome {
        self.keys.write_all(keys.as_bytes()).await?;
        Ok(self.keys.flush().await?)
    }
}

/// A word for `sh`.
fn quoted(word: &OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}
