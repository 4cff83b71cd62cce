//! Conversations recorded with Dev Tunnels SSH, spoken to our engine without them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use ssh_core::Error;
use ssh_core::config::{Algorithms, Common, Extensions, Limits};
use ssh_core::crypto::{SignatureAlgorithm, default_provider};
use ssh_core::error::DisconnectReason;
use ssh_core::keys::PublicKey;
use ssh_core::protocol::messages::{
    ChannelClose, ChannelData, ChannelEof, ChannelOpen, ChannelOpenConfirmation, ChannelOpenFailure,
    ChannelRequest, Disconnect, ExtInfo, GlobalRequest, Rest, ServiceAccept, ServiceRequest, UserAuthFailure,
    UserAuthPkOk, UserAuthRequest, UserAuthSuccess,
};
use ssh_core::protocol::wire::{Reader, Write as _};
use ssh_core::protocol::{ConnectionEvent, Engine, Event, ExitStatus, GlobalReply, Inbound, Input};
use tests::pair::start_of_time;
use tests::vectors::{bytes, load};

const CLIENT: &str = "c2s";
const SERVER: &str = "s2c";

/// Plays one side's packets to an engine that stands in for the other, and does what that other one did: it opens
/// and accepts the same channels, and answers the same requests, so that what comes next makes sense.
struct Replay {
    engine: Engine,
    inbound: Inbound,
    /// What came, in words.
    log: Vec<String>,
    /// The recorded numbers of the other side's channels, and the engine's.
    channels: Vec<(u32, u32)>,
    sent: Vec<u8>,
}

impl Replay {
    fn run(file: &str, from: &str) -> Self {
        let common = Common {
            algorithms: Algorithms::insecure_without_any_security(),
            limits: Limits::default(),
            extensions: Extensions::default(),
            provider: default_provider(),
        };
        let made = if from == CLIENT {
            Engine::server(common, [].into(), &[], start_of_time())
        } else {
            Engine::client(common, "ada".into(), start_of_time())
        };
        let (engine, inbound) = made.unwrap();
        let mut replay = Self { engine, inbound, log: Vec::new(), channels: Vec::new(), sent: Vec::new() };
        for record in load(file)["records"].as_array().unwrap() {
            let Some(direction) = record["dir"].as_str() else { continue };
            if direction == from {
                replay.hear(&bytes(&record["wire_hex"]));
            } else if record["kind"] == "packet" {
                replay.say(&bytes(&record["payload_hex"]));
            }
        }
        replay
    }

    fn hear(&mut self, wire: &[u8]) {
        if self.engine.ended().is_some() {
            return;
        }
        self.inbound.buffer().extend_from_slice(wire);
        loop {
            match self.inbound.poll() {
                Ok(None) => break,
                Ok(Some(Input::Ident(version))) => {
                    assert!(version.is_dev_tunnels());
                    self.engine.handle_ident(version);
                }
                Ok(Some(Input::Packet(mut packet))) => {
                    self.renumber(&mut packet.payload);
                    if let Err(error) = self.engine.handle_packet(packet, start_of_time()) {
                        self.log.push(format!("end: {error}"));
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
        while let Some(event) = self.engine.poll_event() {
            self.log.push(match event {
                Event::Authenticated => "authenticated".into(),
                other => panic!("{other:?}"),
            });
        }
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        while let std::task::Poll::Ready(Some(event)) = self.engine.poll_incoming(&cx) {
            self.log.push(match event {
                ConnectionEvent::Offered(offer) => {
                    self.channels.push((u32::MAX, offer.id));
                    format!("offered {}", offer.kind)
                }
                ConnectionEvent::Request(request) => {
                    if let Some(slot) = request.slot {
                        let answer = GlobalReply::Success(bytes::Bytes::new());
                        self.engine.answer_global_request(slot, answer).unwrap();
                    }
                    format!("request {}", request.name)
                }
            });
        }
        self.engine.take_output(&mut self.sent, start_of_time());
    }

    /// The side that the engine stands in for numbered its channels in its own way.
    fn renumber(&self, payload: &mut [u8]) {
        let Some(recipient) = payload.get(1..5).filter(|_| (91..=100).contains(&payload[0])) else { return };
        let recorded = u32::from_be_bytes(recipient.try_into().unwrap());
        let Some((_, id)) = self.channels.iter().find(|(number, _)| *number == recorded) else {
            panic!("message {} for a channel {recorded} that was never numbered", payload[0])
        };
        payload[1..5].copy_from_slice(&id.to_be_bytes());
    }

    /// What the other side said: the engine does the same as far as it changes what may come.
    fn say(&mut self, payload: &[u8]) {
        if self.engine.ended().is_some() {
            return;
        }
        match payload[0] {
            90 => {
                let open = ChannelOpen::decode(payload).unwrap();
                let id = self.engine.open_channel(open.kind, open.fields.0, start_of_time()).unwrap();
                self.channels.push((open.sender, id));
            }
            91 => {
                let confirmation = ChannelOpenConfirmation::decode(payload).unwrap();
                let offered = self.channels.iter_mut().find(|(number, _)| *number == u32::MAX).unwrap();
                offered.0 = confirmation.sender;
                self.engine.accept_channel(offered.1, confirmation.fields.0).unwrap();
            }
            80 => {
                let request = GlobalRequest::decode(payload).unwrap();
                let (name, fields) = (request.name, request.fields.0);
                self.engine.global_request(name, request.want_reply, fields, start_of_time()).unwrap();
            }
            98 => {
                let request = ChannelRequest::decode(payload).unwrap();
                // Ours is the latest one that was opened; replies are matched by it alone.
                let id = self.channels.last().unwrap().1;
                let _ = self.engine.channel_request(id, request.name, request.want_reply, request.fields.0);
            }
            _ => {}
        }
    }

    fn read(&mut self, channel: usize) -> Vec<u8> {
        let id = self.channels[channel].1;
        let cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut all = Vec::new();
        let mut buffer = [0; 100];
        while let std::task::Poll::Ready(Ok(n @ 1..)) = self.engine.poll_read(id, &cx, &mut buffer) {
            all.extend_from_slice(&buffer[..n]);
        }
        all
    }
}

/// What one side sent as data, by the recording alone.
fn recorded_data(file: &str, from: &str) -> Vec<u8> {
    let recording = load(file);
    let records = recording["records"].as_array().unwrap().iter();
    let payloads = records
        .filter(|record| record["dir"] == from && record["kind"] == "packet")
        .map(|record| bytes(&record["payload_hex"]))
        .filter(|payload| payload[0] == 94);
    payloads.flat_map(|payload| payload[9..].to_vec()).collect()
}

fn assert_all_data_arrived(file: &str, from: &str) -> Replay {
    let mut replay = Replay::run(file, from);
    let read: Vec<u8> = (0..replay.channels.len()).flat_map(|channel| replay.read(channel)).collect();
    let mut expected = recorded_data(file, from);
    let (mut sorted, mut found) = (std::mem::take(&mut expected), read);
    // Channels are read one after the other, whereas the recording mixes them.
    sorted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, sorted);
    assert_eq!(replay.log.first().map(String::as_str), Some("authenticated"), "{:?}", replay.log);
    replay
}

#[test]
fn a_ts_client_without_security() {
    let mut replay = Replay::run("none-session-ts.json", CLIENT);
    assert_eq!(replay.log[..2], ["authenticated", "offered session"]);
    assert_eq!(replay.read(0), recorded_data("none-session-ts.json", CLIENT));
    assert_eq!(replay.engine.exit_status(replay.channels[0].1), Some(ExitStatus::Code(7)));
    let Some(Error::Disconnected { reason, .. }) = replay.engine.ended() else {
        panic!("{:?} {:?}", replay.engine.ended(), replay.log)
    };
    assert!(matches!(*reason, DisconnectReason::NONE | DisconnectReason::BY_APPLICATION), "{reason:?}");
}

#[test]
fn a_ts_server_without_security() {
    let replay = assert_all_data_arrived("none-session-ts.json", SERVER);
    // In the recording the client ends the channel.
    assert_eq!(replay.engine.exit_status(replay.channels[0].1), None);
}

#[test]
fn port_forwarding_of_both_implementations_from_both_sides() {
    for file in ["port-forward-ts.json", "port-forward-go.json"] {
        for from in [CLIENT, SERVER] {
            let replay = assert_all_data_arrived(file, from);
            match replay.engine.ended() {
                None | Some(Error::Disconnected { .. }) => {}
                Some(other) => panic!("{file} {from}: {other}\n{:#?}", replay.log),
            }
            let wanted = if from == CLIENT { "request tcpip-forward" } else { "offered forwarded-tcpip" };
            assert!(replay.log.iter().any(|line| line == wanted), "{file} {from}: {:#?}", replay.log);
        }
    }
}

#[test]
fn nothing_of_a_recording_depends_on_how_it_is_cut() {
    let common = || Common {
        algorithms: Algorithms::insecure_without_any_security(),
        limits: Limits::default(),
        extensions: Extensions::default(),
        provider: default_provider(),
    };
    for file in ["none-session-ts.json", "port-forward-go.json", "port-forward-ts.json"] {
        let recording = load(file);
        let records = recording["records"].as_array().unwrap().iter();
        let wire: Vec<u8> = records
            .filter(|record| record["dir"] == CLIENT)
            .flat_map(|record| bytes(&record["wire_hex"]))
            .collect();
        let payloads = |piece: usize| {
            let (_, mut inbound) = Engine::server(common(), [].into(), &[], start_of_time()).unwrap();
            let mut payloads = Vec::new();
            for piece in wire.chunks(piece) {
                inbound.buffer().extend_from_slice(piece);
                while let Some(input) = inbound.poll().unwrap() {
                    if let Input::Packet(packet) = input {
                        payloads.push(packet.payload);
                    }
                }
            }
            payloads
        };
        let whole = payloads(usize::MAX);
        assert!(whole.len() > 5);
        for piece in [1, 2, 3, 7, 64] {
            assert_eq!(payloads(piece), whole);
        }
    }
}

/// Decodes a message and encodes it again, by its number.
fn encode_again(payload: &[u8]) -> Option<Vec<u8>> {
    macro_rules! again {
        ($($number:literal $name:ident)*) => {
            match payload[0] {
                $( $number => {
                    let mut out = Vec::new();
                    $name::decode(payload).unwrap_or_else(|error| panic!("{payload:02x?}: {error}")).encode(&mut out);
                    Some(out)
                } )*
                _ => None,
            }
        };
    }
    again!(
        1 Disconnect 5 ServiceRequest 6 ServiceAccept 7 ExtInfo 50 UserAuthRequest 51 UserAuthFailure 52 UserAuthSuccess
        80 GlobalRequest 90 ChannelOpen 91 ChannelOpenConfirmation 92 ChannelOpenFailure
        94 ChannelData 96 ChannelEof 97 ChannelClose 98 ChannelRequest
    )
}

#[test]
fn recorded_messages_are_read_and_written_back() {
    let vectors = load("messages.json");
    let mut seen = 0;
    for message in vectors["messages"].as_array().unwrap() {
        for side in ["go", "ts"] {
            if message[side].is_null() {
                continue;
            }
            let payload = bytes(&message[side]);
            let Some(written) = encode_again(&payload) else { continue };
            seen += 1;
            // TS leaves out the language of a disconnect, which we always write.
            let expected =
                if payload[0] == 1 && side == "ts" { [&payload[..], &[0; 4]].concat() } else { payload };
            assert_eq!(written, expected, "{} of {side}", message["name"]);
        }
    }
    assert!(seen > 20, "only {seen} messages were compared");
}

#[test]
fn recorded_signatures_verify_over_what_we_say_they_cover() {
    let vectors = load("auth-exchanges.json");
    let mut verified = 0;
    for exchange in vectors["exchanges"].as_array().unwrap() {
        if exchange["session_id"].is_null() {
            continue;
        }
        let session_id = bytes(&exchange["session_id"]);
        for message in exchange["messages"].as_array().unwrap() {
            let payload = bytes(&message["payload_hex"]);
            if payload[0] != 50 {
                continue;
            }
            let request = UserAuthRequest::decode(&payload).unwrap();
            let Rest(fields) = request.fields;
            if request.method != "publickey" || fields[0] == 0 {
                continue;
            }
            let mut reader = Reader::new(fields);
            reader.boolean().unwrap();
            let name = reader.text(64).unwrap();
            let key = PublicKey::from_blob(reader.string().unwrap()).unwrap();
            let before = payload.len() - reader.rest().len();
            let mut signature = Reader::new(reader.string().unwrap());
            reader.finish().unwrap();
            assert_eq!(signature.string().unwrap(), name.as_bytes());
            let blob = signature.string().unwrap();
            let mut over = Vec::new();
            over.put_string(&session_id);
            over.put_bytes(&payload[..before]);
            let algorithm = SignatureAlgorithm::from_name(name).unwrap();
            let signatures = default_provider().signatures;
            signatures.verify(algorithm, &key, &over, blob).unwrap_or_else(|error| panic!("{name}: {error}"));
            *over.last_mut().unwrap() ^= 1;
            assert!(signatures.verify(algorithm, &key, &over, blob).is_err());
            verified += 1;
        }
    }
    assert!(verified >= 2, "only {verified} signatures");
}

#[test]
fn recorded_pk_ok_is_read() {
    for exchange in load("auth-exchanges.json")["exchanges"].as_array().unwrap() {
        for message in exchange["messages"].as_array().unwrap() {
            let payload = bytes(&message["payload_hex"]);
            if payload[0] == 60 && message["decode"].as_str().is_some_and(|text| text.contains("PK_OK")) {
                let message = UserAuthPkOk::decode(&payload).unwrap();
                PublicKey::from_blob(message.key).unwrap();
            }
        }
    }
}
