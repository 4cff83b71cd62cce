//! A command line that has to fail: in one clear line that names the culprit, for people and in JSON alike.

use std::time::Duration;

use crate::adit::{self, Adit, Exit};
use crate::outcome::{Failure, Outcome, ensure};

/// An exit code and the JSON name that goes with it.
pub type Expected = (i32, &'static str);

/// The command line makes no sense.
pub const USAGE: Expected = (2, "usage");
/// The login was refused.
pub const AUTH: Expected = (3, "auth");
/// The host key is unknown, changed or revoked.
pub const HOST_KEY: Expected = (4, "host_key");
/// Unreachable, refused, timed out or lost.
pub const NETWORK: Expected = (5, "network");
/// A local port cannot be bound.
pub const BIND: Expected = (6, "bind");
/// The other side refused a forward.
pub const REMOTE_REFUSED: Expected = (7, "remote_refused");
/// A file cannot be used.
pub const FILE: Expected = (8, "file");
/// The peer breaks the protocol or has no algorithm in common.
pub const PROTOCOL: Expected = (9, "protocol");

/// A run that has to fail, and how. Words match in any case.
pub struct Mistake {
    /// What the case is called.
    pub name: &'static str,
    /// The command line.
    pub arguments: Vec<String>,
    expected: Expected,
    culprits: Vec<String>,
}

impl Mistake {
    /// A command line, how it ends, and what its message has to name.
    #[must_use]
    pub fn new(name: &'static str, arguments: &[&str], expected: Expected, culprits: &[&str]) -> Self {
        let own = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Self { name, arguments: own(arguments), expected, culprits: own(culprits) }
    }

    /// Runs it for people and in JSON.
    ///
    /// # Errors
    /// When it ends otherwise or says otherwise.
    pub async fn check(&self, adit: &Adit) -> Outcome {
        let human = adit.run(&self.arguments, LIMIT).await?;
        self.check_human(&human)
            .map_err(|failure| failure.while_doing("for people").with_log("adit", &human.log))?;
        let json = self.arguments.iter().map(String::as_str).chain(["--json"]);
        let mut json = adit.run(json, LIMIT).await?;
        if self.arguments.iter().any(|argument| argument == "-W") {
            // Stdout is the stream's.
            ensure(json.events.is_empty(), || format!("stdout has {:?}", json.events))?;
            let log = std::mem::take(&mut json.log);
            json.events = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        }
        self.check_json(&json).map_err(|failure| failure.while_doing(&format!("in JSON {:?}", json.events)))
    }

    /// Checks a run that was for people.
    ///
    /// # Errors
    /// When it ended otherwise or said otherwise.
    pub fn check_human(&self, exit: &Exit) -> Outcome {
        self.check_code(exit)?;
        ensure(exit.events.is_empty(), || format!("stdout has {:?}", exit.events))?;
        let lines: Vec<&str> = exit.log.lines().filter(|line| !line.trim().is_empty()).collect();
        let naming = lines.iter().filter(|line| self.names_culprits(line)).count();
        ensure(naming == 1, || format!("{naming} lines name {:?}", self.culprits))?;
        // The parser of the command line adds how to do better.
        ensure(self.expected == USAGE || lines.len() == 1, || "more than one line".to_owned())
    }

    fn check_json(&self, exit: &Exit) -> Outcome {
        self.check_code(exit)?;
        let last = exit.events.last().ok_or_else(|| Failure::new("no event"))?;
        ensure(adit::text(last, "event")? == "error", || "the last event is no error".to_owned())?;
        let code = adit::text(last, "code")?;
        ensure(code == self.expected.1, || format!("code {code:?} instead of {:?}", self.expected.1))?;
        let message = adit::text(last, "message")?;
        ensure(self.names_culprits(message), || format!("{message:?} does not name {:?}", self.culprits))?;
        ensure(!message.trim_end().contains('\n'), || "the message has several lines".to_owned())
    }

    fn check_code(&self, exit: &Exit) -> Outcome {
        let wanted = Some(self.expected.0);
        ensure(exit.code == wanted, || format!("exit code {:?} instead of {wanted:?}", exit.code))
    }

    fn names_culprits(&self, line: &str) -> bool {
        let line = line.to_lowercase();
        self.culprits.iter().all(|culprit| line.contains(&culprit.to_lowercase()))
    }
}

/// Longer than any default time limit of the commands.
pub const LIMIT: Duration = Duration::from_secs(40);
