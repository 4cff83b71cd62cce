//! The management API of a relay, from the other end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::Agent;
use ureq::http::{Method, Request, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use zeroize::Zeroizing;

use super::token_file;
use crate::args::ApiArgs;
use crate::error::{CliError, Code, chain};

/// A relay, and by what right it is asked.
#[derive(Clone)]
pub(crate) struct Api {
    agent: Agent,
    base: String,
    token: Option<Zeroizing<String>>,
}

/// A request and its answer together take no longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// An answer is not longer, in bytes: a thousand tunnels.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

impl Api {
    /// # Errors
    /// The URL makes no sense, or a file cannot be used.
    pub(crate) fn new(args: &ApiArgs) -> Result<Self, CliError> {
        let base = args.relay.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(CliError::usage(format!(
                "{base:?} is no URL of a relay; it begins with http:// or https://"
            )));
        }
        let roots = match &args.ca_file {
            Some(file) => certificates(file)?,
            None if base.starts_with("https://") => system_certificates(),
            None => Vec::new(),
        };
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            // A token is for the relay that was named.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("adit/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .build()
            .new_agent();
        Ok(Self { agent, base, token: token_file::given(args.token_file.as_deref())? })
    }

    /// Whether there is a token.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// With another token.
    pub(crate) fn with_token(mut self, token: Zeroizing<String>) -> Self {
        self.token = Some(token);
        self
    }

    /// Asks; the answer's body, null if it has none.
    ///
    /// # Errors
    /// The relay cannot be reached, or refuses.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, CliError> {
        self.ask_if(method, path, body, None).await
    }

    /// As [`ask`](Self::ask), under a condition: `if-match` or `if-none-match`.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub(crate) async fn ask_if(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        condition: Option<&'static str>,
    ) -> Result<Value, CliError> {
        let (api, path) = (self.clone(), path.to_owned());
        let asked = tokio::task::spawn_blocking(move || api.send(method, &path, body, condition));
        asked.await.unwrap_or_else(|error| Err(CliError::new(Code::Internal, error.to_string())))
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        condition: Option<&'static str>,
    ) -> Result<Value, CliError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        request = request.header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", **token));
        }
        if let Some(condition) = condition {
            request = request.header(condition, "*");
        }
        let unsendable = |error: ureq::http::Error| CliError::usage(format!("{}: {error}", self.base));
        let answer = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(body.to_string()).map_err(unsendable)?)
            }
            None => self.agent.run(request.body(()).map_err(unsendable)?),
        };
        let mut answer = answer.map_err(|error| {
            let base = &self.base;
            CliError::new(
                Code::Network,
                format!(
                    "cannot ask the relay {base}: {}; check that it runs and that the URL is right",
                    chain(&error)
                ),
            )
        })?;
        let status = answer.status();
        let text = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_string().map_err(|error| {
            CliError::new(Code::Network, format!("lost the relay {} in mid answer: {error}", self.base))
        })?;
        let text = Zeroizing::new(text);
        if !status.is_success() {
            return Err(self.refused(status, &text));
        }
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|_| {
            CliError::new(
                Code::Protocol,
                format!("{} is no Adit relay: it does not answer in JSON", self.base),
            )
        })
    }

    fn refused(&self, status: StatusCode, body: &str) -> CliError {
        let problem: Value = serde_json::from_str(body).unwrap_or_default();
        let detail = problem.get("detail").and_then(Value::as_str).unwrap_or("it did not say why");
        let code = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::Auth,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                Code::Network
            }
            _ if status.is_client_error() => Code::RemoteRefused,
            _ => Code::Protocol,
        };
        let hint = if code == Code::Auth && self.token.is_none() {
            "; give --token-file FILE or set ADIT_TOKEN"
        } else {
            ""
        };
        CliError::new(code, format!("the relay refuses: {} ({}){hint}", printable(detail), status.as_u16()))
    }
}

/// Those that the system trusts. Without any, no server is believed, and the error says so.
fn system_certificates() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "a certificate of the system");
    }
    found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>, CliError> {
    let failed = |why: &dyn std::fmt::Display| {
        let shown = file.display();
        CliError::new(Code::File, format!("cannot use {shown}: {why}; it has to hold certificates as PEM"))
    };
    let pem = std::fs::read(file).map_err(|error| failed(&error))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| failed(&error))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(failed(&"there is no certificate in it")) } else { Ok(found) }
}

/// What a peer chose, fit for a terminal.
pub(crate) fn printable(text: &str) -> String {
    let seen = |c: char| match c {
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
            char::REPLACEMENT_CHARACTER
        }
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(seen).take(400).collect()
}

/// A part of a path, percent-encoded where it has to be.
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_chose_cannot_leave_its_place() {
        assert_eq!(segment("my-tunnel"), "my-tunnel");
        assert_eq!(segment("../a b/?#%"), "..%2Fa%20b%2F%3F%23%25");
        assert_eq!(printable("a\u{1b}[31m\u{202e}b\n"), "a\u{fffd}[31m\u{fffd}b\u{fffd}");
    }
}
