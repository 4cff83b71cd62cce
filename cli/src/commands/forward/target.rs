//! Which server, and the way to it.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::spec::{BadSpec, joined, parse_host, parse_port};
use crate::commands::paths::login_name;
use crate::error::{CliError, Code};

/// `[USER@]HOST[:PORT]`, perhaps as `ssh://[USER@]HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    user: Option<String>,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    /// The user given, else who is logged in here.
    ///
    /// # Errors
    /// If neither is known.
    pub(crate) fn user(&self) -> Result<String, CliError> {
        self.user.clone().or_else(login_name).ok_or_else(|| {
            CliError::usage(format!("who logs in to {self} is not known; write USER@{self} or set USER"))
        })
    }

    /// Connects to the first address that answers, a moment between the attempts (RFC 8305 in short).
    ///
    /// # Errors
    /// The name cannot be resolved, or no address answers.
    pub(crate) async fn connect(&self) -> Result<TcpStream, CliError> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let addresses: Vec<_> = found
            .map_err(|error| {
                CliError::new(
                    Code::Network,
                    format!("cannot resolve {}: {error}; check the name and the network", self.host),
                )
            })?
            .take(MAX_ADDRESSES)
            .collect();
        let attempts = (0_u32..).zip(addresses).map(|(number, address)| {
            Box::pin(async move {
                tokio::time::sleep(BETWEEN_ATTEMPTS.saturating_mul(number)).await;
                TcpStream::connect(address).await
            })
        });
        let attempts: Vec<_> = attempts.collect();
        let connected = if attempts.is_empty() {
            Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
        } else {
            futures::future::select_ok(attempts).await.map(|(stream, _)| stream)
        };
        connected.map_err(|error| {
            CliError::new(
                Code::Network,
                format!("cannot connect to {self}: {error}; check that a server listens there and nothing blocks the way"),
            )
        })
    }
}

impl FromStr for Target {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        let uri = text.strip_prefix("ssh://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let (user, rest) = match uri {
            // Parameters of the connection go behind the user, and mean nothing to us, as they do to OpenSSH.
            Some(uri) => match uri.split_once('@') {
                Some((user, rest)) => (Some(user.split_once(';').map_or(user, |(user, _)| user)), rest),
                None => (None, uri),
            },
            // A user name may contain an @, a host may not.
            None => text.rsplit_once('@').map_or((None, text), |(user, rest)| (Some(user), rest)),
        };
        let user = match user {
            Some("") => return Err(BadSpec::Shape("[USER@]HOST[:PORT]")),
            Some(user) if uri.is_some() => Some(decoded(user)?),
            user => user.map(str::to_owned),
        };
        let (host, port) = match rest.rsplit_once(':') {
            // A bracket behind the last colon: there is no port. Several colons without brackets: a bare address.
            Some((_, after)) if after.contains(']') => (rest, None),
            Some((before, _)) if before.contains(':') && !before.ends_with(']') => (rest, None),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        };
        let bare_v6 = host.contains(':') && !host.starts_with('[');
        if bare_v6 && host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(BadSpec::Shape("[USER@]HOST[:PORT]"));
        }
        let port = port.map_or(Ok(DEFAULT_PORT), |port| parse_port(port, 1))?;
        Ok(Self { user, host: parse_host(host)?, port })
    }
}

/// A user name of a URI, which OpenSSH decodes as a form is.
fn decoded(user: &str) -> Result<String, BadSpec> {
    let bad = || BadSpec::BadUser(user.to_owned());
    let mut bytes = user.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = digit().zip(digit()).ok_or_else(bad)?;
                u8::try_from(high * 16 + low).map_err(|_| bad())?
            }
            byte => byte,
        });
    }
    let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
    if decoded.chars().any(char::is_control) { Err(bad()) } else { Ok(decoded) }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(&self.host, self.port))
    }
}

const DEFAULT_PORT: u16 = 22;
/// RFC 8305 §5.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);
/// A name with a hundred addresses is not worth a hundred sockets.
const MAX_ADDRESSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        for (text, user, host, port) in [
            ("host", None, "host", 22),
            ("ada@host", Some("ada"), "host", 22),
            ("ada@host:2222", Some("ada"), "host", 2222),
            ("ada@corp@host:2222", Some("ada@corp"), "host", 2222),
            ("[::1]", None, "::1", 22),
            ("ada@[::1]:2222", Some("ada"), "::1", 2222),
            ("2001:db8::1", None, "2001:db8::1", 22),
            ("127.0.0.1:1", None, "127.0.0.1", 1),
            ("ssh://ada@[::1]:2222", Some("ada"), "::1", 2222),
            ("ssh://host/", None, "host", 22),
            ("ssh://ada%40corp@host", Some("ada@corp"), "host", 22),
            ("ssh://ada;fingerprint=x@host:2222/", Some("ada"), "host", 2222),
            ("ssh://ada%3bx@host", Some("ada;x"), "host", 22),
            ("ssh://a+b%20c%2B@host", Some("a b c+"), "host", 22),
            ("ssh://%C3%A9@host", Some("é"), "host", 22),
            ("ssh://ada:pw@host", Some("ada:pw"), "host", 22),
            ("ssh://[db]:22", None, "db", 22),
            ("ada@[db]:2222", Some("ada"), "db", 2222),
            // None of that without the scheme.
            ("ada%40corp@host", Some("ada%40corp"), "host", 22),
            ("ada;x@host", Some("ada;x"), "host", 22),
            ("a+b@host", Some("a+b"), "host", 22),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(
                (target.user.as_deref(), target.host.as_str(), target.port),
                (user, host, port),
                "{text}"
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "@host",
            "host:",
            "host:0",
            "host:99999",
            "host:x",
            "[::1",
            "[x:y]:1",
            "[]:1",
            "a:b:c",
            "ho st",
            "ada@",
            "ssh://",
            "ssh://@host",
            "ssh://;x@host",
            "ssh://ada@corp@host",
            "ssh://ada%4@host",
            "ssh://ada%zz@host",
            "ssh://ada%00@host",
            "ssh://ada%0a@host",
            "ssh://ada%ff@host",
            "ssh://ada%+1@host",
            "http://host",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bad_escape_is_named() {
        assert_eq!(
            "ssh://ada%zz@host".parse::<Target>().unwrap_err().to_string(),
            "\"ada%zz\" is not a user name: in a URI a % goes before two hexadecimal digits, for UTF-8 without control \
             characters"
        );
    }
}
