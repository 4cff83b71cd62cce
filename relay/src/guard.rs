//! What is asked of every request before anybody looks at what it wants: that it was meant for this relay, that no
//! page of another site sent it, and that its end is where everybody between here and the caller saw it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING, UPGRADE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::config::Config;
use crate::model::CLUSTER;
use crate::problem::Problem;
use crate::relay::Relay;

/// Refuses what no well-meaning caller sends.
pub(crate) async fn guard(State(relay): State<Arc<Relay>>, request: Request, next: Next) -> Response {
    if let Err(problem) = check(&relay.config, request.version(), request.headers()) {
        return closing(problem.into_response());
    }
    // Whoever puts both a length and chunks into one request means two things by it, and one of the two headers may be
    // gone by now: nothing that follows on the connection is believed.
    if request.headers().contains_key(TRANSFER_ENCODING) {
        return closing(next.run(request).await);
    }
    next.run(request).await
}

fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn check(config: &Config, version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let bad = |detail: &str| Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    if version != Version::HTTP_11 {
        return bad("this relay speaks HTTP/1.1");
    }
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return bad("a request has a length or chunks, not both");
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length != "0");
    // One of the two would take it for what follows the upgrade.
    if has_body && headers.contains_key(UPGRADE) {
        return bad("an upgrade has no body");
    }
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) else {
        return bad("a request has one Host header");
    };
    if !is_ours(config, host) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "this relay goes by another name; its operator sets it with the public URL",
        ));
    }
    let mut origins = headers.get_all(ORIGIN).iter();
    if origins.any(|origin| !origin.to_str().is_ok_and(|origin| may_send(config, host, origin))) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "pages of this origin may not use the relay; its operator can allow it",
        ));
    }
    Ok(())
}

/// Whether `host` names this relay. A name that leads here by somebody else's doing (DNS rebinding) does not, which an
/// address cannot do.
fn is_ours(config: &Config, host: &str) -> bool {
    let name = name_of(host);
    // What stands behind the name goes into URLs.
    let port = host.get(name.len()..).unwrap_or_default();
    if !port.strip_prefix(':').unwrap_or(port).bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let address = name.trim_start_matches('[').trim_end_matches(']');
    if address.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let public = config.public_url.as_deref().and_then(authority_of).map(name_of);
    let own = public.into_iter().chain(config.host_names.iter().map(String::as_str));
    // SDKs put the cluster's name in front of the host's.
    let plain = name.split_once('.').filter(|(first, _)| first.eq_ignore_ascii_case(CLUSTER));
    own.into_iter().any(|own| {
        own.eq_ignore_ascii_case(name) || plain.is_some_and(|(_, rest)| own.eq_ignore_ascii_case(rest))
    })
}

/// Whether a page of `origin` may send requests: the relay's own, and those that the operator named.
fn may_send(config: &Config, host: &str, origin: &str) -> bool {
    config.origins.iter().any(|allowed| allowed.trim_end_matches('/').eq_ignore_ascii_case(origin))
        || authority_of(origin).is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// What stands between `http://` and the path.
fn authority_of(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    rest.split('/').next()
}

/// A host without its port.
fn name_of(authority: &str) -> &str {
    match authority.rfind(':') {
        // The colons of an IPv6 address stand inside its brackets.
        Some(at) if !authority.get(at..).is_some_and(|rest| rest.contains(']')) => {
            authority.get(..at).unwrap_or_default()
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            public_url: Some("https://relay.example:8443/".into()),
            origins: vec!["https://editor.example".into()],
            ..Config::default()
        }
    }

    #[test]
    fn a_name_of_somebody_else_is_not_ours() {
        for ours in [
            "relay.example",
            "Relay.Example:8443",
            "local.relay.example",
            "127.0.0.1:80",
            "[::1]:80",
            "[::1]",
            "localhost:1",
        ] {
            assert!(is_ours(&config(), ours), "{ours}");
        }
        for other in [
            "",
            "evil.example",
            "relay.example.evil",
            "xlocal.relay.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:1@evil.example",
            "127.0.0.1:80/x",
            "[::1]x:80",
            "[::1]@evil.example",
        ] {
            assert!(!is_ours(&config(), other), "{other}");
        }
        assert!(!is_ours(&Config::default(), "relay.example"));
    }

    #[test]
    fn only_known_origins_send() {
        for (origin, may) in [
            ("https://editor.example", true),
            ("https://relay.example:8443", true),
            ("https://relay.example", false),
            ("https://evil.example", false),
            ("null", false),
            ("", false),
            ("https://editor.example.evil", false),
        ] {
            assert_eq!(may_send(&config(), "relay.example:8443", origin), may, "{origin}");
        }
    }
}
