//! The peer.

use std::task::{Context, Poll, Waker};

use ssh_core::Error;
use ssh_core::config::{Algorithms, Limits};
use ssh_core::crypto::{MacKey, default_provider};
use ssh_core::protocol::{ReconnectOffer, Role};
use tests::raw_peer::{Field, Offer, RawPeer, message};

pub(crate) const VERSION: &str = "SSH-2.0-dev-tunnels-ssh-go_0.1";
const RECONNECT: &str = "session-reconnect@microsoft.com";
const LATENCY: &str = "session-latency@microsoft.com";
const MAC: &str = "hmac-sha2-512-etm@openssh.com";

/// A Go peer. The exchange hash of the scripted peer is SHA-256, so its method is `ecdh-sha2-nistp256`, and the host key of
/// the engine under test is Ed25519, which Go does not know; nothing here hangs on either.
pub(crate) struct GoPeer {
    pub(crate) raw: RawPeer,
    /// What it has sent since the engine's trailers began, with the numbers of the packets.
    kept: Vec<(u64, Vec<u8>)>,
}

/// What it offers: its own lists, and one cipher and MAC. As a server it has the one method, as a client would choose another.
pub(crate) fn offer(speaker: Role, cipher: &str, mac: &str) -> Offer {
    let later = later_offer(speaker, cipher, mac);
    let marker = match speaker {
        Role::Client => "ext-info-c",
        Role::Server => "ext-info-s",
    };
    Offer { kex: format!("{},{marker}", later.kex), ..later }
}

/// The same in a later exchange, in which Go does not put the marker.
pub(crate) fn later_offer(speaker: Role, cipher: &str, mac: &str) -> Offer {
    let others = match speaker {
        Role::Client => ",ecdh-sha2-nistp384,diffie-hellman-group16-sha512,diffie-hellman-group14-sha256",
        Role::Server => "",
    };
    Offer {
        kex: format!("ecdh-sha2-nistp256{others}"),
        host_key: "rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp256,ssh-ed25519".into(),
        cipher: cipher.into(),
        mac: mac.into(),
        compression: "none".into(),
        guess: false,
    }
}

/// Go's EXT_INFO: its map has no order, and no value is ever filled in.
pub(crate) fn ext_info(names: &[&str]) -> Vec<u8> {
    let mut payload = message(7, &[Field::U32(u32::try_from(names.len()).unwrap())]);
    for name in names {
        payload.extend(&message(0, &[Field::Str(name), Field::Str("")])[1..]);
    }
    payload
}

pub(crate) fn reconnect_ext_info() -> Vec<u8> {
    ext_info(&[LATENCY, "open-channel-request@microsoft.com", "server-sig-algs", RECONNECT])
}

pub(crate) fn enable() -> Vec<u8> {
    message(80, &[Field::Str("enable-session-reconnect@microsoft.com"), Field::Bool(false)])
}

impl GoPeer {
    pub(crate) fn against(role: Role) -> Self {
        Self::with(role, Algorithms::default())
    }

    pub(crate) fn with(role: Role, algorithms: Algorithms) -> Self {
        Self::over(RawPeer::with(role, algorithms, Limits::default()))
    }

    /// One that offers to reconnect, to an engine that does too.
    pub(crate) fn with_reconnect(role: Role) -> Self {
        let mut peer = Self::against(role);
        peer.raw.engine.offer_reconnect(ReconnectOffer::default()).unwrap();
        peer.raw.trailers.len = 12;
        peer
    }

    pub(crate) fn over(raw: RawPeer) -> Self {
        let mut raw = raw.with_version(VERSION);
        raw.aligns_without_length = true;
        Self { raw, kept: Vec::new() }
    }

    pub(crate) fn connect(&mut self) {
        let offer = offer(self.raw.role(), "aes256-gcm@openssh.com", MAC);
        self.raw.connect_offering(&offer);
    }

    /// Sends a message, and keeps it as Go does: without its trailer, from the moment the other side has asked for it.
    pub(crate) fn say(&mut self, payload: &[u8]) {
        self.keep(payload);
        self.raw.send(payload);
    }

    /// The same, but it never arrives.
    pub(crate) fn say_to_nobody(&mut self, payload: &[u8]) {
        self.keep(payload);
        drop(self.raw.seal(payload));
    }

    fn keep(&mut self, payload: &[u8]) {
        if self.raw.trailers.theirs {
            self.kept.push((self.raw.packets().0, payload.to_vec()));
        }
    }

    /// Go keeps its own enable whether or not the other side has said anything yet.
    pub(crate) fn say_enable(&mut self) {
        let number = self.raw.packets().0;
        self.say(&enable());
        if self.kept.last().is_none_or(|(kept, _)| *kept != number) {
            self.kept.push((number, enable()));
        }
        self.raw.trailers.ours = true;
    }

    /// The number of the last packet received.
    pub(crate) fn position(&self) -> u64 {
        self.raw.packets().1 - 1
    }

    /// What the other side has not received, by its word, in the order in which it was said. Of the exchange and of the end
    /// nothing is sent again.
    pub(crate) fn unheard(&self, position: u64) -> Vec<Vec<u8>> {
        let unheard = self.kept.iter().filter(|(number, _)| *number > position);
        unheard
            .map(|(_, payload)| payload.clone())
            .filter(|payload| !matches!(payload[0], 1 | 20..=31))
            .collect()
    }

    /// Its token for the session with this id, or the one that it expects, on this connection.
    pub(crate) fn token(&self, speaker: Role, session_id: &[u8]) -> Vec<u8> {
        let key = &self.raw.mac_keys[usize::from(speaker == Role::Server)];
        let mac = default_provider().mac(MAC).unwrap();
        let keyed = MacKey { mac, key };
        let mut token = vec![0; keyed.mac.tag_len()];
        keyed.mac.with_key(keyed.key).unwrap().sign(&[session_id, &self.raw.session_id], &mut token);
        token
    }

    /// The request of a client that comes back.
    pub(crate) fn request(&self, lost: &Self) -> Vec<u8> {
        let token = self.token(Role::Client, &lost.raw.session_id);
        let mut payload = message(80, &[Field::Str(RECONNECT), Field::Bool(true), Field::Bytes(&token)]);
        payload.extend(lost.position().to_be_bytes());
        payload
    }

    /// The answer of a server to one that came back.
    pub(crate) fn answer(&self, lost: &Self) -> Vec<u8> {
        let mut payload = message(81, &[Field::Bytes(&self.token(Role::Server, &lost.raw.session_id))]);
        payload.extend(lost.position().to_be_bytes());
        payload
    }

    /// The session's engine goes on over this connection, and the id of the session counts.
    pub(crate) fn take_over(&mut self, lost: &mut Self) {
        std::mem::swap(&mut self.raw.engine, &mut lost.raw.engine);
        self.raw.session_id.clone_from(&lost.raw.session_id);
        self.raw.settle();
        self.raw.assert_alive();
    }

    pub(crate) fn cut(&mut self) {
        self.raw.engine.lose(Error::unexpected_end(), self.raw.now);
        assert!(self.raw.engine.detached().is_some(), "{:?}", self.raw.error());
    }

    /// What the engine's application reads from a channel.
    pub(crate) fn read(&mut self, id: u32) -> Vec<u8> {
        let cx = Context::from_waker(Waker::noop());
        let mut buffer = [0; 256];
        match self.raw.engine.poll_read(id, &cx, &mut buffer) {
            Poll::Ready(Ok(len)) => buffer[..len].to_vec(),
            Poll::Pending => Vec::new(),
            Poll::Ready(Err(error)) => panic!("{error}"),
        }
    }

    /// The engine's application writes to a channel.
    pub(crate) fn write(&mut self, id: u32, data: &[u8]) {
        let cx = Context::from_waker(Waker::noop());
        let written = self.raw.engine.poll_write(id, &cx, &[std::io::IoSlice::new(data)]);
        assert!(matches!(written, Poll::Ready(Ok(len)) if len == data.len()), "{written:?}");
    }

    /// The channel data that has come, in one piece; other messages are dropped.
    pub(crate) fn hear_data(&mut self) -> Vec<u8> {
        let heard = std::mem::take(&mut self.raw.received);
        heard.iter().filter(|payload| payload[0] == 94).flat_map(|payload| payload[9..].to_vec()).collect()
    }
}
