use std::net::IpAddr;

/// Addresses and networks, `address[/bits]` separated by commas, as in the `source-address` of a certificate
/// (PROTOCOL.certkeys).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressList(Vec<Network>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl AddressList {
    /// `None` if an entry is malformed, or has bits behind its mask: what its author meant is then not known. An empty
    /// list holds no address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        text.split(',').map(Network::parse).collect::<Option<_>>().map(Self)
    }

    /// Whether the address is in one of the networks. An IPv4 address in its IPv6 form is the IPv4 address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => {
                // `parse` would take a sign.
                let bits = Some(bits).filter(|bits| bits.bytes().all(|byte| byte.is_ascii_digit()));
                (address, Some(bits?.parse::<u32>().ok()?))
            }
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = width(address);
        let network = Self { address, bits: bits.unwrap_or(width) };
        (network.bits <= width && masked(address, network.bits) == number(address)).then_some(network)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.bits) == number(self.address)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address without the bits behind the mask.
fn masked(address: IpAddr, bits: u32) -> u128 {
    let rest = width(address).saturating_sub(bits);
    number(address).checked_shr(rest).and_then(|value| value.checked_shl(rest)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (list, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1/32,192.168.0.0/16", "192.168.9.9", true),
            ("0.0.0.0/0", "1.2.3.4", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "1.2.3.4", false),
            ("::/0", "fe80::1", true),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("", "10.0.0.1", false),
        ] {
            let found = AddressList::parse(list).unwrap().contains(address.parse().unwrap());
            assert_eq!(found, expected, "{list} {address}");
        }
    }

    #[test]
    fn malformed_lists_are_refused() {
        for list in [
            ",",
            "10.0.0.0/8,",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.1/8",
            "10.0.0/8",
            "host",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0.0/8/8",
            " 10.0.0.1",
            "10.0.0.*",
            "!10.0.0.1",
            "10.0.0.0/99999999999",
        ] {
            assert_eq!(AddressList::parse(list), None, "{list}");
        }
    }
}
