use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address or a network, `address[/bits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    address: IpAddr,
    /// How many of its leading bits count.
    bits: u32,
}

impl Network {
    /// `None` if it is malformed, or has bits behind its mask: what its author meant is then not known. A network of IPv4
    /// addresses in their IPv6 form is the IPv4 network.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => {
                // `parse` would take a sign.
                let bits = Some(bits).filter(|bits| bits.bytes().all(|byte| byte.is_ascii_digit()));
                (address, Some(bits?.parse::<u32>().ok()?))
            }
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { Ipv4Addr::BITS } else { Ipv6Addr::BITS };
        let bits = bits.unwrap_or(most);
        if bits > most || masked(address, bits) != address {
            return None;
        }
        let canonical = address.to_canonical();
        if canonical.is_ipv4() && address.is_ipv6() {
            // With fewer bits than that it would have had bits behind its mask.
            return Some(Self { address: canonical, bits: bits.checked_sub(MAPPED_BITS)? });
        }
        Some(Self { address, bits })
    }

    /// Whether the address is in it. An IPv4 address in its IPv6 form is the IPv4 address.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.bits) == self.address
    }
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

/// Bits in front of the IPv4 address in an IPv6 address that maps it (RFC 4291 §2.5.5.2).
const MAPPED_BITS: u32 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1/32", "10.0.0.1", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "1.2.3.4", false),
            ("::/0", "fe80::1", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("::ffff:0:0/96", "11.1.2.3", true),
            ("::ffff:0:0/96", "::1", false),
            ("::FFFF:a00:1", "10.0.0.1", true),
            ("::ffff:10.0.0.1/128", "10.0.0.2", false),
        ] {
            let found = Network::parse(network).unwrap().contains(address.parse().unwrap());
            assert_eq!(found, expected, "{network} {address}");
        }
    }

    #[test]
    fn malformed_networks_are_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "10.0.0/8",
            "host",
            "host/8",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/",
            "10.0.0.0/8/8",
            " 10.0.0.1",
            "10.0.0.*",
            "!10.0.0.1",
            "10.0.0.0/99999999999",
            "::1/64",
            "::ffff:0:0/95",
            "::ffff:10.0.0.0/8",
            "::ffff:10.0.0.1/104",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
