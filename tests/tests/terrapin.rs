//! CVE-2023-48795 between two of our own ends: somebody in between slips a packet in before NEWKEYS and cuts the first
//! sealed one (EXT_INFO) out, so that the packet numbers fit again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use ssh_core::Error;
use ssh_core::error::{PeerIncompatible, PeerMisbehaved};
use ssh_core::protocol::{Engine, Event, Inbound, Input, Role};
use tests::pair::{Pair, Setup, start_of_time};
use tests::raw_peer::{Field, message, plain_packet};

const CHACHA: (&str, &str) = ("chacha20-poly1305@openssh.com", "hmac-sha2-256");
const CBC: (&str, &str) = ("aes256-cbc", "hmac-sha2-256-etm@openssh.com");
const CTR: (&str, &str) = ("aes256-ctr", "hmac-sha2-256-etm@openssh.com");
const GCM: (&str, &str) = ("aes256-gcm@openssh.com", "hmac-sha2-256");
const BOTH: [Role; 2] = [Role::Client, Role::Server];

/// What is done to one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Attack {
    slip_in: bool,
    cut_out: bool,
    /// The strict markers are made into something unknown, both ways.
    strip: bool,
}

/// An engine, and what was taken of its output so far.
struct End {
    engine: Engine,
    inbound: Inbound,
    out: Vec<u8>,
}

impl End {
    /// Everything it has to say, of which whole packets in the clear can be told apart.
    fn pull(&mut self) {
        let mut taken = Vec::new();
        while self.engine.has_output() {
            self.engine.take_output(&mut taken, start_of_time());
            self.out.extend_from_slice(&taken);
        }
    }

    /// The next piece in the clear: the version line or one packet.
    fn next_plain(&mut self) -> Option<Vec<u8>> {
        self.pull();
        let len = match self.out.first()? {
            b'S' => self.out.iter().position(|byte| *byte == b'\n')? + 1,
            _ => 4 + u32::from_be_bytes(self.out.get(..4)?.try_into().ok()?) as usize,
        };
        Some(self.out.drain(..len).collect())
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.inbound.buffer().extend_from_slice(bytes);
        while self.engine.ended().is_none() {
            match self.inbound.poll() {
                Ok(Some(Input::Ident(version))) => self.engine.handle_ident(version),
                // A failure ends the session, which is what is looked at.
                Ok(Some(Input::Packet(packet))) => drop(self.engine.handle_packet(packet, start_of_time())),
                Ok(None) => match self.engine.take_opener() {
                    Some(next) => self.inbound.install(next),
                    None => break,
                },
                Err(error) => drop(self.engine.end(error)),
            }
        }
    }
}

/// Both ends after the exchange, and the error of the one who was attacked.
struct Outcome {
    client: End,
    server: End,
}

/// A key exchange between our own ends; the direction to `victim` is attacked.
fn exchange((cipher, mac): (&str, &str), victim: Role, attack: Attack) -> Outcome {
    let algorithms = Setup::default().algorithms.with_ciphers(cipher).unwrap().with_macs(mac).unwrap();
    let Pair { client, server, .. } = Pair::new(&Setup { algorithms, ..Setup::default() }, 5);
    let mut client = End { engine: client.engine, inbound: client.inbound, out: Vec::new() };
    let mut server = End { engine: server.engine, inbound: server.inbound, out: Vec::new() };
    // What is in the clear: everything up to both NEWKEYS.
    let mut new_keys = [false, false];
    while new_keys != [true, true] {
        let mut moved = false;
        for (side, to_server) in [(0, true), (1, false)] {
            let (from, to) = if to_server { (&mut client, &mut server) } else { (&mut server, &mut client) };
            if new_keys[side] {
                continue;
            }
            let Some(mut piece) = from.next_plain() else { continue };
            moved = true;
            let is_attacked = (victim == Role::Server) == to_server;
            new_keys[side] = piece.get(5) == Some(&21);
            if attack.strip && piece.get(5) == Some(&20) {
                strip(&mut piece);
            }
            if new_keys[side] && is_attacked && attack.slip_in {
                to.feed(&plain_packet(&message(2, &[Field::Bytes(b"")]), 6));
            }
            to.feed(&piece);
        }
        if !moved {
            break;
        }
    }
    // The first sealed packet of each is EXT_INFO: nobody has looked at an event, so nothing else has been said.
    client.pull();
    server.pull();
    let (to_server, to_client) = (std::mem::take(&mut client.out), std::mem::take(&mut server.out));
    if client.engine.ended().is_none() && server.engine.ended().is_none() {
        assert!(!to_server.is_empty() && !to_client.is_empty(), "no EXT_INFO");
        if !(attack.cut_out && victim == Role::Server) {
            server.feed(&to_server);
        }
        if !(attack.cut_out && victim == Role::Client) {
            client.feed(&to_client);
        }
    }
    Outcome { client, server }
}

fn strip(kexinit: &mut [u8]) {
    for at in 0..kexinit.len() {
        if kexinit[at..].starts_with(b"kex-strict-") {
            kexinit[at..at + 3].copy_from_slice(b"xxx");
        }
    }
}

impl Outcome {
    fn victim(&self, victim: Role) -> &End {
        if victim == Role::Client { &self.client } else { &self.server }
    }

    /// Goes on with the login, as far as it goes; whether both ends take it for done.
    fn log_in(&mut self) -> bool {
        let mut authenticated = 0;
        for _ in 0..20 {
            for end in [&mut self.client, &mut self.server] {
                while let Some(event) = end.engine.poll_event() {
                    let done = match event {
                        Event::HostKey(_) => end.engine.accept_host_key(),
                        Event::AuthReady => end
                            .engine
                            .auth_request(&ssh_core::protocol::ClientAuthRequest::Password("secret")),
                        Event::AuthAttempt(_) => {
                            let answer = ssh_core::protocol::AuthAnswer::Accept;
                            end.engine.auth_answer(answer, start_of_time())
                        }
                        Event::Authenticated => {
                            authenticated += 1;
                            Ok(())
                        }
                        _ => Ok(()),
                    };
                    if done.is_err() {
                        return false;
                    }
                }
                end.pull();
            }
            let (to_server, to_client) =
                (std::mem::take(&mut self.client.out), std::mem::take(&mut self.server.out));
            self.server.feed(&to_server);
            self.client.feed(&to_client);
        }
        authenticated == 2
    }
}

fn misbehaved(end: &End) -> Option<PeerMisbehaved> {
    match end.engine.ended() {
        Some(Error::PeerMisbehaved(rule)) => Some(*rule),
        Some(other) => panic!("ended with {other}"),
        None => None,
    }
}

#[test]
fn left_alone_the_ends_agree_on_strict_exchange_and_hear_each_others_extensions() {
    for suite in [CHACHA, CBC, CTR, GCM] {
        let mut outcome = exchange(suite, Role::Client, Attack::default());
        assert!(outcome.client.engine.is_strict_kex() && outcome.server.engine.is_strict_kex());
        assert!(outcome.client.engine.server_sig_algs().is_some(), "{suite:?}: no EXT_INFO");
        assert!(outcome.log_in(), "{suite:?}");
    }
}

#[test]
fn what_is_slipped_in_before_new_keys_ends_the_session() {
    for suite in [CHACHA, CBC, CTR, GCM] {
        for victim in BOTH {
            for cut_out in [false, true] {
                let attack = Attack { slip_in: true, cut_out, strip: false };
                let mut outcome = exchange(suite, victim, attack);
                let found = misbehaved(outcome.victim(victim));
                assert_eq!(found, Some(PeerMisbehaved::StrictKex), "{suite:?}, {victim:?}, {attack:?}");
                assert!(!outcome.log_in());
            }
        }
    }
}

/// Numbers start again with the new keys, so a packet slipped in before could not make good for one cut out behind.
#[test]
fn a_first_sealed_packet_that_is_missing_ends_the_session() {
    for suite in [CHACHA, CBC, CTR, GCM] {
        for victim in BOTH {
            let attack = Attack { cut_out: true, ..Attack::default() };
            let mut outcome = exchange(suite, victim, attack);
            // Nothing has come yet that could show it.
            assert!(misbehaved(outcome.victim(victim)).is_none());
            assert!(!outcome.log_in(), "{suite:?}, {victim:?}: logged in without the first packet");
            let found = misbehaved(outcome.victim(victim));
            match suite {
                // The length is sealed with the packet's number: a wrong one gives a wrong length.
                CHACHA => assert!(
                    matches!(
                        found,
                        Some(
                            PeerMisbehaved::PacketLength(_)
                                | PeerMisbehaved::Misaligned
                                | PeerMisbehaved::BadMac
                        )
                    ),
                    "{victim:?}: {found:?}"
                ),
                _ => assert_eq!(found, Some(PeerMisbehaved::BadMac), "{suite:?}, {victim:?}"),
            }
        }
    }
}

/// Whoever makes both believe that the other does not know strict exchange gets no attackable cipher, and with the others
/// no session: the signature covers both KEXINITs.
#[test]
fn without_the_markers_there_is_nothing_to_attack() {
    for suite in [CHACHA, CBC, CTR, GCM] {
        for victim in BOTH {
            let attack = Attack { slip_in: true, cut_out: true, strip: true };
            let mut outcome = exchange(suite, victim, attack);
            assert!(!outcome.client.engine.is_strict_kex() && !outcome.server.engine.is_strict_kex());
            assert!(!outcome.log_in(), "{suite:?}");
            let error = outcome.client.engine.ended().expect("an end");
            match (suite, error) {
                (CHACHA | CBC, Error::PeerIncompatible(PeerIncompatible::NeedsStrictKex(cipher))) => {
                    assert_eq!(*cipher, suite.0);
                }
                (CTR | GCM, Error::PeerMisbehaved(PeerMisbehaved::BadHostSignature)) => {}
                (_, other) => panic!("{suite:?}: {other:?}"),
            }
        }
    }
}
