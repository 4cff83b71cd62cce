//! HTTP CONNECT (RFC 9110 §9.3.6) over HTTP/1.

use super::event::Target;
use super::proxy::{BadProxyRequest, Parse, Parsed};
use super::socks::host_text;

/// The request line and the header may not be longer, in bytes.
pub(super) const MAX_HEAD: usize = 8 * 1024;
pub(super) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const NOT_CONNECT: &[u8] =
    b"HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A request. The header says nothing that matters here, and is skipped. The end of the head is known not to be within
/// the first `searched` bytes.
pub(super) fn request(input: &[u8], searched: usize) -> Parse<Parsed> {
    let within = input.get(..MAX_HEAD).unwrap_or(input);
    // The end may have begun there.
    let from = searched.saturating_sub(HEAD_END.len()).min(within.len());
    let fresh = within.get(from..).unwrap_or_default();
    let end = fresh.windows(HEAD_END.len()).position(|window| window == HEAD_END);
    let Some(at) = end.map(|at| at.saturating_add(from)) else {
        return if input.len() >= MAX_HEAD { Err((TOO_LARGE, BadProxyRequest::TooLong)) } else { Ok(None) };
    };
    let head = within.get(..at).unwrap_or_default();
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let malformed = (BAD_REQUEST, BadProxyRequest::Malformed);
    let line = std::str::from_utf8(line).map_err(|_| malformed)?;
    let mut words = line.split(' ');
    let (Some(method), Some(authority), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed);
    };
    if !version.starts_with("HTTP/1.") {
        return Err(malformed);
    }
    if !method.eq_ignore_ascii_case("CONNECT") {
        return Err((NOT_CONNECT, BadProxyRequest::NotConnect));
    }
    let target = parse_authority(authority).ok_or(malformed)?;
    Ok(Some(Parsed { target, len: at.saturating_add(HEAD_END.len()) }))
}

/// `host:port`, an IPv6 address in brackets.
fn parse_authority(authority: &str) -> Option<Target> {
    let (host, port) = authority.rsplit_once(':')?;
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())??;
    let host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    host_text(host.as_bytes()).map(|host| Target::new(host, port))
}

/// A reply with this status, and the reason for the user to read.
pub(super) fn failure(status: &str, reason: &str) -> Vec<u8> {
    let len = reason.len().saturating_add(1);
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len}\r\n\
         Connection: close\r\n\r\n{reason}\n"
    )
    .into_bytes()
}
