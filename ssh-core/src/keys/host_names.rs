//! The name field of a `known_hosts` line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

const DEFAULT_PORT: u16 = 22;
const HASH_PREFIX: &str = "|1|";
/// SHA-1's output; OpenSSH's salts are as long.
const HASH_LEN: usize = 20;
/// A host name may not be longer, in bytes (RFC 1035 §2.3.4).
pub(super) const MAX_HOST_LEN: usize = 255;

/// What one line says about names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostNames {
    /// Patterns separated by commas, in lower case.
    Patterns(Box<str>),
    /// `|1|salt|HMAC-SHA1(salt, name)`.
    Hashed { salt: [u8; HASH_LEN], hash: [u8; HASH_LEN] },
}

impl HostNames {
    /// `None` if the field is malformed.
    pub(super) fn parse(field: &str) -> Option<Self> {
        let Some(rest) = field.strip_prefix('|') else {
            let sound = !field.is_empty() && !field.split(',').any(|pattern| matches!(pattern, "" | "!"));
            return sound.then(|| Self::Patterns(field.to_ascii_lowercase().into()));
        };
        let (salt, hash) = rest.strip_prefix("1|")?.split_once('|')?;
        let bytes = |text| STANDARD.decode(text).ok()?.try_into().ok();
        Some(Self::Hashed { salt: bytes(salt)?, hash: bytes(hash)? })
    }

    /// Whether the line is about the host, whose name [`host_id`] made.
    pub(super) fn matches(&self, id: &str) -> bool {
        match self {
            Self::Patterns(patterns) => matches_list(patterns, id),
            Self::Hashed { salt, hash } => hash_name(salt, id).is_some_and(|found| found.ct_eq(hash).into()),
        }
    }

    /// The names as they stand in the file, in lower case, if they are not hashed.
    pub(super) fn shown(&self) -> Option<&str> {
        match self {
            Self::Patterns(patterns) => Some(patterns),
            Self::Hashed { .. } => None,
        }
    }
}

/// How a host is called in `known_hosts`: its name in lower case, in brackets with the port behind if that is not 22.
/// `None` if no line could be about it.
pub(super) fn host_id(host: &str, port: u16) -> Option<String> {
    let bare = bare_host(host);
    if bare.is_empty() || bare.len() > MAX_HOST_LEN {
        return None;
    }
    let name = bare.to_ascii_lowercase();
    Some(if port == DEFAULT_PORT { name } else { format!("[{name}]:{port}") })
}

/// An IPv6 address out of its brackets.
pub(super) fn bare_host(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// Whether a host may be written to a file: nothing that would be a pattern, another field or another line.
pub(super) fn is_writable(id: &str) -> bool {
    id.chars().all(|c| {
        !c.is_whitespace() && !c.is_control() && !matches!(c, ',' | '*' | '?' | '!' | '|' | '#' | '@')
    })
}

/// The hashed form of a name under a salt.
pub(super) fn hashed_field(salt: &[u8; HASH_LEN], id: &str) -> Option<String> {
    let hash = hash_name(salt, id)?;
    Some(format!("{HASH_PREFIX}{}|{}", STANDARD.encode(salt), STANDARD.encode(hash)))
}

fn hash_name(salt: &[u8], id: &str) -> Option<[u8; HASH_LEN]> {
    let mut mac = Hmac::<Sha1>::new_from_slice(salt).ok()?;
    mac.update(id.as_bytes());
    Some(mac.finalize().into_bytes().into())
}

/// One pattern must match, and none behind a `!`.
fn matches_list(patterns: &str, id: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        if let Some(negated) = pattern.strip_prefix('!') {
            if matches_pattern(negated.as_bytes(), id.as_bytes()) {
                return false;
            }
        } else {
            found |= matches_pattern(pattern.as_bytes(), id.as_bytes());
        }
    }
    found
}

/// `*` is any number of bytes, `?` one. Takes at most `pattern.len() · text.len()` steps: only the last `*` is ever
/// tried again, for what it could match earlier ones need not.
pub(super) fn matches_pattern(mut pattern: &[u8], mut text: &[u8]) -> bool {
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', after)), _) => {
                retry = Some((after, text));
                pattern = after;
            }
            (Some((wanted, after)), Some((found, rest))) if *wanted == b'?' || wanted == found => {
                (pattern, text) = (after, rest);
            }
            (None, None) => return true,
            _ => {
                // What the last `*` swallows grows by a byte.
                let Some((after, from)) = retry else { return false };
                let Some((_, from)) = from.split_first() else { return false };
                retry = Some((after, from));
                (pattern, text) = (after, from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(field: &str, host: &str, port: u16) -> bool {
        HostNames::parse(field).unwrap().matches(&host_id(host, port).unwrap())
    }

    #[test]
    fn patterns_lists_and_ports() {
        for (field, host, port, expected) in [
            ("example.com", "example.com", 22, true),
            ("example.com", "EXAMPLE.com", 22, true),
            ("Example.COM", "example.com", 22, true),
            ("example.com", "example.com", 2222, false),
            ("[example.com]:2222", "example.com", 2222, true),
            ("[example.com]:2222", "example.com", 22, false),
            ("a,b,c", "b", 22, true),
            ("*.example.com", "a.example.com", 22, true),
            ("*.example.com", "example.com", 22, false),
            ("*.example.com,!b.example.com", "b.example.com", 22, false),
            ("!b.example.com,*.example.com", "b.example.com", 22, false),
            ("!b.example.com", "a.example.com", 22, false),
            ("h?st", "host", 22, true),
            ("h?st", "hst", 22, false),
            ("*", "anything", 7, true),
            ("[*]:2222", "x", 2222, true),
            ("a*b*c", "aXbXbc", 22, true),
            ("a*b*c", "aXbXb", 22, false),
            ("**", "", 1, true),
            ("::1", "::1", 22, true),
            ("::1", "[::1]", 22, true),
            ("[::1]:8", "::1", 8, true),
        ] {
            let matched = host_id(host, port).is_some_and(|id| HostNames::parse(field).unwrap().matches(&id));
            assert_eq!(matched, expected && !host.is_empty(), "{field} {host} {port}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = "*a".repeat(8_000);
        assert!(!is_match(&pattern, &"a".repeat(255), 22));
        let pattern = format!("{}b", "*a*".repeat(80));
        assert!(!is_match(&pattern, &"a".repeat(255), 22));
    }

    #[test]
    fn malformed_fields_are_refused() {
        for field in
            ["", ",", "a,", ",a", "a,,b", "!", "a,!", "|", "|1|", "|1||", "|1|YQ==|YQ==", "|2|a|b", "|1|*|*"]
        {
            assert_eq!(HostNames::parse(field), None, "{field}");
        }
    }
}
