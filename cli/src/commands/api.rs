//! The management API of a relay, from the other end.

use bytes::Bytes;
use relay::dial::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use relay::dial::http::{self, HeaderValue, Method, Request};
use relay::dial::{DialError, Dialer};
use serde_json::Value;
use zeroize::Zeroizing;

use super::token_file;
use super::tunnel_ends::{End, code_of, dial_error, dialer, try_again};
use crate::args::ApiArgs;
use crate::error::CliError;

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
        let is_get = method == Method::GET;
        let request = self.request(method, path, body, condition);
        let request = request.map_err(|error| CliError::usage(format!("{}: {error}", self.base)))?;
        let asked = self.dialer.request(request, MAX_ANSWER).await;
        let (head, body) = asked.map_err(|error| dial_error(&error, End::Host))?.into_parts();
        if !head.status.is_success() {
            let error = DialError::of_answer(self.base.clone(), head.status, &head.headers, &body);
            return Err(self.refused(&error));
        }
        let text = Zeroizing::new(String::from_utf8_lossy(&body).into_owned());
        // Who asks for something is told of it.
        if text.is_empty() && !is_get {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|_| {
            let why = "it does not answer in JSON".to_owned();
            dial_error(&DialError::NoRelay { at: self.base.clone(), why }, End::Host)
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

    fn refused(&self, error: &DialError) -> CliError {
        let DialError::Refused { status, detail, .. } = error else { return dial_error(error, End::Host) };
        let detail = match detail.split_once(": ") {
            // What it is called on the command line.
            Some(("expiresIn" | "customExpiration", rest)) => format!("--expires {rest}"),
            _ if detail.is_empty() => "it did not say why".into(),
            _ => detail.clone(),
        };
        let (code, again) = (code_of(*status, &detail), try_again(*status, &detail));
        let hint = match status {
            401 | 403 if self.token.is_none() => "; give --token-file FILE or set ADIT_TOKEN",
            404 => "; `adit tunnel list` shows those that there are",
            _ if again.is_empty() => "",
            _ => "; ",
        };
        CliError::new(code, format!("the relay refuses: {detail} ({status}){hint}{again}"))
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
