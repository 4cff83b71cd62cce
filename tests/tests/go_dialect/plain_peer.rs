//! A peer without security, which says what a test has it say.

use std::time::Duration;

use ssh_core::Session;
use ssh_core::config::Algorithms;
use ssh_core::protocol::Role;
use ssh_core::{client, server};
pub(crate) use tests::raw_peer::{Field, data};
use tests::raw_peer::{Offer, message, open, plain_packet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

pub(crate) use crate::go_peer::VERSION as GO;

/// The window and the packets that the Go library offers.
pub(crate) const WINDOW: u32 = 1024 * 1024;
pub(crate) const PACKET: u32 = 32 * 1024;
/// No step of a test takes longer.
const STEP: Duration = Duration::from_secs(20);

/// The peer of a session under test.
pub(crate) struct PlainPeer {
    stream: DuplexStream,
}

/// A session of ours in this role, and its Go peer.
pub(crate) async fn session_with_go(ours: Role) -> (Session, PlainPeer) {
    session_with(GO, ours).await
}

/// A session of ours in this role, and a peer that says it is this software.
pub(crate) async fn session_with(version: &str, ours: Role) -> (Session, PlainPeer) {
    let (near, far) = tokio::io::duplex(4 * 1024 * 1024);
    let (session, peer) = tokio::join!(connect(near, ours), PlainPeer::connect(far, version, ours));
    (session, peer)
}

async fn connect(stream: DuplexStream, ours: Role) -> Session {
    let algorithms = Algorithms::insecure_without_any_security();
    let connected = match ours {
        Role::Client => {
            let config = client::Config::builder("ada")
                .verify_host_key(client::danger::AcceptAnyHostKey)
                .algorithms(algorithms)
                .build();
            client::connect(stream, config.unwrap()).await
        }
        Role::Server => {
            let config =
                server::Config::builder(server::danger::AcceptEverybody).algorithms(algorithms).build();
            server::accept(stream, config.unwrap()).await
        }
    };
    connected.unwrap()
}

impl PlainPeer {
    /// Version lines and KEXINITs, which without security are the whole exchange.
    pub(crate) async fn connect(stream: DuplexStream, version: &str, ours: Role) -> Self {
        let marker = match ours {
            Role::Client => "ext-info-s",
            Role::Server => "ext-info-c",
        };
        let none = || "none".to_owned();
        let offer = Offer {
            kex: format!("none,{marker}"),
            host_key: none(),
            cipher: none(),
            mac: none(),
            compression: none(),
            guess: false,
        };
        let mut peer = Self { stream };
        peer.stream.write_all(format!("{version}\r\n").as_bytes()).await.unwrap();
        peer.say(&offer.encode()).await;
        while peer.stream.read_u8().await.unwrap() != b'\n' {}
        assert_eq!(peer.hear().await[0], 20);
        peer
    }

    /// Sends a payload, padded as the Go library pads: to 8 bytes without the length field.
    pub(crate) async fn say(&mut self, payload: &[u8]) {
        let short = 8 - (payload.len() + 1) % 8;
        let padding = if short < 4 { short + 8 } else { short };
        let packet = plain_packet(payload, u8::try_from(padding).unwrap());
        self.stream.write_all(&packet).await.unwrap();
    }

    /// Sends a message of a number and fields.
    pub(crate) async fn tell(&mut self, number: u8, fields: &[Field<'_>]) {
        self.say(&message(number, fields)).await;
    }

    /// The next payload, which has to come.
    pub(crate) async fn hear(&mut self) -> Vec<u8> {
        tokio::time::timeout(STEP, self.next()).await.expect("nothing came").expect("the session ended")
    }

    /// The next payload that has to come, whatever the clock says. Keepalives are answered on the way.
    pub(crate) async fn hear_at_last(&mut self) -> Vec<u8> {
        for _ in 0..20 {
            let payload = self.next().await.expect("the session ended");
            if payload != message(80, &[Field::Str("keepalive@openssh.com"), Field::Bool(true)]) {
                return payload;
            }
            self.tell(82, &[]).await;
        }
        panic!("nothing but keepalives");
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        let length = self.stream.read_u32().await.ok()?;
        let mut packet = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut packet).await.ok()?;
        let end = packet.len() - usize::from(packet[0]);
        Some(packet[1..end].to_vec())
    }

    /// The next payload, unless nothing comes for a while.
    pub(crate) async fn hear_for_a_while(&mut self) -> Option<Vec<u8>> {
        let came = tokio::time::timeout(Duration::from_millis(100), self.next()).await;
        came.ok().map(|payload| payload.expect("the session ended"))
    }

    /// Nothing comes for a while.
    pub(crate) async fn hear_nothing(&mut self) {
        assert_eq!(self.hear_for_a_while().await, None);
    }

    /// The next message, which has to be this.
    pub(crate) async fn expect(&mut self, number: u8, fields: &[Field<'_>]) {
        assert_eq!(self.hear().await, message(number, fields));
    }

    /// All that was said has been taken in.
    pub(crate) async fn is_heard(&mut self) {
        self.tell(80, &[Field::Str("keepalive@openssh.com"), Field::Bool(true)]).await;
        self.expect(82, &[]).await;
    }

    /// Opens a channel as the Go library does; `id` is its number. Nobody has answered yet.
    pub(crate) async fn ask_channel(&mut self, kind: &str, id: u32) {
        self.say(&open(kind, id, WINDOW, PACKET)).await;
    }

    /// Our number for the channel, of our confirmation of the peer's channel `id`.
    pub(crate) async fn confirmed(&mut self, id: u32) -> u32 {
        let confirmation = self.hear().await;
        assert_eq!(confirmation[..5], message(91, &[Field::U32(id)]), "{confirmation:?}");
        word(&confirmation, 5)
    }

    /// Our number for a channel of this type that we open, and what follows its terms.
    pub(crate) async fn asked_for(&mut self, kind: &str) -> (u32, Vec<u8>) {
        let asked = self.hear().await;
        let head = message(90, &[Field::Str(kind)]);
        assert_eq!(asked[..head.len()], head, "{asked:?}");
        (word(&asked, head.len()), asked[head.len() + 12..].to_vec())
    }

    /// Confirms our channel `ours` as its own `id`.
    pub(crate) async fn confirm(&mut self, ours: u32, id: u32) {
        self.tell(91, &[Field::U32(ours), Field::U32(id), Field::U32(WINDOW), Field::U32(PACKET)]).await;
    }

    /// The next channel of ours, confirmed as `id`; our number.
    pub(crate) async fn take_channel(&mut self, kind: &str, id: u32) -> u32 {
        let (ours, _) = self.asked_for(kind).await;
        self.confirm(ours, id).await;
        ours
    }

    /// EOF and then CLOSE, which is how the Go library closes channels.
    pub(crate) async fn close(&mut self, ours: u32) {
        self.tell(96, &[Field::U32(ours)]).await;
        self.tell(97, &[Field::U32(ours)]).await;
    }
}

/// The word at a place of a payload.
pub(crate) fn word(payload: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(payload[at..at + 4].try_into().unwrap())
}

/// In reasonable time.
pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(STEP, what).await.expect("it took too long")
}
