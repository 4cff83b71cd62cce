//! What a host prints and a client is given: where a tunnel is, and whose key waits at its end.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ssh_core::keys::Fingerprint;
use zeroize::Zeroizing;

/// `https://relay.example/t/ID#hk=KEY&t=TOKEN`: the fragment stays with whoever has the link, since nothing that loads URLs
/// sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    /// The relay's `http` or `https` URL, without a slash at its end.
    pub relay: String,
    /// The tunnel's id or name.
    pub tunnel: String,
    /// The SHA-256 of the host's key.
    pub host_key: Option<Fingerprint>,
    /// What lets a client in.
    pub token: Option<Zeroizing<String>>,
}

/// A text that is no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// It is no URL of HTTP.
    #[error("a link begins with http:// or https://; copy it whole from the host")]
    NoUrl,
    /// Its path names no tunnel.
    #[error("the path of a link ends with /t/ and the tunnel's name; copy it whole from the host")]
    NoTunnel,
    /// `#hk=` holds no digest.
    #[error("#hk= of a link holds 43 characters of base64url; copy it whole from the host")]
    BadHostKey,
    /// `t=` holds no token.
    #[error("the token of the link cannot be read; copy the link whole from the host")]
    BadToken,
    /// Its fragment has something that this version does not know.
    #[error("the link has {0:?} behind its #, which this version does not know; update it")]
    Unknown(String),
}

impl Link {
    /// Where its clients open their WebSockets.
    #[must_use]
    pub fn client_url(&self) -> String {
        format!("{}/t/{}/client", self.websocket_base(), self.tunnel)
    }

    /// Where its host opens its WebSocket.
    #[must_use]
    pub fn host_url(&self) -> String {
        format!("{}/t/{}/host", self.websocket_base(), self.tunnel)
    }

    /// The whole text, token included.
    #[must_use]
    pub fn to_secret_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{}/t/{}", self.relay, self.tunnel));
        if let Some(key) = &self.host_key {
            text.push_str("#hk=");
            text.push_str(&URL_SAFE_NO_PAD.encode(key.as_bytes()));
        }
        if let Some(token) = &self.token {
            text.push_str(if self.host_key.is_some() { "&t=" } else { "#t=" });
            text.push_str(token);
        }
        text
    }

    fn websocket_base(&self) -> String {
        self.relay.replacen("http", "ws", 1)
    }
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (scheme, rest) = url.split_once("://").ok_or(LinkError::NoUrl)?;
        // Some keyboards begin every sentence with a capital.
        let scheme = scheme.to_ascii_lowercase();
        if !matches!(scheme.as_str(), "http" | "https") {
            return Err(LinkError::NoUrl);
        }
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) || url.contains('?') || rest.contains('@') {
            return Err(LinkError::NoUrl);
        }
        let (host, tunnel) = rest.trim_end_matches('/').rsplit_once("/t/").ok_or(LinkError::NoTunnel)?;
        if !is_name(tunnel) || host.is_empty() || host.starts_with('/') {
            return Err(LinkError::NoTunnel);
        }
        let relay = format!("{scheme}://{host}");
        let mut link = Self { relay, tunnel: tunnel.to_owned(), host_key: None, token: None };
        for part in fragment.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                // Two would leave open which of them counts.
                Some(("hk", _)) if link.host_key.is_some() => return Err(LinkError::BadHostKey),
                Some(("t", _)) if link.token.is_some() => return Err(LinkError::BadToken),
                Some(("hk", key)) => link.host_key = Some(decode_key(key).ok_or(LinkError::BadHostKey)?),
                Some(("t", token)) if is_token(token) => link.token = Some(Zeroizing::new(token.to_owned())),
                Some(("t", _)) => return Err(LinkError::BadToken),
                // It may say how the end is to be recognised: leaving it out could be leaving a check out.
                _ => {
                    return Err(LinkError::Unknown(crate::printable(
                        part.split('=').next().unwrap_or_default(),
                    )));
                }
            }
        }
        Ok(link)
    }
}

/// Without the token.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/t/{}", self.relay, self.tunnel)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether this may stand in a path as a tunnel's id or name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn is_token(text: &str) -> bool {
    (1..=crate::tokens::MAX_TOKEN_LEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn decode_key(text: &str) -> Option<Fingerprint> {
    let digest: [u8; 32] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    Some(digest.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_as_it_is_written() {
        for (relay, client) in [
            ("http://127.0.0.1:8080", "ws://127.0.0.1:8080/t/fun-hill/client"),
            ("https://relay.example/base", "wss://relay.example/base/t/fun-hill/client"),
            ("https://[::1]:1", "wss://[::1]:1/t/fun-hill/client"),
        ] {
            let link = Link {
                relay: relay.into(),
                tunnel: "fun-hill".into(),
                host_key: Some([7; 32].into()),
                token: Some(Zeroizing::new("a.b-c_".into())),
            };
            let text = link.to_secret_text();
            assert_eq!(text.parse::<Link>().unwrap(), link);
            assert_eq!(text.split_once("#hk=").unwrap().1.find('&'), Some(43));
            assert_eq!(link.client_url(), client);
            assert!(!format!("{link} {link:?}").contains("a.b-c_"));
        }
        let bare: Link = "http://h/t/x".parse().unwrap();
        assert_eq!((bare.host_key, bare.token.clone()), (None, None));
        assert_eq!(*bare.to_secret_text(), "http://h/t/x");
        let shouted: Link = "HTTPS://Relay.Example/t/x/".parse().unwrap();
        assert_eq!(shouted.client_url(), "wss://Relay.Example/t/x/client");
    }

    #[test]
    fn what_is_wrong_with_a_link_is_said() {
        let key = "A".repeat(43);
        for (text, error) in [
            ("", LinkError::NoUrl),
            ("fun-hill", LinkError::NoUrl),
            ("ftp://h/t/x", LinkError::NoUrl),
            ("http://user@h/t/x", LinkError::NoUrl),
            ("http://h/t/x?y", LinkError::NoUrl),
            ("http://h", LinkError::NoTunnel),
            ("http://h/t/", LinkError::NoTunnel),
            ("http:///t/x", LinkError::NoTunnel),
            ("http://h/t/../x", LinkError::NoTunnel),
            ("http://h/t/x#hk=", LinkError::BadHostKey),
            (&format!("http://h/t/x#hk={}", &key[1..]), LinkError::BadHostKey),
            (&format!("http://h/t/x#hk={key}A"), LinkError::BadHostKey),
            ("http://h/t/x#t=", LinkError::BadToken),
            ("http://h/t/x#t=a b", LinkError::BadToken),
            (&format!("http://h/t/x#hk={key}&hk={key}"), LinkError::BadHostKey),
            ("http://h/t/x#t=a&t=b", LinkError::BadToken),
            ("://h/t/x", LinkError::NoUrl),
            ("http:///h/t/x", LinkError::NoTunnel),
            ("http://h/t/x#hk2=A", LinkError::Unknown("hk2".into())),
        ] {
            assert_eq!(text.parse::<Link>().unwrap_err(), error, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_as_a_link_is_written_as_the_same(
            text in "(HTTP|https?)://[-a-z\\[\\]:.%/t]{0,20}(/t/)?[-_/A-Za-z0-9]{0,66}/?(#([hkt]{1,2}=[-_.A-Za-z0-9]{0,44}&?){0,3})?",
        ) {
            if let Ok(link) = text.parse::<Link>() {
                let again: Link = link.to_secret_text().parse().unwrap();
                proptest::prop_assert_eq!(&again, &link);
                let shown: Link = link.to_string().parse().unwrap();
                proptest::prop_assert_eq!((shown.relay, shown.tunnel, shown.token), (link.relay, link.tunnel, None));
            }
        }
    }
}
