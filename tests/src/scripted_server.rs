//! A server without an engine, over any stream: it frames, exchanges keys and seals by itself, and answers a login
//! with whatever a test wants said.
//!
//! Only the primitives come from the crypto provider, as for [`RawPeer`](crate::raw_peer::RawPeer).

use std::collections::VecDeque;

use sha2::{Digest as _, Sha256};
use ssh_core::crypto::{
    CryptoProvider, Framing, MacKey, Opener, Sealer, SignatureAlgorithm, default_provider,
};
use ssh_core::keys::{KeyKind, PublicKey, SigningKey};
use ssh_core::protocol::Role;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::raw_peer::{Field, Offer, message, plain_packet, put_string};

/// A server whose keys are exchanged.
pub struct ScriptedServer<S> {
    stream: S,
    provider: &'static CryptoProvider,
    /// The exchange hash.
    pub session_id: Vec<u8>,
    /// The client's version line.
    pub client_version: String,
    /// The key that it proves.
    pub host_key: SigningKey,
    sealer: Option<Box<dyn Sealer>>,
    opener: Option<Box<dyn Opener>>,
    sent: u32,
    received: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> ScriptedServer<S> {
    /// Version lines and the key exchange, as the software that `version` names.
    ///
    /// # Panics
    /// If the client does not play along.
    pub async fn accept(stream: S, version: &str) -> Self {
        let provider = default_provider();
        let host_key = provider.signatures.generate(KeyKind::Ed25519, 0).expect("a key");
        let mut server = Self {
            stream,
            provider,
            session_id: Vec::new(),
            client_version: String::new(),
            host_key: SigningKey::new(&host_key, provider).expect("a host key"),
            sealer: None,
            opener: None,
            sent: 0,
            received: 0,
        };
        server.exchange(version).await;
        server
    }

    async fn exchange(&mut self, version: &str) {
        let offer = Offer::sound(Role::Server);
        let ours = offer.encode();
        self.stream.write_all(format!("{version}\r\n").as_bytes()).await.expect("writing");
        self.send(&ours).await;
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(self.stream.read_u8().await.expect("a version line"));
        }
        self.client_version = String::from_utf8(line).expect("ASCII").trim_end().to_owned();
        let theirs = self.receive().await.expect("a KEXINIT");
        let share = self.receive().await.expect("a share");
        let kex = self.provider.key_exchange("curve25519-sha256").expect("X25519");
        let (our_share, secret) = kex.respond(&share[5..], self.provider.random).expect("a share");

        let blob = self.host_key.public_key().to_blob();
        let mut seen = Vec::new();
        let client_version = self.client_version.clone();
        for part in [client_version.as_bytes(), version.as_bytes(), &theirs, &ours, &blob] {
            put_string(&mut seen, part);
        }
        put_string(&mut seen, &share[5..]);
        put_string(&mut seen, &our_share);
        seen.extend(secret.encoded());
        let hash = Sha256::digest(&seen).to_vec();
        let mut signature = Vec::new();
        put_string(&mut signature, b"ssh-ed25519");
        let signed = self.host_key.sign(SignatureAlgorithm::Ed25519, &hash).expect("a signature");
        put_string(&mut signature, &signed);
        let fields = [Field::Bytes(&blob), Field::Bytes(&our_share), Field::Bytes(&signature)];
        self.send(&message(31, &fields)).await;
        self.send(&[21]).await;
        assert_eq!(self.receive().await, Some(vec![21]), "NEWKEYS");

        let derive = |letter: u8, len: usize| {
            let mut key = Sha256::digest([secret.encoded(), &hash, &[letter], &hash].concat()).to_vec();
            while key.len() < len {
                let more = Sha256::digest([secret.encoded(), &hash, &key].concat());
                key.extend(more);
            }
            key.truncate(len);
            key
        };
        let cipher = self.provider.cipher(&offer.cipher).expect("a cipher");
        let mac = self.provider.mac(&offer.mac).expect("a MAC");
        let keys = |letters: [u8; 3]| {
            let [iv, key, mac_key] = letters;
            (derive(iv, cipher.iv_len()), derive(key, cipher.key_len()), derive(mac_key, mac.key_len()))
        };
        let (iv, key, mac_key) = keys(*b"BDF");
        self.sealer = cipher.sealer(&key, &iv, Some(MacKey { mac, key: &mac_key })).ok();
        let (iv, key, mac_key) = keys(*b"ACE");
        self.opener = cipher.opener(&key, &iv, Some(MacKey { mac, key: &mac_key })).ok();
        // The exchange is strict.
        (self.sent, self.received) = (0, 0);
        self.session_id = hash;
    }

    /// Sends a packet. A client that has gone does not hear it.
    ///
    /// # Panics
    /// If it cannot be sealed.
    pub async fn send(&mut self, payload: &[u8]) {
        let clear = Framing { tag_len: 0, block_len: 8, length_is_separate: false };
        let framing = self.sealer.as_ref().map_or(clear, |sealer| sealer.framing());
        let Framing { block_len: block, tag_len, .. } = framing;
        let separate = if framing.length_is_separate { 4 } else { 0 };
        let over = (payload.len() + 5 - separate) % block;
        let padding = if block - over < 4 { 2 * block - over } else { block - over };
        let mut packet = plain_packet(payload, u8::try_from(padding).expect("short padding"));
        packet.resize(packet.len() + tag_len, 0);
        if let Some(sealer) = &mut self.sealer {
            sealer.seal(self.sent, &mut packet).expect("sealing");
        }
        self.sent = self.sent.wrapping_add(1);
        let _ = self.stream.write_all(&packet).await;
    }

    /// The next payload; `None` when the client has gone.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub async fn receive(&mut self) -> Option<Vec<u8>> {
        let (head_len, tag_len) =
            self.opener.as_ref().map_or((4, 0), |opener| (opener.head_len(), opener.framing().tag_len));
        let mut packet = vec![0; head_len];
        self.stream.read_exact(&mut packet).await.ok()?;
        let length = match &mut self.opener {
            Some(opener) => opener.open_length(self.received, &mut packet),
            None => u32::from_be_bytes(packet[..4].try_into().expect("4 bytes")),
        };
        let total = 4 + usize::try_from(length).expect("a length") + tag_len;
        packet.resize(total, 0);
        self.stream.read_exact(&mut packet[head_len..]).await.ok()?;
        if let Some(opener) = &mut self.opener {
            opener.open(self.received, &mut packet).expect("a sound packet");
        }
        self.received = self.received.wrapping_add(1);
        let end = total - tag_len - usize::from(packet[4]);
        Some(packet[5..end].to_vec())
    }

    /// Accepts the service and answers every message of the login with what `answer` says, until it says
    /// [`success`] or the client goes. Everything that the client said, in order.
    ///
    /// # Panics
    /// If the client breaks a rule: a bad signature, or something that is no part of a login.
    pub async fn login(&mut self, mut answer: impl FnMut(&Said) -> Vec<Vec<u8>>) -> Vec<Said> {
        assert_eq!(self.receive().await, Some(message(5, &[Field::Str("ssh-userauth")])));
        self.send(&message(6, &[Field::Str("ssh-userauth")])).await;
        let mut all = Vec::new();
        while let Some(payload) = self.receive().await {
            let said = Said::parse(payload, &self.session_id, self.provider);
            let is_end = matches!(said.what, What::Disconnect(_));
            let replies = if is_end { Vec::new() } else { answer(&said) };
            all.push(said);
            let done = replies.iter().any(|reply| reply == &success());
            for reply in replies {
                self.send(&reply).await;
            }
            if is_end || done {
                break;
            }
        }
        all
    }
}

/// A message of a client's login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The payload.
    pub payload: Vec<u8>,
    /// What it says.
    pub what: What,
}

/// What a client says in a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// `none`.
    None,
    /// A password.
    Password(String),
    /// The old and the new password.
    Change(String, String),
    /// Would this key blob do, with this algorithm?
    Query(Vec<u8>, String),
    /// The same, well signed.
    Signed(Vec<u8>, String),
    /// keyboard-interactive.
    Prompts,
    /// Answers to the prompts.
    Answers(Vec<String>),
    /// hostbased, well signed: key blob, host and user.
    Host(Vec<u8>, String, String),
    /// The end, with its reason.
    Disconnect(u32),
}

impl Said {
    fn parse(payload: Vec<u8>, session_id: &[u8], provider: &CryptoProvider) -> Self {
        let mut rest = Fields(payload[1..].iter().copied().collect());
        let what = match payload[0] {
            1 => What::Disconnect(rest.u32()),
            61 => {
                let count = rest.u32();
                What::Answers((0..count).map(|_| rest.text()).collect())
            }
            50 => {
                let (_, service, method) = (rest.text(), rest.text(), rest.text());
                assert_eq!(service, "ssh-connection");
                match method.as_str() {
                    "none" => What::None,
                    "password" if rest.bool() => What::Change(rest.text(), rest.text()),
                    "password" => What::Password(rest.text()),
                    "keyboard-interactive" => {
                        assert_eq!((rest.text(), rest.text()), (String::new(), String::new()));
                        What::Prompts
                    }
                    "publickey" if rest.bool() => {
                        let (algorithm, key) = (rest.text(), rest.string());
                        let signature = rest.string();
                        check(&payload, &signature, session_id, &algorithm, &key, provider);
                        What::Signed(key, algorithm)
                    }
                    "publickey" => {
                        let algorithm = rest.text();
                        What::Query(rest.string(), algorithm)
                    }
                    "hostbased" => {
                        let (algorithm, key) = (rest.text(), rest.string());
                        let (host, user) = (rest.text(), rest.text());
                        let signature = rest.string();
                        check(&payload, &signature, session_id, &algorithm, &key, provider);
                        What::Host(key, host, user)
                    }
                    other => panic!("unknown method {other}"),
                }
            }
            other => panic!("message {other} in a login"),
        };
        assert!(payload[0] == 1 || rest.0.is_empty(), "trailing bytes: {payload:?}");
        Self { payload, what }
    }
}

/// RFC 4252 §7: the signature covers the session id and everything in front of it.
fn check(
    payload: &[u8],
    signature: &[u8],
    session_id: &[u8],
    algorithm: &str,
    key: &[u8],
    provider: &CryptoProvider,
) {
    let mut signed = Vec::new();
    put_string(&mut signed, session_id);
    signed.extend(&payload[..payload.len() - signature.len() - 4]);
    let plain = algorithm.strip_suffix("-cert-v01@openssh.com").unwrap_or(algorithm);
    let mut parts = Fields(signature.iter().copied().collect());
    assert_eq!(parts.text(), plain, "the algorithm in the signature");
    let key = match ssh_core::keys::Certificate::from_blob(key) {
        Ok(certificate) => certificate.key().clone(),
        Err(_) => PublicKey::from_blob(key).expect("a key"),
    };
    let known = SignatureAlgorithm::from_name(plain).expect("an algorithm");
    provider.signatures.verify(known, &key, &signed, &parts.string()).expect("the client's signature");
}

struct Fields(VecDeque<u8>);

impl Fields {
    fn bool(&mut self) -> bool {
        self.0.pop_front().expect("a byte") != 0
    }

    fn u32(&mut self) -> u32 {
        let bytes: Vec<u8> = self.0.drain(..4).collect();
        u32::from_be_bytes(bytes.try_into().expect("4 bytes"))
    }

    fn string(&mut self) -> Vec<u8> {
        let len = usize::try_from(self.u32()).expect("a length");
        self.0.drain(..len).collect()
    }

    fn text(&mut self) -> String {
        String::from_utf8(self.string()).expect("UTF-8")
    }
}

/// USERAUTH_SUCCESS.
#[must_use]
pub fn success() -> Vec<u8> {
    vec![52]
}

/// USERAUTH_FAILURE: no.
#[must_use]
pub fn failure(methods: &str) -> Vec<u8> {
    message(51, &[Field::Str(methods), Field::Bool(false)])
}

/// USERAUTH_FAILURE: yes, and now this.
#[must_use]
pub fn partial(methods: &str) -> Vec<u8> {
    message(51, &[Field::Str(methods), Field::Bool(true)])
}

/// PK_OK.
#[must_use]
pub fn pk_ok(algorithm: &str, key: &[u8]) -> Vec<u8> {
    message(60, &[Field::Str(algorithm), Field::Bytes(key)])
}

/// INFO_REQUEST as RFC 4256 §3.2 has it.
#[must_use]
pub fn info_request(name: &str, instruction: &str, prompts: &[(&str, bool)]) -> Vec<u8> {
    let count = u32::try_from(prompts.len()).expect("few prompts");
    let mut out =
        message(60, &[Field::Str(name), Field::Str(instruction), Field::Str(""), Field::U32(count)]);
    for (text, echo) in prompts {
        put_string(&mut out, text.as_bytes());
        out.push(u8::from(*echo));
    }
    out
}
