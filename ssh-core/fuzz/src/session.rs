//! One engine, fed by a fuzzer: part of the input is what the peer sends, part is what the application does.

use std::io::IoSlice;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ssh_core::config::{Algorithms, Common, Extensions, Limits};
use ssh_core::keys::{KeyKind, PublicKey, SigningKey};
use ssh_core::protocol::{
    AuthAnswer, ClientAuthRequest, ConnectionEvent, Engine, Event, GlobalReply, Inbound, Input,
    OpenFailureReason, Role, ToSign,
};

use zeroize::Zeroizing;

use crate::provider::PROVIDER;

/// Plays `input` to an engine in `role`.
///
/// The first byte chooses settings. Then come records: a choice byte and what belongs to it (see [`Session::step`]).
pub fn play(role: Role, input: &[u8]) {
    let Some((settings, mut input)) = input.split_first() else { return };
    let mut session = Session::new(role, *settings);
    while !input.is_empty() && session.engine.ended().is_none() {
        session.step(&mut input);
        session.check();
    }
    // The end is one and stays, and nobody is left waiting.
    session.engine.end(ssh_core::Error::Closed);
    let end = session.engine.ended().map(ToString::to_string);
    session.engine.end(ssh_core::Error::unexpected_end());
    assert_eq!(session.engine.ended().map(ToString::to_string), end);
    assert!(session.engine.poll_timeout().is_none());
    for id in 0..4 {
        let mut buffer = [0; 4096];
        loop {
            match session.engine.poll_read(id, &cx(), &mut buffer) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => break,
                Poll::Pending => panic!("a reader waits for a session that is over"),
            }
        }
        session.engine.release_channel(id);
    }
}

/// Plays `input` to one end of a multi-channel stream: no exchange, no cryptography and no login stand before its channels.
///
/// The first byte chooses settings, as above.
pub fn play_without_security(role: Role, input: &[u8]) {
    let Some((settings, records)) = input.split_first() else { return };
    play(role, &[&[settings | INSECURE], records].concat());
}

/// The bit of the settings that goes without any security.
const INSECURE: u8 = 4;

struct Session {
    engine: Engine,
    inbound: Inbound,
    now: Instant,
    output: Vec<u8>,
    authenticated: bool,
    insecure: bool,
    slots: Vec<u64>,
    channel_slots: Vec<(u32, u64)>,
    offers: Vec<u32>,
    /// Channels of our own.
    opened: usize,
    /// Everything that went in, to hold what is buffered against.
    fed: usize,
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

impl Session {
    fn new(role: Role, settings: u8) -> Self {
        let mut limits = Limits::default();
        limits.channels = 8;
        if settings & 1 != 0 {
            limits.channel_window = 100;
            limits.channel_packet = 40;
            limits.pending_requests = 2;
        }
        if settings & 2 != 0 {
            limits.rekey_bytes = 500;
        }
        let insecure = settings & INSECURE != 0;
        let algorithms = if insecure {
            Algorithms::insecure_without_any_security()
        } else if settings & 8 != 0 {
            Algorithms::default().with_kex("diffie-hellman-group14-sha256").unwrap_or_default()
        } else {
            Algorithms::default()
        };
        let common = Common { algorithms, limits, extensions: Extensions::default(), provider: &PROVIDER };
        let now = start_of_time();
        let made = match role {
            Role::Client => Engine::client(common, "ada".into(), now),
            Role::Server => {
                let key = PROVIDER.signatures.generate(KeyKind::Ed25519, 0).expect("a key");
                let key = SigningKey::new(&key, &PROVIDER).expect("a host key");
                Engine::server(common, [key].into(), &["password", "publickey"], now)
            }
        };
        let (engine, inbound) = made.expect("an engine");
        let mut session = Self {
            engine,
            inbound,
            now,
            output: Vec::new(),
            authenticated: false,
            insecure,
            slots: Vec::new(),
            channel_slots: Vec::new(),
            offers: Vec::new(),
            opened: 0,
            fed: 0,
        };
        // Nobody gets anywhere without a version line, so it is given, unless the fuzzer wants to try its own.
        if settings & 16 == 0 {
            session.feed(b"SSH-2.0-fuzz_1\r\n");
        } else if settings & 32 == 0 {
            session.feed(b"SSH-2.0-dev-tunnels-ssh-go_0.1\r\n");
        }
        session
    }

    /// One record: bytes of the peer as they are, a payload to be framed for it, or an act of the application.
    fn step(&mut self, input: &mut &[u8]) {
        let choice = byte(input);
        let id = u32::from(choice & 3);
        let now = self.now;
        match choice >> 2 {
            // Framing a payload is what a fuzzer is bad at and what matters least: most choices are this.
            0..32 => {
                let len = usize::from(byte(input));
                let payload = take(input, len);
                self.frame(payload);
            }
            32..36 => {
                let len = usize::from(byte(input));
                let bytes = take(input, len);
                self.feed(bytes);
            }
            36 => {
                self.now += Duration::from_millis(u64::from(byte(input)) * u64::from(byte(input)) * 4);
                let _ = self.engine.handle_timeout(self.now);
            }
            37 => self.take_output(),
            38 => drop(self.engine.rekey(now)),
            39 => {
                self.opened += usize::from(self.engine.open_channel("session", b"fields", self.now).is_ok())
            }
            40 => {
                let _ = self.engine.poll_opened(id, &mut cx());
            }
            41 => {
                if let Some(id) = self.offers.pop() {
                    let _ = self.engine.accept_channel(id, b"");
                }
            }
            42 => {
                if let Some(id) = self.offers.pop() {
                    let _ = self.engine.reject_channel(id, OpenFailureReason::CONNECT_FAILED, "no");
                }
            }
            43..46 => {
                let len = usize::from(byte(input)) * 300;
                let _ = self.engine.poll_write(id, &cx(), &[IoSlice::new(&vec![1; len])]);
            }
            46..49 => {
                let mut buffer = vec![0; usize::from(byte(input)) * 20];
                let _ = self.engine.poll_read(id, &cx(), &mut buffer);
            }
            49 => drop(self.engine.send_eof(id)),
            50 => drop(self.engine.close_channel(id)),
            51 => self.engine.release_channel(id),
            52 => drop(self.engine.channel_request(id, "exec", true, b"x")),
            53 => {
                let number = u64::from(byte(input));
                self.engine.abandon_channel_reply(id, number & 7);
                let _ = self.engine.poll_channel_reply(id, number >> 5, &mut cx());
            }
            54 => {
                if let Poll::Ready(Some(request)) = self.engine.poll_peer_request(id, &mut cx()) {
                    self.channel_slots.extend(request.slot.map(|slot| (id, slot)));
                }
            }
            55 => {
                if !self.channel_slots.is_empty() {
                    let at = usize::from(byte(input)) % self.channel_slots.len();
                    let (id, slot) = self.channel_slots.swap_remove(at);
                    let _ = self.engine.answer_peer_request(id, slot, slot % 2 == 0);
                }
            }
            56 => drop(self.engine.refuse_peer_requests(id)),
            57 => drop(self.engine.global_request("x", true, b"", now)),
            58 => {
                let number = u64::from(byte(input));
                self.engine.abandon_global_reply(number & 7);
                let _ = self.engine.poll_global_reply(number >> 5, &mut cx());
            }
            59 => {
                if !self.slots.is_empty() {
                    let at = usize::from(byte(input)) % self.slots.len();
                    let slot = self.slots.swap_remove(at);
                    let reply = GlobalReply::Success(bytes::Bytes::from_static(b"r"));
                    let _ = self.engine.answer_global_request(slot, reply);
                }
            }
            60 => {
                self.engine.keep_stderr(id);
                let _ = self.engine.poll_read_stderr(id, &cx(), &mut [0; 50]);
            }
            61 => {
                let answer = if choice & 1 == 0 { AuthAnswer::Accept } else { AuthAnswer::Reject };
                // Without a question this is a bug of the caller, which ends the session.
                let _ = self.engine.auth_answer(answer, now);
            }
            62 => {
                let key = PublicKey::Ed25519([4; 32]).to_blob();
                let (key, algorithm) = (key.as_slice(), "ssh-ed25519");
                let host = ToSign::HostBased { key, algorithm, client_host: "h.", client_user: "u" };
                let answers = [Zeroizing::new("x".to_owned())];
                let request = match id {
                    0 => ClientAuthRequest::None,
                    1 => ClientAuthRequest::Password("secret"),
                    2 => ClientAuthRequest::PublicKeyQuery { key, algorithm },
                    3 => ClientAuthRequest::KeyboardInteractive,
                    4 => ClientAuthRequest::InfoResponse(&answers),
                    5 => ClientAuthRequest::PasswordChange { old: "secret", new: "other" },
                    6 => ClientAuthRequest::Signed { what: &host, signature: &[5; 64] },
                    _ => ClientAuthRequest::Signed {
                        what: &ToSign::PublicKey { key, algorithm },
                        signature: &[5; 64],
                    },
                };
                let _ = self.engine.auth_request(&request);
            }
            _ => {
                let _ = self.engine.poll_channel_closed(id, &mut cx());
                let _ = self.engine.exit_status(id);
            }
        }
        self.events();
    }

    fn frame(&mut self, payload: &[u8]) {
        let length = u32::try_from(payload.len() + 5).expect("a short payload");
        let mut packet = length.to_be_bytes().to_vec();
        packet.push(4);
        packet.extend_from_slice(payload);
        packet.extend_from_slice(&[0; 4]);
        self.feed(&packet);
    }

    /// As the driver's read loop does it.
    fn feed(&mut self, bytes: &[u8]) {
        if self.engine.wants_input_paused() {
            self.take_output();
        }
        self.fed += bytes.len();
        self.inbound.buffer().extend_from_slice(bytes);
        loop {
            let mut failed = None;
            loop {
                match self.inbound.poll() {
                    Ok(Some(Input::Ident(version))) => self.engine.handle_ident(version),
                    Ok(Some(Input::Packet(packet))) => {
                        let number = packet.payload.first().copied().expect("a payload is never empty");
                        let before = self.authenticated;
                        let handled = self.engine.handle_packet(packet, self.now);
                        assert!(
                            handled.is_err() || before || self.insecure || !(81..128).contains(&number),
                            "message {number} was taken before the login"
                        );
                        if handled.is_err() {
                            return;
                        }
                        self.events();
                    }
                    Ok(None) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
            }
            if let Some(error) = failed {
                self.engine.end(error);
                return;
            }
            match self.engine.take_opener() {
                Some(next) => self.inbound.install(next),
                None => return,
            }
        }
    }

    fn events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::HostKey(_) => drop(self.engine.accept_host_key()),
                Event::Authenticated => {
                    assert!(!self.authenticated, "authenticated twice");
                    self.authenticated = true;
                }
                _ => {}
            }
        }
        while let Poll::Ready(Some(event)) = self.engine.poll_incoming(&cx()) {
            assert!(self.authenticated);
            match event {
                ConnectionEvent::Offered(offer) => self.offers.push(offer.id),
                ConnectionEvent::Request(request) => self.slots.extend(request.slot),
            }
        }
        let mut batch: [Option<Waker>; 4] = Default::default();
        while self.engine.take_wakes(&mut batch) {}
    }

    fn take_output(&mut self) {
        self.engine.take_output(&mut self.output, self.now);
    }

    fn check(&self) {
        let channels = self.engine.channels();
        assert!(channels <= 8 + self.opened, "{channels} channels, {} of our own", self.opened);
        assert!(self.slots.len() <= self.fed, "more requests than bytes");
    }
}

/// The next byte, or 0.
pub(crate) fn byte(input: &mut &[u8]) -> u8 {
    take(input, 1).first().copied().unwrap_or(0)
}

/// The next `len` bytes, or as many as there are.
fn take<'a>(input: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (head, rest) = input.split_at(len.min(input.len()));
    *input = rest;
    head
}

pub(crate) fn start_of_time() -> Instant {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *START.get_or_init(Instant::now)
}
