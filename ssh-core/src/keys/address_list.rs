use std::net::IpAddr;

use super::network::Network;

/// Addresses and networks, `address[/bits]` separated by commas, as in the `source-address` of a certificate
/// (PROTOCOL.certkeys).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AddressList(Vec<Network>);

impl AddressList {
    /// `None` if an entry is malformed. An empty list holds no address.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(Vec::new()));
        }
        text.split(',').map(Network::parse).collect::<Option<_>>().map(Self)
    }

    /// Whether the address is in one of the networks. An IPv4 address in its IPv6 form is the IPv4 address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_of_the_networks_is_enough() {
        for (list, address, expected) in [
            ("10.0.0.1/32,192.168.0.0/16", "192.168.9.9", true),
            ("10.0.0.1/32,192.168.0.0/16", "10.0.0.1", true),
            ("10.0.0.1/32,192.168.0.0/16", "10.0.0.2", false),
            ("::1,::ffff:10.0.0.0/104", "10.0.0.2", true),
            ("", "10.0.0.1", false),
        ] {
            let found = AddressList::parse(list).unwrap().contains(address.parse().unwrap());
            assert_eq!(found, expected, "{list} {address}");
        }
    }

    #[test]
    fn malformed_lists_are_refused() {
        for list in [",", "10.0.0.0/8,", "10.0.0.1/8", "::1,host", "!10.0.0.1", "::1, ::2"] {
            assert_eq!(AddressList::parse(list), None, "{list}");
        }
    }
}
