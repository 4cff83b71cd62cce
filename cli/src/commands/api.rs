//! The management API of a relay, from the other end.

use bytes::Bytes;
use relay::dial::Dialer;
use relay::dial::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use relay::dial::http::{self, HeaderValue, Method, Request, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::token_file;
use super::tunnel_ends::{End, dial_error, dialer};
use crate::args::ApiArgs;
use crate::error::{CliError, Code};

/// A relay, and by what right it is asked.
#[derive(Clone)]
pub(crate) struct Api {
    dialer: Dialer,
    base: String,
    token: Option<Zeroizing<String>>,
}

/// An answer is not longer, in bytes: a thousand tunnels.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

impl Api {
    /// # Errors
    /// The URL makes no sense, or a file or the environment cannot be used.
    pub(crate) fn new(args: &ApiArgs) -> Result<Self, CliError> {
        let base = args.relay.trim_end_matches('/').to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(CliError::usage(format!(
                "{base:?} is no URL of a relay; it begins with http:// or https://"
            )));
        }
        let dialer = dialer(args.ca_file.as_deref())?;
        Ok(Self { dialer, base, token: token_file::given(args.token_file.as_deref())? })
    }

    /// Whether there is a token.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The token.
    pub(crate) fn token(&self) -> Option<&Zeroizing<String>> {
        self.token.as_ref()
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
        let request = self.request(method, path, body, condition);
        let request = request.map_err(|error| CliError::usage(format!("{}: {error}", self.base)))?;
        let asked = self.dialer.request(request, MAX_ANSWER).await;
        let (head, body) = asked.map_err(|error| dial_error(&error, End::Host))?.into_parts();
        let text = Zeroizing::new(String::from_utf8_lossy(&body).into_owned());
        if !head.status.is_success() {
            return Err(self.refused(head.status, &text));
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

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        condition: Option<&'static str>,
    ) -> Result<Request<Bytes>, http::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        request = request.header(ACCEPT, "application/json");
        request = request.header(USER_AGENT, concat!("adit/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", **token))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(condition) = condition {
            request = request.header(condition, "*");
        }
        match body {
            Some(body) => request.header(CONTENT_TYPE, "application/json").body(body.to_string().into()),
            None => request.body(Bytes::new()),
        }
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
        let hint = match status {
            _ if code == Code::Auth && self.token.is_none() => "; give --token-file FILE or set ADIT_TOKEN",
            StatusCode::NOT_FOUND => "; `adit tunnel list` shows those that there are",
            _ => "",
        };
        CliError::new(code, format!("the relay refuses: {} ({}){hint}", printable(detail), status.as_u16()))
    }
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
