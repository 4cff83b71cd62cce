//! What ends a command: one line for people, a code for scripts.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use ssh_core::Error;

/// Why a command ends without success. The message is one line that names the culprit and, where there is one, the
/// remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CliError {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// The kind of failure, with its exit code and its name in JSON.
///
/// | Exit code | JSON             | Meaning                                                      |
/// |-----------|------------------|--------------------------------------------------------------|
/// | 0         |                  | ended as it should, also by SIGINT or SIGTERM                |
/// | 1         | `internal`       | anything else                                                |
/// | 2         | `usage`          | the command line makes no sense                              |
/// | 3         | `auth`           | the server refused to let us in                              |
/// | 4         | `host_key`       | the host key is unknown, has changed or is revoked           |
/// | 5         | `network`        | unreachable, refused, timed out or lost                      |
/// | 6         | `bind`           | a local port is in use or cannot be bound                    |
/// | 7         | `remote_refused` | the other side refused a forward                             |
/// | 8         | `file`           | a key or another file cannot be used                         |
/// | 9         | `protocol`       | the peer broke the protocol, or no algorithm is in common    |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Internal,
    Usage,
    Auth,
    HostKey,
    Network,
    Bind,
    RemoteRefused,
    File,
    Protocol,
}

/// The table of [`Code`] for `--help`.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  ended as it should, also by SIGINT or SIGTERM
  1  anything else                                          (JSON code: internal)
  2  the command line makes no sense                        (usage)
  3  the server refused to let us in                        (auth)
  4  the host key is unknown, has changed or is revoked     (host_key)
  5  unreachable, refused, timed out or lost                (network)
  6  a local port is in use or cannot be bound              (bind)
  7  the other side refused a forward                       (remote_refused)
  8  a key or another file cannot be used                   (file)
  9  the peer broke the protocol or has no algorithm for us (protocol)";

impl Code {
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::Auth => 3,
            Self::HostKey => 4,
            Self::Network => 5,
            Self::Bind => 6,
            Self::RemoteRefused => 7,
            Self::File => 8,
            Self::Protocol => 9,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Usage => "usage",
            Self::Auth => "auth",
            Self::HostKey => "host_key",
            Self::Network => "network",
            Self::Bind => "bind",
            Self::RemoteRefused => "remote_refused",
            Self::File => "file",
            Self::Protocol => "protocol",
        }
    }
}

impl CliError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: one_line(&message.into()) }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A file that cannot be used; the error names it.
    pub(crate) fn file(error: &(dyn StdError + 'static)) -> Self {
        Self::new(Code::File, chain(error))
    }

    /// An address that cannot be bound; `what` names it and the reason.
    pub(crate) fn bind(what: &str, reason: &io::Error) -> Self {
        let remedy = match reason.kind() {
            io::ErrorKind::AddrInUse => "choose another port, or stop what uses it",
            io::ErrorKind::AddrNotAvailable => {
                "the address is not one of this machine, so choose one that is, or `*` for all"
            }
            io::ErrorKind::PermissionDenied => "choose a port from 1024 on, which need no privileges",
            _ => "choose another address or port",
        };
        Self::new(Code::Bind, format!("{what}; {remedy}"))
    }

    /// The end of the session with `peer`, or of the attempt to have one.
    pub(crate) fn session(peer: &str, error: &Error) -> Self {
        let code = Code::of(error);
        let message = match (code, error) {
            // The verifier has said everything.
            (Code::HostKey, _) => error.to_string(),
            (Code::Network, Error::Timeout(ssh_core::error::Timeout::KeepAlive)) => {
                format!("{peer} stopped answering; check the network and whether the server still runs")
            }
            (_, Error::Disconnected { reason, text }) => {
                let text = if text.is_empty() { "it gave no words" } else { text };
                format!("{peer} ended the session: {text} (reason {})", reason.0)
            }
            (Code::Network, _) => {
                format!(
                    "lost the connection to {peer}: {}; check that an SSH server runs there",
                    chain(error)
                )
            }
            (_, Error::Auth(failure)) => {
                format!("cannot log in as {peer}: {failure}; check the user, -i KEYFILE and --password-file")
            }
            (Code::Protocol, _) => format!("cannot talk to {peer}: {}", chain(error)),
            _ => format!("the session with {peer} failed: {}", chain(error)),
        };
        Self::new(code, message)
    }
}

impl Code {
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Io(_) | Error::Disconnected { .. } | Error::Timeout(_) => Self::Network,
            Error::PeerMisbehaved(_) | Error::PeerIncompatible(_) => Self::Protocol,
            Error::HostKey(_) => Self::HostKey,
            Error::Auth(_) | Error::Policy(_) => Self::Auth,
            _ => Self::Internal,
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for CliError {}

/// An error and its causes, joined by colons.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use ssh_core::error::{AuthFailure, DisconnectReason, PeerMisbehaved, Timeout};

    use super::*;

    #[test]
    fn exit_codes_and_names_are_those_of_the_documentation() {
        use Code::*;
        let all = [Internal, Usage, Auth, HostKey, Network, Bind, RemoteRefused, File, Protocol];
        for (number, code) in (1..).zip(all) {
            assert_eq!(code.exit_code(), number);
            let row = EXIT_CODES.lines().find(|line| line.starts_with(&format!("  {number} ")));
            assert!(row.unwrap().ends_with(&format!("{})", code.name())), "{code:?}");
        }
    }

    #[test]
    fn errors_of_the_session_have_their_codes() {
        let refused = AuthFailure::Refused { tried: vec!["password"], accepts: vec!["password".into()] };
        let reset: Error = std::io::Error::from(std::io::ErrorKind::ConnectionReset).into();
        let told = Error::Disconnected { reason: DisconnectReason::BY_APPLICATION, text: "bye".into() };
        for (error, code) in [
            (reset, Code::Network),
            (told, Code::Network),
            (Error::Timeout(Timeout::KeepAlive), Code::Network),
            (PeerMisbehaved::BadMac.into(), Code::Protocol),
            (Error::Auth(refused), Code::Auth),
            (Error::Bug("x"), Code::Internal),
        ] {
            let error = CliError::session("ada@host:22", &error);
            assert_eq!(error.code, code, "{error}");
            assert!(error.message.contains("ada@host:22"), "{error}");
        }
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(CliError::usage("a\n\n  b\r\n").message, "a; b");
    }
}
