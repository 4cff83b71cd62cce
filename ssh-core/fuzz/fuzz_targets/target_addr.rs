//! What a policy lets a peer connect to: an address that is denied is not reached by another spelling of it, and nobody
//! gets more than was permitted. The input is an address of 4 or 16 bytes behind its length, a port, the host that the peer
//! names, a zero byte, and permits one a line.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use ssh_core::services::port_forward::{ForwardPolicy, PermitListen, PermitTarget};

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else { return };
    let Some((address, rest)) = address(*kind, rest) else { return };
    let Some((port, rest)) = rest.split_first_chunk() else { return };
    let address = SocketAddr::new(address, u16::from_be_bytes(*port));
    let (host, permits) = rest.split_at(rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len()));
    let (Ok(host), Ok(permits)) = (std::str::from_utf8(host), std::str::from_utf8(permits)) else { return };

    assert!(!ForwardPolicy::default().permits_open(host, address));
    let mut policy = ForwardPolicy::default();
    let mut names_it = false;
    for line in permits.trim_start_matches('\0').lines() {
        let _ = line.parse::<PermitListen>().map(|permit| again(&permit));
        let Ok(permit) = line.parse::<PermitTarget>() else { continue };
        again(&permit);
        let written = permit.to_string();
        let named = written
            .rsplit_once(':')
            .and_then(|(host, _)| host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok());
        names_it |= named == Some(address.ip().to_canonical());
        let alone = ForwardPolicy::default().permit_open(permit.clone());
        let before = policy.permits_open(host, address);
        policy = policy.permit_open(permit);
        // Permits add up and do nothing else.
        assert_eq!(policy.permits_open(host, address), before || alone.permits_open(host, address));
    }
    for policy in [&policy, &ForwardPolicy::allow_all()] {
        let permitted = policy.permits_open(host, address);
        for other in spellings(address.ip()) {
            let spelled = policy.permits_open(host, SocketAddr::new(other, address.port()));
            assert!(permitted || !spelled || !denied(address.ip()), "{other} reaches {address}");
        }
        assert!(!permitted || names_it || !denied(address.ip()), "{address} is reached");
    }
});

fn again<T: std::fmt::Display + std::str::FromStr + PartialEq>(permit: &T) {
    assert!(permit.to_string().parse().is_ok_and(|again: T| again == *permit), "{permit} is not read back");
}

fn address(kind: u8, rest: &[u8]) -> Option<(IpAddr, &[u8])> {
    // Those that matter are not to be guessed byte by byte.
    const KNOWN: [IpAddr; 6] = [
        IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
        IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
        IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    match kind {
        4 => rest.split_first_chunk::<4>().map(|(bytes, rest)| ((*bytes).into(), rest)),
        16 => rest.split_first_chunk::<16>().map(|(bytes, rest)| ((*bytes).into(), rest)),
        known => KNOWN.get(usize::from(known).checked_sub(100)?).map(|address| (*address, rest)),
    }
}

/// Addresses at which the same host may answer.
fn spellings(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V4(v4) = address.to_canonical() else { return vec![address] };
    let [a, b, c, d] = v4.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    [
        v4.to_ipv6_mapped(),
        v4.to_ipv6_compatible(),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
    ]
    .into_iter()
    .map(IpAddr::from)
    .chain([address])
    .collect()
}

/// Link-local addresses and the metadata services of clouds.
fn denied(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_link_local() || [[168, 63, 129, 16], [100, 100, 100, 200]].contains(&v4.octets())
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            first & 0xffc0 == 0xfe80 || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
    }
}
