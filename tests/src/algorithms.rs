//! Which algorithms a peer has, and the suites to try between two of them.

/// The four lists that matter.
#[derive(Clone, Debug, Default)]
pub struct Algorithms {
    /// Key exchanges.
    pub kex: Vec<String>,
    /// Host key algorithms.
    pub host_keys: Vec<String>,
    /// Ciphers.
    pub ciphers: Vec<String>,
    /// MACs.
    pub macs: Vec<String>,
    /// Whether strict key exchange is spoken: without it, Adit refuses what Terrapin can attack.
    pub strict_kex: bool,
    /// Whether Adit takes CBC with a MAC over the plain text from it, as from Dev Tunnels peers.
    pub plain_cbc: bool,
}

/// What one handshake must use; `None` leaves the choice to the two sides.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    /// The only key exchange offered.
    pub kex: Option<String>,
    /// The only host key algorithm offered.
    pub host_key: Option<String>,
    /// The only cipher offered, both ways.
    pub cipher: Option<String>,
    /// The only MAC offered, both ways.
    pub mac: Option<String>,
}

impl Suite {
    /// A short name for a case.
    #[must_use]
    pub fn name(&self) -> String {
        let parts = [&self.kex, &self.host_key, &self.cipher, &self.mac];
        parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" + ")
    }
}

impl Algorithms {
    /// All that Adit has.
    #[must_use]
    pub fn of_adit() -> Self {
        Self {
            kex: owned(&KEX),
            host_keys: owned(&HOST_KEYS),
            ciphers: owned(&CIPHERS),
            macs: owned(&MACS),
            strict_kex: true,
            plain_cbc: false,
        }
    }

    /// Those that Adit has too.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        Self {
            kex: intersect(&self.kex, &other.kex),
            host_keys: intersect(&self.host_keys, &other.host_keys),
            ciphers: intersect(&self.ciphers, &other.ciphers),
            macs: intersect(&self.macs, &other.macs),
            strict_kex: self.strict_kex && other.strict_kex,
            plain_cbc: self.plain_cbc || other.plain_cbc,
        }
    }

    /// Suites that use each algorithm at least once, and each cipher with each MAC where there is a MAC to choose.
    #[must_use]
    pub fn suites(&self) -> Vec<Suite> {
        let kex = self.kex.iter().map(|kex| Suite { kex: Some(kex.clone()), ..Suite::default() });
        let keys = self.host_keys.iter().map(|key| Suite { host_key: Some(key.clone()), ..Suite::default() });
        let aead = self.ciphers.iter().filter(|cipher| is_aead(cipher)).filter(|cipher| {
            // Strict key exchange or nothing: see `strict_kex`.
            self.strict_kex || !cipher.starts_with("chacha20")
        });
        let aead = aead.map(|cipher| Suite { cipher: Some(cipher.clone()), ..Suite::default() });
        let plain = self.ciphers.iter().filter(|cipher| !is_aead(cipher));
        let plain = plain.flat_map(|cipher| self.macs.iter().map(move |mac| (cipher, mac)));
        let plain = plain.filter(|(cipher, mac)| {
            let allowed = if mac.contains("-etm") { self.strict_kex } else { self.plain_cbc };
            allowed || !cipher.ends_with("-cbc")
        });
        let plain = plain.map(|(cipher, mac)| Suite {
            cipher: Some(cipher.clone()),
            mac: Some(mac.clone()),
            ..Suite::default()
        });
        kex.chain(keys).chain(aead).chain(plain).collect()
    }
}

fn is_aead(cipher: &str) -> bool {
    cipher.contains("-gcm") || cipher.starts_with("chacha20")
}

fn intersect(ours: &[String], theirs: &[String]) -> Vec<String> {
    ours.iter().filter(|name| theirs.contains(name)).cloned().collect()
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

const KEX: [&str; 10] = [
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
];

const HOST_KEYS: [&str; 6] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
];

const CIPHERS: [&str; 9] = [
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
    "aes256-cbc",
    "aes192-cbc",
    "aes128-cbc",
];

const MACS: [&str; 4] =
    ["hmac-sha2-256", "hmac-sha2-512", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"];
