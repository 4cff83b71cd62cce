//! A peer's side of a session that is moved by commands: a line on its stdin each, and events on its stdout.

use std::collections::VecDeque;

use serde_json::{Value, json};

use crate::outcome::{Failure, Outcome, STEP, ensure};
use crate::process::Process;

/// Their end. What it tells is kept until somebody asks for it.
pub struct End {
    process: Process,
    kept: VecDeque<Value>,
    /// Where a server listens; 0 for a client.
    pub port: u16,
}

impl End {
    /// A client that this process is.
    #[must_use]
    pub fn client(process: Process) -> Self {
        Self { process, kept: VecDeque::new(), port: 0 }
    }

    /// A server that this process is, once it listens.
    ///
    /// # Errors
    /// When it does not.
    pub async fn server(process: Process) -> Outcome<Self> {
        let mut end = Self::client(process);
        let port = end.next("listening").await?["port"].as_u64();
        end.port = u16::try_from(port.unwrap_or_default())?;
        Ok(end)
    }

    /// The first event of this name that nobody has taken; others stay.
    ///
    /// # Errors
    /// When it reports a failure or an error first, ends, or says nothing in time.
    pub async fn next(&mut self, name: &str) -> Outcome<Value> {
        let is_it = |event: &Value| event["event"] == name;
        if let Some(place) = self.kept.iter().position(is_it) {
            return self.kept.remove(place).ok_or_else(|| Failure::new("it was there"));
        }
        while let Some(line) = self.process.next_line(STEP).await? {
            // Libraries say things of their own on stdout.
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            if is_it(&event) {
                return Ok(event);
            }
            if event["event"] == "failed" || event["event"] == "error" {
                return Err(self.process.explain(Failure::new(format!("before {name}: {event}"))));
            }
            self.kept.push_back(event);
        }
        Err(self.process.explain(Failure::new(format!("it ended before {name}"))))
    }

    /// [`next`](Self::next), with these members.
    ///
    /// # Errors
    /// As for [`next`](Self::next), and when the event has others.
    pub async fn expect(&mut self, name: &str, members: Value) -> Outcome<Value> {
        let event = self.next(name).await?;
        let wanted = members.as_object().ok_or_else(|| Failure::new("members are an object"))?;
        let differs = wanted.iter().find(|(name, value)| event[name.as_str()] != **value);
        ensure(differs.is_none(), || format!("{event} where {members} was to be"))?;
        Ok(event)
    }

    /// Forgets the events of this name that came so far.
    pub fn forget(&mut self, name: &str) {
        self.kept.retain(|event| event["event"] != name);
    }

    /// Gives a command; what it does is told later.
    ///
    /// # Errors
    /// When the process has ended.
    pub async fn tell(&mut self, what: &str, mut members: Value) -> Outcome {
        members["do"] = json!(what);
        self.process.say(&members.to_string()).await
    }

    /// Gives a command and waits until it is done.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub async fn ask(&mut self, what: &str, members: Value) -> Outcome<Value> {
        self.tell(what, members).await?;
        self.next(what).await
    }

    /// What the process has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// Bytes as they are in events and commands.
#[must_use]
pub fn hex(text: &[u8]) -> String {
    text.iter().map(|byte| format!("{byte:02x}")).collect()
}
