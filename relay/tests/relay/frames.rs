//! What a WebSocket may carry, frame by frame (RFC 6455 §5), on the connection of a host.

use std::time::Duration;

use crate::common::{PATIENCE, TestRelay, start};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

const VERSION: &[u8] = b"SSH-2.0-test\r\n";

async fn host() -> (TestRelay, TcpStream) {
    let relay = start(|_| {}).await;
    relay.tunnel("abc", json!({})).await;
    let token = relay.token(Some("abc"), "host");
    let stream = relay.upgrade("/t/abc/host", "tunnel-relay-host", &token).await.unwrap();
    (relay, stream)
}

/// A masked frame: its first byte (FIN, RSV, opcode), and what it carries.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut out = head(first, payload.len() as u64);
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn head(first: u8, length: u64) -> Vec<u8> {
    let mut out = vec![first];
    match length {
        0..=125 => out.push(0x80 | length as u8),
        126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend(length.to_be_bytes());
        }
    }
    out
}

/// Everything up to the close frame: payloads of binary messages, and the close code: 1005 for a close frame without one, 1006 for an
/// end without a close frame, 0 if there was no end.
async fn read_to_close(stream: &mut TcpStream) -> (Vec<u8>, u16) {
    let mut payloads = Vec::new();
    let read = async {
        loop {
            let mut start = [0; 2];
            if stream.read_exact(&mut start).await.is_err() {
                return 1006;
            }
            let length = match start[1] {
                126 => usize::from(stream.read_u16().await.unwrap()),
                127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            if stream.read_exact(&mut payload).await.is_err() {
                return 1006;
            }
            match start[0] {
                0x82 => payloads.extend(payload),
                0x88 => return payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code)),
                _ => {}
            }
        }
    };
    let code = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap_or(0);
    (payloads, code)
}

/// Rows "text, unmasked, RSV, …" and "huge lengths" of the threat model: who breaks a rule is told which, at once.
#[tokio::test]
async fn broken_rules_end_the_connection() {
    let mut unmasked = vec![0x82, 3];
    unmasked.extend(b"abc");
    let cases = [
        ("a text message", frame(0x81, b"hello"), 1003),
        ("no mask", unmasked, 1002),
        ("RSV1, as of compression", frame(0xc2, b"x"), 1002),
        ("RSV2", frame(0xa2, b"x"), 1002),
        ("RSV3", frame(0x92, b"x"), 1002),
        ("a reserved opcode", frame(0x83, b"x"), 1002),
        ("a reserved control opcode", frame(0x8b, b"x"), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        ("a message inside another", [frame(0x02, b"x"), frame(0x82, b"y")].concat(), 1002),
        ("a ping in fragments", frame(0x09, b"x"), 1002),
        ("a long ping", frame(0x89, &[0; 126]), 1002),
        ("two bytes of length for what fits in one", [&[0x82, 0xfe, 0, 3][..], &[0; 7]].concat(), 1002),
        ("eight for what fits in two", [&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 1, 0][..], &[0; 4]].concat(), 1002),
        ("a flood of empty fragments", [frame(0x02, b""), frame(0x00, b"").repeat(200)].concat(), 1008),
        ("a flood of empty messages", frame(0x82, b"").repeat(200), 1008),
        ("a long frame", [head(0x82, (1 << 20) + 1), vec![0; 4]].concat(), 1009),
        ("an endless frame", [head(0x82, i64::MAX as u64), vec![0; 4]].concat(), 1009),
    ];
    for (what, bytes, code) in cases {
        let (_relay, mut stream) = host().await;
        stream.write_all(&bytes).await.unwrap();
        let started = Instant::now();
        assert_eq!(read_to_close(&mut stream).await.1, code, "{what}");
        assert!(started.elapsed() < Duration::from_secs(4), "{what}: {:?}", started.elapsed());
    }
}

/// No message is gathered past the limit, however small its pieces are.
#[tokio::test]
async fn a_long_message_in_fragments() {
    let (_relay, mut stream) = host().await;
    let (piece, more) = (frame(0x02, &[0; 65_536]), frame(0x00, &[0; 65_536]));
    let _ = stream.write_all(&piece).await;
    for _ in 0..16 {
        // The relay may be gone by now.
        let _ = stream.write_all(&more).await;
    }
    let code = read_to_close(&mut stream).await.1;
    // What was on its way resets the connection, and then the word may be lost.
    assert!(matches!(code, 1009 | 1006), "{code}");
}

/// SDKs cut messages over 16 KiB, and nothing depends on where.
#[tokio::test]
async fn fragments_and_single_bytes_are_one_stream() {
    for write in ["message", "fragments", "empty fragments", "bytes", "empty messages"] {
        let (_relay, mut stream) = host().await;
        let mut bytes = Vec::new();
        match write {
            "message" => bytes = frame(0x82, VERSION),
            "fragments" => {
                bytes.extend(frame(0x02, &VERSION[..3]));
                // A control frame may stand between fragments.
                bytes.extend(frame(0x89, b"ping"));
                bytes.extend(frame(0x00, &VERSION[3..7]));
                bytes.extend(frame(0x80, &VERSION[7..]));
            }
            "empty fragments" => {
                bytes.extend(frame(0x02, b""));
                (0..50).for_each(|_| bytes.extend(frame(0x00, b"")));
                bytes.extend(frame(0x80, VERSION));
            }
            "empty messages" => {
                (0..50).for_each(|_| bytes.extend(frame(0x82, b"")));
                bytes.extend(frame(0x82, VERSION));
            }
            _ => VERSION.iter().for_each(|byte| bytes.extend(frame(0x82, &[*byte]))),
        }
        if write == "bytes" {
            for byte in bytes {
                stream.write_all(&[byte]).await.unwrap();
            }
        } else {
            stream.write_all(&bytes).await.unwrap();
        }
        // What is no SSH packet ends it: until then the version was understood.
        stream.write_all(&frame(0x82, &[0xff; 64])).await.unwrap();
        let (said, _) = read_to_close(&mut stream).await;
        let text = String::from_utf8_lossy(&said);
        assert!(text.starts_with("SSH-2.0-"), "{write}: {text:?}");
        assert!(said.len() > 60, "{write}: the relay has not answered the version: {text:?}");
    }
}

/// Row "ping floods": a peer that pings and reads nothing ends, and the relay keeps no queue of pongs for it.
#[tokio::test]
async fn a_flood_of_pings_ends_the_connection() {
    let (_relay, stream) = host().await;
    let (mut reader, mut writer) = stream.into_split();
    let pings = frame(0x89, b"").repeat(1000);
    let flood = tokio::spawn(async move { while writer.write_all(&pings).await.is_ok() {} });
    tokio::time::timeout(PATIENCE, flood).await.expect("it goes on and on").unwrap();
    let mut answers = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut answers)).await.expect("it is kept open");
}

/// A thousand control frames a second, for five: who keeps to that is answered, who goes past it is told.
#[tokio::test]
async fn who_pings_too_often_is_told() {
    // What comes after the word would reset the connection, and take the word along.
    for (count, last, code) in [(4999, true, 1000), (5001, false, 1008)] {
        let (_relay, stream) = host().await;
        let (mut reader, mut writer) = stream.into_split();
        let write = async {
            writer.write_all(&frame(0x89, b"").repeat(count)).await.unwrap();
            if last {
                writer.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
            }
        };
        let read = async {
            let mut pongs = 0;
            loop {
                let mut start = [0; 2];
                reader.read_exact(&mut start).await.unwrap();
                let mut payload = vec![0; start[1].into()];
                reader.read_exact(&mut payload).await.unwrap();
                match start[0] {
                    0x8a => pongs += 1,
                    0x88 => return (pongs, u16::from_be_bytes([payload[0], payload[1]])),
                    _ => {}
                }
            }
        };
        let (pongs, told) =
            tokio::time::timeout(PATIENCE, async { tokio::join!(write, read).1 }).await.unwrap();
        assert_eq!(told, code, "{count} pings");
        assert!((1..=count).contains(&pongs), "{pongs} pongs");
    }
}

/// Row "relay restarted, upgraded, drained": a client of v1 has nothing but the close code, and that is said first.
#[tokio::test]
async fn the_end_of_the_relay_is_said_by_close_codes() {
    for (ends, code) in [("drained", 1012), ("revoked", 1008), ("host gone", 1001)] {
        let relay = start(|_| {}).await;
        relay.tunnel("abc", json!({})).await;
        let host = crate::sessions::host(&relay, "tunnel-relay-host").await;
        let channels = crate::sessions::channels(&host);
        let token = relay.token(Some("abc"), "connect");
        let mut client = relay.upgrade("/t/abc/client", "tunnel-relay-client", &token).await.unwrap();
        match ends {
            "drained" => relay.relay.drain(),
            "revoked" => relay.relay.revoke(&relay.token_id(&token), u64::MAX).unwrap(),
            _ => host.close(),
        }
        assert_eq!(read_to_close(&mut client).await.1, code, "{ends}");
        drop(channels);
    }
}

/// A host has its handshake time, and no more, whatever it sends.
#[tokio::test]
async fn a_handshake_has_its_time() {
    let relay = start(|config| config.limits.handshake_time = Duration::from_millis(300)).await;
    relay.tunnel("abc", json!({})).await;
    let token = relay.token(Some("abc"), "host");
    let mut stream = relay.upgrade("/t/abc/host", "tunnel-relay-host", &token).await.unwrap();
    stream.write_all(&frame(0x82, b"SSH-2.0-")).await.unwrap();
    let started = Instant::now();
    read_to_close(&mut stream).await;
    // Other limits, and this test's patience, are longer.
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(relay.relay.connected(), 0);
}
