//! `/status`: a page for the operator, with the admin token as the password (RFC 7617). It has no scripts, and everything
//! in it that a peer chose is escaped.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use crate::access::Credential;
use crate::live::Version;
use crate::problem::Problem;
use crate::relay::Relay;
use crate::store::Record;

/// Rows of the table; more would make the page a burden.
const MAX_ROWS: usize = 500;
/// Characters of what a peer chose that are shown.
const MAX_TEXT: usize = 200;

/// Shows the page, or asks for the password.
pub(crate) async fn show(State(relay): State<Arc<Relay>>, headers: HeaderMap) -> Response {
    if !is_operator(&relay, &headers) {
        let mut response = Problem::new(
            StatusCode::UNAUTHORIZED,
            "this page is for the relay's operator; the password is the admin token",
        )
        .into_response();
        let ask = HeaderValue::from_static("Basic realm=\"relay operator\", charset=\"UTF-8\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, ask);
        return response;
    }
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers: [(HeaderName, HeaderValue); 5] = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'")),
        ),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, page(&relay).into_string()).into_response()
}

fn is_operator(relay: &Relay, headers: &HeaderMap) -> bool {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, rest)) = value.and_then(|value| value.split_once(' ')) else { return false };
    if !scheme.eq_ignore_ascii_case("basic") {
        return false;
    }
    let Ok(decoded) = STANDARD.decode(rest.trim()).map(Zeroizing::new) else { return false };
    let password = std::str::from_utf8(&decoded).ok().and_then(|text| text.split_once(':'));
    password.is_some_and(|(_, password)| relay.credential(password) == Credential::Admin)
}

fn page(relay: &Relay) -> Markup {
    let tunnels = relay.store.tunnels();
    let (mut hosts, mut clients) = (0_u32, 0_u32);
    for record in &tunnels {
        let live = relay.live_counts(&record.tunnel.tunnel_id);
        hosts = hosts.saturating_add(u32::from(live.host));
        clients = clients.saturating_add(live.clients);
    }
    let metrics = &relay.metrics;
    let counters = [
        ("Tunnels", tunnels.len().to_string()),
        ("Hosts connected", hosts.to_string()),
        ("Clients connected", clients.to_string()),
        ("TCP connections", metrics.connections.get().to_string()),
        ("Connections refused", metrics.refused_connections.get().to_string()),
        ("Payload received", bytes(metrics.received.get())),
        ("Payload sent", bytes(metrics.sent.get())),
    ];
    let state = if relay.is_draining() { "draining" } else { "ready" };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content="10";
                title { "Adit relay" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Adit relay " span class=(state) { (state) } }
                dl {
                    @for (name, value) in &counters { div { dt { (name) } dd { (value) } } }
                }
                table {
                    caption { "Tunnels" }
                    thead { tr {
                        @for name in ["Tunnel", "Name", "Description", "Owner", "Host", "Clients", "Ports", "Last used"] {
                            th scope="col" { (name) }
                        }
                    } }
                    tbody {
                        @if tunnels.is_empty() { tr { td colspan="8" { "No tunnels yet." } } }
                        @for record in tunnels.iter().take(MAX_ROWS) { (row(relay, record)) }
                    }
                }
                @if tunnels.len() > MAX_ROWS {
                    p { "And " (tunnels.len().saturating_sub(MAX_ROWS)) " more: " code { "adit tunnel list" } " shows all." }
                }
            }
        }
    }
}

fn row(relay: &Relay, record: &Record) -> Markup {
    let tunnel = &record.tunnel;
    let live = relay.live.get(&tunnel.tunnel_id);
    let host = live.as_ref().and_then(|live| live.current_host());
    let host = match host.map(|host| host.version) {
        Some(Version::V1) => "v1",
        Some(Version::V2) => "v2",
        None => "none",
    };
    let ports: Vec<String> = tunnel.ports.iter().map(|port| port.port_number.to_string()).collect();
    html! {
        tr {
            td { (tunnel.tunnel_id) }
            td { (text(tunnel.name.as_deref())) }
            td { (text(tunnel.description.as_deref())) }
            td { (text(Some(&record.owner))) }
            td class=(host) { (host) }
            td { (live.map_or(0, |live| live.client_count())) }
            td { (ports.join(", ")) }
            td { (date(record.used)) }
        }
    }
}

/// What a peer chose: escaped, apart from the text around it, and without what has no shape of its own.
fn text(chosen: Option<&str>) -> Markup {
    let seen = |c: char| if is_invisible(c) { char::REPLACEMENT_CHARACTER } else { c };
    let shown: String = chosen.unwrap_or_default().chars().map(seen).take(MAX_TEXT).collect();
    html! { bdi { (shown) } }
}

/// Controls, and what turns the direction of writing or takes no room.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

fn bytes(count: u64) -> String {
    match count {
        0..=0xffff => format!("{count} B"),
        0x1_0000..=0x3ff_ffff => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.4rem}h1 span{font-size:.8rem;padding:.1rem .6rem;border-radius:1rem;background:#2a7a3b;color:#fff}\
h1 .draining{background:#a05a00}\
dl{display:flex;flex-wrap:wrap;gap:.75rem}\
dl div{border:1px solid #8886;border-radius:.5rem;padding:.5rem 1rem}\
dt{font-size:.8rem;opacity:.75}dd{margin:0;font-size:1.2rem;font-variant-numeric:tabular-nums}\
table{border-collapse:collapse;width:100%}caption{text-align:left;font-weight:600;padding:.5rem 0}\
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #8884;overflow-wrap:anywhere;vertical-align:top}\
.none{opacity:.6}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_chose_is_shown_and_never_obeyed() {
        let shown = text(Some("<script>\"&'\u{202e}\u{0}\u{1b}[31m")).into_string();
        assert_eq!(shown, "<bdi>&lt;script&gt;&quot;&amp;'\u{fffd}\u{fffd}\u{fffd}[31m</bdi>");
        assert_eq!(text(Some(&"x".repeat(1000))).into_string().len(), MAX_TEXT + "<bdi></bdi>".len());
    }

    #[test]
    fn counts_are_short() {
        assert_eq!(
            (bytes(5), bytes(70_000), bytes(100 << 20)),
            ("5 B".into(), "68 KiB".into(), "100 MiB".into())
        );
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
    }
}
