//! What `-L`, `-R`, `-D` and `-W` say.

use std::fmt;
use std::str::FromStr;

/// Somewhere to connect to: a name or an address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// `[BIND:]PORT:HOST:PORT`, with the path of a Unix socket in place of either half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForwardSpec {
    pub(crate) listen: Place<Listen>,
    pub(crate) target: Place<Endpoint>,
}

/// What `-R` says: a forward, or `[BIND:]PORT` or a path alone for a proxy behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteSpec {
    pub(crate) listen: Place<Listen>,
    /// `None` for the proxy.
    pub(crate) target: Option<Place<Endpoint>>,
}

/// TCP, or a Unix socket. As with `ssh`, what has a slash is a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place<T> {
    Tcp(T),
    Socket(String),
}

/// `[BIND:]PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DynamicSpec {
    pub(crate) listen: Listen,
}

/// Where to listen. The host is `localhost` unless it is given, and `*` for all interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) host: String,
    /// 0 lets the system choose.
    pub(crate) port: u16,
}

/// A text that is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadSpec {
    #[error("expected {0}, IPv6 addresses in brackets")]
    Shape(&'static str),
    #[error("{0:?} is not a port from {1} to 65535")]
    Port(String, u16),
    #[error("the host is empty")]
    NoHost,
    #[error("{0:?} is not a host name or address")]
    BadHost(String),
    #[error(
        "{0:?} is not a user name: in a URI a % goes before two hexadecimal digits, for UTF-8 without control characters"
    )]
    BadUser(String),
}

impl FromStr for ForwardSpec {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        let shape = || BadSpec::Shape("[BIND:]PORT:HOST:PORT, or a path in place of either half");
        let parts = split(text).ok_or_else(shape)?;
        let (listen, target) = match *parts.as_slice() {
            [path, ref target @ ..] if is_path(path) => (Place::Socket(path.to_owned()), target),
            [port, ref target @ ..]
                if matches!(target, [path] if is_path(path))
                    || matches!(target, [_, port] if !is_path(port)) =>
            {
                (Place::Tcp(Listen::new(None, port)?), target)
            }
            [bind, port, ref target @ ..] => (Place::Tcp(Listen::new(Some(bind), port)?), target),
            _ => return Err(shape()),
        };
        let target = match *target {
            [path] if is_path(path) => Place::Socket(path.to_owned()),
            [host, port] => Place::Tcp(Endpoint::new(host, port)?),
            _ => return Err(shape()),
        };
        Ok(Self { listen, target })
    }
}

impl FromStr for RemoteSpec {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        let shape = || {
            BadSpec::Shape(
                "[BIND:]PORT:HOST:PORT, a path in place of either half, or no HOST:PORT for a proxy",
            )
        };
        let parts = split(text).ok_or_else(shape)?;
        let listen = match *parts.as_slice() {
            [path] if is_path(path) => Place::Socket(path.to_owned()),
            [port] => Place::Tcp(Listen::new(None, port)?),
            [bind, port] if !is_path(bind) && !is_path(port) => Place::Tcp(Listen::new(Some(bind), port)?),
            _ => {
                let ForwardSpec { listen, target } = text.parse().map_err(|error| match error {
                    BadSpec::Shape(_) => shape(),
                    error => error,
                })?;
                return Ok(Self { listen, target: Some(target) });
            }
        };
        Ok(Self { listen, target: None })
    }
}

fn is_path(text: &str) -> bool {
    text.contains('/') && !text.chars().any(char::is_control)
}

impl FromStr for DynamicSpec {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        let shape = BadSpec::Shape("[BIND:]PORT");
        let listen = match *split(text).ok_or_else(|| shape.clone())?.as_slice() {
            [port] => Listen::new(None, port)?,
            [bind, port] => Listen::new(Some(bind), port)?,
            _ => return Err(shape),
        };
        Ok(Self { listen })
    }
}

/// What `-W` says.
impl FromStr for Place<Endpoint> {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        match split(text).as_deref() {
            Some(&[path]) if is_path(path) => Ok(Self::Socket(path.to_owned())),
            Some(&[host, port]) => Ok(Self::Tcp(Endpoint::new(host, port)?)),
            _ => Err(BadSpec::Shape("HOST:PORT, or the path of a Unix socket")),
        }
    }
}

impl Endpoint {
    fn new(host: &str, port: &str) -> Result<Self, BadSpec> {
        Ok(Self { host: parse_host(host)?, port: parse_port(port, 1)? })
    }
}

impl Listen {
    fn new(bind: Option<&str>, port: &str) -> Result<Self, BadSpec> {
        let host = match bind {
            None => "localhost".to_owned(),
            // As in OpenSSH, an empty bind address is every address.
            Some("" | "*" | "[*]") => "*".to_owned(),
            Some(host) => parse_host(host)?,
        };
        Ok(Self { host, port: parse_port(port, 0)? })
    }
}

/// A host name or an address, with or without brackets, which an IPv6 address needs where a port follows.
pub(super) fn parse_host(text: &str) -> Result<String, BadSpec> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let host = bare.unwrap_or(text);
    let bad = || BadSpec::BadHost(text.to_owned());
    if host.is_empty() {
        return Err(BadSpec::NoHost);
    }
    if bare.is_some() && host.contains(':') {
        // A zone, as in fe80::1%eth0, is none of our business.
        let address = host.split_once('%').map_or(host, |(address, _)| address);
        address.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
    } else if host.len() > MAX_HOST
        || host.chars().any(|c| c.is_control() || c.is_whitespace() || "[]@/".contains(c))
    {
        return Err(bad());
    }
    Ok(host.to_owned())
}

pub(super) fn parse_port(text: &str, lowest: u16) -> Result<u16, BadSpec> {
    let bad = || BadSpec::Port(text.to_owned(), lowest);
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    text.parse().ok().filter(|port| *port >= lowest).ok_or_else(bad)
}

/// The parts between the colons that are not inside brackets; `None` if the brackets do not match.
fn split(text: &str) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' if inside => return None,
            b'[' => inside = true,
            b']' if !inside => return None,
            b']' => inside = false,
            b':' if !inside => {
                parts.push(text.get(start..at)?);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    (!inside).then_some(parts)
}

impl<T: fmt::Display> fmt::Display for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => place.fmt(f),
            Self::Socket(path) => f.write_str(path),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(&self.host, self.port))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(&self.host, self.port))
    }
}

/// Host and port as people write them.
pub(crate) fn joined(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// RFC 1035 §2.3.4.
const MAX_HOST: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read() {
        for (text, host, port, target) in [
            ("8080:db:5432", "localhost", 8080, "db:5432"),
            ("0:db:5432", "localhost", 0, "db:5432"),
            ("127.0.0.1:8080:db:5432", "127.0.0.1", 8080, "db:5432"),
            (":8080:db:5432", "*", 8080, "db:5432"),
            ("*:8080:db:5432", "*", 8080, "db:5432"),
            ("[::1]:8080:[2001:db8::1]:22", "::1", 8080, "[2001:db8::1]:22"),
            ("8080:[fe80::1%eth0]:22", "localhost", 8080, "[fe80::1%eth0]:22"),
            ("8080:[::1]:22", "localhost", 8080, "[::1]:22"),
            ("8080:[db]:5432", "localhost", 8080, "db:5432"),
            ("[gate]:8080:[db]:5432", "gate", 8080, "db:5432"),
            ("[*]:8080:db:5432", "*", 8080, "db:5432"),
        ] {
            let spec: ForwardSpec = text.parse().unwrap();
            let Place::Tcp(listen) = &spec.listen else { panic!("{text}") };
            assert_eq!((listen.host.as_str(), listen.port), (host, port), "{text}");
            assert_eq!(spec.target.to_string(), target, "{text}");
        }
        for (text, listen, target) in [
            ("8080:/run/s", "localhost:8080", "/run/s"),
            ("[::1]:8080:/run/s", "[::1]:8080", "/run/s"),
            ("/run/s:db:5432", "/run/s", "db:5432"),
            ("./s:[::1]:5432", "./s", "[::1]:5432"),
            ("/run/s:/run/t", "/run/s", "/run/t"),
        ] {
            let spec: ForwardSpec = text.parse().unwrap();
            assert_eq!(
                (spec.listen.to_string().as_str(), spec.target.to_string().as_str()),
                (listen, target)
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "1:2",
            "/run/s",
            "/run/s:db",
            "a:b:8080:/run/s",
            "8080:db:/run/s",
            "/run/s:/run/t:/run/u",
            "nonsense",
            "1:2:3:4:5",
            "x:db:5432",
            "8080:db:0",
            "70000:db:1",
            "8080:db:70000",
            "8080::22",
            "8080:[::1:22",
            "8080:::1:22",
            "8080:[x:y]:22",
            "8080:[]:22",
            "8080:[a b]:22",
            "8080:x]:22",
            "8080:[x]y:22",
            "+1:db:22",
            "8080:a b:22",
            "8080:db:-1",
            "[[::1]]:1:db:2",
            "8080:db:",
            ":::",
        ] {
            assert!(text.parse::<ForwardSpec>().is_err(), "{text}");
        }
        for text in ["", "nonsense", "1:2:3", "::1:1080", "localhost:"] {
            assert!(text.parse::<DynamicSpec>().is_err(), "{text}");
        }
        for text in ["", "db", "db:0", ":22", "::1:22", "[::1]", "a:1:b", "x:/y", "/run/x:22", "db:ssh"] {
            assert!(text.parse::<Place<Endpoint>>().is_err(), "{text}");
        }
        for text in
            ["", "x:y", "nonsense", "70000", "/run/s:1080", "[::1:1080", "::1:1080", "a b:1080", "1:2:3:4:5"]
        {
            assert!(text.parse::<RemoteSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_target_of_standard_input_may_be_a_socket() {
        for (text, expected) in [
            ("db:22", Place::Tcp("db:22")),
            ("[db]:22", Place::Tcp("db:22")),
            ("[::1]:22", Place::Tcp("[::1]:22")),
            ("/run/x.sock", Place::Socket("/run/x.sock".to_owned())),
            ("./x", Place::Socket("./x".to_owned())),
        ] {
            let place: Place<Endpoint> = text.parse().unwrap();
            assert_eq!(matches!(place, Place::Tcp(_)), matches!(expected, Place::Tcp(_)), "{text}");
            assert_eq!(place.to_string(), expected.to_string(), "{text}");
        }
    }

    #[test]
    fn remote_forwards_need_no_target() {
        for (text, listen, target) in [
            ("8080:db:5432", "localhost:8080", Some("db:5432")),
            ("gate:8080:db:5432", "gate:8080", Some("db:5432")),
            ("8080:/run/s", "localhost:8080", Some("/run/s")),
            ("/run/s:/run/t", "/run/s", Some("/run/t")),
            ("1080", "localhost:1080", None),
            ("0", "localhost:0", None),
            ("gate:1080", "gate:1080", None),
            (":1080", "*:1080", None),
            ("*:1080", "*:1080", None),
            ("[::1]:1080", "[::1]:1080", None),
            ("/run/s", "/run/s", None),
        ] {
            let spec: RemoteSpec = text.parse().unwrap();
            assert_eq!(spec.listen.to_string(), listen, "{text}");
            assert_eq!(spec.target.map(|target| target.to_string()).as_deref(), target, "{text}");
        }
        let words = |text: &str| text.parse::<RemoteSpec>().unwrap_err().to_string();
        assert_eq!(words("http"), "\"http\" is not a port from 0 to 65535");
        assert_eq!(
            words("/run/s:db"),
            "expected [BIND:]PORT:HOST:PORT, a path in place of either half, or no HOST:PORT for a proxy, \
             IPv6 addresses in brackets"
        );
    }

    #[test]
    fn dynamic_forwards_are_read() {
        for (text, shown) in
            [("1080", "localhost:1080"), ("0", "localhost:0"), ("*:1", "*:1"), ("[::1]:5", "[::1]:5")]
        {
            assert_eq!(text.parse::<DynamicSpec>().unwrap().listen.to_string(), shown);
        }
    }
}
