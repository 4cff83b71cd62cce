//! A peer without any security that says what it is told to, byte by byte.
#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

use std::sync::Arc;
use std::time::Duration;

use ssh_core::config::{Algorithms, Limits};
use ssh_core::{Session, server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::{Sides, server_config};

/// The other end of a session's stream.
pub(crate) struct Raw {
    pub(crate) stream: DuplexStream,
}

pub(crate) fn string(text: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(text);
    out
}

/// The parts of a message, one behind the other.
pub(crate) fn message(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![number];
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

impl Raw {
    /// A server's session, and its client by hand.
    pub(crate) async fn with_server(limits: Limits) -> (Self, Session) {
        let algorithms = Algorithms::insecure_without_any_security();
        let config = server_config(&Sides { algorithms, limits, ..Sides::default() });
        let (near, far) = tokio::io::duplex(1 << 20);
        let accepted = tokio::spawn(server::accept(far, Arc::clone(&config)));
        let mut raw = Self { stream: near };
        raw.begin().await;
        (raw, accepted.await.unwrap().unwrap())
    }

    /// Versions and the one message of an exchange of no keys.
    pub(crate) async fn begin(&mut self) {
        self.stream.write_all(b"SSH-2.0-Raw_1\r\n").await.unwrap();
        let mut kexinit = message(20, &[&[0; 16]]);
        (0..8).for_each(|_| kexinit.extend(string(b"none")));
        kexinit.extend([0; 13]);
        self.send(&kexinit).await;
        while self.stream.read_u8().await.unwrap() != b'\n' {}
        assert_eq!(self.receive().await[0], 20);
    }

    pub(crate) async fn send(&mut self, payload: &[u8]) {
        let padding = 4 + (8 - (payload.len() + 9) % 8) % 8;
        let mut packet = u32::try_from(payload.len() + padding + 1).unwrap().to_be_bytes().to_vec();
        packet.push(u8::try_from(padding).unwrap());
        packet.extend_from_slice(payload);
        packet.resize(packet.len() + padding, 0);
        self.stream.write_all(&packet).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Vec<u8> {
        let read = async {
            let len = self.stream.read_u32().await.unwrap();
            let mut packet = vec![0; usize::try_from(len).unwrap()];
            self.stream.read_exact(&mut packet).await.unwrap();
            let padding = usize::from(packet[0]);
            packet[1..packet.len() - padding].to_vec()
        };
        tokio::time::timeout(Duration::from_secs(10), read).await.expect("a message")
    }

    /// The next message with this number; the others are passed over.
    pub(crate) async fn next(&mut self, number: u8) -> Vec<u8> {
        loop {
            let payload = self.receive().await;
            if payload[0] == number {
                return payload;
            }
        }
    }

    /// Opens a channel of this type with our number 7, window and packet limit; theirs.
    pub(crate) async fn open(&mut self, kind: &[u8], window: u32, packet: u32) -> u32 {
        let (window, packet) = (window.to_be_bytes(), packet.to_be_bytes());
        self.send(&message(90, &[&string(kind), &7_u32.to_be_bytes(), &window, &packet])).await;
        let confirmation = self.next(91).await;
        u32::from_be_bytes(confirmation[5..9].try_into().unwrap())
    }

    /// A channel request.
    pub(crate) async fn request(&mut self, channel: u32, name: &[u8], want_reply: bool, fields: &[u8]) {
        let want_reply = [u8::from(want_reply)];
        self.send(&message(98, &[&channel.to_be_bytes(), &string(name), &want_reply, fields])).await;
    }
}
