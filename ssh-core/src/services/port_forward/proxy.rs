//! The handshake of a proxy's client, as a value: bytes in, answers out.

use super::event::Target;
use super::http_connect;
use super::socks;
use crate::protocol::{OpenError, OpenFailureReason};

/// A handshake. The protocol shows in its first byte.
#[derive(Debug, Default)]
pub(super) struct Handshake {
    buffer: Vec<u8>,
    stage: Stage,
    /// HTTP: so much has been searched for the end of the head.
    searched: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Start,
    /// SOCKS5, after the choice of the method.
    Socks5Request,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Feed more.
    Read,
    /// Send this, and step again.
    Send(&'static [u8]),
    /// Connect to the target, then [`answer`](Request::answer).
    Connect(Request),
    /// Send this and close.
    Refuse(&'static [u8], BadProxyRequest),
}

/// What the client wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) protocol: Protocol,
    pub(super) target: Target,
    /// What came behind the request: the first bytes for the target.
    pub(super) early: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Socks4,
    Socks5,
    Http,
}

/// Why a proxy's client was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadProxyRequest {
    /// The first byte is of no protocol that we know.
    #[error("it speaks neither SOCKS nor HTTP")]
    UnknownProtocol,
    /// Something else than CONNECT.
    #[error("only CONNECT is supported")]
    NotConnect,
    /// The client insists on logging in.
    #[error("it offers no way in without a password")]
    NeedsLogin,
    /// A field is malformed.
    #[error("the request is malformed")]
    Malformed,
    /// A field or the whole is over its limit.
    #[error("the request is too long")]
    TooLong,
    /// The handshake took too long.
    #[error("the request did not come in time")]
    TooSlow,
}

impl Handshake {
    /// How many bytes may be fed. There is always room after [`Step::Read`].
    pub(super) fn room(&self) -> usize {
        MAX_BUFFER.saturating_sub(self.buffer.len())
    }

    /// Takes received bytes, at most [`room`](Self::room).
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.room());
        self.buffer.extend_from_slice(bytes);
    }

    /// Looks at what has come.
    pub(super) fn step(&mut self) -> Step {
        match (self.stage, self.buffer.first()) {
            (_, None) => Step::Read,
            (Stage::Socks5Request, _) => match socks::socks5_request(&self.buffer) {
                Ok(parsed) => self.connect(Protocol::Socks5, parsed),
                Err((reply, reason)) => Step::Refuse(reply, reason),
            },
            (Stage::Start, Some(5)) => match socks::socks5_greeting(&self.buffer) {
                Ok(None) => Step::Read,
                Ok(Some(len)) => {
                    self.buffer.drain(..len.min(self.buffer.len()));
                    self.stage = Stage::Socks5Request;
                    Step::Send(socks::NO_LOGIN)
                }
                Err((reply, reason)) => Step::Refuse(reply, reason),
            },
            (Stage::Start, Some(4)) => match socks::socks4_request(&self.buffer) {
                Ok(parsed) => self.connect(Protocol::Socks4, parsed),
                Err((reply, reason)) => Step::Refuse(reply, reason),
            },
            (Stage::Start, Some(byte)) if byte.is_ascii_alphabetic() => {
                let searched = std::mem::replace(&mut self.searched, self.buffer.len());
                match http_connect::request(&self.buffer, searched) {
                    Ok(parsed) => self.connect(Protocol::Http, parsed),
                    Err((reply, reason)) => Step::Refuse(reply, reason),
                }
            }
            (Stage::Start, Some(_)) => Step::Refuse(b"", BadProxyRequest::UnknownProtocol),
        }
    }

    fn connect(&mut self, protocol: Protocol, parsed: Option<Parsed>) -> Step {
        let Some(Parsed { target, len }) = parsed else { return Step::Read };
        self.buffer.drain(..len.min(self.buffer.len()));
        Step::Connect(Request { protocol, target, early: std::mem::take(&mut self.buffer) })
    }
}

/// A request and its length in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) target: Target,
    pub(super) len: usize,
}

/// The result of a parser: `None` wants more bytes, an error carries the reply to the client.
pub(super) type Parse<T> = Result<Option<T>, (&'static [u8], BadProxyRequest)>;

impl Request {
    /// The reply that goes before the target's first byte.
    pub(super) fn success(&self) -> &'static [u8] {
        match self.protocol {
            Protocol::Socks4 => socks::SOCKS4_GRANTED,
            Protocol::Socks5 => socks::SOCKS5_SUCCESS,
            Protocol::Http => http_connect::ESTABLISHED,
        }
    }

    /// The reply when the channel did not open.
    pub(super) fn failure(&self, error: &OpenError) -> Vec<u8> {
        let reason = match error {
            OpenError::Refused(failure) => Some(failure.reason),
            OpenError::TooManyChannels { .. } => Some(OpenFailureReason::RESOURCE_SHORTAGE),
            OpenError::Session(_) | OpenError::RequestDenied => None,
        };
        match self.protocol {
            Protocol::Socks4 => socks::SOCKS4_REJECTED.to_vec(),
            Protocol::Socks5 => socks::socks5_failure(match reason {
                Some(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED) => socks::NOT_ALLOWED,
                Some(OpenFailureReason::CONNECT_FAILED) => socks::CONNECTION_REFUSED,
                _ => socks::GENERAL_FAILURE,
            })
            .to_vec(),
            Protocol::Http => http_connect::failure(
                match reason {
                    Some(OpenFailureReason::ADMINISTRATIVELY_PROHIBITED) => "403 Forbidden",
                    Some(OpenFailureReason::RESOURCE_SHORTAGE) => "503 Service Unavailable",
                    _ => "502 Bad Gateway",
                },
                &error.to_string(),
            ),
        }
    }
}

/// What is held of a handshake and of what comes behind it, in bytes. Long enough for the longest that is accepted.
const MAX_BUFFER: usize = http_connect::MAX_HEAD;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What was decided, if anything was.
    type Outcome = Option<Result<(Protocol, Target, Vec<u8>), BadProxyRequest>>;
    /// An input, the replies before the decision, and the decision.
    type Case = (&'static [u8], &'static [u8], Protocol, &'static str, u16);

    /// Everything that a handshake says and decides, with the input cut as `cuts` says, over and over.
    fn run(input: &[u8], cuts: &[usize]) -> (Vec<u8>, Outcome) {
        let mut handshake = Handshake::default();
        let (mut sent, mut rest) = (Vec::new(), input);
        let mut cuts = cuts.iter().cycle();
        loop {
            match handshake.step() {
                Step::Read if rest.is_empty() => return (sent, None),
                Step::Read => {
                    assert!(handshake.room() > 0, "nothing can be read, and nothing is decided");
                    let n = (*cuts.next().unwrap()).clamp(1, handshake.room()).min(rest.len());
                    handshake.feed(&rest[..n]);
                    rest = &rest[n..];
                }
                Step::Send(bytes) => sent.extend_from_slice(bytes),
                Step::Connect(request) => {
                    let early = [&request.early[..], rest].concat();
                    return (sent, Some(Ok((request.protocol, request.target, early))));
                }
                Step::Refuse(bytes, reason) => {
                    sent.extend_from_slice(bytes);
                    return (sent, Some(Err(reason)));
                }
            }
        }
    }

    fn requests() -> impl Strategy<Value = Vec<u8>> {
        let valid = prop::sample::select(vec![
            b"\x04\x01\0\x50\x0a\0\0\x01me\0".to_vec(),
            b"\x04\x01\0\x50\0\0\0\x01\0host.example\0".to_vec(),
            b"\x05\x02\0\x02\x05\x01\0\x01\x0a\0\0\x01\0\x50".to_vec(),
            b"\x05\x01\0\x05\x01\0\x03\x0chost.example\x01\xbb".to_vec(),
            b"\x05\x01\0\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50".to_vec(),
            b"CONNECT host.example:443 HTTP/1.1\r\nHost: host.example\r\nX: y\r\n\r\n".to_vec(),
            b"CONNECT [2001:db8::1]:443 HTTP/1.0\r\n\r\n".to_vec(),
        ]);
        let mutated =
            (valid.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                bytes
            });
        let garbage = prop::collection::vec(any::<u8>(), 0..600);
        let long =
            (Just(b"CONNECT a:1 HTTP/1.1\r\nX: ".to_vec()), 7000_usize..9000).prop_map(|(mut head, n)| {
                head.resize(n, b'x');
                head
            });
        (prop_oneof![valid, mutated, garbage.clone(), long], garbage)
            .prop_map(|(request, early)| [request, early].concat())
    }

    proptest! {
        #[test]
        fn how_the_input_is_cut_changes_nothing(
            input in requests(),
            cuts in prop::collection::vec(1_usize..40, 1..8),
        ) {
            let whole = run(&input, &[usize::MAX]);
            prop_assert_eq!(&run(&input, &[1]), &whole);
            prop_assert_eq!(&run(&input, &cuts), &whole);
        }
    }

    #[test]
    fn requests_are_understood() {
        let table: [Case; 7] = [
            (b"\x04\x01\0\x50\x0a\0\0\x01me\0", b"", Protocol::Socks4, "10.0.0.1", 80),
            (b"\x04\x01\0\x50\0\0\0\x01\0host.example\0", b"", Protocol::Socks4, "host.example", 80),
            (b"\x05\x02\x02\0\x05\x01\0\x01\x0a\0\0\x01\0\x50", b"\x05\0", Protocol::Socks5, "10.0.0.1", 80),
            (
                b"\x05\x01\0\x05\x01\0\x03\x0chost.example\x01\xbb",
                b"\x05\0",
                Protocol::Socks5,
                "host.example",
                443,
            ),
            (
                b"\x05\x01\0\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50",
                b"\x05\0",
                Protocol::Socks5,
                "2001:db8::1",
                80,
            ),
            (
                b"CONNECT host.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
                b"",
                Protocol::Http,
                "host.example",
                443,
            ),
            (b"connect [2001:db8::1]:443 HTTP/1.0\r\n\r\n", b"", Protocol::Http, "2001:db8::1", 443),
        ];
        for (input, replies, protocol, host, port) in table {
            let input = [input, b"early"].concat();
            let expected =
                (replies.to_vec(), Some(Ok((protocol, Target::new(host, port), b"early".to_vec()))));
            assert_eq!(run(&input, &[1]), expected);
        }
    }

    #[test]
    fn what_we_do_not_do_is_refused_in_the_clients_own_protocol() {
        use BadProxyRequest as B;
        let table: [(&[u8], &[u8], B); 11] = [
            (b"\x16\x03\x01", b"", B::UnknownProtocol),
            (b"\x05\x01\x02", b"\x05\xff", B::NeedsLogin),
            (
                b"\x05\x01\0\x05\x02\0\x01\x0a\0\0\x01\0\x50",
                b"\x05\0\x05\x07\0\x01\0\0\0\0\0\0",
                B::NotConnect,
            ),
            (b"\x05\x01\0\x05\x01\0\x09", b"\x05\0\x05\x08\0\x01\0\0\0\0\0\0", B::Malformed),
            (b"\x05\x01\0\x04\x01\0\x01", b"\x05\0", B::Malformed),
            (
                b"\x05\x01\0\x05\x01\0\x03\x02\xff\xff\0\x50",
                b"\x05\0\x05\x01\0\x01\0\0\0\0\0\0",
                B::Malformed,
            ),
            (b"\x04\x02\0\x50\x0a\0\0\x01\0", b"\0\x5b\0\0\0\0\0\0", B::NotConnect),
            (&[&b"\x04\x01\0\x50\x0a\0\0\x01"[..], &[b'u'; 300]].concat(), b"\0\x5b\0\0\0\0\0\0", B::TooLong),
            (b"GET http://a/ HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 ", B::NotConnect),
            (b"CONNECT a HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 ", B::Malformed),
            (&[b'A'; 9000], b"HTTP/1.1 431 ", B::TooLong),
        ];
        for (input, reply, reason) in table {
            let (sent, outcome) = run(input, &[1]);
            assert_eq!(outcome, Some(Err(reason)), "{input:?}");
            assert!(sent.starts_with(reply) && sent.is_empty() == reply.is_empty(), "{sent:?}");
        }
    }
}
