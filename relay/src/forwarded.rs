//! Who is behind a proxy.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// Addresses of one request that are looked at; a client may have written any number before the first proxy's.
const MOST: usize = 16;

/// Where a request comes from: the last address of `X-Forwarded-For` that is none of ours, if a proxy of ours has sent it.
/// What stands before that address was written by who knows whom.
pub(crate) fn source(proxies: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !is_among(proxies, peer) {
        return peer;
    }
    let mut nearest = peer;
    let lines = headers.get_all("x-forwarded-for").iter().collect::<Vec<_>>().into_iter().rev();
    let items = lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
    for item in items.take(MOST) {
        let Some(address) = parse(item.trim()) else { return nearest };
        nearest = address;
        if !is_among(proxies, address) {
            break;
        }
    }
    nearest
}

/// Whether it is one of ours.
pub(crate) fn is_among(proxies: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    proxies.iter().any(|range| range.contains(&address))
}

/// Some proxies write the port too.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn from(peer: &str, lines: &[&'static str]) -> String {
        let proxies: Vec<IpNet> =
            ["127.0.0.0/8", "10.0.0.0/8", "::1/128"].map(|net| net.parse().unwrap()).into();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", HeaderValue::from_static(line));
        }
        source(&proxies, peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_our_proxies_say_who_is_behind_them() {
        for (peer, lines, found) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("127.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:127.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            // What a client wrote stands before what the proxy wrote.
            ("127.0.0.1", &["10.9.9.9, 203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &["192.168.0.1", "203.0.113.9"], "203.0.113.9"),
            // Proxies behind one another.
            ("127.0.0.1", &["203.0.113.9, 10.1.1.1"], "203.0.113.9"),
            ("127.0.0.1", &["10.2.2.2, 10.1.1.1"], "10.2.2.2"),
            ("127.0.0.1", &["203.0.113.9, nonsense, 10.1.1.1"], "10.1.1.1"),
            ("127.0.0.1", &["203.0.113.9:1234"], "203.0.113.9"),
            ("127.0.0.1", &["[2001:db8::1]:1234"], "2001:db8::1"),
            ("127.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("127.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            ("127.0.0.1", &[""], "127.0.0.1"),
        ] {
            assert_eq!(from(peer, lines), found, "{peer} {lines:?}");
        }
    }
}
