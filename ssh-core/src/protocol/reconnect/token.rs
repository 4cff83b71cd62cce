use zeroize::Zeroizing;

use crate::crypto::{CryptoError, KeyedMac, Mac};

/// What a connection can prove with: its MAC keys and its exchange hash. They are derived with AEAD ciphers too, which do not
/// use them otherwise. They belong to the first exchange of a connection and are kept until its login is over.
pub(crate) struct TokenKeys {
    /// H of the connection's first exchange.
    pub(crate) exchange_hash: Zeroizing<Vec<u8>>,
    pub(crate) client: TokenKey,
    pub(crate) server: TokenKey,
}

/// The MAC of one direction and its key (RFC 4253 §7.2, `E` and `F`).
pub(crate) struct TokenKey {
    pub(crate) mac: &'static dyn Mac,
    pub(crate) key: Zeroizing<Vec<u8>>,
}

/// Keys stay out of logs.
impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKeys[..]")
    }
}

impl TokenKeys {
    /// `HMAC(E, original_session_id ‖ H_new)`: the client knows the session and is the one who made this connection.
    pub(crate) fn client_token(&self, session_id: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.client.sign(&[session_id, &self.exchange_hash])
    }

    /// The same with `F`: the server's proof.
    pub(crate) fn server_token(&self, session_id: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.server.sign(&[session_id, &self.exchange_hash])
    }

    /// Whether it is the client's token for the session. Compared in constant time; any other length is wrong.
    pub(crate) fn verify_client(&self, session_id: &[u8], token: &[u8]) -> bool {
        self.client.verify(&[session_id, &self.exchange_hash], token)
    }

    /// Whether it is the server's token.
    pub(crate) fn verify_server(&self, session_id: &[u8], token: &[u8]) -> bool {
        self.server.verify(&[session_id, &self.exchange_hash], token)
    }
}

impl TokenKey {
    fn keyed(&self) -> Result<Box<dyn KeyedMac>, CryptoError> {
        self.mac.with_key(&self.key)
    }

    fn sign(&self, parts: &[&[u8]]) -> Result<Vec<u8>, CryptoError> {
        let mut token = vec![0; self.mac.tag_len()];
        self.keyed()?.sign(parts, &mut token);
        Ok(token)
    }

    fn verify(&self, parts: &[&[u8]], token: &[u8]) -> bool {
        token.len() == self.mac.tag_len()
            && self.keyed().is_ok_and(|mut mac| mac.verify(parts, token).is_ok())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::handshake::{Answer, Position, ReconnectRequest, read_failure};
    use super::*;
    use crate::protocol::reconnect::ReconnectFailure;

    pub(in super::super) fn bytes(value: &serde_json::Value) -> Vec<u8> {
        let text = value.as_str().unwrap();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[cfg(feature = "rustcrypto")]
    fn keys(mac: &str, e: Vec<u8>, f: Vec<u8>, hash: Vec<u8>) -> TokenKeys {
        let mac = crate::crypto::rustcrypto::PROVIDER.mac(mac).unwrap();
        TokenKeys {
            exchange_hash: hash.into(),
            client: TokenKey { mac, key: e.into() },
            server: TokenKey { mac, key: f.into() },
        }
    }

    #[cfg(feature = "rustcrypto")]
    #[test]
    fn published_tokens_requests_and_answers_are_ours_byte_for_byte() {
        let text = include_str!("../../../../tests/vectors/reconnect-tokens.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let keys = keys(
                case["mac"].as_str().unwrap(),
                bytes(&case["client_to_server_mac_key_E"]),
                bytes(&case["server_to_client_mac_key_F"]),
                bytes(&case["new_exchange_hash"]),
            );
            let session_id = bytes(&case["original_session_id"]);
            let (client, server) = (bytes(&case["client_token"]), bytes(&case["server_token"]));
            assert_eq!(keys.client_token(&session_id).unwrap(), client);
            assert_eq!(keys.server_token(&session_id).unwrap(), server);
            assert!(keys.verify_client(&session_id, &client) && keys.verify_server(&session_id, &server));
            for wrong in [&server[..], &client[1..], &[], &[&client[..], &[0]].concat()] {
                assert!(!keys.verify_client(&session_id, wrong));
            }
            assert!(!keys.verify_client(&session_id[1..], &client), "another session's id");

            let request = ReconnectRequest {
                token: client.clone(),
                position: Position { sequence: 8, count: None },
                index: None,
            };
            let mut payload = Vec::new();
            request.encode(&mut payload);
            assert_eq!(payload, bytes(&case["request_message_last_received_8"]));
            assert_eq!(ReconnectRequest::decode(&payload).unwrap().unwrap(), request);

            let answer = Answer { token: server, position: Position { sequence: 9, count: None } };
            let mut payload = Vec::new();
            answer.encode(&mut payload);
            assert_eq!(payload, bytes(&case["response_message_last_received_9"]));
            assert_eq!(Answer::decode(&payload).unwrap(), answer);
        }
        for refusal in ["reconnect_failure_go", "reconnect_failure_ts"] {
            assert_eq!(read_failure(&bytes(&vectors[refusal])), ReconnectFailure::SessionNotFound);
        }
    }

    #[cfg(feature = "rustcrypto")]
    #[test]
    fn a_token_of_one_connection_is_worth_nothing_on_another() {
        let (e, f, hash) = (vec![1; 32], vec![2; 32], vec![3; 32]);
        let first = keys("hmac-sha2-256", e.clone(), f.clone(), hash.clone());
        let token = first.client_token(b"the session").unwrap();
        assert!(first.verify_client(b"the session", &token));
        assert!(
            !first.verify_server(b"the session", &token),
            "a server's own words are no proof of a client's"
        );
        for other in [
            keys("hmac-sha2-256", e.clone(), f.clone(), vec![4; 32]),
            keys("hmac-sha2-256", vec![4; 32], f.clone(), hash.clone()),
            keys("hmac-sha2-512", e, f, hash),
        ] {
            assert!(!other.verify_client(b"the session", &token));
        }
    }

    /// Three connections of one session: both tokens of each reconnect, from the keys of the recording.
    #[cfg(feature = "rustcrypto")]
    #[test]
    fn recorded_ts_reconnects_carry_our_tokens() {
        let text = include_str!("../../../../tests/vectors/reconnect-session-ts.json");
        let recording: serde_json::Value = serde_json::from_str(text).unwrap();
        let session_id = bytes(&recording["session_id_connection1"]);
        let mut seen = 0;
        let mut used: Vec<Vec<u8>> = Vec::new();
        for connection in &recording["connections"].as_array().unwrap()[1..] {
            let keys = keys(
                recording["mac"].as_str().unwrap(),
                bytes(&connection["E_mac_c2s"]),
                bytes(&connection["F_mac_s2c"]),
                bytes(&connection["exchange_hash"]),
            );
            for packet in connection["packets"].as_array().unwrap() {
                let decode = packet["decode"].as_str().unwrap_or_default();
                if decode.starts_with("VERSION") {
                    continue;
                }
                let payload = bytes(&packet["payload_hex"]);
                if packet["dir"] == "c2s" && super::super::is_reconnect(&payload) {
                    let request = ReconnectRequest::decode(&payload).unwrap().unwrap();
                    assert!(keys.verify_client(&session_id, &request.token));
                    // A token that was seen on another connection is good for nothing on this one, nor for another session.
                    assert!(used.iter().all(|token| !keys.verify_client(&session_id, token)));
                    assert!(!keys.verify_client(&session_id[1..], &request.token));
                    used.push(request.token.clone());
                    seen += 1;
                }
                if packet["dir"] == "s2c" && payload[0] == 81 {
                    let end =
                        payload.len() - if packet["trailer_last_received_seq"].is_null() { 0 } else { 12 };
                    let answer = Answer::decode(&payload[..end]).unwrap();
                    assert!(keys.verify_server(&session_id, &answer.token));
                    seen += 1;
                    break;
                }
            }
        }
        assert_eq!(seen, 4, "two reconnects");
    }
}
