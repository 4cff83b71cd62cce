//! Proxies of the environment: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928, RFC 1929).

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

/// Which connections go by which proxy.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    plain: Option<Result<Proxy, BadProxy>>,
    tls: Option<Result<Proxy, BadProxy>>,
    /// Hosts and domains that are reached without one.
    except: Vec<String>,
}

/// One proxy.
#[derive(Clone)]
pub(super) struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    login: Option<(Zeroizing<String>, Zeroizing<String>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Socks5,
}

/// A variable that names no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} names no proxy; write http://HOST:PORT or socks5://HOST:PORT, or unset it")]
pub struct BadProxy {
    /// The environment variable.
    pub variable: &'static str,
}

/// An answer of a proxy is not longer, in bytes.
const MAX_ANSWER: usize = 8192;

impl Proxies {
    /// Those of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case. `HTTP_PROXY` counts in lower case
    /// alone, as elsewhere: a web server's CGI sets the other one. What names no proxy is an error once one is needed.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let find = |names: &[&'static str]| {
            let set = names.iter().find_map(|name| {
                variable(name).filter(|value| !value.is_empty()).map(|value| (*name, value))
            });
            set.map(|(name, value)| Proxy::parse(&value).ok_or(BadProxy { variable: name }))
        };
        let all = ["all_proxy", "ALL_PROXY"];
        let except = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        Self {
            plain: find(&["http_proxy", all[0], all[1]]),
            tls: find(&["https_proxy", "HTTPS_PROXY", all[0], all[1]]),
            except: except
                .split(',')
                .map(|name| name.trim().to_ascii_lowercase())
                .filter(|name| !name.is_empty())
                .collect(),
        }
    }

    /// # Errors
    /// There should be one, and the variable names none.
    pub(super) fn for_target(&self, is_tls: bool, host: &str) -> Result<Option<&Proxy>, BadProxy> {
        let proxy = if is_tls { &self.tls } else { &self.plain };
        match proxy {
            Some(proxy) if !self.is_exempt(host) => proxy.as_ref().map(Some).map_err(Clone::clone),
            _ => Ok(None),
        }
    }

    /// This machine is never reached by a proxy.
    fn is_exempt(&self, host: &str) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let is_loopback =
            host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        is_loopback
            || self.except.iter().any(|name| {
                let name = name.trim_start_matches('.');
                name == "*" || host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
            })
    }
}

impl Proxy {
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let kind = match scheme {
            "http" => Kind::Http,
            // The bare one is what desktops set.
            "socks5" | "socks5h" | "socks" => Kind::Socks5,
            _ => return None,
        };
        let rest = rest.trim_end_matches('/');
        let (login, address) = match rest.rsplit_once('@') {
            Some((login, address)) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                (Some((decode(user)?, decode(password)?)), address)
            }
            None => (None, rest),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (address, if kind == Kind::Http { 80 } else { 1080 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_host = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        is_host.then(|| Self { kind, host: host.to_owned(), port, login })
    }

    /// A connection through it. It resolves the name itself.
    pub(super) async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match self.kind {
            Kind::Http => self.http(&mut stream, host, port).await?,
            Kind::Socks5 => self.socks5(&mut stream, host, port).await?,
        }
        Ok(stream)
    }

    async fn http(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<()> {
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut ask = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
        if let Some((user, password)) = &self.login {
            let login = Zeroizing::new(format!("{}:{}", user.as_str(), password.as_str()));
            ask.push_str(&format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(login.as_bytes())));
        }
        ask.push_str("\r\n");
        stream.write_all(ask.as_bytes()).await?;
        let mut answer = Vec::new();
        // Byte by byte: what follows the empty line is the relay's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= MAX_ANSWER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the proxy's answer has no end"));
            }
            answer.push(stream.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&answer);
        let line = text.lines().next().unwrap_or_default();
        match line.split(' ').nth(1) {
            Some(status) if status.starts_with('2') => Ok(()),
            _ => Err(io::Error::other(format!("the proxy refuses: {}", crate::printable(line)))),
        }
    }

    async fn socks5(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<()> {
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the proxy {what}"));
        let methods: &[u8] = if self.login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        stream.write_all(methods).await?;
        let mut chosen = [0; 2];
        stream.read_exact(&mut chosen).await?;
        match (chosen, &self.login) {
            ([5, 0], _) => {}
            ([5, 2], Some((user, password))) => {
                let mut ask = Zeroizing::new(vec![1]);
                for part in [user, password] {
                    ask.push(
                        u8::try_from(part.len()).map_err(|_| broken("takes no login of over 255 bytes"))?,
                    );
                    ask.extend_from_slice(part.as_bytes());
                }
                stream.write_all(&ask).await?;
                let mut answer = [0; 2];
                stream.read_exact(&mut answer).await?;
                if answer[1] != 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::PermissionDenied,
                        "the proxy refuses the login",
                    ));
                }
            }
            ([5, 0xff], _) => return Err(broken("wants another kind of login")),
            _ => return Err(broken("does not speak SOCKS5")),
        }
        let mut ask = vec![5, 1, 0];
        match host.parse() {
            Ok(std::net::IpAddr::V4(ip)) => {
                ask.push(1);
                ask.extend_from_slice(&ip.octets());
            }
            Ok(std::net::IpAddr::V6(ip)) => {
                ask.push(4);
                ask.extend_from_slice(&ip.octets());
            }
            Err(_) => {
                ask.push(3);
                ask.push(u8::try_from(host.len()).map_err(|_| broken("takes no name of over 255 bytes"))?);
                ask.extend_from_slice(host.as_bytes());
            }
        }
        ask.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&ask).await?;
        let mut head = [0; 4];
        stream.read_exact(&mut head).await?;
        let bound = match head {
            [5, 0, _, 1] => 4,
            [5, 0, _, 4] => 16,
            [5, 0, _, 3] => usize::from(stream.read_u8().await?),
            [5, reply, ..] => return Err(broken(&format!("answers {reply}"))),
            _ => return Err(broken("does not speak SOCKS5")),
        };
        let mut rest = vec![0; bound + 2];
        stream.read_exact(&mut rest).await?;
        Ok(())
    }
}

/// Without the login.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {self}", self.kind)
    }
}

/// Undoes percent-encoding.
fn decode(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::from_variables(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn variables_choose_by_scheme_and_host() {
        let set = proxies(&[
            ("https_proxy", "http://a:b%40@proxy.example:3128/"),
            ("all_proxy", "socks5://[::1]:1"),
            ("no_proxy", ".corp.example, other"),
        ]);
        let shown = |tls, host| set.for_target(tls, host).unwrap().map(|proxy| format!("{proxy:?}"));
        assert_eq!(shown(true, "relay.example").as_deref(), Some("Http proxy.example:3128"));
        assert_eq!(shown(false, "relay.example").as_deref(), Some("Socks5 ::1:1"));
        for exempt in ["localhost", "127.0.0.1", "[::1]", "x.corp.example", "corp.example", "OTHER"] {
            assert_eq!(shown(true, exempt), None, "{exempt}");
        }
        assert!(shown(true, "notcorp.example").is_some());
        let proxy = set.for_target(true, "relay.example").unwrap().unwrap();
        assert_eq!(*proxy.login.as_ref().unwrap().1, "b@");
        assert!(proxies(&[]).for_target(true, "x").unwrap().is_none());
        for bad in ["ftp://x", "http://", "http://x:y", "socks5://a%zz@x", "https://x:1"] {
            let set = proxies(&[("HTTPS_PROXY", bad)]);
            assert_eq!(set.for_target(true, "x").unwrap_err().variable, "HTTPS_PROXY", "{bad}");
            // What it is not for works all the same.
            assert!(set.for_target(false, "x").unwrap().is_none());
            assert!(set.for_target(true, "127.0.0.1").unwrap().is_none());
        }
        let set = proxies(&[("all_proxy", "socks://127.0.0.1:1080/")]);
        let proxy = set.for_target(false, "relay.example").unwrap();
        assert_eq!(format!("{proxy:?}"), "Some(Socks5 127.0.0.1:1080)");
    }
}
