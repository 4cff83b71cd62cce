//! What a command says: events for scripts on stdout, or lines for people on stderr.

use std::fmt;

use serde::Serialize;

use crate::error::CliError;

/// Where events go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    /// Lines for what goes wrong only: nobody looks at the stderr of an OpenSSH ProxyCommand before.
    Terse,
    /// One object a line.
    Json,
    /// The same on stderr, where stdout carries a forwarded stream.
    JsonOnStderr,
}

/// What happened. In JSON the variant's name is the field `event`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event<'a> {
    /// `serve` takes connections.
    Listening { addr: String },
    /// A forward takes connections.
    Forward {
        kind: Kind,
        listen: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
    },
    /// All forwards are there.
    Ready { kex: &'a str, cipher: &'a str, host_key: String, peer: &'a str },
    /// A first contact was taken down.
    HostKeyAdded { host: &'a str, host_key: String, file: String },
    /// A connection over a forward was refused; nothing else is touched.
    Refused { message: String },
    /// Something to know that ends nothing.
    Warning { message: String },
    /// Somebody logged in.
    LoggedIn { user: String, from: String },
    /// The end of a session, or of an attempt to have one.
    LoggedOut { from: String, reason: String },
    /// A key was made or looked at.
    Key {
        #[serde(rename = "type")]
        kind: &'a str,
        bits: usize,
        fingerprint: String,
        comment: String,
        file: String,
    },
    /// The clean end.
    Closed { reason: &'a str },
    /// The other end.
    Error { code: &'a str, message: &'a str },
}

/// Which way a forward goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Local,
    Remote,
    Dynamic,
}

impl Output {
    /// `stdout_is_taken` says that stdout carries something else.
    pub(crate) fn new(json: bool, stdout_is_taken: bool) -> Self {
        let form = match (json, stdout_is_taken) {
            (false, false) => Form::Text,
            (false, true) => Form::Terse,
            (true, false) => Form::Json,
            (true, true) => Form::JsonOnStderr,
        };
        Self { form }
    }

    /// Whether a script reads along, so that nobody can be asked anything.
    pub(crate) fn is_json(self) -> bool {
        matches!(self.form, Form::Json | Form::JsonOnStderr)
    }

    pub(crate) fn event(self, event: &Event<'_>) {
        // A closed pipe or a full disk must not end the service.
        let _ = match self.form {
            Form::Terse if event.is_progress() => Ok(()),
            Form::Text | Form::Terse => write_line(std::io::stderr().lock(), event.to_string()),
            Form::Json => write_line(std::io::stdout().lock(), json(event)),
            Form::JsonOnStderr => write_line(std::io::stderr().lock(), json(event)),
        };
    }

    pub(crate) fn warning(self, message: impl Into<String>) {
        self.event(&Event::Warning { message: message.into() });
    }

    pub(crate) fn error(self, error: &CliError) {
        self.event(&Event::Error { code: error.code.name(), message: &error.message });
    }
}

impl Event<'_> {
    /// Whether it is only what was to be expected.
    fn is_progress(&self) -> bool {
        matches!(self, Self::Forward { .. } | Self::Ready { .. } | Self::Closed { .. })
    }
}

fn json(event: &Event<'_>) -> String {
    serde_json::to_string(event).unwrap_or_default()
}

/// In one write, so that lines of several processes do not mix.
fn write_line(mut to: impl std::io::Write, mut line: String) -> std::io::Result<()> {
    line.push('\n');
    to.write_all(line.as_bytes())?;
    to.flush()
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { addr } => write!(f, "adit: listening on {addr}"),
            Self::Forward { kind, listen, target } => match (kind, target) {
                (Kind::Local, Some(target)) => write!(f, "adit: {listen} leads to {target}"),
                (Kind::Remote, Some(target)) => {
                    write!(f, "adit: {listen} at the server leads to {target} here")
                }
                (_, None) | (Kind::Dynamic, _) => write!(f, "adit: {listen} is a SOCKS and HTTP proxy"),
            },
            Self::Ready { kex, cipher, host_key, peer } => {
                write!(f, "adit: connected to {peer} ({kex}, {cipher}, host key {host_key})")
            }
            Self::HostKeyAdded { host, host_key, file } => {
                write!(f, "adit: added the host key {host_key} of {host} to {file}")
            }
            Self::Refused { message } => write!(f, "adit: {message}"),
            Self::Warning { message } => write!(f, "adit: warning: {message}"),
            Self::LoggedIn { user, from } => write!(f, "adit: {user} logged in from {from}"),
            Self::LoggedOut { from, reason } => write!(f, "adit: {from} is gone: {reason}"),
            Self::Key { kind, bits, fingerprint, comment, file } => {
                write!(f, "adit: {file} holds a {kind} key of {bits} bits, {fingerprint} {comment}")
            }
            Self::Closed { reason } => write!(f, "adit: closed: {reason}"),
            Self::Error { message, .. } => write!(f, "adit: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_look_as_documented() {
        let forward = Event::Forward {
            kind: Kind::Local,
            listen: "127.0.0.1:1".into(),
            target: Some("db:5432".into()),
        };
        for (event, expected) in [
            (
                Event::Listening { addr: "127.0.0.1:2222".into() },
                r#"{"event":"listening","addr":"127.0.0.1:2222"}"#,
            ),
            (forward, r#"{"event":"forward","kind":"local","listen":"127.0.0.1:1","target":"db:5432"}"#),
            (
                Event::Error { code: "auth", message: "no" },
                r#"{"event":"error","code":"auth","message":"no"}"#,
            ),
            (Event::Closed { reason: "SIGTERM" }, r#"{"event":"closed","reason":"SIGTERM"}"#),
        ] {
            assert_eq!(json(&event), expected);
        }
    }
}
