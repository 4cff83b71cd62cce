//! The key exchange of RFC 4253 §8, written out once more.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use ssh_core::crypto::{
    ActiveKeyExchange, KeyExchange, MacKey, Opener, Sealer, ShareEncoding, SignatureAlgorithm,
};
use ssh_core::keys::PublicKey;
use ssh_core::protocol::Role;

use super::RawPeer;
use super::messages::{Field, Offer, message, put_string};

/// The parts of a KEXDH_REPLY.
#[derive(Debug)]
pub struct Reply {
    /// The key blob.
    pub host_key: Vec<u8>,
    /// The server's share.
    pub share: Vec<u8>,
    /// The name in front of the signature.
    pub algorithm: String,
    /// The signature's inner blob.
    pub signature: Vec<u8>,
}

/// An exchange under way.
#[derive(Debug)]
pub(super) struct Exchange {
    active: Option<Box<dyn ActiveKeyExchange>>,
    sealer: Option<Box<dyn Sealer>>,
    pub(super) opener: Option<Box<dyn Opener>>,
    offer: Offer,
}

/// Key exchange.
impl RawPeer {
    /// Sends a KEXINIT.
    pub fn send_kexinit(&mut self, offer: &Offer) {
        self.kexinit_sent = offer.encode();
        self.strict |= offer.kex.contains("kex-strict");
        self.exchange = Some(Exchange { active: None, sealer: None, opener: None, offer: offer.clone() });
        let payload = self.kexinit_sent.clone();
        self.send(&payload);
    }

    /// Version lines and a whole first exchange.
    ///
    /// # Panics
    /// If the engine does not play along.
    pub fn connect(&mut self) {
        self.connect_offering(&Offer::sound(self.role()));
    }

    /// The same with another offer.
    ///
    /// # Panics
    /// If the engine does not play along.
    pub fn connect_offering(&mut self, offer: &Offer) {
        self.send_version();
        self.send_kexinit(offer);
        self.exchange_keys();
        assert!(self.error().is_none(), "the exchange failed: {:?}", self.error());
        assert!(self.sealer.is_some() && self.opener.is_some(), "no keys");
    }

    /// From both KEXINITs to both NEWKEYS.
    pub fn exchange_keys(&mut self) {
        match self.role() {
            Role::Client => {
                self.send_share();
                self.send_new_keys();
            }
            Role::Server => {
                self.send_reply();
                self.send_new_keys();
            }
        }
    }

    /// As a client: sends a good share. The engine's reply makes the keys.
    ///
    /// # Panics
    /// Without an exchange.
    pub fn send_share(&mut self) {
        let method = self.method();
        let exchange = self.exchange.as_mut().expect("an exchange");
        let active = method.start(self.provider.random).expect("randomness");
        let share = active.share().to_vec();
        exchange.active = Some(active);
        self.send(&message(30, &[Field::Bytes(&share)]));
    }

    /// As a server: answers the engine's share with a good reply, and makes the keys.
    ///
    /// # Panics
    /// If the engine has sent no share.
    pub fn send_reply(&mut self) {
        let reply = self.reply(|_| {});
        self.send(&reply);
    }

    /// As [`send_reply`](Self::send_reply), but the reply's parts go through `spoil` first.
    ///
    /// # Panics
    /// If the engine has sent no share.
    pub fn reply(&mut self, spoil: impl FnOnce(&mut Reply)) -> Vec<u8> {
        let init = self.take(30).expect("the engine's share");
        let client_share = init[5..].to_vec();
        let (share, secret) = self.method().respond(&client_share, self.provider.random).expect("a share");
        let blob = self.host_blob.clone().unwrap_or_else(|| self.host_key.public_key().to_blob());
        let hash = self.exchange_hash(&blob, &client_share, &share, secret.encoded());
        let key = Arc::clone(&self.host_key);
        let signature = key.sign(self.host_algorithm, &hash).expect("a signature");
        let algorithm = self.host_algorithm.name().into();
        let mut reply = Reply { host_key: blob, share, algorithm, signature };
        spoil(&mut reply);
        self.make_keys(secret.encoded(), &hash);
        let mut signature = Vec::new();
        put_string(&mut signature, reply.algorithm.as_bytes());
        put_string(&mut signature, &reply.signature);
        message(31, &[Field::Bytes(&reply.host_key), Field::Bytes(&reply.share), Field::Bytes(&signature)])
    }

    fn method(&self) -> &'static dyn KeyExchange {
        let offered = &self.exchange.as_ref().expect("an exchange").offer.kex;
        let first = || offered.split(',').next().expect("a method");
        let name = self.chosen_kex.as_deref().unwrap_or_else(first);
        self.provider.key_exchange(name).expect("a method of the provider")
    }

    /// Sends NEWKEYS and seals with the new keys from there on.
    pub fn send_new_keys(&mut self) {
        let packet = self.seal(&[21]);
        self.use_new_keys();
        self.send_bytes(&packet);
    }

    /// Seals with the new keys from here on.
    pub fn use_new_keys(&mut self) {
        if let Some(sealer) = self.exchange.as_mut().and_then(|exchange| exchange.sealer.take()) {
            self.sealer = Some(sealer);
            if self.strict {
                self.send_sequence = 0;
            }
        }
    }

    fn exchange_hash(&self, host_key: &[u8], client: &[u8], server: &[u8], secret: &[u8]) -> Vec<u8> {
        let theirs = self.ident.as_deref().expect("the engine's version");
        let (us, them) = ((self.version.as_str(), &self.kexinit_sent), (theirs, &self.kexinit_received));
        let ((client_version, client_kexinit), (server_version, server_kexinit)) = match self.role() {
            Role::Client => (us, them),
            Role::Server => (them, us),
        };
        let mut seen = Vec::new();
        put_string(&mut seen, client_version.as_bytes());
        put_string(&mut seen, server_version.as_bytes());
        put_string(&mut seen, client_kexinit);
        put_string(&mut seen, server_kexinit);
        put_string(&mut seen, host_key);
        put_string(&mut seen, client);
        put_string(&mut seen, server);
        seen.extend(secret);
        Sha256::digest(&seen).to_vec()
    }

    fn make_keys(&mut self, secret: &[u8], hash: &[u8]) {
        if self.session_id.is_empty() {
            self.session_id = hash.to_vec();
        }
        let exchange = self.exchange.as_mut().expect("an exchange");
        let [cipher, mac] = [(&exchange.offer.cipher, 2), (&exchange.offer.mac, 4)]
            .map(|(ours, slot)| chosen(ours, &self.kexinit_received, slot));
        let cipher = self.provider.cipher(cipher).expect("a cipher of the provider");
        let mac = self.provider.mac(mac).expect("a MAC of the provider");
        let session_id = &self.session_id;
        let derive = |letter: u8, len: usize| {
            let mut key: Vec<u8> =
                Sha256::digest([secret, hash, &[letter], session_id.as_slice()].concat()).to_vec();
            while key.len() < len {
                let more = Sha256::digest([secret, hash, &key].concat());
                key.extend(more);
            }
            key.truncate(len);
            key
        };
        if self.mac_keys[0].is_empty() {
            self.mac_keys = [derive(b'E', mac.key_len()), derive(b'F', mac.key_len())];
        }
        let (out, back) = match self.ours {
            Role::Server => (*b"ACE", *b"BDF"),
            Role::Client => (*b"BDF", *b"ACE"),
        };
        let mac_key = derive(out[2], mac.key_len());
        let with = Some(MacKey { mac, key: &mac_key });
        let (iv, key) = (derive(out[0], cipher.iv_len()), derive(out[1], cipher.key_len()));
        exchange.sealer = Some(cipher.sealer(&key, &iv, with).expect("a sealer"));
        let mac_key = derive(back[2], mac.key_len());
        let with = Some(MacKey { mac, key: &mac_key });
        let (iv, key) = (derive(back[0], cipher.iv_len()), derive(back[1], cipher.key_len()));
        exchange.opener = Some(cipher.opener(&key, &iv, with).expect("an opener"));
    }

    /// As a client: the engine's reply proves its host key and makes the keys.
    pub(super) fn on_reply(&mut self, payload: &[u8]) {
        let mut rest = &payload[1..];
        let mut next = || {
            let len = u32::from_be_bytes(rest[..4].try_into().expect("4 bytes")) as usize;
            let value = rest[4..4 + len].to_vec();
            rest = &rest[4 + len..];
            value
        };
        let (host_key, share, signature) = (next(), next(), next());
        let Some(active) = self.exchange.as_mut().and_then(|exchange| exchange.active.take()) else { return };
        let client_share = active.share().to_vec();
        let secret = active.finish(&share).expect("a sound share");
        let hash = self.exchange_hash(&host_key, &client_share, &share, secret.encoded());
        let key = PublicKey::from_blob(&host_key).expect("a host key");
        let blob = &signature[signature.len() - 64..];
        self.provider
            .signatures
            .verify(SignatureAlgorithm::Ed25519, &key, &hash, blob)
            .expect("the engine's signature");
        self.make_keys(secret.encoded(), &hash);
    }

    /// Whether a method writes its share as a number.
    #[must_use]
    pub fn is_number_share(&self, method: &str) -> bool {
        let method = self.provider.key_exchange(method);
        method.is_some_and(|method| method.share_encoding() == ShareEncoding::Mpint)
    }
}

/// The first of our names that the engine's KEXINIT has in one of its lists, or our last: an AEAD cipher goes with any MAC.
fn chosen<'a>(ours: &'a str, kexinit: &[u8], slot: usize) -> &'a str {
    let mut rest = kexinit.get(17..).unwrap_or_default();
    let mut list = &[][..];
    for _ in 0..=slot {
        let (length, behind) = rest.split_first_chunk().expect("a list");
        (list, rest) = behind.split_at(u32::from_be_bytes(*length) as usize);
    }
    let has = |name: &&str| list.split(|byte| *byte == b',').any(|theirs| theirs == name.as_bytes());
    ours.split(',').find(has).or_else(|| ours.rsplit(',').next()).unwrap_or(ours)
}
