//! From a URL to a WebSocket: name, proxy, TLS and upgrade; or to an answer.

mod proxy;
mod request;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, Uri};
use zeroize::Zeroizing;

pub use self::proxy::{BadProxy, Proxies};
use crate::access_token::AccessToken;
use crate::frame_guard::FrameGuard;
use crate::websocket_stream::{self, WebSocketStream};
pub use axum::http;

/// A connection to a relay.
pub(crate) type RelayStream = WebSocketStream<Box<dyn Transport>>;

/// A TCP stream, perhaps with TLS over it.
pub trait Transport: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> Transport for T {}

/// Opens WebSockets at relays, and asks them.
#[derive(Debug, Clone)]
pub struct Dialer {
    tls: Arc<ClientConfig>,
    proxies: Proxies,
    /// Where its last connection led to: the relay, or the proxy in between.
    peer: Arc<Mutex<Option<SocketAddr>>>,
}

/// A WebSocket could not be opened, or there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The URL names no relay.
    #[error("{0:?} is no URL of a relay")]
    BadUrl(String),
    /// A certificate file cannot be used.
    #[error("cannot use {}: {why}; it has to hold certificates as PEM", file.display())]
    CaFile {
        /// Which file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// TLS cannot be set up on this machine.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// There is no connection.
    #[error("cannot reach the relay at {at}: {why}")]
    Unreachable {
        /// The relay's address, or that of the proxy in between.
        at: String,
        /// The system's reason.
        why: String,
    },
    /// The relay's certificate is not accepted.
    #[error("the certificate of the relay at {at} is not accepted: {why}")]
    Certificate {
        /// The relay's address.
        at: String,
        /// What is wrong with it.
        why: String,
    },
    /// The relay's certificate is an authority's, which no server may use for itself. Openssl makes such ones unless told
    /// otherwise.
    #[error(
        "the certificate of the relay at {at} is an authority's (CA:TRUE), with which no server may show up"
    )]
    Authority {
        /// The relay's address.
        at: String,
    },
    /// The environment names something else than a proxy to reach the relay by.
    #[error(transparent)]
    Proxy(#[from] BadProxy),
    /// The relay answered, and not with a WebSocket.
    #[error("{}", refusal(*status, detail))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The relay's words, fit to be shown; may be empty.
        detail: String,
        /// When it may be tried again, if the relay has said so.
        retry_after: Option<Duration>,
    },
    /// What answered is no relay.
    #[error("{at} is no relay: {why}")]
    NoRelay {
        /// Its address.
        at: String,
        /// What it did.
        why: String,
    },
}

impl DialError {
    /// What an answer from `at` says that is not what was asked for. Relays redirect nobody and show no pages, so what does
    /// is none, except where it keeps somebody out: a proxy before a relay may do so with a page.
    #[must_use]
    pub fn of_answer(at: String, status: http::StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let number = status.as_u16();
        let is_page = header(http::header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
        let why = match (number, header(http::header::LOCATION)) {
            (300..400, Some(location)) => {
                format!("it sends us on to {} ({number})", crate::printable(location))
            }
            (..=400 | 404 | 405, _) if is_page => format!("it shows a web page ({number})"),
            (..400, _) => format!("its answer is not that of one ({number})"),
            _ => {
                let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
                return Self::Refused {
                    status: number,
                    detail: crate::printable(&problem.text()),
                    retry_after: retry_after(headers),
                };
            }
        };
        Self::NoRelay { at, why }
    }

    /// Whether another try may end better.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500..),
            _ => false,
        }
    }

    /// Why the way back to a relay that was reached before is not found, with what may be done about it.
    pub(crate) fn on_the_way_back(&self) -> String {
        let remedy = match self {
            Self::NoRelay { .. } | Self::Certificate { .. } | Self::Authority { .. } => {
                "; a network on the way may want a log-in"
            }
            _ => "",
        };
        format!("{self}{remedy}")
    }

    /// As [`is_temporary`](Self::is_temporary), for who has reached the relay at this address before: what answers there now
    /// as none, or with another's certificate, may be on the way, such as the log-in page of a network.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        let is_elsewhere =
            matches!(self, Self::NoRelay { .. } | Self::Certificate { .. } | Self::Authority { .. });
        is_elsewhere || self.is_temporary()
    }
}

fn refusal(status: u16, detail: &str) -> String {
    let what = match status {
        401 => "the relay wants a valid token",
        403 => "the token does not allow this",
        404 => "the relay knows no such tunnel",
        429 => "the relay has too much to do",
        502..=504 => "the tunnel cannot be reached now",
        _ => "the relay refuses",
    };
    if detail.is_empty() { format!("{what} ({status})") } else { format!("{what} ({status}): {detail}") }
}

/// From the first packet to the end of TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// The relay may wait for a host before it answers.
const UPGRADE: Duration = Duration::from_secs(60);

impl Dialer {
    /// With the certificates that the system trusts, or those in a PEM file and no others, and with these proxies.
    ///
    /// # Errors
    /// [`DialError::CaFile`], [`DialError::Tls`].
    pub fn new(ca_file: Option<&Path>, proxies: Proxies) -> Result<Self, DialError> {
        let failed = |error: rustls::Error| DialError::Tls(error.to_string());
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?;
        let roots = match ca_file {
            Some(file) => roots(file)?,
            // Without any, no relay is believed, and the error says so.
            None => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots
            }
        };
        let tls = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), proxies, peer: Arc::default() })
    }

    /// Where the last connection of this one and its clones led to: a relay, or a proxy in between.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        *self.peer.lock()
    }

    /// Opens a WebSocket of this sub-protocol. A token that is refused is renewed once, if it can be.
    ///
    /// # Errors
    /// [`DialError`].
    ///
    /// # Cancel safety
    /// A dropped future has opened nothing that lasts.
    pub(crate) async fn dial(
        &self,
        url: &str,
        protocol: &str,
        token: Option<&AccessToken>,
    ) -> Result<RelayStream, DialError> {
        let Some(token) = token else { return self.dial_with(url, protocol, None).await };
        let used = token.current();
        match self.dial_with(url, protocol, Some(&used)).await {
            Err(DialError::Refused { status: 401, .. }) if token.renew(&used).await => {
                tracing::debug!("the token was refused; there is another");
                self.dial_with(url, protocol, Some(&token.current())).await
            }
            dialled => dialled,
        }
    }

    async fn dial_with(
        &self,
        url: &str,
        protocol: &str,
        token: Option<&Zeroizing<String>>,
    ) -> Result<RelayStream, DialError> {
        let bad = || DialError::BadUrl(crate::printable(url));
        let mut request = url.into_client_request().map_err(|_| bad())?;
        let headers = request.headers_mut();
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(protocol).map_err(|_| bad())?);
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("tunnel {}", token.as_str())).map_err(|_| {
                DialError::Refused {
                    status: 401,
                    detail: "the token has characters that no token has".into(),
                    retry_after: None,
                }
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let target = Target::of(request.uri()).ok_or_else(bad)?;
        let at = target.to_string();
        let stream = tokio::time::timeout(CONNECT, self.connect(&target)).await.unwrap_or_else(|_| {
            Err(DialError::Unreachable { at: at.clone(), why: "it did not answer in time".into() })
        })?;
        let upgrade = tokio_tungstenite::client_async_with_config(
            request,
            FrameGuard::passive(stream),
            Some(websocket_stream::config()),
        );
        match tokio::time::timeout(UPGRADE, upgrade).await {
            Err(_) => Err(DialError::Unreachable { at, why: "it did not answer the upgrade in time".into() }),
            Ok(Err(error)) => Err(not_upgraded(at, error)),
            Ok(Ok((frames, response))) => {
                let chosen =
                    response.headers().get(SEC_WEBSOCKET_PROTOCOL).and_then(|name| name.to_str().ok());
                match chosen {
                    Some(chosen) if chosen == protocol => Ok(WebSocketStream::from_frames(frames)),
                    Some(chosen) => {
                        let why = format!("it chose the sub-protocol {}", crate::printable(chosen));
                        Err(DialError::NoRelay { at, why })
                    }
                    None => Err(DialError::NoRelay { at, why: "it chose no sub-protocol".into() }),
                }
            }
        }
    }

    async fn connect(&self, target: &Target) -> Result<Box<dyn Transport>, DialError> {
        let unreachable =
            |at: &str, error: io::Error| DialError::Unreachable { at: at.to_owned(), why: error.to_string() };
        let tcp = match self.proxies.for_target(target.is_tls, &target.host)? {
            None => TcpStream::connect((target.bare_host(), target.port))
                .await
                .map_err(|error| unreachable(&target.to_string(), error))?,
            Some(proxy) => proxy
                .connect(target.bare_host(), target.port)
                .await
                .map_err(|error| unreachable(&format!("{target} by the proxy {proxy}"), error))?,
        };
        *self.peer.lock() = tcp.peer_addr().ok();
        // Small packets of interactive streams must not wait for each other.
        let _ = tcp.set_nodelay(true);
        if !target.is_tls {
            return Ok(Box::new(tcp));
        }
        let name = ServerName::try_from(target.bare_host().to_owned())
            .map_err(|_| DialError::BadUrl(target.to_string()))?;
        let shaken = TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await;
        match shaken {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => {
                let why = error.to_string();
                Err(not_shaken(
                    target.to_string(),
                    why,
                    error.get_ref().and_then(|inner| inner.downcast_ref()),
                ))
            }
        }
    }
}

/// What a TLS handshake failed of, if not of the network.
fn not_shaken(at: String, why: String, error: Option<&rustls::Error>) -> DialError {
    match error {
        None => DialError::Unreachable { at, why },
        Some(rustls::Error::InvalidMessage(_)) => {
            DialError::NoRelay { at, why: "it does not speak TLS".into() }
        }
        // The error has no type that we could name.
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            DialError::Authority { at }
        }
        Some(_) => DialError::Certificate { at, why },
    }
}

/// Where a URL leads.
struct Target {
    is_tls: bool,
    host: String,
    port: u16,
}

impl Target {
    fn of(uri: &Uri) -> Option<Self> {
        let is_tls = match uri.scheme_str()? {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return None,
        };
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Some(Self { is_tls, host: uri.host()?.to_owned(), port })
    }

    /// Without the brackets of an IPv6 address.
    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn roots(file: &Path) -> Result<rustls::RootCertStore, DialError> {
    let failed = |why: String| DialError::CaFile { file: file.to_owned(), why };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(error.to_string()))? {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    if roots.is_empty() { Err(failed("there is no certificate in it".into())) } else { Ok(roots) }
}

fn not_upgraded(at: String, error: tungstenite::Error) -> DialError {
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().unwrap_or_default();
            DialError::of_answer(at, response.status(), response.headers(), body)
        }
        tungstenite::Error::Io(error) => DialError::Unreachable { at, why: error.to_string() },
        // It may be about to stop.
        tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete)
        | tungstenite::Error::ConnectionClosed => {
            DialError::Unreachable { at, why: "it hung up without an answer".into() }
        }
        tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => {
            DialError::NoRelay { at, why: "it did not choose the sub-protocol that it was asked for".into() }
        }
        error => DialError::NoRelay { at, why: error.to_string() },
    }
}

/// A number of seconds (RFC 9110 §10.2.3). A date, which would take their clock to be ours, counts as if nothing was said.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Duration::from_secs(seconds.parse().unwrap_or(u64::MAX)))
}

/// What the relay says about a refusal (RFC 9457).
#[derive(Deserialize, Default)]
#[serde(default)]
struct Problem {
    detail: String,
    /// What is wrong with which field of the request.
    errors: serde_json::Value,
}

impl Problem {
    /// The detail, with the field that it is about where it does not name that itself.
    fn text(&self) -> String {
        match self.errors.as_object().and_then(|fields| fields.keys().next()) {
            Some(field) if !self.detail.contains(field.as_str()) => format!("{field}: {}", self.detail),
            _ => self.detail.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_otherwise_than_a_relay_is_none() {
        let answer = |status: u16, headers: &[(&'static str, &'static str)], body: &str| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            let status = http::StatusCode::from_u16(status).unwrap();
            DialError::of_answer("x:1".into(), status, &map, body.as_bytes())
        };
        let page = [("content-type", "text/html; charset=utf-8")];
        for error in [
            answer(200, &page, "<html>"),
            answer(301, &[("location", "https://x/")], ""),
            answer(302, &[], ""),
            answer(404, &page, "<html>"),
        ] {
            assert!(matches!(error, DialError::NoRelay { .. }), "{error}");
            assert!(error.may_pass() && !error.is_temporary());
        }
        for (status, is_temporary) in [(401, false), (403, false), (429, true), (500, true), (503, true)] {
            let error = answer(status, &page, "<html>");
            assert!(matches!(error, DialError::Refused { .. }), "{error}");
            assert_eq!((error.is_temporary(), error.may_pass()), (is_temporary, is_temporary), "{status}");
        }
        let body = r#"{"title":"Bad Request","status":400,"detail":"has to be less","errors":{"expiresIn":["has to be less"]}}"#;
        assert!(answer(400, &[], body).to_string().ends_with("(400): expiresIn: has to be less"));
        // Whatever is in there.
        assert!(answer(400, &[], r#"{"detail":"no","errors":[1]}"#).to_string().ends_with(": no"));
        for odd in [r#"{"detail":1}"#, "[]", ""] {
            assert!(matches!(answer(400, &[], odd), DialError::Refused { .. }), "{odd}");
        }
    }

    #[test]
    fn a_time_to_come_back_is_a_number_of_seconds() {
        for (value, expected) in [
            ("5", Some(5)),
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("Sat, 21 Nov 2026 14:00:00 GMT", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            assert_eq!(retry_after(&headers), expected.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
