//! Recorded handshakes of Microsoft's Dev Tunnels SSH in TypeScript: its shares, secrets, signatures and packets, made
//! again by each backend.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod crypto_support;

use crypto_support::providers;
use serde_json::Value;
use ssh_core::crypto::{
    CryptoError, CryptoProvider, HashAlgorithm, MacKey, SecureRandom, ShareEncoding, SignatureAlgorithm,
};
use ssh_core::keys::PublicKey;
use ssh_core::protocol::wire::{Reader, Write as _};

const HANDSHAKES: [&str; 5] = [
    include_str!("vectors/handshake-dh14-ctr-std.json"),
    include_str!("vectors/handshake-dh16-cbc-std.json"),
    include_str!("vectors/handshake-ecdh256-ctr-etm.json"),
    include_str!("vectors/handshake-ecdh384-gcm.json"),
    include_str!("vectors/handshake-ecdh521-cbc-etm.json"),
];

fn each(mut check: impl FnMut(&'static CryptoProvider, &Value)) {
    for text in HANDSHAKES {
        let handshake: Value = serde_json::from_str(text).unwrap();
        providers().into_iter().for_each(|provider| check(provider, &handshake));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    crypto_support::hex(text(value))
}

/// "Randomness" that is a recorded private key.
#[derive(Debug)]
struct Recorded(Vec<u8>);

impl SecureRandom for Recorded {
    fn fill(&self, out: &mut [u8]) -> Result<(), CryptoError> {
        let zeros = out.len() - self.0.len();
        out[..zeros].fill(0);
        out[zeros..].copy_from_slice(&self.0);
        Ok(())
    }
}

#[test]
fn ecdh_secrets_are_the_recorded_ones() {
    let mut checked = 0;
    each(|provider, handshake| {
        let kex = &handshake["kex"];
        let method = provider.key_exchange(text(&handshake["negotiated"]["kex"])).unwrap();
        if method.share_encoding() == ShareEncoding::Mpint {
            return; // The exponents are shorter than ours; these are checked where the groups are.
        }
        let mut secret = Vec::new();
        secret.put_string(&hex(&kex["K_mpint_value_bytes"]));
        let client = method.start(&Recorded(hex(&kex["client_ephemeral_private"]))).unwrap();
        assert_eq!(client.share(), hex(&kex["client_public"]));
        assert_eq!(client.finish(&hex(&kex["server_public"])).unwrap().encoded(), secret);
        let server = Recorded(hex(&kex["server_ephemeral_private"]));
        let (share, server_secret) = method.respond(&hex(&kex["client_public"]), &server).unwrap();
        assert_eq!(share, hex(&kex["server_public"]));
        assert_eq!(server_secret.encoded(), secret);
        checked += 1;
    });
    assert!(checked >= 3);
}

#[test]
fn host_keys_have_signed_the_exchange_hash() {
    each(|provider, handshake| {
        let kex = &handshake["kex"];
        let method = provider.key_exchange(text(&handshake["negotiated"]["kex"])).unwrap();
        let mut input = Vec::new();
        for name in ["V_C", "V_S"] {
            input.put_string(text(&kex[name]).as_bytes());
        }
        for name in ["I_C", "I_S", "K_S"] {
            input.put_string(&hex(&kex[name]));
        }
        for name in ["client_public", "server_public", "K_mpint_value_bytes"] {
            input.put_string(&hex(&kex[name]));
        }
        let (head, tail) = input.split_at(100);
        let hash = provider.hashes.digest(method.hash(), &[head, tail]);
        assert_eq!(*hash, hex(&kex["H"]));

        let packets = handshake["packets"].as_array().unwrap();
        let reply = packets
            .iter()
            .map(|packet| hex(&packet["wire_hex"]))
            .find(|wire| wire.get(5) == Some(&31))
            .unwrap();
        let mut reader = Reader::new(&reply[6..]);
        let key = PublicKey::from_blob(reader.string().unwrap()).unwrap();
        reader.string().unwrap();
        let mut signature = Reader::new(reader.string().unwrap());
        let algorithm = SignatureAlgorithm::from_name(signature.text(64).unwrap()).unwrap();
        assert_eq!(algorithm.name(), text(&handshake["negotiated"]["host_key"]));
        let signature = signature.string().unwrap();
        assert_eq!(provider.signatures.verify(algorithm, &key, &hash, signature), Ok(()));
        let other = provider.hashes.digest(HashAlgorithm::Sha256, &[&hash]);
        let verdict = provider.signatures.verify(algorithm, &key, &other, signature);
        assert_eq!(verdict, Err(CryptoError::Unauthentic));
    });
}

#[test]
fn recorded_packets_open_and_are_sealed_again() {
    each(|provider, handshake| {
        let negotiated = &handshake["negotiated"];
        let cipher = provider.cipher(text(&negotiated["enc"])).unwrap();
        let mac = provider.mac(text(&negotiated["mac"])).unwrap();
        for (direction, [iv, key, mac_key]) in
            [("c2s", ["A_iv_c2s", "C_key_c2s", "E_mac_c2s"]), ("s2c", ["B_iv_s2c", "D_key_s2c", "F_mac_s2c"])]
        {
            let (iv, key) = (hex(&handshake["keys"][iv]), hex(&handshake["keys"][key]));
            let mac_key = hex(&handshake["keys"][mac_key]);
            let mac = Some(MacKey { mac, key: &mac_key });
            let iv = &iv[..cipher.iv_len()];
            let mut opener = cipher.opener(&key, iv, mac).unwrap();
            let mut sealer = cipher.sealer(&key, iv, mac).unwrap();
            let mut count = 0;
            for packet in handshake["packets"].as_array().unwrap() {
                if packet["dir"] != direction || packet["plain_hex"].is_null() {
                    continue;
                }
                let sequence = u32::try_from(packet["seq"].as_u64().unwrap()).unwrap();
                let (wire, plain) = (hex(&packet["wire_hex"]), hex(&packet["plain_hex"]));
                let mut opened = wire.clone();
                let head_len = opener.head_len();
                let length = opener.open_length(sequence, &mut opened[..head_len]);
                assert_eq!(length as usize, 4_usize.abs_diff(wire.len()) - opener.framing().tag_len);
                opener.open(sequence, &mut opened).unwrap();
                let from = if opener.framing().length_is_separate { 4 } else { 0 };
                assert_eq!(opened[from..wire.len() - opener.framing().tag_len], plain);

                let mut sealed = length.to_be_bytes().to_vec();
                sealed.extend_from_slice(&plain[4 - from..]);
                sealed.resize(wire.len(), 0);
                sealer.seal(sequence, &mut sealed).unwrap();
                assert_eq!(sealed, wire);
                count += 1;
            }
            assert!(count >= 3, "{direction} has {count} packets");
        }
    });
}
