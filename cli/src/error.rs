//! What ends a command: one line for people, a code for scripts.

mod algorithms;

use std::error::Error as StdError;
use std::fmt;
use std::io;

use ssh_core::Error;
use ssh_core::error::{DisconnectReason, PeerIncompatible, ReconnectFailure};

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
/// | 0         |                  | ended as it should, also by SIGINT, SIGTERM or SIGHUP        |
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
  0  ended as it should, also by SIGINT, SIGTERM or SIGHUP
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

    /// The path of a Unix socket that cannot be made; `what` names it and the reason.
    pub(crate) fn bind_path(what: &str, reason: &io::Error) -> Self {
        let remedy = match reason.kind() {
            io::ErrorKind::AddrInUse => "remove the file if nothing listens there, or choose another path",
            io::ErrorKind::PermissionDenied => "choose a path in a directory that you may write to",
            _ => "choose another path",
        };
        Self::new(Code::Bind, format!("{what}; {remedy}"))
    }

    /// The end of the session with `peer`, or of the attempt to have one.
    pub(crate) fn session(peer: &str, error: &Error) -> Self {
        let code = Code::of(error);
        let message = match (code, error) {
            (Code::HostKey, Error::Reconnect(_)) => {
                format!("{peer}: {error}; do not connect unless the server's owner confirms the new key")
            }
            // The verifier has said everything.
            (Code::HostKey, _) => error.to_string(),
            (Code::Network, Error::Timeout(ssh_core::error::Timeout::KeepAlive)) => {
                format!("{peer} stopped answering; check the network and whether the server still runs")
            }
            (Code::Auth, Error::Disconnected { reason, text }) => {
                format!(
                    "cannot log in as {peer}: the server takes no more attempts: {} (reason {}); name the right key with -i KEYFILE, and with --no-agent no other is tried",
                    words(text),
                    reason.0
                )
            }
            (_, Error::Disconnected { reason, text }) => {
                let text = words(text);
                format!("{peer} ended the session: {text} (reason {})", reason.0)
            }
            (Code::Network, _) => {
                let reason = chain(error);
                let reason = without_lost(&reason);
                format!("lost the connection to {peer}: {reason}; check that an SSH server runs there")
            }
            (_, Error::Auth(failure)) => {
                format!("cannot log in as {peer}: {failure}; check the user, -i KEYFILE and --password-file")
            }
            (_, Error::PeerIncompatible(PeerIncompatible::NoCommonAlgorithm(none))) => {
                format!("cannot talk to {peer}: {error}; {}", algorithms::remedy(none))
            }
            (_, Error::PeerIncompatible(PeerIncompatible::Version(_))) => {
                format!("cannot talk to {peer}: {error}; check the port: another server listens there")
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
            Error::Disconnected { reason, text } if ends_attempts(*reason, text) => Self::Auth,
            Error::Io(_) | Error::Disconnected { .. } | Error::Timeout(_) => Self::Network,
            Error::PeerMisbehaved(_) | Error::PeerIncompatible(_) => Self::Protocol,
            Error::HostKey(_) | Error::Reconnect(ReconnectFailure::DifferentHostKey) => Self::HostKey,
            Error::Reconnect(_) => Self::Network,
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

/// Whether a server has ended a login because too many attempts failed. More of the same would get no better answer.
fn ends_attempts(reason: DisconnectReason, text: &str) -> bool {
    reason == DisconnectReason::NO_MORE_AUTH_METHODS
        // OpenSSH's way to say it.
        || (reason == DisconnectReason::PROTOCOL_ERROR && text.starts_with("Too many authentication failures"))
}

/// What a peer said, or that it said nothing.
fn words(text: &str) -> &str {
    if text.is_empty() { "it gave no words" } else { text }
}

/// What an error says without the words that our line begins with already.
pub(crate) fn without_lost(reason: &str) -> &str {
    reason.strip_prefix("the connection was lost: ").unwrap_or(reason)
}

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
    use ssh_core::error::{AuthFailure, PeerMisbehaved, Timeout};

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
        let of_server = |reason, text: &str| Error::Disconnected { reason, text: text.into() };
        let told = of_server(DisconnectReason::BY_APPLICATION, "bye");
        for (error, code) in [
            (reset, Code::Network),
            (told, Code::Network),
            (of_server(DisconnectReason::NO_MORE_AUTH_METHODS, ""), Code::Auth),
            (of_server(DisconnectReason::PROTOCOL_ERROR, "Too many authentication failures"), Code::Auth),
            (of_server(DisconnectReason::PROTOCOL_ERROR, "Too many words"), Code::Network),
            (Error::Timeout(Timeout::KeepAlive), Code::Network),
            (PeerMisbehaved::BadMac.into(), Code::Protocol),
            (Error::Auth(refused), Code::Auth),
            (Error::Reconnect(ReconnectFailure::DifferentHostKey), Code::HostKey),
            (Error::Reconnect(ReconnectFailure::SessionNotFound), Code::Network),
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
