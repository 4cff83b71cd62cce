//! A client whose every word is the test's.

use std::io::ErrorKind;
use std::time::Instant;

use ssh_core::Error;
use ssh_core::config::{Common, Extensions, Limits};
use ssh_core::crypto::default_provider;
use ssh_core::protocol::{ClientAuthRequest, Engine, Event, Inbound, Input};
use ssh_core::session::ReconnectOffer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

use super::PATIENCE;
use super::world::quick;

/// An engine without a driver.
pub(super) struct ByHand {
    pub(super) engine: Engine,
    inbound: Inbound,
    stream: DuplexStream,
}

impl ByHand {
    /// A session that can be resumed.
    pub(super) async fn connect(stream: DuplexStream) -> Self {
        let common = Common {
            algorithms: quick(),
            limits: Limits::default(),
            extensions: Extensions::default(),
            provider: default_provider(),
        };
        let (mut engine, inbound) = Engine::client(common, "ada".into(), now()).unwrap();
        engine.offer_reconnect(ReconnectOffer::default()).unwrap();
        let mut hand = Self { engine, inbound, stream };
        hand.until(Engine::is_reconnect_enabled).await;
        hand.speak().await;
        hand
    }

    /// Loses the stream. A connection by which to come back, over another.
    pub(super) fn come_back(mut self, stream: DuplexStream) -> Self {
        self.engine.lose(std::io::Error::from(ErrorKind::ConnectionReset).into(), now());
        let (engine, inbound) = self.engine.reconnect(now()).unwrap();
        Self { engine, inbound, stream }
    }

    /// Goes on until the engine says so; what it then has to say is not said yet.
    pub(super) async fn until(&mut self, done: impl Fn(&Engine) -> bool) {
        loop {
            self.act();
            if done(&self.engine) {
                return;
            }
            self.speak().await;
            let read = self.stream.read_buf(self.inbound.reserve(16 * 1024));
            assert_ne!(timeout(PATIENCE, read).await.expect("a word").unwrap(), 0, "the server has closed");
        }
    }

    /// Says what the engine has to say, in one piece.
    pub(super) async fn speak(&mut self) {
        let mut output = Vec::new();
        self.engine.take_output(&mut output, now());
        self.stream.write_all(&output).await.unwrap();
    }

    fn act(&mut self) {
        loop {
            while let Some(input) = self.inbound.poll().unwrap() {
                match input {
                    Input::Ident(version) => self.engine.handle_ident(version),
                    Input::Packet(packet) => self.engine.handle_packet(packet, now()).unwrap(),
                }
            }
            while let Some(event) = self.engine.poll_event() {
                match event {
                    Event::HostKey(_) => self.engine.accept_host_key().unwrap(),
                    Event::AuthReady => {
                        self.engine.auth_request(&ClientAuthRequest::Password("secret")).unwrap();
                    }
                    _ => {}
                }
            }
            match self.engine.take_opener() {
                Some(next) => self.inbound.install(next),
                None => return,
            }
        }
    }
}

/// What the engine of a session is told, which is the time of the machine.
#[expect(clippy::disallowed_methods, reason = "there is no driver that would know the time")]
fn now() -> Instant {
    Instant::now()
}

/// SSH_MSG_DISCONNECT for this reason.
pub(super) fn farewell(reason: ssh_core::error::DisconnectReason) -> Error {
    Error::ClosedWith { reason, text: "gone".into() }
}
