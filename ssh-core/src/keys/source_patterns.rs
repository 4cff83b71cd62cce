use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::host_names::matches_pattern;

/// Addresses that somebody may come from: addresses, networks and patterns separated by commas, `!` in front of one
/// takes it out, as in `from="..."` of sshd(8).
///
/// Names are never looked up, so a pattern that is a name meets no address (as with sshd's `UseDNS no`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourcePatterns {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    negated: bool,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// The address and how many of its leading bits count.
    Network(IpAddr, u32),
    /// `*` and `?` over the text of the address.
    Text(Box<str>),
}

impl SourcePatterns {
    /// Parses a list. `None` if it is empty, has an empty entry, a network with bits set behind its mask, or
    /// something that looks like an address and is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let patterns = text.split(',').map(Pattern::parse).collect::<Option<Vec<_>>>()?;
        Some(Self { patterns })
    }

    /// Parses a list of addresses and networks alone, as in the `source-address` option of a certificate
    /// (OpenSSH's `PROTOCOL.certkeys`).
    #[must_use]
    pub fn parse_networks(text: &str) -> Option<Self> {
        let found = Self::parse(text)?;
        let plain = |pattern: &Pattern| !pattern.negated && matches!(pattern.what, What::Network(..));
        found.patterns.iter().all(plain).then_some(found)
    }

    /// Whether somebody at this address is meant: some pattern matches and none behind a `!`.
    #[must_use]
    pub fn matches(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let text = address.to_string();
        let mut found = false;
        for pattern in &self.patterns {
            if pattern.what.matches(address, &text) {
                if pattern.negated {
                    return false;
                }
                found = true;
            }
        }
        found
    }
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (negated, text) = text.strip_prefix('!').map_or((false, text), |text| (true, text));
        if text.is_empty() || text.chars().any(char::is_whitespace) {
            return None;
        }
        Some(Self { negated, what: What::parse(text)? })
    }
}

impl What {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let Ok(address) = address.parse::<IpAddr>() else {
            // `10.1` or `1.2.3.4.5` would quietly match nothing, and behind a `!` shut nobody out.
            let like_address = |byte: u8| byte.is_ascii_digit() || b".:/".contains(&byte);
            return (!text.bytes().all(like_address) && bits.is_none())
                .then(|| Self::Text(text.to_ascii_lowercase().into()));
        };
        let most = width(address);
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
        };
        (bits <= most && masked(address, bits) == address).then_some(Self::Network(address, bits))
    }

    fn matches(&self, address: IpAddr, text: &str) -> bool {
        match self {
            Self::Network(network, bits) => {
                network.is_ipv4() == address.is_ipv4() && masked(address, *bits) == *network
            }
            Self::Text(pattern) => matches_pattern(pattern.as_bytes(), text.as_bytes()),
        }
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS }
}

/// The address with what follows its first `bits` bits set to zero.
fn masked(address: IpAddr, bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(Ipv4Addr::BITS.saturating_sub(bits)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(Ipv6Addr::BITS.saturating_sub(bits)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_match_as_in_openssh() {
        for (list, address, expected) in [
            ("10.0.0.0/8", "10.9.8.7", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.9.8.7", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.*", "127.0.0.2", true),
            ("127.0.0.?", "127.0.0.22", false),
            ("*,!10.0.0.0/8", "10.1.1.1", false),
            ("!10.0.0.0/8,*", "10.1.1.1", false),
            ("*,!10.0.0.0/8", "11.1.1.1", true),
            ("!10.0.0.0/8", "11.1.1.1", false),
            ("*.example.com", "127.0.0.1", false),
            ("*.example.com,127.0.0.1", "127.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "1.2.3.4", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:DB8:*", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
            ("1.2.3.4/32", "1.2.3.4", true),
        ] {
            let patterns = SourcePatterns::parse(list).unwrap();
            assert_eq!(patterns.matches(address.parse().unwrap()), expected, "{list} {address}");
        }
    }

    #[test]
    fn malformed_lists_are_refused() {
        for list in [
            "",
            ",",
            "a,",
            "!",
            "!,a",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.1",
            "!1.2.3.4.5",
            "a b",
            "name/8",
            "::1/64",
        ] {
            assert_eq!(SourcePatterns::parse(list), None, "{list}");
        }
        assert!(SourcePatterns::parse_networks("10.0.0.0/8,::1").is_some());
        for list in ["*", "!10.0.0.0/8", "10.0.0.0/8,a"] {
            assert_eq!(SourcePatterns::parse_networks(list), None, "{list}");
        }
    }
}
