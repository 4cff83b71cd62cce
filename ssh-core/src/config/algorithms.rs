use crate::crypto::{CipherKind, CryptoProvider, SignatureAlgorithm};
use crate::error::{ApiMisuse, Error};
use crate::protocol::{PeerVersion, Role};

/// Which algorithms are offered, in order of preference (RFC 4253 §7.1).
///
/// The default prefers a post-quantum hybrid and AEAD ciphers, and still meets peers that know only NIST curves and
/// Diffie-Hellman. Names that the crypto provider lacks are left out when the offer is made.
///
/// Unless it is told [which ciphers](Self::with_ciphers) to offer, a server has `chacha20-poly1305@openssh.com` for Dropbear's
/// clients alone, which have no other good cipher. Many clients prefer it; a client's preference decides, and those
/// without strict key exchange may not have it (CVE-2023-48795), so that its name would keep them from what they may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms {
    kex: Vec<&'static str>,
    host_keys: Vec<SignatureAlgorithm>,
    host_certificates: bool,
    user_keys: Vec<SignatureAlgorithm>,
    ciphers: Vec<&'static str>,
    /// Whether they are whatever we think best.
    default_ciphers: bool,
    macs: Vec<&'static str>,
    plain_cbc: bool,
    insecure: bool,
}

impl Default for Algorithms {
    fn default() -> Self {
        use SignatureAlgorithm as S;
        Self {
            kex: vec![
                "mlkem768x25519-sha256",
                "curve25519-sha256",
                "curve25519-sha256@libssh.org",
                "ecdh-sha2-nistp384",
                "ecdh-sha2-nistp256",
                "diffie-hellman-group16-sha512",
            ],
            host_keys: vec![S::Ed25519, S::EcdsaP384, S::EcdsaP256, S::RsaSha512, S::RsaSha256],
            host_certificates: false,
            user_keys: vec![S::Ed25519, S::EcdsaP384, S::EcdsaP256, S::RsaSha512, S::RsaSha256],
            ciphers: vec!["aes256-gcm@openssh.com", "aes128-gcm@openssh.com", CHACHA, "aes256-ctr"],
            default_ciphers: true,
            macs: vec!["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"],
            plain_cbc: false,
            insecure: false,
        }
    }
}

impl Algorithms {
    /// Post-quantum hybrids only, no NIST curve, no encrypt-and-MAC.
    #[must_use]
    pub fn hardened() -> Self {
        use SignatureAlgorithm as S;
        Self {
            kex: vec![
                "mlkem768x25519-sha256",
                "sntrup761x25519-sha512",
                "sntrup761x25519-sha512@openssh.com",
            ],
            host_keys: vec![S::Ed25519, S::RsaSha512, S::RsaSha256],
            user_keys: vec![S::Ed25519, S::RsaSha512, S::RsaSha256],
            ..Self::default()
        }
    }

    /// No key exchange, no encryption, no integrity and no authentication: every list is `none`. Only for streams that
    /// are already private and authenticated, or for tests.
    #[must_use]
    pub fn insecure_without_any_security() -> Self {
        let empty = Vec::new;
        Self {
            kex: empty(),
            host_keys: Vec::new(),
            host_certificates: false,
            user_keys: Vec::new(),
            ciphers: empty(),
            default_ciphers: false,
            macs: empty(),
            plain_cbc: false,
            insecure: true,
        }
    }

    /// Whether this is [`insecure_without_any_security`](Self::insecure_without_any_security).
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// Replaces the key exchange methods by a comma-separated list.
    ///
    /// # Errors
    /// [`UnknownAlgorithm`] for an empty list or a name outside [`KNOWN_KEX`].
    pub fn with_kex(mut self, list: &str) -> Result<Self, UnknownAlgorithm> {
        self.kex = pick(list, "key exchange", KNOWN_KEX)?;
        Ok(self)
    }

    /// Replaces the ciphers of both directions by a comma-separated list.
    ///
    /// # Errors
    /// [`UnknownAlgorithm`] for an empty list or a name outside [`KNOWN_CIPHERS`].
    pub fn with_ciphers(mut self, list: &str) -> Result<Self, UnknownAlgorithm> {
        self.ciphers = pick(list, "cipher", KNOWN_CIPHERS)?;
        self.default_ciphers = false;
        Ok(self)
    }

    /// Replaces the MACs of both directions by a comma-separated list.
    ///
    /// # Errors
    /// [`UnknownAlgorithm`] for an empty list or a name outside [`KNOWN_MACS`].
    pub fn with_macs(mut self, list: &str) -> Result<Self, UnknownAlgorithm> {
        self.macs = pick(list, "MAC", KNOWN_MACS)?;
        Ok(self)
    }

    /// Allows a CBC cipher with a MAC over the plain text, where both are in the lists, with every peer. Otherwise such a
    /// pair is refused unless the peer is one of [Dev Tunnels](crate::protocol::PeerVersion::is_dev_tunnels), which
    /// may have nothing else: how such packets are refused tells an attacker of what is in them (CVE-2008-5161).
    #[must_use]
    pub fn danger_with_cbc_and_plain_macs(mut self) -> Self {
        self.plain_cbc = true;
        self
    }

    /// Replaces the host key algorithms.
    #[must_use]
    pub fn with_host_keys(mut self, algorithms: Vec<SignatureAlgorithm>) -> Self {
        self.host_keys = algorithms;
        self
    }

    /// Whether a client asks for host keys in certificates before it asks for plain ones (PROTOCOL.certkeys); not unless
    /// told to. [`client::connect`](crate::client::connect) sets it by what the host key's verifier says. A server offers
    /// the certificates that its keys carry, whatever this says.
    #[must_use]
    pub fn with_host_certificates(mut self, wanted: bool) -> Self {
        self.host_certificates = wanted;
        self
    }

    /// Replaces the algorithms that a server takes in user authentication (RFC 8308 §3.1).
    #[must_use]
    pub fn with_user_keys(mut self, algorithms: Vec<SignatureAlgorithm>) -> Self {
        self.user_keys = algorithms;
        self
    }

    /// The key exchange methods offered.
    #[must_use]
    pub fn kex(&self) -> &[&'static str] {
        &self.kex
    }

    /// The algorithms that a server takes in user authentication.
    #[must_use]
    pub fn user_keys(&self) -> &[SignatureAlgorithm] {
        &self.user_keys
    }

    /// The host key algorithms offered.
    #[must_use]
    pub fn host_keys(&self) -> &[SignatureAlgorithm] {
        &self.host_keys
    }

    /// Whether a client asks for host certificates.
    #[must_use]
    pub fn host_certificates(&self) -> bool {
        self.host_certificates
    }

    /// The ciphers offered: by a client all of them, by a server all but what its defaults have for few.
    #[must_use]
    pub fn ciphers(&self) -> &[&'static str] {
        &self.ciphers
    }

    /// Whether what a side offers depends on who the peer says that it is.
    pub(crate) fn depend_on_version(&self, role: Role) -> bool {
        role == Role::Server && self.default_ciphers && self.ciphers.contains(&CHACHA)
    }

    /// Whether a CBC cipher with a MAC over the plain text will do with this peer.
    pub(crate) fn allow_plain_cbc(&self, peer: Option<&PeerVersion>) -> bool {
        self.plain_cbc || peer.is_some_and(PeerVersion::is_dev_tunnels)
    }

    /// What is left of [`ciphers`](Self::ciphers) towards this peer.
    pub(crate) fn ciphers_towards(&self, role: Role, peer: Option<&PeerVersion>) -> Vec<&'static str> {
        let mut ciphers = self.ciphers.clone();
        let needs_chacha = peer.is_some_and(PeerVersion::is_dropbear) || ciphers == [CHACHA];
        if self.depend_on_version(role) && !needs_chacha {
            ciphers.retain(|name| *name != CHACHA);
        }
        ciphers
    }

    /// The MACs offered.
    #[must_use]
    pub fn macs(&self) -> &[&'static str] {
        &self.macs
    }

    /// Leaves out what `provider` lacks.
    ///
    /// # Errors
    /// [`ApiMisuse::Algorithms`] if a list is then empty.
    pub(crate) fn supported_by(&self, provider: &CryptoProvider) -> Result<Self, Error> {
        let mut left = self.clone();
        if self.insecure {
            return Ok(left);
        }
        left.kex.retain(|name| provider.key_exchange(name).is_some());
        left.ciphers.retain(|name| provider.cipher(name).is_some());
        left.macs.retain(|name| provider.mac(name).is_some());
        let needs_mac = left
            .ciphers
            .iter()
            .filter_map(|name| provider.cipher(name))
            .any(|cipher| cipher.kind() != CipherKind::Aead);
        if left.kex.is_empty()
            || left.ciphers.is_empty()
            || left.host_keys.is_empty()
            || (needs_mac && left.macs.is_empty())
        {
            return Err(Error::ApiMisuse(ApiMisuse::Algorithms));
        }
        Ok(left)
    }
}

/// A name in an algorithm list that Adit does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a {slot} that Adit knows; it knows {}", .known.join(", "))]
pub struct UnknownAlgorithm {
    name: String,
    slot: &'static str,
    known: &'static [&'static str],
}

fn pick(
    list: &str,
    slot: &'static str,
    known: &'static [&'static str],
) -> Result<Vec<&'static str>, UnknownAlgorithm> {
    let mut picked = Vec::new();
    for name in list.split(',').map(str::trim) {
        let found = known.iter().copied().find(|entry| *entry == name);
        let found = found.ok_or_else(|| UnknownAlgorithm { name: name.into(), slot, known })?;
        if !picked.contains(&found) {
            picked.push(found);
        }
    }
    Ok(picked)
}

/// It is only safe with strict key exchange.
pub(crate) const CHACHA: &str = "chacha20-poly1305@openssh.com";

/// Every key exchange method that a list may name.
pub const KNOWN_KEX: &[&str] = &[
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

/// Every cipher that a list may name.
pub const KNOWN_CIPHERS: &[&str] = &[
    "aes256-gcm@openssh.com",
    "aes128-gcm@openssh.com",
    CHACHA,
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
    "aes256-cbc",
    "aes192-cbc",
    "aes128-cbc",
];

/// Every MAC that a list may name.
pub const KNOWN_MACS: &[&str] =
    &["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com", "hmac-sha2-512", "hmac-sha2-256"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_choices_are_never_offered_by_default() {
        for offer in [Algorithms::default(), Algorithms::hardened()] {
            assert!(offer.ciphers().iter().all(|name| !name.contains("cbc")));
            assert!(offer.macs().iter().all(|name| name.contains("etm")));
            assert!(!offer.kex().contains(&"diffie-hellman-group14-sha256"));
        }
        let hardened = Algorithms::hardened();
        assert!(hardened.kex().iter().all(|name| name.contains("mlkem") || name.contains("sntrup")));
    }

    #[test]
    fn a_server_offers_chacha20_to_whom_it_helps_or_as_it_is_told() {
        let version = |line: &str| PeerVersion::parse(line.as_bytes()).unwrap();
        let (dropbear, other) = (version("SSH-2.0-dropbear_2024.86"), version("SSH-2.0-OpenSSH_9.5"));
        let told = Algorithms::default().with_ciphers("chacha20-poly1305@openssh.com,aes256-ctr").unwrap();
        for (algorithms, role, peer, expected) in [
            (Algorithms::default(), Role::Client, &other, true),
            (Algorithms::default(), Role::Server, &other, false),
            (Algorithms::hardened(), Role::Server, &other, false),
            (Algorithms::default().with_macs("hmac-sha2-256").unwrap(), Role::Server, &other, false),
            (Algorithms::default(), Role::Server, &dropbear, true),
            (told, Role::Server, &other, true),
        ] {
            let offered = algorithms.ciphers_towards(role, Some(peer));
            assert_eq!(offered.contains(&CHACHA), expected, "{role:?} {peer:?}");
        }
    }

    #[test]
    fn a_list_with_an_unknown_name_is_refused_by_name() {
        let error = Algorithms::default().with_ciphers("aes256-ctr,3des-cbc").unwrap_err();
        assert!(error.to_string().contains("3des-cbc"));
        assert!(Algorithms::default().with_kex("").is_err());
    }
}
