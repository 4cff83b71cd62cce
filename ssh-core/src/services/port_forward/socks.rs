//! SOCKS4, SOCKS4a and SOCKS5 (RFC 1928), as far as a client without a password needs it to CONNECT.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::event::Target;
use super::proxy::{BadProxyRequest, Parse, Parsed};
use crate::protocol::wire::{Reader, WireError};

/// The answer to a greeting: no login.
pub(super) const NO_LOGIN: &[u8] = &[5, 0];
pub(super) const SOCKS5_SUCCESS: &[u8] = &socks5_failure(0);
pub(super) const SOCKS4_GRANTED: &[u8] = &[0, 0x5a, 0, 0, 0, 0, 0, 0];
pub(super) const SOCKS4_REJECTED: &[u8] = &[0, 0x5b, 0, 0, 0, 0, 0, 0];

/// Reply codes of RFC 1928 §6.
pub(super) const GENERAL_FAILURE: u8 = 1;
pub(super) const NOT_ALLOWED: u8 = 2;
pub(super) const CONNECTION_REFUSED: u8 = 5;

const NO_ACCEPTABLE_METHOD: &[u8] = &[5, 0xff];
const COMMAND_NOT_SUPPORTED: &[u8] = &socks5_failure(7);
const ADDRESS_TYPE_NOT_SUPPORTED: &[u8] = &socks5_failure(8);
const CONNECT: u8 = 1;
/// A host or a user name of SOCKS4 may not be longer, in bytes.
const MAX_TEXT: usize = 255;

/// A reply with this code; the bound address is nobody's business.
pub(super) const fn socks5_failure(code: u8) -> [u8; 10] {
    [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// The length of a greeting that offers to go without login (RFC 1928 §3).
pub(super) fn socks5_greeting(input: &[u8]) -> Parse<usize> {
    let Some((&[_version, count], rest)) = input.split_first_chunk() else { return Ok(None) };
    let count = usize::from(count);
    let Some(methods) = rest.get(..count) else { return Ok(None) };
    if methods.contains(&0) {
        Ok(count.checked_add(2))
    } else {
        Err((NO_ACCEPTABLE_METHOD, BadProxyRequest::NeedsLogin))
    }
}

/// A request (RFC 1928 §4).
pub(super) fn socks5_request(input: &[u8]) -> Parse<Parsed> {
    let mut reader = Reader::new(input);
    let malformed = (SOCKS5_MALFORMED, BadProxyRequest::Malformed);
    let Ok(version) = reader.u8() else { return Ok(None) };
    if version != 5 {
        return Err((b"", BadProxyRequest::Malformed));
    }
    let Ok(&[command, _reserved, address_type]) = reader.bytes(3).map(as_array) else { return Ok(None) };
    if command != CONNECT {
        return Err((COMMAND_NOT_SUPPORTED, BadProxyRequest::NotConnect));
    }
    let host = match address_type {
        1 => reader.bytes(4).map(|ip| Some(Ipv4Addr::from(*as_array(ip)).to_string())),
        3 => reader
            .u8()
            .and_then(|len| reader.bytes(len.into()))
            .map(|name| host_text(name).map(str::to_owned)),
        4 => reader.bytes(16).map(|ip| Some(Ipv6Addr::from(*as_array(ip)).to_string())),
        _ => return Err((ADDRESS_TYPE_NOT_SUPPORTED, BadProxyRequest::Malformed)),
    };
    let Ok(host) = host else { return Ok(None) };
    let Some(host) = host else { return Err(malformed) };
    let Ok(port) = port(&mut reader) else { return Ok(None) };
    Ok(Some(Parsed { target: Target::new(&host, port), len: consumed(input, &reader) }))
}

/// A request of SOCKS4, or of SOCKS4a with its name behind.
pub(super) fn socks4_request(input: &[u8]) -> Parse<Parsed> {
    let mut reader = Reader::new(input);
    let Ok(&[_version, command]) = reader.bytes(2).map(as_array) else { return Ok(None) };
    if command != CONNECT {
        return Err((SOCKS4_REJECTED, BadProxyRequest::NotConnect));
    }
    let Ok(port) = port(&mut reader) else { return Ok(None) };
    let Ok(ip) = reader.bytes(4).map(|ip| Ipv4Addr::from(*as_array(ip))) else { return Ok(None) };
    let Some(_user) = terminated(&mut reader)? else { return Ok(None) };
    let host = match ip.octets() {
        [0, 0, 0, last] if last != 0 => {
            let Some(name) = terminated(&mut reader)? else { return Ok(None) };
            host_text(name).ok_or((SOCKS4_REJECTED, BadProxyRequest::Malformed))?.to_owned()
        }
        _ => ip.to_string(),
    };
    Ok(Some(Parsed { target: Target::new(&host, port), len: consumed(input, &reader) }))
}

/// A text that ends with a zero byte.
fn terminated<'a>(reader: &mut Reader<'a>) -> Parse<&'a [u8]> {
    let rest = reader.rest();
    match rest.iter().take(MAX_TEXT.saturating_add(1)).position(|byte| *byte == 0) {
        Some(len) => {
            let text = reader.bytes(len).ok();
            // The zero itself.
            Ok(text.filter(|_| reader.u8().is_ok()))
        }
        None if rest.len() > MAX_TEXT => Err((SOCKS4_REJECTED, BadProxyRequest::TooLong)),
        None => Ok(None),
    }
}

/// A host as text. Names are the peer's to resolve, so only what no host can hold is refused.
pub(super) fn host_text(host: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(host).ok()?;
    (!text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace())).then_some(text)
}

fn port(reader: &mut Reader<'_>) -> Result<u16, WireError> {
    reader.bytes(2).map(|port| u16::from_be_bytes(*as_array(port)))
}

fn consumed(input: &[u8], reader: &Reader<'_>) -> usize {
    input.len().saturating_sub(reader.rest().len())
}

/// A slice that has just been read with this length.
fn as_array<const N: usize>(bytes: &[u8]) -> &[u8; N] {
    bytes.first_chunk().unwrap_or(&[0; N])
}

const SOCKS5_MALFORMED: &[u8] = &socks5_failure(GENERAL_FAILURE);
