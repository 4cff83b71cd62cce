//! What a raw peer says: KEXINITs, messages out of words and strings, packets in the clear.

use ssh_core::protocol::Role;

/// A KEXINIT to send.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Key exchange methods, markers included.
    pub kex: String,
    /// Host key algorithms.
    pub host_key: String,
    /// Ciphers, both ways.
    pub cipher: String,
    /// MACs, both ways.
    pub mac: String,
    /// Compression, both ways.
    pub compression: String,
    /// `first_kex_packet_follows`.
    pub guess: bool,
}

impl Offer {
    /// What a sound client or server of today offers.
    #[must_use]
    pub fn sound(speaker: Role) -> Self {
        let strict = match speaker {
            Role::Client => "kex-strict-c-v00@openssh.com",
            Role::Server => "kex-strict-s-v00@openssh.com",
        };
        Self { kex: format!("curve25519-sha256,{strict}"), ..Self::without_strict() }
    }

    /// The same from a peer that does not know strict key exchange.
    #[must_use]
    pub fn without_strict() -> Self {
        Self {
            kex: "curve25519-sha256".into(),
            host_key: "ssh-ed25519".into(),
            cipher: "aes256-gcm@openssh.com".into(),
            mac: "hmac-sha2-256".into(),
            compression: "none".into(),
            guess: false,
        }
    }

    /// The payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![20];
        out.extend([7; 16]);
        let lists = [&self.kex, &self.host_key, &self.cipher, &self.cipher, &self.mac, &self.mac];
        for list in lists.into_iter().chain([&self.compression, &self.compression]) {
            put_string(&mut out, list.as_bytes());
        }
        out.extend([0; 8]);
        out.push(u8::from(self.guess));
        out.extend([0; 4]);
        out
    }
}

/// Appends a `string`.
pub fn put_string(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(u32::try_from(value.len()).expect("a short string").to_be_bytes());
    out.extend(value);
}

/// A message of a number, words and strings.
#[must_use]
pub fn message(number: u8, fields: &[Field<'_>]) -> Vec<u8> {
    let mut out = vec![number];
    for field in fields {
        match field {
            Field::U32(value) => out.extend(value.to_be_bytes()),
            Field::Bool(value) => out.push(u8::from(*value)),
            Field::Str(value) => put_string(&mut out, value.as_bytes()),
            Field::Bytes(value) => put_string(&mut out, value),
        }
    }
    out
}

/// A field of a [`message`].
#[derive(Debug, Clone, Copy)]
pub enum Field<'a> {
    /// `uint32`.
    U32(u32),
    /// `boolean`.
    Bool(bool),
    /// `string`.
    Str(&'a str),
    /// `string`.
    Bytes(&'a [u8]),
}

/// A packet in the clear with as much padding as asked for, whether or not it aligns.
#[must_use]
pub fn plain_packet(payload: &[u8], padding: u8) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload") + u32::from(padding) + 1;
    let mut out = length.to_be_bytes().to_vec();
    out.push(padding);
    out.extend(payload);
    out.extend(vec![0; usize::from(padding)]);
    out
}

/// A password attempt.
#[must_use]
pub fn password(user: &str, password: &str) -> Vec<u8> {
    message(
        50,
        &[
            Field::Str(user),
            Field::Str("ssh-connection"),
            Field::Str("password"),
            Field::Bool(false),
            Field::Str(password),
        ],
    )
}

/// CHANNEL_OPEN.
#[must_use]
pub fn open(kind: &str, sender: u32, window: u32, max_packet: u32) -> Vec<u8> {
    message(90, &[Field::Str(kind), Field::U32(sender), Field::U32(window), Field::U32(max_packet)])
}

/// CHANNEL_DATA.
#[must_use]
pub fn data(recipient: u32, data: &[u8]) -> Vec<u8> {
    message(94, &[Field::U32(recipient), Field::Bytes(data)])
}
